"""Modern clients of a legacy upstream.

What such an upstream asks in the middle of a call becomes the result of that call, as the modern era has it, and the
call waits where it is until its client comes back with the answer.
"""

from __future__ import annotations

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import bridge, jsonrpc, mcp
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, Response, Success
from gateway.upstream.base import Conversation, Link
from gateway.upstream.bridge.far import Far
from gateway.upstream.bridge.office import Office
from gateway.upstream.bridge.parked import Parked
from gateway.upstream.bridge.run import Run
from gateway.upstream.bridge.sessions import Sessions
from gateway.upstream.bridge.translated import Translated


class Upward(Translated):
    """One modern message to a legacy upstream, and what comes back for it."""

    def __init__(self, office: Office, sessions: Sessions, parked: Parked, link: Link) -> None:
        self.upstream_session: str | None = None
        self._office = office
        self._sessions = sessions
        self._parked = parked
        self._link = link
        self._request: Request | None = None
        self._run: Run | None = None
        self._far: Far | None = None
        self._local: Response | None = None

    async def __aenter__(self) -> Conversation:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._run is not None:
            await self._run.aclose()
        if self._far is not None:
            await self._far.aclose()

    async def send(self, message: Message) -> None:
        """See `Conversation`."""
        if not isinstance(message, Request):
            return  # Modern clients have nothing to notify a server of over HTTP (2026-07-28, Streamable HTTP).
        self._request = message
        if "requestState" in message.params:
            await self._go_on(message)
            return
        session = await self._sessions.session(self._link, mcp.meta(message))
        if message.method == "server/discover":
            self._local = Success(message.id, bridge.discovered(session.initialized or {}))
            return
        with session.use():
            level = mcp.meta(message).get(mcp.LOG_LEVEL)
            await self._sessions.level(session, level if isinstance(level, str) else None)
            self._run = Run(self._sessions, session, message)
            await self._run.begin()

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        if self._request is None:
            return None
        while self._local is None:
            if self._far is not None:
                return await self._far.receive()
            message = await self._running().receive()
            match message:
                case Request():
                    if (asked := await self._ask(message)) is not None:
                        return asked
                case Notification():
                    if (told := self._told(self._request, message)) is not None:
                        return told
                case _:
                    return _answer(self._request, message)
        return self._local

    async def respond(self, message: Message) -> None:
        """See `Conversation`. A modern client is asked by a result, so nothing is ever answered here."""

    async def _ask(self, question: Request) -> Message | None:
        """The result that puts the upstream's question to the client; None where the client has said it takes none."""
        run, request = self._running(), self._request
        assert request is not None
        if not bridge.may_ask(question.method, question.params, run.session.greeting["capabilities"]):
            text = "The client has not declared that it takes this."
            await run.respond(Failure(question.id, jsonrpc.METHOD_NOT_FOUND, text))
            return None
        state = self._parked.park(run, self._link, request)
        self._run = None
        return Success(request.id, bridge.input_required(question, state))

    async def _go_on(self, message: Request) -> None:
        """Take up the call that waits for this answer, here or where it is."""
        answer = bridge.answer(message)
        holder = self._parked.holder(message.params["requestState"])
        if answer is not None and holder is not None:
            self._far = Far(self._office, holder)
            if await self._far.open(self._link, message):
                return
        elif answer is not None and (run := self._parked.take(self._link, message)) is not None:
            assert run.question is not None
            self._run = run
            await run.respond(Success(run.question.id, answer))
            return
        detail = "This requestState is unknown here, has expired, or lacks its answer. Send the request without it."
        self._local = Failure(message.id, jsonrpc.INVALID_PARAMS, detail)

    def _told(self, request: Request, message: Notification) -> Notification | None:
        """A notification as this request may get it: under its own token, logs only where and as it asked for them."""
        asked = mcp.meta(request)
        if message.method in bridge.STANDING:
            self._running().session.told(message)  # Subscriptions are where it belongs.
            return None
        if message.method == mcp.CANCELLED:
            return None  # It takes back what it asked, which to a modern client is no request.
        if message.method == "notifications/message":
            return message if bridge.loud_enough(message, asked.get(mcp.LOG_LEVEL)) else None
        if message.method != mcp.PROGRESS:
            return message
        token = asked.get(mcp.PROGRESS_TOKEN)
        return None if token is None else Notification(message.method, {**message.params, mcp.PROGRESS_TOKEN: token})

    def _running(self) -> Run:
        if self._run is None:
            raise UpstreamFault("it has nothing more to say", kind="closed")
        return self._run


def _answer(request: Request, message: Response) -> Message:
    if isinstance(message, Failure):
        moved = bridge.modern_failure(request.method, message)
        return Failure(request.id, moved.code, moved.message, moved.data)
    return Success(request.id, bridge.modern_result(request.method, message.result))
