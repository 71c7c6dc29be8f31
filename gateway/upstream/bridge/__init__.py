"""An upstream of one era for clients of both: whoever speaks what it speaks goes straight through, others are bridged.

Which eras an upstream speaks is found out by asking it once, and remembered while the process lives; the configuration
can say it beforehand. A question may kill an old stdio server, so it is asked of a program of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import trio

from gateway.core.errors import InternalFault, UpstreamFault
from gateway.core.protocol import mcp, versions
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, Success
from gateway.core.types import Document, Era, SessionId
from gateway.upstream.base import Conversation, Link, Upstream
from gateway.upstream.bridge.downward import Downward, Listening, ModernSide
from gateway.upstream.bridge.upward import LegacySide, Subscription, Upward

BRIDGED = "(bridged)"
"""Stands in a legacy client's ticket for the session that its modern upstream does not have."""
_PROBE: Document = {
    mcp.META: {
        mcp.PROTOCOL_VERSION: versions.LATEST_MODERN,
        mcp.CLIENT_INFO: {"name": "phigate", "version": "1"},
        mcp.CLIENT_CAPABILITIES: {},
    }
}
_ABSENT = frozenset({"status", "closed", "malformed", "timeout"})
"""Faults by which an upstream says that it does not know a question; one that is unreachable has said nothing."""


class Bridge:
    """See `Upstream`. `era`: the one era that the upstream speaks, or None where that is to be found out."""

    def __init__(self, inner: Upstream, era: Era | None) -> None:
        self.name = inner.name
        self.inner = inner
        self._modern: bool | None = None if era is None else era is Era.MODERN
        self._legacy: bool | None = None if era is None else era is Era.LEGACY
        self._asking = trio.Lock()
        self._upward = LegacySide(inner)
        self._downward = ModernSide(inner)

    @classmethod
    @asynccontextmanager
    async def open(cls, inner: Upstream, era: Era | None) -> AsyncIterator[Bridge]:
        """The upstream, ready for conversations; what is kept for clients between them ends with the block."""
        self = cls(inner, era)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._upward.reap)
            try:
                yield self
            finally:
                with trio.CancelScope(shield=True):
                    await self._upward.aclose()
                nursery.cancel_scope.cancel()

    def converse(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """See `Upstream`."""
        return _Conversation(self, link)

    def listen(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """See `Upstream`."""
        return Listening(self._downward, link) if link.upstream_session == BRIDGED else self.inner.listen(link)

    async def end(self, link: Link) -> None:
        """See `Upstream`."""
        if link.upstream_session == BRIDGED:
            self._downward.forget(link.session)
        else:
            await self.inner.end(link)

    async def aclose(self) -> None:
        """See `Upstream`."""
        await self._upward.aclose()
        await self.inner.aclose()

    async def side(self, link: Link, message: Message) -> AbstractAsyncContextManager[Conversation]:
        """The conversation that carries `message`: straight, or bridged. Raises UpstreamFault."""
        if link.era is Era.LEGACY:
            return self._for_legacy(link, message)
        if await self.speaks_modern():
            return self.inner.converse(link)
        if isinstance(message, Request) and message.method == mcp.LISTEN:
            return Subscription(self._upward, link)
        return Upward(self._upward, link)

    def _for_legacy(self, link: Link, message: Message) -> AbstractAsyncContextManager[Conversation]:
        greets = isinstance(message, Request) and message.method == mcp.INITIALIZE
        if link.upstream_session == BRIDGED or (greets and self._legacy is False):
            return Downward(self._downward, link, BRIDGED)
        return _Greeting(self, link) if greets and self._legacy is None else self.inner.converse(link)

    def downward(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """The bridge for a legacy client whose greeting the upstream does not know."""
        self._legacy = False
        return Downward(self._downward, link, BRIDGED)

    def speaks_legacy(self) -> None:
        """The upstream has taken a greeting."""
        self._legacy = True

    async def speaks_modern(self) -> bool:
        """Whether the upstream speaks the modern era, asked at most once. Raises UpstreamFault where it cannot be."""
        async with self._asking:
            if self._modern is None:
                self._modern = await self._probe()
        return self._modern

    async def _probe(self) -> bool:
        link = Link(SessionId("(probe)"), Era.MODERN, versions.LATEST_MODERN)
        try:
            async with self.inner.converse(link) as conversation:
                await conversation.send(Request(0, "server/discover", _PROBE))
                answer = await conversation.receive()
                while not isinstance(answer, Success | Failure):
                    answer = await conversation.receive()
        except UpstreamFault as fault:
            if fault.kind not in _ABSENT:
                raise
            return False
        finally:
            await self.inner.end(link)
        if isinstance(answer, Failure) and answer.code == versions.UNSUPPORTED_VERSION:
            return True  # Only a modern upstream has this word; which version it wants it says to the client itself.
        result = answer.result if isinstance(answer, Success) else None
        told = result.get("supportedVersions") if isinstance(result, dict) else None
        return isinstance(told, list) and versions.LATEST_MODERN in told


class _Conversation:
    """A conversation that knows only with its message which way it goes."""

    def __init__(self, bridge_: Bridge, link: Link) -> None:
        self._bridge = bridge_
        self._link = link
        self._stack = AsyncExitStack()
        self._side: Conversation | None = None

    @property
    def upstream_session(self) -> str | None:
        """See `Conversation`."""
        return self._side.upstream_session if self._side is not None else None

    async def __aenter__(self) -> Conversation:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def send(self, message: Message) -> None:
        """See `Conversation`."""
        self._side = await self._stack.enter_async_context(await self._bridge.side(self._link, message))
        await self._side.send(message)

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        return await self._talk().receive()

    def at_hand(self) -> Notification | None:
        """See `Conversation`."""
        return self._talk().at_hand()

    async def respond(self, message: Message) -> None:
        """See `Conversation`."""
        await self._talk().respond(message)

    def _talk(self) -> Conversation:
        if self._side is None:
            raise InternalFault("an upstream was listened to before anything was sent to it")
        return self._side


class _Greeting:
    """A legacy client's `initialize` to an upstream of which it is not known whether it takes one."""

    def __init__(self, bridge_: Bridge, link: Link) -> None:
        self._bridge = bridge_
        self._link = link
        self._stack = AsyncExitStack()
        self._side: Conversation | None = None
        self._message: Message | None = None

    @property
    def upstream_session(self) -> str | None:
        """See `Conversation`."""
        return self._side.upstream_session if self._side is not None else None

    async def __aenter__(self) -> Conversation:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def send(self, message: Message) -> None:
        """See `Conversation`."""
        self._message = message
        self._side = await self._stack.enter_async_context(self._bridge.inner.converse(self._link))
        await self._side.send(message)

    async def receive(self) -> Message | None:
        """See `Conversation`. What the upstream says to the greeting; what its modern self says, if it knows none."""
        assert self._side is not None
        try:
            answer = await self._side.receive()
        except UpstreamFault as fault:
            if fault.kind not in _ABSENT or not await self._bridge.speaks_modern():
                raise
            return await self._instead()
        if isinstance(answer, Failure) and await self._bridge.speaks_modern():
            return await self._instead()
        if isinstance(answer, Success):
            self._bridge.speaks_legacy()
        return answer

    async def _instead(self) -> Message | None:
        assert self._message is not None
        await self._stack.aclose()
        self._side = await self._stack.enter_async_context(self._bridge.downward(self._link))
        await self._side.send(self._message)
        return await self._side.receive()

    def at_hand(self) -> Notification | None:
        """See `Conversation`. A greeting is answered by one message."""
        return None

    async def respond(self, message: Message) -> None:
        """See `Conversation`."""
        assert self._side is not None
        await self._side.respond(message)
