"""Tasks of a legacy upstream that modern clients poll.

A legacy upstream puts its questions, and the result, on the answer to a `tasks/result` (2025-11-25, Tasks: Input
Required Status), the tasks extension into the answer to a `tasks/get`. So one process looks after a task and holds its
questions; requests about it that came to another are carried there (`far.py`). Which one that is, and who goes on when
it has ended, is in the ledger.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack, suppress
from dataclasses import replace

import trio

from gateway.core.errors import EvidenceFault, UpstreamFault
from gateway.core.protocol import bridge, jsonrpc, mcp
from gateway.core.protocol import bridge_tasks as wording
from gateway.core.protocol.jsonrpc import Failure, Request, Response, Success
from gateway.core.types import Document, Json, SessionId
from gateway.upstream.base import Link
from gateway.upstream.bridge.homes import LOST
from gateway.upstream.bridge.ledger import Entry, Ledger
from gateway.upstream.bridge.run import Run
from gateway.upstream.bridge.sessions import LEAVE_S, Session, Sessions

KEPT_MS = 3_600_000
"""How long a task can be asked for at most; the upstream is asked to keep it as long."""
EACH = 32
"""Tasks of one principal that are kept at a time."""
ALL = 1_024
QUESTIONS = 16
"""How much a task may ask at a time."""
QUESTION_S = 5.0
"""How long a poll waits for the question of a task that wants input."""
UNKNOWN = "There is no such task any more. Make the call again."
FORGOTTEN = (
    "The upstream has forgotten the session that this task was made in: it was restarted, or has ended it. What the "
    "call had done by then is not known: find that out before you make it anew."
)
_REAP_EVERY_S = 5.0


class Undertaking:
    """One task, in the session that it was made in."""

    def __init__(self, sessions: Sessions, session: Session, link: Link, ident: str, task: Document) -> None:
        """`link`: the upstream's session that it was made in, whatever `session` has become since."""
        self.owner = session.owner
        self.made_in = session
        self.over = False
        """It has ended, and its client knows how."""
        self._sessions = sessions
        self._session = replace(session, link=link, borrowed=True)
        self._ident = ident
        """The task's name towards clients."""
        self._made = task
        self.until = trio.current_time() + wording.lives_ms(task, KEPT_MS) / 1000
        self._about: Document = {"taskId": task["taskId"]}
        self._using = ExitStack()
        self._using.enter_context(session.use())
        self._scope = trio.CancelScope()
        self._hearing = self._gone = False
        self._run: Run | None = None
        self._open: dict[str, Request] = {}
        """What the upstream has asked and the client has not answered yet, by the key that the client is told."""
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
                await self._inquire(mcp.TASK_CANCEL)
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
        found = await self._inquire(mcp.TASK_GET)
        if found is None:
            return lost(request, self.told(self._made), FORGOTTEN)
        if isinstance(found, Failure):
            return replace(found, id=request.id)
        task = self.told(found.result if isinstance(found.result, dict) else {})
        self.over = task.get("status") in wording.ENDED
        match task.get("status"):
            case "completed" | "failed":
                came = await self._inquire(wording.RESULT)
                if came is None:
                    return lost(request, task, FORGOTTEN)
                task = wording.ended(task, came)
            case "input_required":
                task = {**task, **await self._asked(request)}
        return Success(request.id, {**task, "resultType": "complete"})

    async def _inquire(self, method: str) -> Response | None:
        """What the upstream says of the task; None where it has forgotten all of its session. Raises UpstreamFault."""
        try:
            return await self._sessions.inquire(self._session, method, self._about)
        except UpstreamFault as fault:
            if fault.kind != "ended":
                raise
            return None

    async def _asked(self, request: Request) -> Document:
        """What the task wants to know; that it works, while that has not arrived here."""
        if not self._hearing and not self._gone:
            self._hearing, self._scope = True, trio.CancelScope()  # It may be cancelled before it has taken a step.
            self._sessions.beside.start_soon(self._hear, mcp.capabilities(request))
        with trio.move_on_after(QUESTION_S):
            while not self._open and self._hearing:
                await self._changed.wait()
        if not self._open:
            return {"status": "working"}
        told: Document = {
            key: {"method": question.method, "params": wording.unrelated(question.params)}
            for key, question in self._open.items()
        }
        return {"inputRequests": told}

    async def _hear(self, able: Json) -> None:
        """Take the task's questions, until it has no more."""
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
            self._hearing, self._run = False, None
            self._open.clear()
            self._news()
            await run.aclose()

    async def _put(self, run: Run, question: Request, able: Json) -> None:
        """Have the client asked, as soon as it polls. A question that it has not declared to take is answered for it,
        and of many the next waits until some are answered."""
        if not bridge.may_ask(question.method, question.params, able):
            text = "The client has not declared that it takes this."
            await run.respond(Failure(question.id, jsonrpc.METHOD_NOT_FOUND, text))
            return
        while len(self._open) >= QUESTIONS:
            await self._changed.wait()
        self._numbers += 1
        self._run, self._open[f"question-{self._numbers}"] = run, question
        self._news()

    async def _update(self, responses: Json) -> None:
        """Whatever answers no open question is ignored (tasks extension, Task Update Requests: Response)."""
        run, found = self._run, responses if isinstance(responses, dict) else {}
        for key, answer in found.items():
            if run is not None and key in self._open and isinstance(answer, dict):
                question = self._open.pop(key)
                self._news()
                await run.respond(Success(question.id, wording.related(answer, str(self._about["taskId"]))))

    def _news(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class Undertakings:
    """The tasks of one legacy upstream that this process looks after."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._process = sessions.office.name
        self._ledger = Ledger(sessions.office, sessions.inner.name)
        self._kept: dict[str, Undertaking] = {}
        """By the id that clients have, the oldest first."""

    def make_room(self, owner: SessionId) -> None:
        """Before one more is made. Raises UpstreamFault when there are too many."""
        own = {ident: each for ident, each in self._kept.items() if each.owner == owner}
        full = own if len(own) >= EACH else self._kept if len(self._kept) >= ALL else {}
        over = next((ident for ident, each in full.items() if each.over), None)
        if over is not None:
            self._kept.pop(over).let_go()
            self._sessions.beside.start_soon(self._ledger.close, over)
        elif full:
            raise UpstreamFault("too many tasks are under way with it; try again later", kind="unreachable")

    async def keep(self, session: Session, link: Link, task: Document) -> Document:
        """The task as its client is told that it was made; `link`: in which session. Raises EvidenceFault, and
        UpstreamFault when there are too many: calls that were under way together have all found room, and an upstream
        may make one that nobody asked for."""
        self.make_room(session.owner)
        ident = f"{self._process}.{secrets.token_urlsafe(24)}"
        self._kept[ident] = kept = Undertaking(self._sessions, session, link, ident, task)
        try:
            await self._ledger.open(ident, kept.owner, link, task, kept.until - trio.current_time())
        except EvidenceFault:
            self._kept.pop(ident).let_go()
            raise
        return kept.told(task)

    async def holder(self, ident: str) -> str | None:
        """The other process that looks after a task; None: this one does, from now on if nobody else does, or the task
        is unknown. Raises EvidenceFault, UpstreamFault."""
        entry = await self._ledger.look(ident)
        if entry is not None and not entry.holder:
            await self.take_over(ident, "")
            entry = await self._ledger.look(ident)
        if entry is None or entry.lost or entry.holder == self._process:
            return None
        return entry.holder

    async def take_over(self, ident: str, gone: str) -> None:
        """The process `gone`, which looked after a task, has ended: this one goes on with it. A program's task is lost.

        Raises EvidenceFault, and UpstreamFault when there are too many.
        """
        if self._sessions.inner.local:
            await self._ledger.move(ident, holder=gone, to="", lost=True)
        else:
            await self._ledger.move(ident, holder=gone, to=self._process)

    async def answer(self, request: Request) -> Response:
        """The answer to a request about a task that no other process looks after. Raises UpstreamFault."""
        ident = str(request.params.get("taskId"))
        entry = await self._ledger.look(ident)
        if entry is None:
            return Failure(request.id, jsonrpc.INVALID_PARAMS, UNKNOWN)
        kept = None if entry.lost else self._kept.get(ident) or self._adopted(ident, entry)
        if kept is None:
            return lost(request, wording.modern(entry.task, ident, most_ms=KEPT_MS), LOST)
        return await kept.answer(request)

    async def reap(self) -> None:
        """Let go of tasks that nobody may ask for any more. Runs for ever."""
        while True:
            await trio.sleep(_REAP_EVERY_S)
            now = trio.current_time()
            for ident, kept in tuple(self._kept.items()):
                if kept.until <= now:
                    self._kept.pop(ident).let_go()
                    self._sessions.beside.start_soon(self._ledger.close, ident)

    async def aclose(self) -> None:
        """Let go of all of them: another process goes on with those that are not a program's."""
        lost = self._sessions.inner.local
        with trio.move_on_after(LEAVE_S):
            async with trio.open_nursery() as nursery:
                while self._kept:
                    ident, kept = self._kept.popitem()
                    kept.made_in.lives_on = not lost
                    kept.let_go()
                    nursery.start_soon(self._hand_over, ident, lost)

    async def _hand_over(self, ident: str, lost: bool) -> None:
        with suppress(EvidenceFault):  # Whoever asks then finds this process silent.
            await self._ledger.move(ident, holder=self._process, to="", lost=lost)

    def _adopted(self, ident: str, entry: Entry) -> Undertaking | None:
        """A task that was made elsewhere, as this process looks after it; None where it has gone with its program.
        Raises UpstreamFault."""
        if self._sessions.inner.local:
            return None
        self.make_room(entry.owner)
        session = Session(entry.owner, entry.link.greeting or {}, entry.link, used=trio.current_time())
        self._kept[ident] = Undertaking(self._sessions, session, entry.link, ident, entry.task)
        return self._kept[ident]


def lost(request: Request, task: Document, why: str) -> Response:
    """What is answered about a task of which nobody will hear any more: an end, and not an error that may pass."""
    said = wording.lost(task, why, jsonrpc.INTERNAL_ERROR) if request.method == mcp.TASK_GET else {}
    return Success(request.id, {**said, "resultType": "complete"})
