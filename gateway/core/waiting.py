"""What the caller of a held call is told while it waits, each in the way that it can take (`held.Way`).

Two scripts of the exchange: `put_off` when a call is still pending as its caller's time is up, `attend` when a caller
asks after a task that it was given. Nothing said here comes from an upstream but a reply that was recorded when the
call ran. Sources: MCP 2026-07-28, Multi Round-Trip Requests and Elicitation; SEP-2663, Tasks.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.core import held, replies
from gateway.core.call import Call
from gateway.core.commands import (
    Answer,
    Decided,
    Resolution,
    Script,
    Settled,
    answer,
    look,
    resume,
    seal,
    withdraw,
)
from gateway.core.errors import InternalFault
from gateway.core.held import Way
from gateway.core.policy.decision import Effect
from gateway.core.protocol import jsonrpc, mcp, versions
from gateway.core.protocol.jsonrpc import Failure, Request, Success
from gateway.core.records import Ending, Status
from gateway.core.replies import Reply
from gateway.core.types import ApprovalId, Document, Era, Json

POLL_MS = 2_000
"""How often a client should ask after its task."""


def put_off(call: Call, resolution: Resolution) -> Script[Ending]:
    """The call is still pending: tell its caller how to come back for it."""
    way = held.way(call.era, call.message, call.claim)
    match way:
        case Way.TASK:
            document: Document = {"approval": resolution.approval}
            ident = yield from _sealed(call, "task", document, resolution)
            result = _task(held.TASK_PREFIX + ident, resolution, "working")
            reply = _reply(call, {"resultType": "task", **result})
        case Way.URL | Way.STATE:
            rounds = call.claim.rounds if call.claim is not None else 0
            document = held.state_of_call(call.message, resolution.approval, rounds + 1)
            state = yield from _sealed(call, "state", document, resolution)
            asked: Document = {"inputRequests": {held.ASKED: _page(resolution)}} if way is Way.URL else {}
            reply = _reply(call, {"resultType": mcp.INPUT_REQUIRED, **asked, mcp.REQUEST_STATE: state})
        case Way.HOLD:
            return Ending(Status.PENDING, replies.held(call, resolution), approval=resolution.approval)
    return Ending(Status.PENDING, reply, why=way.value, approval=resolution.approval)


def attend(call: Call, decided: Decided) -> Script[Ending]:
    """Answer a request about a task of the gateway's own. It goes no further, whatever it asks."""
    approval = call.task.approval if call.task is not None else None
    if call.era is not Era.MODERN or not mcp.declares_tasks(call.message):
        return Ending(Status.REFUSED, _undeclared(call), why="undeclared")
    if decided.decision.effect is not Effect.ALLOW:
        # Who would have to approve that somebody asks after an approval?
        return Ending(Status.REFUSED, replies.refusal(call, decided.decision))
    if approval is None:
        text = "There is no such task for you here, or it is too long ago. Make the call again."
        return Ending(Status.REFUSED, _failure(call, jsonrpc.INVALID_PARAMS, text), why="task")
    resolution = yield from look(approval)
    match _request(call).method:
        case mcp.TASK_CANCEL:
            yield from withdraw(resolution.approval)
            return _acknowledged(call, approval)
        case mcp.TASK_UPDATE:
            yield from _go_on(resolution, _request(call).params.get(mcp.INPUT_RESPONSES))
            return _acknowledged(call, approval)
    if resolution.state is Settled.GRANTED:
        resolution = yield from resume(resolution.approval)
    if _asked(resolution) == {}:  # Its upstream wants to be asked again, and nobody has to answer anything for that.
        yield from _go_on(resolution, {})
        resolution = replace(resolution, state=Settled.PENDING, reply=None)
    status = Status.JOINED if resolution.state is Settled.KEPT else Status.REPLIED
    result = {**_task(_ident(call), resolution, "working"), **_outcome(call, resolution)}
    return Ending(status, _reply(call, versions.complete(call.era, result)), approval=approval)


def _acknowledged(call: Call, approval: ApprovalId) -> Ending:
    return Ending(Status.REPLIED, _reply(call, versions.complete(call.era, {})), approval=approval)


def _asked(resolution: Resolution) -> Document | None:
    """What the upstream wants to know before it answers the call; None where the reply is final, or none."""
    result = _result(resolution) if resolution.state is Settled.KEPT else {}
    if result.get("resultType") != mcp.INPUT_REQUIRED:
        return None
    asked = result.get("inputRequests")
    return asked if isinstance(asked, dict) else {}


def _go_on(resolution: Resolution, responses: Json) -> Script[None]:
    """Bring the call what its upstream asked for. Whatever answers no open question is ignored (tasks extension, Task
    Update Requests: Response)."""
    asked = _asked(resolution)
    if asked is None or not isinstance(responses, dict):
        return
    given: Document = {key: responses[told] for key in asked if (told := _told(resolution, key)) in responses}
    if not given and asked:
        return
    state = _result(resolution).get(mcp.REQUEST_STATE)
    state = state if isinstance(state, str) else None
    yield from answer(Answer(resolution.approval, resolution.place, given, frozenset(asked), state))


def _told(resolution: Resolution, key: str) -> str:
    """The key of a question towards the client: no two of a task's are ever the same (there, Task Update Requests)."""
    return f"{resolution.place}.{key}"


def _result(resolution: Resolution) -> Document:
    match resolution.reply:
        case {"result": dict(result)}:
            return result
    return {}


def unbelieved(call: Call) -> Ending:
    """The `requestState` of a retry was not given to this caller for this call, or too long ago."""
    text = "This requestState is not good for this call: it was changed, is somebody else's, or has expired. Call anew."
    return Ending(Status.REFUSED, _failure(call, jsonrpc.INVALID_PARAMS, text), why="request_state")


def _task(ident: str, resolution: Resolution, status: str) -> Document:
    """A task as it stands (tasks extension, Tasks)."""
    return {
        "taskId": ident,
        "status": status,
        "statusMessage": replies.told(resolution),
        "createdAt": resolution.created,
        "lastUpdatedAt": resolution.changed,
        "ttlMs": resolution.lives_s * 1000,
        "pollIntervalMs": POLL_MS,
    }


def _outcome(call: Call, resolution: Resolution) -> Document:
    """How a task ended: with what the call itself would have been answered (tasks extension, Task Execution Errors)."""
    match resolution.state:
        case Settled.PENDING | Settled.GRANTED:
            return {}
        case Settled.CANCELLED:
            return {"status": "cancelled"}
        case Settled.KEPT:
            return _kept(resolution)
        case Settled.REFUSED | Settled.EXPIRED | Settled.LOST:
            data = replies.about(call, resolution)
            return _failed({"code": replies.REFUSED, "message": replies.told(resolution), "data": data})


def _kept(resolution: Resolution) -> Document:
    asked = _asked(resolution)
    if asked is not None:
        text = "The call was approved and has begun. It needs an answer before it goes on."
        requests: Document = {_told(resolution, key): question for key, question in asked.items()}
        return {"status": "input_required", "statusMessage": text, "inputRequests": requests}
    match resolution.reply:
        case {"result": dict(result)}:
            return {"status": "completed", "statusMessage": "The call was approved and has run.", "result": result}
        case {"error": dict(error)}:
            return _failed(error)
    return _failed({"code": jsonrpc.INTERNAL_ERROR, "message": "What the call was answered is not a reply."})


def _failed(error: Document) -> Document:
    return {"status": "failed", "statusMessage": error["message"], "error": error}


def _page(resolution: Resolution) -> Document:
    """The request to open the approval's page (2026-07-28, URL Mode Elicitation Requests)."""
    text = (
        f"{replies.told(resolution)} Open its page to see where it stands or to pass it on to a reviewer. "
        "Decline to take the call back."
    )
    params: Document = {"mode": "url", "message": text, "url": resolution.detail.get("url", "")}
    return {"method": "elicitation/create", "params": params}


def _undeclared(call: Call) -> Reply:
    """-32021 (tasks extension, Protocol Errors)."""
    return _failure(call, versions.MISSING_CAPABILITY, "Missing required client capability", mcp.without_tasks())


def _sealed(call: Call, kind: str, document: Document, resolution: Resolution) -> Script[str]:
    purpose = held.purpose(kind, call.principal, call.upstream.name)
    return (yield from seal(document, purpose, resolution.lives_s))


def _ident(call: Call) -> str:
    return call.task.id if call.task is not None else ""


def _reply(call: Call, result: Document) -> Reply:
    return Reply.of(Success(_request(call).id, result), call.era)


def _failure(call: Call, code: int, text: str, data: Json = None) -> Reply:
    return Reply.of(Failure(_request(call).id, code, text, data), call.era)


def _request(call: Call) -> Request:
    if not isinstance(call.message, Request):
        raise InternalFault("only a request can be told to wait by a task or to come back")
    return call.message
