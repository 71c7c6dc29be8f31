"""Tasks of a legacy upstream that modern clients poll.

A legacy upstream puts its questions, and the result, on the answer to a `tasks/result` (2025-11-25, Tasks: Input
Required Status), the tasks extension into the answer to a `tasks/get`. A task is its upstream session's, and so this
process's: its id says which process that is, and requests about it that came to another are carried here (`far.py`).
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack, suppress

import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import bridge, jsonrpc, mcp
from gateway.core.protocol import bridge_tasks as wording
from gateway.core.protocol.jsonrpc import Failure, Request, Response, Success
from gateway.core.types import Document, Json, SessionId
from gateway.upstream.bridge.run import Run
from gateway.upstream.bridge.sessions import Session, Sessions

KEPT_MS = 3_600_000
"""How long a task can be asked for at most; the upstream is asked to keep it as long."""
EACH = 32
"""Tasks of one principal that are kept at a time."""
ALL = 1_024
QUESTION_S = 5.0
"""How long a poll waits for the question of a task that wants input."""
UNKNOWN = "There is no such task any more. Make the call again."
_REAP_EVERY_S = 5.0


class Undertaking:
    """One task, in the session that it was made in."""

    def __init__(self, sessions: Sessions, session: Session, task: Document, ident: str) -> None:
        self.owner = session.owner
        self.over = False
        """It has ended, and its client knows how."""
        self._sessions = sessions
        self._session = session
        self._ident = ident
        """The task's name towards clients."""
        self.until = trio.current_time() + wording.lives_ms(task, KEPT_MS) / 1000
        self._about: Document = {"taskId": task["taskId"]}
        self._using = ExitStack()
        self._using.enter_context(session.use())
        self._scope = trio.CancelScope()
        self._hearing = self._gone = False
        self._run: Run | None = None
        self._question: tuple[str, Request] | None = None
        """What the upstream has asked and the client has not answered yet, and its key."""
        self._numbers = 0
        self._changed = trio.Event()

    def told(self, task: Document) -> Document:
        """The task as clients are told of it."""
        return wording.modern(task, self._ident, most_ms=KEPT_MS)

    async def answer(self, request: Request) -> Response:
        """The answer to a client's request about it. Raises UpstreamFault."""
        match request.method:
            case mcp.TASK_UPDATE:
                await self._update(request.params.get(mcp.INPUT_RESPONSES))
            case mcp.TASK_CANCEL:
                # One that is over is beyond cancelling in the legacy era alone, which the extension only acknowledges.
                await self._sessions.ask(self._session, mcp.TASK_CANCEL, self._about)
                self._scope.cancel()
            case _:
                return await self._get(request)
        return Success(request.id, {"resultType": "complete"})

    def let_go(self) -> None:
        """It is not asked for any more."""
        self._gone = True
        self._scope.cancel()
        self._using.close()

    async def _get(self, request: Request) -> Response:
        found = await self._sessions.ask(self._session, mcp.TASK_GET, self._about)
        if isinstance(found, Failure):
            return Failure(request.id, found.code, found.message, found.data)
        task = self.told(found.result if isinstance(found.result, dict) else {})
        self.over = task.get("status") in wording.ENDED
        match task.get("status"):
            case "completed" | "failed":
                task = wording.ended(task, await self._sessions.ask(self._session, wording.RESULT, self._about))
            case "input_required":
                task = {**task, **await self._asked(request)}
        return Success(request.id, {**task, "resultType": "complete"})

    async def _asked(self, request: Request) -> Document:
        """What the task wants to know; that it works, while that has not arrived here."""
        if not self._hearing and not self._gone:
            self._hearing, self._scope = True, trio.CancelScope()  # It may be cancelled before it has taken a step.
            self._sessions.beside.start_soon(self._hear, mcp.capabilities(request))
        with trio.move_on_after(QUESTION_S):
            while self._question is None and self._hearing:
                await self._changed.wait()
        if self._question is None:
            return {"status": "working"}
        key, question = self._question
        params = wording.unrelated(question.params)
        return {"inputRequests": {key: {"method": question.method, "params": params}}}

    async def _hear(self, able: Json) -> None:
        """Take the task's questions, one by one, until it has no more."""
        run = Run(self._sessions, self._session, Request(0, wording.RESULT, self._about))
        try:
            with self._scope, suppress(UpstreamFault):  # The next poll begins anew.
                await run.begin()
                while True:
                    message = await run.receive()
                    if isinstance(message, Success | Failure):
                        break
                    if isinstance(message, Request):
                        await self._put(run, message, able)
        finally:
            self._hearing, self._question, self._run = False, None, None
            self._news()
            await run.aclose()

    async def _put(self, run: Run, question: Request, able: Json) -> None:
        """Have the client asked, as soon as it polls, and wait until it has answered. A question that it has not
        declared to take is answered for it."""
        if not bridge.may_ask(question.method, question.params, able):
            text = "The client has not declared that it takes this."
            await run.respond(Failure(question.id, jsonrpc.METHOD_NOT_FOUND, text))
            return
        self._numbers += 1
        self._run, self._question = run, (f"question-{self._numbers}", question)
        self._news()
        while self._question is not None:
            await self._changed.wait()

    async def _update(self, responses: Json) -> None:
        """Whatever answers no open question is ignored (tasks extension, Task Update Requests: Response)."""
        if self._question is None or self._run is None or not isinstance(responses, dict):
            return
        key, question = self._question
        if isinstance(answer := responses.get(key), dict):
            self._question = None
            self._news()
            await self._run.respond(Success(question.id, wording.related(answer, str(self._about["taskId"]))))

    def _news(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class Undertakings:
    """The tasks that this process keeps at one legacy upstream."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._kept: dict[str, Undertaking] = {}
        """By the id that clients have, the oldest first."""

    def make_room(self, owner: SessionId) -> None:
        """Before one more is made. Raises UpstreamFault when there are too many."""
        own = {ident: each for ident, each in self._kept.items() if each.owner == owner}
        full = own if len(own) >= EACH else self._kept if len(self._kept) >= ALL else {}
        over = next((ident for ident, each in full.items() if each.over), None)
        if over is not None:
            self._kept.pop(over).let_go()
        elif full:
            raise UpstreamFault("too many tasks are under way with it; try again later", kind="unreachable")

    def keep(self, session: Session, task: Document) -> Document:
        """The task as its client is told that it was made. Raises UpstreamFault when there are too many: calls that
        were under way together have all found room, and an upstream may make one that nobody asked for."""
        self.make_room(session.owner)
        ident = f"{self._sessions.office.name}.{secrets.token_urlsafe(24)}"
        self._kept[ident] = Undertaking(self._sessions, session, task, ident)
        return self._kept[ident].told(task)

    async def answer(self, request: Request) -> Response:
        """The answer to a request about one of them. Raises UpstreamFault."""
        kept = self._kept.get(str(request.params.get("taskId")))
        if kept is None:
            return Failure(request.id, jsonrpc.INVALID_PARAMS, UNKNOWN)
        return await kept.answer(request)

    async def reap(self) -> None:
        """Let go of tasks that nobody may ask for any more. Runs for ever."""
        while True:
            await trio.sleep(_REAP_EVERY_S)
            now = trio.current_time()
            for ident, kept in tuple(self._kept.items()):
                if kept.until <= now:
                    self._kept.pop(ident).let_go()

    def close(self) -> None:
        """Let go of all of them."""
        while self._kept:
            self._kept.popitem()[1].let_go()
