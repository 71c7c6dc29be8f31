"""An upstream that can be replaced while calls run through it: they end on it, and only then is it let go.

A call may have come to the upstream before it was replaced and be sent after that, when it may be gone already: such a
one goes to its successor. A standing stream has no end of its own, so it is told to end as when its time is up: its
client opens another, which goes to the successor.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Message, Notification, Request
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
        self._idle.set()
        self._over = trio.CancelScope()

    def converse(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """See `Upstream`."""
        if self._successor is not None:
            return self._successor.converse(link)
        return self._counted(self._inner.converse(link), stands=False)

    def listen(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """See `Upstream`."""
        if self._successor is not None:
            return self._successor.listen(link)
        return self._counted(self._inner.listen(link), stands=True)

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

    @asynccontextmanager
    async def _counted(
        self, inner: AbstractAsyncContextManager[Conversation], *, stands: bool
    ) -> AsyncIterator[Conversation]:
        async with inner as conversation:
            talk = _Conversation(self, conversation, stands=stands)
            if not self._talks:
                self._idle = trio.Event()
            self._talks.add(talk)
            try:
                yield talk
            finally:
                self._talks.discard(talk)
                if not self._talks:
                    self._idle.set()


class _Conversation:
    def __init__(self, upstream: Retiring, inner: Conversation, *, stands: bool) -> None:
        self._upstream = upstream
        self._inner = inner
        self._stands = stands
        self._hearing = trio.CancelScope()

    @property
    def upstream_session(self) -> str | None:
        """See `Conversation`."""
        return self._inner.upstream_session

    def end_stream(self) -> None:
        """What stands ends where it waits for the next message."""
        if self._stands:
            self._hearing.cancel()

    async def send(self, message: Message) -> None:
        """See `Conversation`."""
        self._stands = isinstance(message, Request) and message.method == mcp.LISTEN
        await self._inner.send(message)

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        with trio.CancelScope() as self._hearing:
            if self._stands and self._upstream.retired:
                self._hearing.deadline = -math.inf
            return await self._inner.receive()
        return None

    def at_hand(self) -> Notification | None:
        """See `Conversation`."""
        return self._inner.at_hand()

    async def respond(self, message: Message) -> None:
        """See `Conversation`."""
        await self._inner.respond(message)
