"""An upstream of one era for clients of both: whoever speaks what it speaks goes straight through, others are bridged.

Which eras an upstream speaks is found out by asking it once, and remembered while the process lives; the configuration
can say it beforehand. A question may kill an old stdio server, so it is asked of a program of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import trio

from gateway.core.errors import InternalFault, UpstreamFault
from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, Success
from gateway.core.types import Document, Era, SessionId
from gateway.upstream.base import Conversation, Link, Upstream
from gateway.upstream.bridge import detection
from gateway.upstream.bridge.beside import Beside
from gateway.upstream.bridge.carrier import Carrier
from gateway.upstream.bridge.downward import Downward
from gateway.upstream.bridge.feed import Feeds
from gateway.upstream.bridge.homes import Carried, Homes
from gateway.upstream.bridge.listening import Listeners, Listening
from gateway.upstream.bridge.modern import ModernSide
from gateway.upstream.bridge.office import Delivery, Office
from gateway.upstream.bridge.parked import Parked
from gateway.upstream.bridge.polled import ABOUT_TASKS, Polled
from gateway.upstream.bridge.sessions import Sessions
from gateway.upstream.bridge.straight import Straight
from gateway.upstream.bridge.subscription import Subscription
from gateway.upstream.bridge.translated import is_bridged
from gateway.upstream.bridge.undertakings import Undertakings
from gateway.upstream.bridge.upward import Upward
from gateway.upstream.bridge.waited import Waited
from gateway.upstream.mail import Mail

_ENDED = "ended"


class Bridge:
    """See `Upstream`. Made by `open`."""

    def __init__(self, inner: Upstream, office: Office, era: Era | None, nursery: trio.Nursery) -> None:
        self.name = inner.name
        self.local = inner.local
        self._office = office
        self._homes = Homes(office)
        self.inner = inner = self._homes.around(inner) if inner.local else inner
        self._beside = beside = Beside(nursery)
        self._modern: bool | None = None if era is None else era is Era.MODERN
        self._legacy: bool | None = None if era is None else era is Era.LEGACY
        self._asking = trio.Lock()
        self._sessions = Sessions(inner, office, beside)
        self._parked = Parked(office, beside)
        self._undertakings = Undertakings(self._sessions)
        self._feeds = Feeds(self._sessions)
        self._side = ModernSide(inner, office, beside)
        self._listeners = Listeners(self._side)
        self._carrier = Carrier(office, beside, self.converse)
        office.on(_ENDED, self._ended)

    @classmethod
    @asynccontextmanager
    async def open(cls, inner: Upstream, mail: Mail, era: Era | None = None) -> AsyncIterator[Bridge]:
        """The upstream, ready for conversations. `era`: the one era that it speaks, or None where that is to be found
        out; `mail` reaches the other processes that serve it. What is kept for clients ends with the block."""
        office = Office(mail, inner.name)
        async with trio.open_nursery() as nursery:
            self = cls(inner, office, era, nursery)
            nursery.start_soon(self._parked.reap)
            nursery.start_soon(self._sessions.reap)
            nursery.start_soon(self._undertakings.reap)
            try:
                with office.open():
                    yield self
            finally:
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await self._let_go()

    def converse(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """See `Upstream`."""
        return self.inner.converse(link) if self._is_straight(link) else _Conversation(self, link)

    def listen(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """See `Upstream`."""
        if is_bridged(link):
            return Listening(self._listeners, link)
        return self._straight(link, self.inner.listen(link))

    async def end(self, link: Link) -> None:
        """See `Upstream`."""
        if is_bridged(link):
            await self._side.forget(link.session)
            return
        if self.local:
            await self._office.tell("", _ENDED, session=link.session)
        await self.inner.end(link)

    async def aclose(self) -> None:
        """See `Upstream`."""
        await self._let_go()
        await self.inner.aclose()

    async def side(self, link: Link, message: Message) -> AbstractAsyncContextManager[Conversation]:
        """The conversation that carries `message`: straight, or bridged. Raises UpstreamFault."""
        if link.era is Era.LEGACY:
            return self._for_legacy(link, message)
        if await self.speaks_modern():
            return self._at_home(link, message) or self.inner.converse(link)
        if isinstance(message, Request) and message.method == mcp.LISTEN:
            return Subscription(self._sessions, self._feeds, link)
        return self._upward(link)

    def downward(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """The bridge for a legacy client whose greeting the upstream does not know."""
        self._legacy = False
        return Downward(self._listeners, link)

    def speaks_legacy(self) -> None:
        """The upstream has taken a greeting."""
        self._legacy = True

    async def speaks_modern(self) -> bool:
        """Whether the upstream speaks the modern era, asked until it has said so. Raises UpstreamFault where it says
        nothing that tells."""
        if self._modern is None:
            async with self._asking:
                if self._modern is None:
                    self._modern = await detection.speaks_modern(self.inner)
        return self._modern

    def _is_straight(self, link: Link) -> bool:
        """Whether whatever this client says goes straight through, and that is known already: nearly always."""
        if link.era is Era.MODERN:
            return self._modern is True and not self.local
        greeted = link.upstream_session is not None and not is_bridged(link)  # The upstream itself.
        return greeted and not self.local

    def _for_legacy(self, link: Link, message: Message) -> AbstractAsyncContextManager[Conversation]:
        bridged = is_bridged(link)
        if isinstance(message, Success | Failure) or mcp.cancelled(message) is not None:
            return Delivery(self._office, link.session) if bridged or self.local else self.inner.converse(link)
        if (at_home := self._at_home(link, message)) is not None:
            return at_home
        greets = mcp.greets(message)
        if bridged and isinstance(message, Request) and message.method in ABOUT_TASKS:
            return Polled(self._listeners, link)
        if bridged or (greets and self._legacy is False):
            calls = isinstance(message, Request) and message.method == "tools/call"
            return Waited(self._listeners, link) if calls else Downward(self._listeners, link)
        if greets and self._legacy is None:
            return _Greeting(self, link)
        return self._straight(link, self.inner.converse(link))

    def _at_home(self, link: Link, message: Message) -> Carried | None:
        """What carries a request about a task to the process that has the task's program."""
        holder = self._homes.elsewhere(message) if self.local else None
        return Carried(self._office, holder, link) if holder is not None else None

    def _straight(
        self, link: Link, inner: AbstractAsyncContextManager[Conversation]
    ) -> AbstractAsyncContextManager[Conversation]:
        return Straight(self._office, link.session, inner, self._beside) if self.local else inner

    def _upward(self, link: Link) -> Upward:
        return Upward(self._office, self._sessions, self._parked, self._undertakings, link)

    def _ended(self, document: Document) -> None:
        """A client ended its session at another process; this one may have a program for it."""
        link = Link(SessionId(str(document.get("session"))), Era.LEGACY, "")
        self._beside.start_soon(self.inner.end, link)

    async def _let_go(self) -> None:
        await self._undertakings.aclose()
        await self._parked.aclose()
        await self._sessions.aclose()


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

    async def together(self, until: float) -> tuple[Notification, ...]:
        """See `Conversation`."""
        return await self._talk().together(until)

    async def respond(self, message: Message) -> None:
        """See `Conversation`."""
        await self._talk().respond(message)

    def _talk(self) -> Conversation:
        if self._side is None:
            raise InternalFault("an upstream was listened to before anything was sent to it")
        return self._side


class _Greeting(_Conversation):
    """A legacy client's `initialize` to an upstream of which it is not known whether it takes one."""

    async def send(self, message: Message) -> None:
        """See `Conversation`."""
        self._message = message
        self._side = await self._stack.enter_async_context(self._bridge.inner.converse(self._link))
        await self._side.send(message)

    async def receive(self) -> Message | None:
        """See `Conversation`. What the upstream says to the greeting; what its modern self says, if it knows none."""
        try:
            answer = await self._talk().receive()
        except UpstreamFault as fault:
            if fault.kind not in detection.ABSENT or not await self._bridge.speaks_modern():
                raise
            return await self._instead()
        if isinstance(answer, Failure) and await self._bridge.speaks_modern():
            return await self._instead()
        if isinstance(answer, Success):
            self._bridge.speaks_legacy()
        return answer

    async def _instead(self) -> Message | None:
        await self._stack.aclose()
        self._side = await self._stack.enter_async_context(self._bridge.downward(self._link))
        await self._side.send(self._message)
        return await self._side.receive()
