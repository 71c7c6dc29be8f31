"""An upstream some of whose things have other names here than there: what it says, and what it is told, is renamed.

Around the upstream and not around the reply, so that what is decided, masked and recorded is what leaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from gateway.core.protocol.jsonrpc import Message, Notification
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
        return self._around(self._inner.converse(link))

    def listen(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """See `Upstream`."""
        return self._around(self._inner.listen(link))

    async def end(self, link: Link) -> None:
        """See `Upstream`."""
        await self._inner.end(link)

    async def aclose(self) -> None:
        """See `Upstream`."""
        await self._inner.aclose()

    @asynccontextmanager
    async def _around(self, inner: AbstractAsyncContextManager[Conversation]) -> AsyncIterator[Conversation]:
        async with inner as conversation:
            yield _Conversation(conversation, self._outward, self._inward)


class _Conversation:
    def __init__(self, inner: Conversation, outward: Rename, inward: Rename) -> None:
        self._inner = inner
        self._outward = outward
        self._inward = inward

    @property
    def upstream_session(self) -> str | None:
        """See `Conversation`."""
        return self._inner.upstream_session

    async def send(self, message: Message) -> None:
        """See `Conversation`."""
        await self._inner.send(self._inward(message))

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        message = await self._inner.receive()
        return None if message is None else self._outward(message)

    def at_hand(self) -> Notification | None:
        """See `Conversation`."""
        message = self._inner.at_hand()
        told = None if message is None else self._outward(message)
        return told if isinstance(told, Notification) else None

    async def respond(self, message: Message) -> None:
        """See `Conversation`."""
        await self._inner.respond(self._inward(message))
