"""What the client is told when the gateway itself is speaking: refusals, waits, faults.

A refused tool call is a tool result with `isError`, because that is what reaches the model and lets it do better; any
other refused request is a JSON-RPC error. Every text says what happened, what it means and what to do next, and none
repeats anything that the client or the upstream sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.call import JUSTIFICATION, Call
from gateway.core.commands import Resolution, Settled
from gateway.core.errors import ClientFault, GatewayError, UpstreamFault
from gateway.core.policy import approval
from gateway.core.policy.decision import Decision
from gateway.core.protocol import jsonrpc, mcp, versions
from gateway.core.protocol.jsonrpc import Failure, Message, Request, RequestId, Response, Success
from gateway.core.types import Document, Era, Json

REFUSED = -32010
"""JSON-RPC error code of a refusal; in the range that JSON-RPC 2.0 §5.1 leaves to servers, outside MCP's own codes."""
UPSTREAM_FAILED = -32011
INTERNAL = -32603
"""JSON-RPC 2.0 §5.1 "Internal error"."""
NO_SESSION = -32001
"""What the official SDKs' servers say with 404 for a session they do not know."""
META = "phigate/refusal"


@dataclass(frozen=True, slots=True)
class Reply:
    """The bytes that answer the client's message, as recorded; empty when there is nothing to say."""

    data: bytes = field(repr=False)
    status: int = 200
    """HTTP status, where the reply travels as a plain HTTP response."""

    @staticmethod
    def nothing() -> Reply:
        """Nobody is there to be answered."""
        return Reply(b"")

    @staticmethod
    def accepted() -> Reply:
        """A message that has no reply was taken (Streamable HTTP: 202)."""
        return Reply(b"", 202)

    @staticmethod
    def of(response: Response, era: Era) -> Reply:
        """The reply that carries `response`, with the HTTP status that its era gives it."""
        return Reply(jsonrpc.format(response), versions.http_status(era, response))


def refusal(call: Call, decision: Decision) -> Reply:
    """Policy said no before anything was forwarded."""
    why = _why(decision)
    detail: Document = {
        "code": "refused",
        "reasons": [{"code": reason.code, "message": reason.message} for reason in decision.reasons],
    }
    return _say(call, f"Refused by policy: {why} Nothing was sent to {call.upstream.name}.", detail)


def withheld_result(call: Call, decision: Decision) -> Reply:
    """The upstream answered and policy does not let the answer out."""
    why = _why(decision)
    detail: Document = {
        "code": "withheld",
        "reasons": [{"code": reason.code, "message": reason.message} for reason in decision.reasons],
    }
    text = f"The call ran on {call.upstream.name}, but policy does not let its result be returned: {why}"
    return _say(call, text, detail)


def unmaskable(call: Call) -> Reply:
    """The mask plan could not be carried out to the letter."""
    text = (
        f"The call ran on {call.upstream.name}, but its result could not be masked as policy demands, "
        "so none of it is returned. Ask for fewer fields, or ask your security team to look at this exchange."
    )
    return _say(call, text, {"code": "unmaskable"})


def unreviewable(call: Call) -> Reply:
    """The call needs a person's approval and is more than a person can read."""
    text = (
        f"This call needs a reviewer's approval, and with more than {approval.REVIEWABLE_BYTES // 1024} KiB it is too "
        "large for anybody to review. It was not run. Split it into smaller calls."
    )
    return _say(call, text, {"code": "unreviewable"})


def held(call: Call, resolution: Resolution) -> Reply:
    """A hold ended without a grant: pending, refused, expired, cancelled, or with the reply kept for a retry."""
    if resolution.state is Settled.KEPT:
        return _kept(call, resolution.reply)
    text = told(resolution)
    if resolution.state is Settled.PENDING:
        text += " Call again with exactly the same arguments to go on waiting; it runs once, when it is granted."
    return _say(call, text, about(call, resolution))


def about(call: Call, resolution: Resolution) -> Document:
    """Where an approval stands, for programs."""
    detail: Document = {
        "code": f"approval_{resolution.state.value}",
        "approval": resolution.approval,
        "exchange": call.exchange,
    }
    url = resolution.detail.get("url")
    return {**detail, "url": url} if isinstance(url, str) else detail


def told(resolution: Resolution) -> str:
    """Where an approval stands, in a sentence or two."""
    url = resolution.detail.get("url")
    name = f"(approval {resolution.approval})"
    match resolution.state:
        case Settled.PENDING:
            where = f"(approval {resolution.approval}: {url})" if isinstance(url, str) else name
            return f"This call needs a reviewer's approval and is waiting for it {where}."
        case Settled.REFUSED:
            return f"A reviewer refused this call {name}. It was not run."
        case Settled.EXPIRED:
            return f"Nobody approved this call in time {name}. It was not run; calling again asks anew."
        case Settled.CANCELLED:
            return _cancelled(resolution)
        case Settled.LOST:
            return f"This call was approved and begun; how it ended is not known {name}. Look before you call again."
        case Settled.GRANTED | Settled.KEPT:
            return f"This call was approved {name}."


def _cancelled(resolution: Resolution) -> str:
    match resolution.detail.get("why"):
        case approval.UNJUSTIFIED:
            return (
                "This call needs a reviewer's approval, and policy wants to know what it is for. It was not run. "
                f'Call again with the reason in `_meta["{JUSTIFICATION}"]`.'
            )
        case approval.DENIED_NOW:
            return f"By now policy refuses this call, so it could not be approved (approval {resolution.approval})."
        case approval.RESTORED:
            return (
                "The evidence log was restored from a backup since this call was put to reviewers "
                f"(approval {resolution.approval}). Whether it was run after that backup is not on record: look before "
                "you call again."
            )
        case approval.CHANGED:
            return (
                f"The tool, or what the client says of itself, was changed since this call was put to reviewers "
                f"(approval {resolution.approval}). It was not run; calling again asks for a new approval."
            )
        case _:
            return f"This call's approval was withdrawn (approval {resolution.approval}). It was not run."


def spent(call: Call, resolution: Resolution) -> Reply:
    """The grant was used by another exchange first, or is for a tool that the upstream has redefined since."""
    text = (
        f"The approval {resolution.approval} was granted for one call, and it has been used or the tool was changed "
        "since. Calling again asks for a new one."
    )
    return _say(call, text, {"code": "approval_spent", "approval": resolution.approval})


def ended(call: Call) -> Reply:
    """A subscription has lasted as long as it may: its graceful end (MCP 2026-07-28, Subscriptions)."""
    if not isinstance(call.message, Request):
        return Reply.nothing()
    result: Document = {"_meta": {mcp.SUBSCRIPTION_ID: call.message.id}}
    return Reply.of(Success(call.message.id, versions.complete(call.era, result)), call.era)


def fault(call: Call, cause: UpstreamFault) -> Reply:
    """The upstream failed; what is said is our own text, never the upstream's."""
    if cause.kind == "ended":
        # MCP 2025-11-25, Session Management: on 404 the client begins a new session, which is what it must do now.
        ident = call.message.id if isinstance(call.message, Request) else None
        return Reply(jsonrpc.format(Failure(ident, NO_SESSION, "The upstream has ended this session.")), 404)
    if not isinstance(call.message, Request):
        return Reply(b"", 405 if call.listens and cause.kind == "status" else 502)
    text = f"Upstream {call.upstream.name} failed ({cause.kind}): {cause.detail}"
    data: Document = {"code": f"upstream_{cause.kind}", "exchange": call.exchange}
    return Reply.of(Failure(call.message.id, UPSTREAM_FAILED, text, data), call.era)


def internal(call: Call) -> Reply:
    """The gateway itself failed."""
    if not isinstance(call.message, Request):
        return Reply(b"", 500)
    text = f"The gateway failed on this call (exchange {call.exchange}); nothing of a result is returned."
    failure = Failure(call.message.id, INTERNAL, text, {"code": "internal", "exchange": call.exchange})
    return Reply.of(failure, call.era)


def unknown_end(call: Call) -> Reply:
    """A client came back for an answer that is not on record: its call was begun and left, or its process died."""
    if not isinstance(call.message, Request):
        return Reply.nothing()
    text = "The stream of this call broke off before its end, and how the call ended is not on record. Look before "
    text += "you call again: it may have run."
    data: Document = {"code": "unknown_end", "exchange": call.exchange}
    return Reply.of(Failure(call.message.id, INTERNAL, text, data), call.era)


def unrecorded(call: Call) -> Reply:
    """Evidence could not be written, so nothing of what happened may be returned."""
    if not isinstance(call.message, Request):
        return Reply(b"", 503)
    text = (
        "The gateway cannot write its evidence log, so it returns nothing and takes no calls until it can. "
        f"Whether this call ran is on record under exchange {call.exchange}. Ask your operator."
    )
    return Reply(jsonrpc.format(Failure(call.message.id, INTERNAL, text, {"code": "unrecorded"})), 503)


def client_fault(fault: ClientFault, ident: RequestId | None) -> Reply:
    """The client's message is not what MCP allows; `ident` is its id, where it could be read."""
    return Reply(jsonrpc.format(Failure(ident, fault.code, fault.detail, fault.data)), fault.status)


def problem(fault: GatewayError, code: int, status: int, ident: RequestId | None = None) -> Reply:
    """A fault that came before there was an exchange; `ident` is the id of the client's request, where it was read."""
    return Reply(jsonrpc.format(Failure(ident, code, fault.detail)), status)


def withheld(request: Request) -> Message:
    """The answer to an upstream's own request that policy kept from the client."""
    return Failure(request.id, REFUSED, "Refused by policy: the client may not be asked this.")


def promised_schema(call: Call, response: Response) -> Document | None:
    """The `outputSchema` that the tool advertised, when it binds `response` (MCP, Tools: Output Schema)."""
    if call.tool is None or not isinstance(response, Success) or not isinstance(response.result, dict):
        return None
    if "structuredContent" not in response.result or response.result.get("isError") is True:
        return None
    schema = call.tool.definition.get("outputSchema")
    return schema if isinstance(schema, dict) else None


def _why(decision: Decision) -> str:
    """Policy's own sentences, one after the other."""
    sentences = [reason.message.rstrip(". ") + "." for reason in decision.reasons]
    return " ".join(sentences) or "no rule allows it."


def _kept(call: Call, recorded: Json) -> Reply:
    """The reply that was recorded while the client was away, under the retry's own request id."""
    if not isinstance(call.message, Request):
        return Reply.accepted()
    return Reply.of(jsonrpc.readdress(recorded, call.message.id), call.era)


def _say(call: Call, text: str, detail: Document) -> Reply:
    if not isinstance(call.message, Request):
        return Reply(b"", 403)
    detail = {**detail, "exchange": call.exchange}
    if call.message.method != "tools/call":
        # A method of no revision does not exist here, whatever the upstream makes of it (JSON-RPC 2.0 §5.1).
        code = REFUSED if call.message.method in mcp.METHODS else jsonrpc.METHOD_NOT_FOUND
        return Reply.of(Failure(call.message.id, code, text, detail), call.era)
    result: Document = {"content": [{"type": "text", "text": text}], "isError": True, "_meta": {META: detail}}
    return Reply.of(Success(call.message.id, versions.complete(call.era, result)), call.era)
