"""Modern clients of a legacy upstream.

What such an upstream asks in the middle of a call becomes the result of that call, as the modern era has it, and the
call waits where it is until its client comes back with the answer.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import bridge, jsonrpc, mcp, versions
from gateway.core.protocol import bridge_tasks as wording
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, Response, Success
from gateway.upstream.base import Conversation, Link
from gateway.upstream.bridge.far import Far
from gateway.upstream.bridge.office import Office
from gateway.upstream.bridge.parked import Parked
from gateway.upstream.bridge.run import Run
from gateway.upstream.bridge.sessions import Session, Sessions
from gateway.upstream.bridge.translated import Translated
from gateway.upstream.bridge.undertakings import KEPT_MS, Undertakings

LOST = (
    "The process that had this call has ended, and the answer came too late for it: what the call had done by then is "
    "not known. Find that out, and send the request without requestState to make it anew."
)


class Upward(Translated):
    """One modern message to a legacy upstream, and what comes back for it."""

    def __init__(
        self, office: Office, sessions: Sessions, parked: Parked, undertakings: Undertakings, link: Link
    ) -> None:
        self.upstream_session: str | None = None
        self._office = office
        self._sessions = sessions
        self._parked = parked
        self._undertakings = undertakings
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
        if message.method in mcp.TASK_REQUESTS:
            await self._about_task(message)
            return
        session = await self._sessions.session(self._link, mcp.meta(message))
        if message.method == "server/discover":
            self._local = Success(message.id, bridge.discovered(session.initialized or {}))
            return
        with session.use():
            level = mcp.meta(message).get(mcp.LOG_LEVEL)
            await self._sessions.level(session, level if isinstance(level, str) else None)
            message = await self._by_task(session, message)
            self._run = Run(self._sessions, session, message, unfolds=not mcp.declares_tasks(message))
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
                    return await self._answer(self._request, message)
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
        return Success(request.id, bridge.input_required(_alone(question), state))

    async def _go_on(self, message: Request) -> None:
        """Take up the call that waits for this answer, here or where it is."""
        answer = bridge.answer(message)
        holder = self._parked.holder(message.params["requestState"])
        detail = "This requestState is unknown here, has expired, or lacks its answer. Send the request without it."
        if answer is not None and holder is not None:
            self._far = Far(self._office, holder)
            if await self._far.open(self._link, message):
                return
            detail = LOST
        elif answer is not None and (run := self._parked.take(self._link, message)) is not None:
            assert run.question is not None
            self._run = run
            await run.respond(Success(run.question.id, answer))
            return
        self._local = Failure(message.id, jsonrpc.INVALID_PARAMS, detail)

    async def _by_task(self, session: Session, request: Request) -> Request:
        """The call as the tool wants it: in this era the client says whether it is to be a task (2025-11-25, Tasks:
        Tool-Level Negotiation). One that takes no tasks waits for what the task comes to, as for any result."""
        if request.method != "tools/call":
            return request
        params = {key: value for key, value in request.params.items() if key != wording.TASK}
        declared = mcp.declares_tasks(request)
        support = await self._sessions.support(session, params.get("name"))
        if support == wording.REQUIRED or (support == wording.OPTIONAL and declared):
            if declared:
                self._undertakings.make_room(session.owner)
            params[wording.TASK] = {"ttl": KEPT_MS}
        return Request(request.id, request.method, params)

    async def _about_task(self, request: Request) -> None:
        """Ask after a task, here or where it is kept."""
        if not mcp.declares_tasks(request):
            code, data = versions.MISSING_CAPABILITY, mcp.without_tasks()
            self._local = Failure(request.id, code, "Missing required client capability", data)
            return
        ident = str(request.params.get("taskId"))
        while (holder := await self._undertakings.holder(ident)) is not None:
            far = Far(self._office, holder)
            if await far.open(self._link, request):
                self._far = far
                break
            await far.aclose()
            await self._undertakings.take_over(ident, holder)
        else:
            self._local = await self._undertakings.answer(request)

    async def _answer(self, request: Request, message: Response) -> Message:
        if isinstance(message, Failure):
            moved = bridge.modern_failure(request.method, message)
            return replace(moved, id=request.id)
        task = wording.created(message.result) if mcp.declares_tasks(request) else None
        if task is None:
            return Success(request.id, bridge.modern_result(request.method, wording.unrelated(message.result)))
        run = self._running()
        made = await self._undertakings.keep(run.session, run.link, task)
        return Success(request.id, {**made, "resultType": "task"})

    def _told(self, request: Request, message: Notification) -> Notification | None:
        """A notification as this request may get it: under its own token, logs only where and as it asked for them."""
        asked = mcp.meta(request)
        if message.method in bridge.STANDING:
            self._running().session.told(message)  # Subscriptions are where it belongs.
            return None
        if message.method == mcp.CANCELLED:
            return None  # It takes back what it asked, which to a modern client is no request.
        if message.method == wording.STATUS:
            return None  # Of an upstream's task, under its name there; clients poll.
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


def _alone(question: Request) -> Request:
    """A question without the task that it was asked for: towards this client there is none."""
    return Request(question.id, question.method, wording.unrelated(question.params))
