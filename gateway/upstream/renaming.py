"""An upstream some of whose things have other names here than there: what it says, and what it is told, is renamed.

Around the upstream and not around the reply, so that what is decided, masked and recorded is what leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

from gateway.core.protocol.jsonrpc import Message, Notification
from gateway.upstream.around import Around
from gateway.upstream.base import Conversation, Link, Upstream

Rename = Callable[[Message], Message]


class Renaming:
    """See `Upstream`."""

    def __init__(self, inner: Upstream, *, outward: Rename, inward: Rename) -> None:
        """`outward` renames what the upstream says, `inward` what it is told."""
        self.name = inner.name
        self.local = inner.local
        self._inner = inner
        self._outward = outward
        self._inward = inward

    def converse(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """See `Upstream`."""
        return _Conversation(self._inner.converse(link), self._outward, self._inward)

    def listen(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """See `Upstream`."""
        return _Conversation(self._inner.listen(link), self._outward, self._inward)

    async def end(self, link: Link) -> None:
        """See `Upstream`."""
        await self._inner.end(link)

    async def aclose(self) -> None:
        """See `Upstream`."""
        await self._inner.aclose()


class _Conversation(Around):
    __slots__ = ("_inward", "_outward")

    def __init__(self, block: AbstractAsyncContextManager[Conversation], outward: Rename, inward: Rename) -> None:
        self._block = block
        self._outward = outward
        self._inward = inward

    def send(self, message: Message) -> Coroutine[Any, Any, None]:
        """See `Conversation`."""
        return self._inner.send(self._inward(message))

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        message = await self._inner.receive()
        return None if message is None else self._outward(message)

    async def together(self, until: float) -> tuple[Notification, ...]:
        """See `Conversation`."""
        found = map(self._outward, await self._inner.together(until))
        return tuple([message for message in found if isinstance(message, Notification)])

    def respond(self, message: Message) -> Coroutine[Any, Any, None]:
        """See `Conversation`."""
        return self._inner.respond(self._inward(message))
