"""The sessions that a legacy upstream needs, kept for clients that have none.

Each process begins its own: nothing that a modern client sends depends on which one it comes to. What several requests
of one client share is only the upstream's session, in which they have ids of their own, because clients that say the
same of themselves may well use the same ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import bridge, jsonrpc, mcp, paging, versions
from gateway.core.protocol import bridge_tasks as wording
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Response, Success
from gateway.core.types import Document, Era, Json, SessionId
from gateway.upstream.base import Conversation, Link, Upstream
from gateway.upstream.bridge.beside import Beside
from gateway.upstream.bridge.office import Office

IDLE_S = 1800.0
"""How long a session that nobody uses is kept."""
EACH = 8
"""Sessions that one principal may have here; they differ by what its clients say of themselves."""
ALL = 4096
PAGES = 64
"""Of a listing of tools that are looked at."""
_REAP_EVERY_S = 5.0
LEAVE_S = 2.0
"""How long an upstream may take to hear that something is over; nobody waits for its answer."""


@dataclass(eq=False)
class Session:
    """The upstream's session of one client that has none of its own."""

    owner: SessionId
    """The gateway's session: one principal's with one upstream."""
    greeting: Document = field(repr=False)
    link: Link
    used: float
    """When somebody last needed it, on trio's clock."""
    initialized: Document | None = field(default=None, repr=False)
    level: str | None = None
    busy: int = 0
    """Requests and subscriptions that are under way in it."""
    ready: trio.Lock = field(default_factory=trio.Lock)
    support: Mapping[str, str] | None = field(default=None, repr=False)
    """Which tools may, or must, be called by a task; None while that is not known."""
    lives_on: bool = False
    """Another process goes on with a task in it: this one does not end it."""
    borrowed: bool = False
    """It is the upstream's session that a task was made in, for the task's sake: never begun anew, nor ended."""
    hears: set[Callable[[Notification], None]] = field(default_factory=set)
    """Who is told what the upstream says of itself as a whole, wherever it says it."""

    @property
    def capabilities(self) -> Json:
        """What the upstream can."""
        return (self.initialized or {}).get("capabilities")

    def told(self, notification: Notification) -> None:
        """The upstream has said something of itself as a whole."""
        self.support = None
        for hear in tuple(self.hears):
            hear(notification)

    @contextmanager
    def use(self) -> Iterator[None]:
        """The session is not let go of while the block runs."""
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1
            self.used = trio.current_time()


class Sessions:
    """The sessions that this process keeps at one legacy upstream."""

    def __init__(self, inner: Upstream, office: Office, beside: Beside) -> None:
        self.inner = inner
        self.office = office
        self.beside = beside
        self._sessions: dict[str, Session] = {}

    async def session(self, link: Link, meta: Document) -> Session:
        """The session of the client that introduces itself in `meta`, begun if it is new. Raises UpstreamFault."""
        greeting = bridge.greeting(meta)
        key = f"{link.session}.{jsonrpc.digest(Request(0, mcp.INITIALIZE, greeting))[:16]}"
        session = self._sessions.get(key)
        if session is None:
            await self._make_room(link.session)
            bare = Link(SessionId(key), Era.LEGACY, versions.LATEST_LEGACY)
            fresh = Session(link.session, greeting, bare, used=trio.current_time())
            session = self._sessions.setdefault(key, fresh)
        with session.use():
            async with session.ready:
                if session.initialized is None:
                    await self._begin(session)
        return session

    async def again(self, session: Session, lost: Link) -> None:
        """Begin a session anew of which the upstream has forgotten that of `lost`. Raises UpstreamFault."""
        if session.borrowed:
            raise UpstreamFault("it forgot the session of this task", kind="closed")
        async with session.ready:
            if session.link is lost or session.initialized is None:  # Else another call has done it meanwhile.
                session.initialized = None
                session.link = Link(lost.session, Era.LEGACY, versions.LATEST_LEGACY)
                await self._begin(session)

    async def ask(self, session: Session, method: str, params: Document) -> Response:
        """The answer to a question of the gateway's own. Raises UpstreamFault."""
        link = session.link
        try:
            answer, _ = await self._ask(link, method, params)
        except UpstreamFault as fault:
            if fault.kind != "ended":
                raise
            await self.again(session, link)
            answer, _ = await self._ask(session.link, method, params)
        return answer

    async def inquire(self, session: Session, method: str, params: Document) -> Response:
        """The answer in this very session. Raises UpstreamFault; `ended` where the upstream has forgotten it."""
        return (await self._ask(session.link, method, params))[0]

    async def tell(self, link: Link, notification: Notification) -> None:
        """Tell the upstream something in a session. Raises UpstreamFault."""
        async with self.inner.converse(link) as conversation:
            await conversation.send(notification)
            await conversation.receive()

    async def withdraw(self, link: Link, ident: jsonrpc.RequestId) -> None:
        """A request that the upstream still works on is taken back: in this era only that tells it (2025-11-25,
        Cancellation: a connection that ends is none)."""
        with suppress(UpstreamFault):
            await self.tell(link, mcp.cancel(ident))

    async def level(self, session: Session, wanted: str | None) -> None:
        """See to it that the upstream logs at `wanted` at least: it remembers a level for the session, while modern
        clients say one each time. What is more than a request asked for is kept from it."""
        level = bridge.louder(session.level, wanted)
        if level == session.level:
            return
        if isinstance(session.capabilities, dict) and "logging" in session.capabilities:
            await self.ask(session, "logging/setLevel", {"level": level})
        session.level = level

    async def support(self, session: Session, tool: Json) -> str:
        """Whether calls of a tool may or must be tasks; the upstream is asked once. Raises UpstreamFault."""
        if not wording.runs_tools(session.capabilities):
            return wording.FORBIDDEN
        if session.support is None:
            found: dict[str, str] = {}
            cursor: Document = {}
            for _ in range(PAGES):
                answer = await self.ask(session, "tools/list", cursor)
                found |= wording.supports(answer)
                _, following = paging.apart(Request(0, "tools/list", {}), answer)
                if following is None:
                    break
                cursor = following
            session.support = found
        return session.support.get(str(tool), wording.FORBIDDEN)

    async def reap(self) -> None:
        """Let go of sessions that nobody uses. Runs for ever."""
        while True:
            await trio.sleep(_REAP_EVERY_S)
            oldest = trio.current_time() - IDLE_S
            for key, session in tuple(self._sessions.items()):
                if not session.busy and session.used <= oldest:
                    await self._drop(key)

    async def aclose(self) -> None:
        """Let go of all of them, but for those that others go on in."""
        async with trio.open_nursery() as nursery:
            for key, session in tuple(self._sessions.items()):
                if session.lives_on:
                    del self._sessions[key]
                else:
                    nursery.start_soon(self._drop, key)

    async def _make_room(self, owner: SessionId) -> None:
        """Raises UpstreamFault when there is none: whoever says ever other things of itself ends its own first."""
        own = {key: each for key, each in self._sessions.items() if each.owner == owner}
        full = own if len(own) >= EACH else self._sessions if len(self._sessions) >= ALL else {}
        idle = [(each.used, key) for key, each in full.items() if not each.busy]
        if idle:
            await self._drop(min(idle)[1])
        elif full:
            raise UpstreamFault("too many sessions are open with it; try again shortly", kind="unreachable")

    async def _begin(self, session: Session) -> None:
        link = session.link
        answer, upstream_session = await self._ask(link, mcp.INITIALIZE, session.greeting)
        result = answer.result if isinstance(answer, Success) else None
        if not isinstance(result, dict):
            raise UpstreamFault("it refuses the greeting of a session", kind="malformed")
        version = result.get("protocolVersion")
        spoken = version if isinstance(version, str) and version in versions.VERSIONS else versions.LATEST_LEGACY
        session.link = Link(link.session, Era.LEGACY, spoken, upstream_session, session.greeting)
        await self.tell(session.link, Notification(mcp.INITIALIZED))
        session.initialized, session.level, session.support = result, None, None

    async def _ask(self, link: Link, method: str, params: Document) -> tuple[Response, str | None]:
        async with self.inner.converse(link) as conversation:
            await conversation.send(Request(self.office.number(), method, params))
            while not isinstance(answer := await conversation.receive(), Success | Failure):
                if isinstance(answer, Request):
                    await decline(conversation, answer)
            return answer, conversation.upstream_session

    async def _drop(self, key: str) -> None:
        session = self._sessions.pop(key, None)
        if session is None or session.initialized is None:
            return
        with trio.CancelScope(shield=True, deadline=trio.current_time() + LEAVE_S), suppress(UpstreamFault):
            await self.inner.end(session.link)  # It need not care; its own session falls idle.


async def decline(conversation: Conversation, question: Request) -> None:
    """Answer what the upstream asks where no client can be asked. Raises UpstreamFault."""
    if question.method == "ping":
        await conversation.respond(Success(question.id, {}))
    else:
        await conversation.respond(Failure(question.id, jsonrpc.METHOD_NOT_FOUND, "Nobody can be asked this now."))
