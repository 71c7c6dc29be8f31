"""An upstream that can be replaced while calls run through it: they end on it, and only then is it let go.

A call may have come to the upstream before it was replaced and be sent after that, when it may be gone already: such a
one goes to its successor. A standing stream has no end of its own, so it is told to end as when its time is up: its
client opens another, which goes to the successor.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import trio

from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Message, Request
from gateway.upstream.around import Around
from gateway.upstream.base import Conversation, Link, Upstream


class Retiring:
    """See `Upstream`."""

    def __init__(self, inner: Upstream) -> None:
        self.name = inner.name
        self.local = inner.local
        self._inner = inner
        self._talks: set[_Conversation] = set()
        self._successor: Retiring | None = None
        self._retired = trio.Event()
        self._idle = trio.Event()
        """Set once it is retired and nothing runs through it."""
        self._over = trio.CancelScope()

    def converse(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """See `Upstream`."""
        if self._successor is not None:
            return self._successor.converse(link)
        return _Conversation(self, self._inner.converse(link))

    def listen(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """See `Upstream`."""
        if self._successor is not None:
            return self._successor.listen(link)
        return _Conversation(self, self._inner.listen(link), stands=True)

    async def end(self, link: Link) -> None:
        """See `Upstream`."""
        await self._inner.end(link)

    async def aclose(self) -> None:
        """See `Upstream`."""
        await self._inner.aclose()

    @property
    def retired(self) -> bool:
        """Whether it has been replaced."""
        return self._retired.is_set()

    def retire(self, successor: Retiring | None = None) -> None:
        """It has been replaced, or is no more: what runs may end, what stands ends now, what comes goes on there."""
        self._successor = successor
        self._retired.set()
        if not self._talks:
            self._idle.set()
        for talk in self._talks:
            talk.end_stream()

    def close(self) -> None:
        """The gateway goes down: nobody waits for what runs any more."""
        self._over.cancel()

    async def over(self, patience_s: float) -> None:
        """Return when it may be let go: it was replaced and nothing runs through it any more, or for `patience_s`."""
        with self._over:
            await self._retired.wait()
            with trio.move_on_after(patience_s):
                await self._idle.wait()

    def begins(self, talk: _Conversation) -> None:
        """A conversation runs through it."""
        self._talks.add(talk)

    def ends(self, talk: _Conversation) -> None:
        """It runs no more."""
        self._talks.discard(talk)
        if not self._talks and self.retired:
            self._idle.set()


class _Conversation(Around):
    __slots__ = ("_hearing", "_stands", "_upstream")

    def __init__(
        self, upstream: Retiring, block: AbstractAsyncContextManager[Conversation], *, stands: bool = False
    ) -> None:
        self._upstream = upstream
        self._block = block
        self._stands = stands
        self._hearing: trio.CancelScope | None = None

    async def __aenter__(self) -> Conversation:
        self._inner = await self._block.__aenter__()
        self._upstream.begins(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._upstream.ends(self)
        return await self._block.__aexit__(kind, raised, traceback)

    def end_stream(self) -> None:
        """What stands ends where it waits for the next message."""
        if self._hearing is not None:
            self._hearing.cancel()

    def send(self, message: Message) -> Coroutine[Any, Any, None]:
        """See `Conversation`."""
        self._stands = isinstance(message, Request) and message.method == mcp.LISTEN
        return self._inner.send(message)

    def receive(self) -> Coroutine[Any, Any, Message | None]:
        """See `Conversation`."""
        return self._hear() if self._stands else self._inner.receive()

    async def _hear(self) -> Message | None:
        with trio.CancelScope() as self._hearing:
            if self._upstream.retired:
                self._hearing.cancel()
            return await self._inner.receive()
        return None
