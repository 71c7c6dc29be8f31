"""How a caller learns what becomes of a held call: which of four ways it can take, and what it carries meanwhile.

What is handed out is sealed (`core/protocol/token.py`) for one principal at one upstream, and names the call it was
given for; this page says what is in it and reads it when it comes back. Whatever `requestState` reaches a client was
sealed here, the upstreams' own too, so any that does not open is forged, foreign, changed or too old.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Message, Request, Response, Success
from gateway.core.types import ApprovalId, Digest, Document, Era, Json, Principal

ROUNDS = 10
"""How often a call may be put off with `input_required`: the drivers of the Python, TypeScript, C# and Go SDKs take
that many and raise at the next. The last word is then the one that legacy callers get."""
ASKED = "approval"
"""The key of the gateway's own question in `inputRequests`."""
TASK_PREFIX = "phigate."
"""Tells the gateway's task ids from an upstream's."""
UPSTREAM_STATE_S = 3_600
"""How long an upstream's `requestState` is good: what it asks may wait for a person."""


class Way(Enum):
    """How a call that waits for reviewers keeps its caller, best first."""

    TASK = "task"
    """Answered at once by a task, which the client polls for as long as it takes."""
    URL = "url"
    """Answered at once by a page to open; its retry waits as STATE does."""
    STATE = "state"
    """Held as long as clients wait, then answered by `input_required`, and so each retry."""
    HOLD = "hold"
    """Held as long, then answered in words: whoever calls again joins the same approval."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What the retry of a held call brought back. `approval` is None where that was not to be believed."""

    approval: ApprovalId | None
    rounds: int = 0
    """How often it was put off by now."""
    declined: bool = False
    """Whether its user said no when asked to open the page."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task of the gateway's own, as a request names it. `approval` is None where there is none for this caller."""

    id: str
    approval: ApprovalId | None


@dataclass(frozen=True, slots=True)
class Opened:
    """A request without what only the gateway can read."""

    message: Message
    claim: Claim | None = None
    task: Task | None = None


Unseal = Callable[[str, str], Document | None]
"""The document that was sealed as the first text for the purpose that is the second; None where it was not."""


def way(era: Era, message: Message, claim: Claim | None) -> Way:
    """How the caller of `message` is told to wait. Never `input_required` to a legacy caller, nor a task."""
    if era is not Era.MODERN or not isinstance(message, Request) or message.method not in mcp.INPUT_CALLS:
        return Way.HOLD
    if claim is not None:
        return Way.STATE if claim.rounds < ROUNDS else Way.HOLD
    if message.method in mcp.TASK_CALLS and mcp.declares_tasks(message):
        return Way.TASK
    return Way.URL if mcp.opens_urls(message) else Way.STATE


def purpose(kind: str, principal: Principal, upstream: str) -> str:
    """What something handed out is good for: `kind`, in the hands of this principal, at this upstream."""
    chain: list[Json] = [*principal.chain]
    return f"{kind} {_digest([principal.issuer, principal.subject, principal.client, chain, upstream])}"


def state_of_call(message: Message, approval: ApprovalId, rounds: int) -> Document:
    """What the `requestState` of a held call holds. The client's retry answers the gateway and no longer the upstream
    (MRTR, Basic Workflow), so what it had for the upstream is carried along."""
    params = message.params if isinstance(message, Request) else {}
    carried = {key: params[key] for key in (mcp.REQUEST_STATE, mcp.INPUT_RESPONSES) if key in params}
    return {"call": about(message), "approval": approval, "rounds": rounds, "carried": carried}


def state_of_upstream(message: Message, state: str) -> Document:
    """What a `requestState` holds in which an upstream's own is passed on."""
    return {"call": about(message), "upstream": state}


def about(message: Message) -> Digest:
    """SHA-256 of what a request and its retries have in common: the method and the params without what each brings."""
    if not isinstance(message, Request):
        return _digest(None)
    own = (mcp.META, mcp.REQUEST_STATE, mcp.INPUT_RESPONSES)
    return _digest([message.method, {key: value for key, value in message.params.items() if key not in own}])


def opened(era: Era, message: Message, principal: Principal, upstream: str, unseal: Unseal) -> Opened:
    """A client's message as policy and the upstream see it, and what it says of a call that is held."""
    if not isinstance(message, Request):
        return Opened(message)
    if names_own(message):
        ident = str(message.params["taskId"])
        sealed = unseal(ident.removeprefix(TASK_PREFIX), purpose("task", principal, upstream))
        return Opened(message, task=Task(ident, _approval(sealed)))
    if era is not Era.MODERN or mcp.REQUEST_STATE not in message.params:
        return Opened(message)
    state = message.params[mcp.REQUEST_STATE]
    document = unseal(state, purpose("state", principal, upstream)) if isinstance(state, str) else None
    return _with_state(message, document)


def names_own(message: Message) -> bool:
    """Whether a request is about a task of the gateway's own, or of nobody's: no upstream hears of it."""
    if not isinstance(message, Request) or message.method not in mcp.TASK_REQUESTS:
        return False
    ident = message.params.get("taskId")
    return isinstance(ident, str) and ident.startswith(TASK_PREFIX)


def without_state(era: Era, response: Response) -> tuple[Response, str | None]:
    """An upstream's answer without its `requestState`, which is not for the client's eyes, and that."""
    match response:
        case Success(result={"resultType": mcp.INPUT_REQUIRED, "requestState": str(state)}) if era is Era.MODERN:
            rest = {key: value for key, value in _dict(response.result).items() if key != mcp.REQUEST_STATE}
            return replace(response, result=rest), state
    return response, None


def with_state(value: Json, state: str) -> Json:
    """A masked answer with the sealed state in its place again."""
    return {**value, mcp.REQUEST_STATE: state} if isinstance(value, dict) else value


def declared(era: Era, message: Message, value: Json) -> Json:
    """An answer to `server/discover` that says what the gateway adds: it may answer a call with a task of its own
    (tasks extension, Capability Negotiation)."""
    if era is not Era.MODERN or not isinstance(message, Request) or message.method != mcp.DISCOVER:
        return value
    if not isinstance(value, dict) or not isinstance(value.get("capabilities"), dict):
        return value
    capabilities = _dict(value["capabilities"])
    extensions = {mcp.TASKS: {}, **_dict(capabilities.get("extensions"))}
    return {**value, "capabilities": {**capabilities, "extensions": extensions}}


def _with_state(message: Request, document: Document | None) -> Opened:
    """The request behind a state that was sealed for this caller, or a claim that says that it is not believed."""
    bare = {key: value for key, value in message.params.items() if key not in (mcp.REQUEST_STATE, mcp.INPUT_RESPONSES)}
    mine = document is not None and document.get("call") == about(message)
    match document if mine else None:
        case {"upstream": str(state)}:
            return Opened(replace(message, params={**message.params, mcp.REQUEST_STATE: state}))
        case {"approval": str(approval), "rounds": int(rounds), "carried": dict(carried)}:
            claim = Claim(ApprovalId(approval), rounds, _declined(message.params.get(mcp.INPUT_RESPONSES)))
            return Opened(replace(message, params={**bare, **carried}), claim)
    return Opened(replace(message, params=bare), Claim(None))


def _declined(responses: Json) -> bool:
    match responses:
        case {"approval": {"action": "decline"}}:
            return True
    return False


def _approval(document: Document | None) -> ApprovalId | None:
    match document:
        case {"approval": str(approval)}:
            return ApprovalId(approval)
    return None


def _dict(value: Json) -> Document:
    return value if isinstance(value, dict) else {}


def _digest(value: Json) -> Digest:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Digest(hashlib.sha256(text.encode("ascii")).hexdigest())
