"""The runs of a call that waits as a task of the gateway's own: after its grant, and after each answer to what its
upstream asked its user.

A modern upstream asks by its result, and wants the call again with the answer (MCP 2026-07-28, Multi Round-Trip
Requests). By a task the client is asked with a poll and answers with `tasks/update` (tasks extension, Task Update
Requests), so the call is made again here. Each run is an exchange of its own: decided with the answer in it, held for
reviewers again where policy wants that, and on record, where its reply is found. A note that all processes share says
which run follows which; it is changed in one step, so that however often an answer comes, the call goes on once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import cast

import orjson
import trio

from gateway.core import held
from gateway.core.commands import Answer, Resolution, Settled
from gateway.core.held import Claim, Opened, Unseal
from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Message, Request
from gateway.core.replies import Reply
from gateway.core.types import ApprovalId, Document, Era, ExchangeId, Json, Principal, SessionId
from gateway.upstream.mail import Mail
from gateway.web.errands import Errands
from gateway.world import Approvals, Evidence

LASTS_S = 600.0
"""How long a run may take; no call lasts so long. One of which nothing is on record by then never began."""


@dataclass(frozen=True, slots=True)
class Legs:
    """What becomes of the tasks of one principal at one upstream."""

    approvals: Approvals
    evidence: Evidence
    mail: Mail
    errands: Errands
    now: Callable[[], datetime]
    unseal: Unseal
    principal: Principal
    upstream: str
    session: SessionId
    new_exchange: Callable[[], ExchangeId]
    run: Callable[[Opened, ExchangeId], Awaitable[Reply]]
    """Makes a call in an exchange of its own that its client does not wait in."""

    async def granted(self, approval: ApprovalId) -> Json:
        """The reply's document of the call that an approval was granted for. Safe to cancel: the call goes on.

        It is decided anew, for who asks for it now; it is joined to that approval and spends it, or does not run.
        """
        message = await self.approvals.asked(approval)
        opened = Opened(message, Claim(approval, held.ROUNDS))
        reply = await self.errands.do(partial(self.run, opened, self.new_exchange()))
        return cast(Json, orjson.loads(reply.data))

    async def look(self, approval: ApprovalId) -> Resolution:
        """Where the task stands that was given for this approval. Raises EvidenceFault."""
        found = await self._place(approval)
        while found.state is Settled.KEPT and (after := await self._after(found)) is not None:
            found = after
        return found

    async def answer(self, answer: Answer) -> None:
        """Go on with the call once all is answered that was asked. Raises EvidenceFault."""
        asked = await self.approvals.asked(answer.approval)  # First: what is noted as begun is begun, whatever fails.
        exchange = self.new_exchange()
        until = self.now().timestamp() + LASTS_S
        begun: Document = {"exchange": exchange, "session": self.session, "until": until}
        answers: Document = {}
        begins = False

        def change(note: Document) -> Document:
            nonlocal answers, begins
            before = note.get("answers")
            answers = {**answer.given, **(before if isinstance(before, dict) else {})}
            begins = "begun" not in note and answer.wanted <= answers.keys()
            if "begun" in note:
                return note
            return {"begun": begun} if begins else {"answers": answers}

        await self.mail.change(_key(answer.place), change)
        if not begins:
            return
        again = _again(asked, answers, answer.state)
        opened = held.opened(Era.MODERN, again, self.principal, self.upstream, self.unseal)
        with trio.move_on_after(0):  # It goes on by itself, and polls find what came of it.
            await self.errands.do(partial(self.run, opened, exchange))

    async def _place(self, approval: ApprovalId) -> Resolution:
        return replace(await self.approvals.look(approval), place=approval)

    async def _after(self, found: Resolution) -> Resolution | None:
        """What followed the run whose reply `found` has; None where nothing did."""
        match (await self.mail.note(_key(found.place))).get("begun"):
            case {"exchange": str(exchange), "session": str(session), "until": float() | int() as until}:
                recalled = await self.evidence.recall(SessionId(session), ExchangeId(exchange), 0, waits=False)
                if not recalled.ended:
                    late = self.now().timestamp() > until
                    return replace(found, state=Settled.LOST if late else Settled.PENDING, reply=None)
                if not recalled.answered:
                    return replace(found, state=Settled.LOST, reply=None)
                reply: Json = orjson.loads(recalled.messages[-1])
                again = self._held(reply)
                return replace(found, reply=reply, place=exchange) if again is None else await self._place(again)
        return None

    def _held(self, reply: Json) -> ApprovalId | None:
        """The approval that a run waits for which was answered by a task."""
        match reply:
            case {"result": {"resultType": "task", "taskId": str(ident)}}:
                asked = Request(0, mcp.TASK_GET, {"taskId": ident})
                task = held.opened(Era.MODERN, asked, self.principal, self.upstream, self.unseal).task
                return task.approval if task is not None else None
        return None


def _again(message: Message, answers: Document, state: str | None) -> Message:
    """The call with what the upstream wants to hear in it."""
    if not isinstance(message, Request):
        return message
    own = (mcp.INPUT_RESPONSES, mcp.REQUEST_STATE)
    params = {key: value for key, value in message.params.items() if key not in own}
    if answers:
        params[mcp.INPUT_RESPONSES] = answers
    if state is not None:
        params[mcp.REQUEST_STATE] = state
    return Request(message.id, message.method, params)


def _key(place: str) -> str:
    return f"answers to {place}"
