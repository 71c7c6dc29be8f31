"""Modern clients of a legacy upstream: the session that it needs is kept for them here.

What such an upstream asks in the middle of a call becomes the result of that call, as the modern era has it, and the
call waits where it is until its client comes back with the answer. It waits in this process: docs/architecture.md.
"""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import bridge, jsonrpc, mcp, versions
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, Response, Success
from gateway.core.types import Document, Era, Json, SessionId
from gateway.upstream.base import Conversation, Link, Upstream

PARKED_S = 300.0
"""How long a call waits for its client to come back with an answer."""
IDLE_S = 1800.0
"""How long a session that nobody uses is kept."""
_REAP_EVERY_S = 5.0


@dataclass(eq=False)
class Session:
    """The upstream's session of one client that has none of its own."""

    greeting: Document = field(repr=False)
    link: Link
    used: float
    """When somebody last needed it, on trio's clock."""
    initialized: Document | None = field(default=None, repr=False)
    level: str | None = None
    busy: int = 0
    ready: trio.Lock = field(default_factory=trio.Lock)


@dataclass(eq=False)
class Parked:
    """A call that waits for its client's answer. `about`: which request may go on with it, in which session."""

    conversation: Conversation
    stack: AsyncExitStack
    session: Session
    question: Request = field(repr=False)
    about: tuple[str, str]
    until: float


class LegacySide:
    """What is kept of modern clients between their messages."""

    def __init__(self, inner: Upstream) -> None:
        self.inner = inner
        self.parked: dict[str, Parked] = {}
        self._sessions: dict[str, Session] = {}

    async def session(self, link: Link, meta: Document) -> Session:
        """The client's session, begun if it is the first message. Raises UpstreamFault."""
        greeting = bridge.greeting(meta)
        key = f"{link.session}.{jsonrpc.digest(Request(0, mcp.INITIALIZE, greeting))[:16]}"
        bare = Link(SessionId(key), Era.LEGACY, versions.LATEST_LEGACY)
        session = self._sessions.setdefault(key, Session(greeting, bare, used=trio.current_time()))
        session.used = trio.current_time()  # Before the first wait: whoever reaps must not take it for an old one.
        async with session.ready:
            if session.initialized is None:
                await self._begin(session)
        return session

    async def again(self, session: Session) -> None:
        """Begin a session anew that the upstream no longer knows. Raises UpstreamFault."""
        stale = session.link
        async with session.ready:
            if session.link is stale:  # Else another call has done it meanwhile.
                session.link = Link(stale.session, Era.LEGACY, versions.LATEST_LEGACY)
                await self._begin(session)

    async def ask(self, session: Session, method: str, params: Document) -> Response:
        """The answer to a question of the gateway's own. Raises UpstreamFault."""
        async with self.inner.converse(session.link) as conversation:
            await conversation.send(Request("phigate", method, params))
            while not isinstance(answer := await conversation.receive(), Success | Failure):
                if isinstance(answer, Request):
                    await conversation.respond(Failure(answer.id, jsonrpc.METHOD_NOT_FOUND, "Not now."))
            session.link = _with_session(session.link, conversation.upstream_session)
            return answer

    def take(self, state: Json, about: tuple[str, str]) -> Parked | None:
        """The call that waits under `state`, if it may go on with this request; it waits no longer."""
        parked = self.parked.get(state) if isinstance(state, str) else None
        if parked is None or parked.about != about:
            return None
        return self.parked.pop(str(state))

    async def level(self, session: Session, wanted: str | None) -> None:
        """Have the upstream log at `wanted`; it remembers that for the session, modern clients say it each time."""
        if wanted is None or wanted == session.level:
            return
        session.level = wanted
        await self.ask(session, "logging/setLevel", {"level": wanted})

    async def _begin(self, session: Session) -> None:
        answer = await self.ask(session, mcp.INITIALIZE, session.greeting)
        result = answer.result if isinstance(answer, Success) else None
        if not isinstance(result, dict):
            raise UpstreamFault("it refuses the greeting of a session", kind="malformed")
        version = result.get("protocolVersion")
        spoken = version if isinstance(version, str) and version in versions.VERSIONS else versions.LATEST_LEGACY
        link = session.link
        session.link = Link(link.session, Era.LEGACY, spoken, link.upstream_session, session.greeting)
        async with self.inner.converse(session.link) as conversation:
            await conversation.send(Notification(mcp.INITIALIZED))
            await conversation.receive()
        session.initialized, session.level = result, None

    async def reap(self) -> None:
        """Let go of calls whose clients do not come back, and of sessions that nobody uses. Runs for ever."""
        while True:
            await trio.sleep(_REAP_EVERY_S)
            now = trio.current_time()
            for token, parked in tuple(self.parked.items()):
                if parked.until <= now:
                    del self.parked[token]
                    await parked.stack.aclose()
            for key, session in tuple(self._sessions.items()):
                if not session.busy and session.used <= now - IDLE_S:
                    del self._sessions[key]
                    await self._end(session)

    async def aclose(self) -> None:
        """Let go of everything."""
        for parked in self.parked.values():
            await parked.stack.aclose()
        self.parked.clear()
        for session in self._sessions.values():
            await self._end(session)
        self._sessions.clear()

    async def _end(self, session: Session) -> None:
        with suppress(UpstreamFault):  # It need not care; its own session falls idle.
            await self.inner.end(session.link)


class Upward:
    """One modern message to a legacy upstream, and what comes back for it."""

    def __init__(self, side: LegacySide, link: Link) -> None:
        self.upstream_session: str | None = None
        self._side = side
        self._link = link
        self._stack = AsyncExitStack()
        self._message: Message | None = None
        self._session: Session | None = None
        self._inner: Conversation | None = None
        self._local: Response | None = None
        self._heard = False

    async def __aenter__(self) -> Conversation:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            self._session.busy -= 1
        await self._stack.aclose()

    async def send(self, message: Message) -> None:
        """See `Conversation`."""
        self._message = message
        if isinstance(message, Request) and "requestState" in message.params:
            await self._go_on(message)
            return
        self._session = await self._side.session(self._link, mcp.meta(message))
        self._session.busy += 1
        if isinstance(message, Request):
            if message.method == "server/discover":
                self._local = Success(message.id, bridge.discovered(self._session.initialized or {}))
                return
            level = mcp.meta(message).get(mcp.LOG_LEVEL)
            await self._side.level(self._session, level if isinstance(level, str) else None)
        await self._forward(message)

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        if self._local is not None:
            return self._local
        while True:
            message = await self._next()
            match message:
                case Request(method="ping", id=ident):
                    await self._talk().respond(Success(ident, {}))
                case Request():
                    if (asked := await self._ask(message)) is not None:
                        return asked
                case Notification():
                    if (told := self._told(message)) is not None:
                        return told
                case Success() | Failure():
                    return self._answer(message)
                case None:
                    return None

    def at_hand(self) -> Notification | None:
        """See `Conversation`. What is translated is looked at one by one."""
        return None

    async def respond(self, message: Message) -> None:
        """See `Conversation`. A modern client is asked by a result, so nothing is ever answered here."""
        await self._talk().respond(message)

    async def _forward(self, message: Message) -> None:
        assert self._session is not None
        self._inner = await self._stack.enter_async_context(self._side.inner.converse(self._session.link))
        await self._inner.send(bridge.legacy_request(message) if isinstance(message, Request) else message)

    async def _next(self) -> Message | None:
        """The next message; from a session begun anew if the upstream has forgotten the one it was sent in."""
        try:
            message = await self._talk().receive()
        except UpstreamFault as fault:
            if fault.kind != "ended" or self._heard or self._session is None or self._message is None:
                raise
            await self._stack.aclose()
            await self._side.again(self._session)
            await self._forward(self._message)
            message = await self._talk().receive()
        self._heard = True
        return message

    async def _ask(self, question: Request) -> Message | None:
        """The result that puts the upstream's question to the client; None where the client has said it takes none."""
        request = self._message
        assert isinstance(request, Request)
        assert self._session is not None
        assert self._inner is not None
        needed = bridge.ASKED.get(question.method)
        able = self._session.greeting["capabilities"]
        if needed is None or not isinstance(able, dict) or needed not in able:
            refusal = Failure(question.id, jsonrpc.METHOD_NOT_FOUND, "The client has not declared that it takes this.")
            await self._talk().respond(refusal)
            return None
        state = secrets.token_urlsafe(24)
        until = trio.current_time() + PARKED_S
        about = _about(self._link, request)
        self._side.parked[state] = Parked(self._inner, self._stack.pop_all(), self._session, question, about, until)
        return Success(request.id, bridge.input_required(question, state))

    async def _go_on(self, message: Request) -> None:
        """Take up the call that waits for this answer."""
        state = message.params["requestState"]
        answer = bridge.answer(message)
        parked = self._side.take(state, _about(self._link, message)) if answer is not None else None
        if parked is None:
            detail = "This requestState is unknown here, has expired, or lacks its answer. Send the request without it."
            self._local = Failure(message.id, jsonrpc.INVALID_PARAMS, detail)
            return
        self._session = parked.session
        self._session.busy += 1
        self._session.used = trio.current_time()
        self._heard = True
        self._inner = parked.conversation
        self._stack = parked.stack
        await self._inner.respond(Success(parked.question.id, answer))

    def _told(self, message: Notification) -> Notification | None:
        """A notification as a modern client may get it: under its own token, logs only where it asked for them, and
        what is about the upstream as a whole on subscriptions only."""
        asked = mcp.meta(self._message) if self._message is not None else {}
        if message.method in bridge.STANDING:
            return None
        if message.method == "notifications/message" and mcp.LOG_LEVEL not in asked:
            return None
        if message.method == mcp.PROGRESS:
            token = asked.get(mcp.PROGRESS_TOKEN)
            return (
                None if token is None else Notification(message.method, {**message.params, mcp.PROGRESS_TOKEN: token})
            )
        return message

    def _answer(self, message: Response) -> Response:
        request = self._message
        assert isinstance(request, Request)
        if isinstance(message, Failure):
            moved = bridge.modern_failure(request.method, message)
            return Failure(request.id, moved.code, moved.message, moved.data)
        return Success(request.id, bridge.modern_result(request.method, message.result))

    def _talk(self) -> Conversation:
        assert self._inner is not None
        return self._inner


class Subscription:
    """`subscriptions/listen` to a legacy upstream: its stream and its resource subscriptions, as one."""

    def __init__(self, side: LegacySide, link: Link) -> None:
        self.upstream_session: str | None = None
        self._side = side
        self._link = link
        self._stack = AsyncExitStack()
        self._session: Session | None = None
        self._request: Request | None = None
        self._stream: Conversation | None = None
        self._methods: frozenset[str] = frozenset()
        self._uris: tuple[str, ...] = ()
        self._acknowledged: Document | None = None

    async def __aenter__(self) -> Conversation:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            self._session.busy -= 1
            with suppress(UpstreamFault), trio.move_on_after(1):
                await self._each("resources/unsubscribe")
        await self._stack.aclose()

    async def send(self, message: Message) -> None:
        """See `Conversation`."""
        assert isinstance(message, Request)
        self._request = message
        session = await self._side.session(self._link, mcp.meta(message))
        session.busy += 1
        self._session = session
        self._methods, self._uris, honoured = bridge.subscription(message)
        try:
            self._stream = await self._stack.enter_async_context(self._side.inner.listen(session.link))
        except UpstreamFault as fault:
            if fault.kind != "status":
                raise
            self._uris, honoured = (), {}  # It has no stream, so there is nothing to hear.
        await self._each("resources/subscribe")
        self._acknowledged = honoured

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        assert self._request is not None
        if self._acknowledged is not None:
            honoured, self._acknowledged = self._acknowledged, None
            acknowledged = Notification("notifications/subscriptions/acknowledged", {"notifications": honoured})
            return bridge.of_subscription(acknowledged, self._request.id)
        while self._stream is not None:
            message = await self._stream.receive()
            if message is None:
                break
            if isinstance(message, Request):
                await self._stream.respond(
                    Failure(message.id, jsonrpc.METHOD_NOT_FOUND, "Nobody is there to be asked.")
                )
            elif isinstance(message, Notification) and self._wanted(message):
                return bridge.of_subscription(message, self._request.id)
        ended: Document = {"resultType": "complete", mcp.META: {mcp.SUBSCRIPTION_ID: self._request.id}}
        return Success(self._request.id, ended)

    def at_hand(self) -> Notification | None:
        """See `Conversation`. What is translated is looked at one by one."""
        return None

    async def respond(self, message: Message) -> None:
        """See `Conversation`. Nothing is asked on this stream."""

    def _wanted(self, message: Notification) -> bool:
        about = message.method != "notifications/resources/updated" or message.params.get("uri") in self._uris
        return message.method in self._methods and about

    async def _each(self, method: str) -> None:
        assert self._session is not None
        for uri in self._uris:
            await self._side.ask(self._session, method, {"uri": uri})


def _about(link: Link, request: Request) -> tuple[str, str]:
    """The session and the request that an answer must be of: same method, name and arguments."""
    params = {key: value for key, value in request.params.items() if key not in (*bridge.ROUND_TRIP, mcp.META)}
    return link.session, jsonrpc.digest(Request(0, request.method, params))


def _with_session(link: Link, upstream_session: str | None) -> Link:
    if upstream_session is None:
        return link
    return Link(link.session, link.era, link.version, upstream_session, link.greeting)
