"""The stream of a legacy client, fed by a subscription at its modern upstream."""

from __future__ import annotations

from contextlib import AsyncExitStack

import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import bridge, mcp
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, Success
from gateway.core.types import Document, SessionId
from gateway.upstream.base import Conversation, Link
from gateway.upstream.bridge.modern import ModernSide
from gateway.upstream.bridge.translated import Translated

ACKNOWLEDGED_S = 10.0
"""How long an upstream may take to say that a subscription has begun, which is the first that it says."""
RENEW = "renew"


class Listeners:
    """The streams that are open in this process: they are renewed when their clients subscribe to something."""

    def __init__(self, side: ModernSide) -> None:
        self.side = side
        self._open: dict[SessionId, set[Listening]] = {}
        side.office.on(RENEW, self._renewed)

    async def renew(self, session: SessionId) -> None:
        """What a client wants to hear has changed. Raises EvidenceFault."""
        self._renew(session)
        await self.side.office.tell("", RENEW, session=session)

    def add(self, session: SessionId, stream: Listening) -> None:
        self._open.setdefault(session, set()).add(stream)

    def discard(self, session: SessionId, stream: Listening) -> None:
        self._open.get(session, set()).discard(stream)
        if not self._open.get(session, True):
            del self._open[session]

    def _renewed(self, document: Document) -> None:
        self._renew(SessionId(str(document.get("session"))))

    def _renew(self, session: SessionId) -> None:
        for stream in self._open.get(session, ()):
            stream.renew()


class Listening(Translated):
    """See `Upstream.listen`."""

    def __init__(self, listeners: Listeners, link: Link) -> None:
        self.upstream_session: str | None = None
        self._listeners = listeners
        self._link = link
        self._stack = AsyncExitStack()
        self._inner: Conversation | None = None
        self._changed = False
        self._scope = trio.CancelScope()

    async def __aenter__(self) -> Conversation:
        self._listeners.add(self._link.session, self)  # Before the first wait: what changes from now on is heard.
        try:
            await self._subscribe()
        except BaseException:  # Failed or cancelled: a block that was not entered is not left by anybody else.
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listeners.discard(self._link.session, self)
        await self._stack.aclose()

    async def send(self, message: Message) -> None:
        """See `Conversation`. Nothing is sent on this stream."""

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        while True:
            if self._changed:
                await self._subscribe()
            assert self._inner is not None
            message: Message | None = None
            with trio.CancelScope() as self._scope:
                message = await self._inner.receive()
            if isinstance(message, Notification):
                if message.method in bridge.STANDING:
                    return bridge.outside(message)
            elif not self._scope.cancelled_caught:
                return None

    async def respond(self, message: Message) -> None:
        """See `Conversation`. A modern upstream asks nothing on a stream."""

    def renew(self) -> None:
        """What the client wants to hear has changed: the subscription is made anew."""
        self._changed = True
        self._scope.cancel()

    async def _subscribe(self) -> None:
        """Begin a subscription to what is wanted now, and end the one before once it is heard: nothing is missed."""
        self._changed = False
        side, before = self._listeners.side, self._stack
        uris = await side.uris(self._link.session)
        async with AsyncExitStack() as stack:
            inner = await stack.enter_async_context(side.inner.converse(side.link(self._link)))
            await inner.send(await side.request(self._link, Request("(listen)", mcp.LISTEN, bridge.listening(uris))))
            await self._acknowledged(inner)
            self._inner, self._stack = inner, stack.pop_all()
        await before.aclose()

    async def _acknowledged(self, inner: Conversation) -> None:
        """Wait for the subscription to begin. Raises UpstreamFault; `status` when the upstream offers none."""
        with trio.move_on_after(ACKNOWLEDGED_S):
            match await inner.receive():
                case Notification(method=bridge.ACKNOWLEDGED):
                    return
                case Failure() | Success() | None:
                    raise UpstreamFault("it offers no subscriptions", kind="status")
        raise UpstreamFault("it did not acknowledge a subscription", kind="timeout")
