"""An upstream as one of several behind an aggregate endpoint: what it says names its things as clients know them there.

Around the upstream and not around the reply, so that what is decided, masked and recorded is what leaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from gateway.core.protocol.aggregate import Names, renamed
from gateway.core.protocol.jsonrpc import Message, Notification
from gateway.upstream.base import Conversation, Link, Upstream


class Renaming:
    """See `Upstream`."""

    def __init__(self, inner: Upstream, names: Names) -> None:
        self.name = inner.name
        self.local = inner.local
        self._inner = inner
        self._names = names

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
            yield _Conversation(conversation, self._names, self.name)


class _Conversation:
    def __init__(self, inner: Conversation, names: Names, member: str) -> None:
        self._inner = inner
        self._names = names
        self._member = member

    @property
    def upstream_session(self) -> str | None:
        """See `Conversation`."""
        return self._inner.upstream_session

    async def send(self, message: Message) -> None:
        """See `Conversation`."""
        await self._inner.send(message)

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        message = await self._inner.receive()
        return None if message is None else renamed(message, self._names, self._member)

    def at_hand(self) -> Notification | None:
        """See `Conversation`."""
        message = self._inner.at_hand()
        told = None if message is None else renamed(message, self._names, self._member)
        return told if isinstance(told, Notification) else None

    async def respond(self, message: Message) -> None:
        """See `Conversation`."""
        await self._inner.respond(message)
