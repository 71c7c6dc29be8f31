"""What the exchange tells the evidence log: one function for each kind of record.

Members go into the leaf, in the clear and for ever, so only words from closed sets get in: an effect, a reason code, a
known method, the name of a tool that the upstream itself listed. Whatever a client or an upstream could have put a
patient's name into is a body, and sealed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from gateway.core.call import LISTEN, Call
from gateway.core.commands import Decided, Settled
from gateway.core.evidence.canonical import encode_plain
from gateway.core.evidence.record import LeafType, Record
from gateway.core.masking.plan import Masked
from gateway.core.protocol import jsonrpc, mcp, tasks
from gateway.core.protocol.jsonrpc import Message, Notification, Request, Response
from gateway.core.replies import Reply
from gateway.core.types import ApprovalId, Document, Era, ExchangeId, Json, LeafIndex, SessionId

_CODE = re.compile(r"[a-z][a-z0-9_.]{0,63}")
_REASONS_KEPT = 8
_LEAVES_KEPT = 256
"""Leaves named in one that tells of them; they are those of one exchange in their order, so the rest follows."""
EMERGENCY_MAX_S = 86_400
"""An emergency lasts a day at most, whatever policy says: the next access is another one, with a review of its own."""


class Status(Enum):
    """How an exchange ended."""

    REPLIED = "replied"
    ACCEPTED = "accepted"
    """A message without a reply was handed to the upstream."""
    WITHHELD = "withheld"
    """The upstream answered and policy, or a mask that failed, kept the answer in."""
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    PENDING = "pending"
    """Still waiting for reviewers when the client's time was up."""
    KEPT = "kept"
    """An approved call ran while its client was away; the reply waits for the retry."""
    JOINED = "joined"
    """A retry that was given the kept reply."""
    ENDED = "ended"
    """A stream of messages outside any call came to its end."""
    RESUMED = "resumed"
    """A client that had lost its stream was told the rest of it."""
    FAILED = "failed"
    ABANDONED = "abandoned"
    """The client hung up: nothing was returned."""


@dataclass(frozen=True, slots=True)
class Ending:
    """All there is to say about the end of an exchange."""

    status: Status
    reply: Reply
    decided: tuple[Decided, ...] = ()
    upstream: Response | None = field(default=None, repr=False)
    """The upstream's own response, before masking; evidence keeps its digest, sealed, never its text."""
    manifest: Document = field(default_factory=dict)
    approval: ApprovalId | None = None
    why: str = ""


@dataclass(slots=True)
class Told:
    """What became of one message that the upstream sent ahead of its result. Not frozen: there is one for each line of
    progress, and a frozen one takes three times as long to make."""

    message: Message = field(repr=False)
    decided: Decided
    data: bytes | None = field(repr=False)
    """What the client gets; None when it is withheld. Formatted JSON, so there is no line break in it."""
    manifest: Document

    @staticmethod
    def of(message: Message, decided: Decided, masked: Masked | None) -> Told:
        """A message and the one answer of policy to it, masked; not masked, it is withheld."""
        if masked is None:
            return Told(message, decided, None, {})
        data = jsonrpc.format(jsonrpc.with_body(message, masked.value))
        return Told(message, decided, data, masked.manifest)

    def like(self, other: Told) -> bool:
        """Whether one record can say it of both: one decision, which is of one method, one fate and one manifest."""
        same = self.decided is other.decided and (self.data is None) == (other.data is None)
        return same and self.manifest == other.manifest


def status_of(settled: Settled) -> Status:
    """The outcome of a call whose hold did not end in a grant."""
    match settled:
        case Settled.KEPT:
            return Status.JOINED
        case Settled.LOST:
            return Status.FAILED
        case _:
            return Status(settled.value)


def refused(call: Call, decided: Decided, reply: Reply) -> Record:
    """Policy denied the call; it was never forwarded."""
    members = {**_about(call), **_decision(decided)}
    return _record(LeafType.EXCHANGE_REFUSED, call, members, _request(call, decided) | {"response": reply.data})


def intent(call: Call, decided: Decided, *, resumes: ExchangeId | None = None) -> Record:
    """The gateway is about to forward, to hold for approval, or to tell again what came of the exchange `resumes`."""
    members = {**_about(call), **_decision(decided)}
    if resumes is not None:
        members["resumes"] = resumes
    return _record(LeafType.EXCHANGE_INTENT, call, members, _request(call, decided))


def emergency(call: Call, decided: Decided) -> Record:
    """Policy allowed a call for the sake of an emergency; its reasons say what it would have refused otherwise."""
    lasts = decided.decision.labels.get("emergency_s")
    joins_s = min(lasts, EMERGENCY_MAX_S) if isinstance(lasts, int) else 0
    members = {**_about(call), **_decision(decided), "joins_s": max(joins_s, 0)}
    bodies = {"justification": call.justification.encode("utf-8", "replace"), "decision": decided.event}
    return _record(LeafType.EMERGENCY_ACCESS, call, members, bodies)


def spent(call: Call, approval: ApprovalId, decided: Decided) -> Record:
    """A grant was used up by this exchange; `decided` is policy's last word before the forward."""
    members: Document = {"state": "spent", "approval": approval, **_decision(decided)}
    return _record(LeafType.APPROVAL_RESOLVED, call, members, {"decision": decided.event}, approval)


def messages(call: Call, told: Sequence[Told]) -> tuple[Record, ...]:
    """What the upstream sent ahead of its result, in order. Neighbours that differ in nothing but their text share a
    record: `count` of them, what left of each on a line of its own."""
    runs: list[list[Told]] = []
    for each in told:
        if runs and each.like(runs[-1][0]):
            runs[-1].append(each)
        else:
            runs.append([each])
    return tuple([_messages(call, run) for run in runs])


def _messages(call: Call, alike: list[Told]) -> Record:
    first = alike[0]
    members: Document = {
        "method": method_of(first.message),
        "status": "withheld" if first.data is None else "relayed",
        **_decision(first.decided),
    }
    if len(alike) > 1:
        members["count"] = len(alike)
    bodies = {"decision": first.decided.event, "manifest": _manifest(first.manifest)}
    left = [each.data for each in alike if each.data is not None]
    if left:
        bodies["message" if len(alike) == 1 else "messages"] = b"\n".join(left)
    return _record(LeafType.EXCHANGE_MESSAGE, call, members, bodies)


def retold(call: Call, of: ExchangeId, leaves: Sequence[LeafIndex], *, after: int, count: int) -> Record:
    """`count` messages of the exchange `of`, which are on record in these leaves, are sent to the client once more:
    those that follow the first `after`."""
    members: Document = {
        "status": "retold",
        "of": of,
        "leaves": [*leaves[:_LEAVES_KEPT]],
        "after": after,
        "count": count,
    }
    return _record(LeafType.EXCHANGE_MESSAGE, call, members, {})


def outcome(call: Call, ending: Ending) -> Record:
    """The one end of an exchange whose intent is on record."""
    members: Document = {"status": ending.status.value}
    if ending.why:
        members["why"] = ending.why
    if ending.approval is not None:
        members["approval"] = ending.approval
    if ending.decided:
        members |= _decision(ending.decided[-1])
    if ending.upstream is not None:
        members["masked"] = _masked(ending.manifest)
        if (stands := tasks.stands(ending.upstream)) is not None:
            members["task"] = stands
    bodies = {"response": ending.reply.data} if ending.reply.data else {}
    for name, decided in zip(("decision", "catalogue"), reversed(ending.decided), strict=False):
        bodies[name] = decided.event
    if ending.upstream is not None:
        bodies["manifest"] = _manifest({**ending.manifest, "upstream_sha256": jsonrpc.digest(ending.upstream)})
    return _record(LeafType.EXCHANGE_OUTCOME, call, members, bodies, ending.approval)


def merged(
    upstream: str,
    actor: str,
    era: Era,
    session: SessionId,
    exchange: ExchangeId,
    message: Message,
    *,
    of: Sequence[ExchangeId],
    data: bytes,
) -> Record:
    """What the aggregate endpoint `upstream` sends in answer to `message`, put together from the exchanges `of`."""
    members: Document = {
        "actor": actor,
        "upstream": upstream,
        "era": era.value,
        "method": method_of(message),
        "of": [*of],
    }
    bodies = {"request": jsonrpc.format(message)} | ({"response": data} if data else {})
    return Record(LeafType.EXCHANGE_MERGED, members, session, exchange, bodies=bodies)


def method_of(message: Message) -> str:
    """The method if MCP defines it, else a fixed word: an invented method name could carry anything."""
    if isinstance(message, Request | Notification):
        return message.method if message is LISTEN or message.method in mcp.METHODS else "(unknown)"
    return "(response)"


def _record(
    kind: LeafType, call: Call, members: Document, bodies: dict[str, bytes], approval: ApprovalId | None = None
) -> Record:
    return Record(kind, members, call.session, call.exchange, approval, bodies)


def _about(call: Call) -> Document:
    document: Document = {
        "actor": call.actor,
        "upstream": call.upstream.name,
        "era": call.era.value,
        "method": method_of(call.message),
    }
    if call.tool is not None:
        document["tool"] = call.tool.name
        document["pin"] = call.tool.pin
    return document


def _decision(decided: Decided) -> Document:
    codes: list[Json] = [
        reason.code if _CODE.fullmatch(reason.code) else "(malformed)"
        for reason in decided.decision.reasons[:_REASONS_KEPT]
    ]
    return {"effect": decided.decision.effect.value, "reasons": codes, "bundle": decided.bundle}


def _request(call: Call, decided: Decided) -> dict[str, bytes]:
    return {"request": jsonrpc.format(call.message), "decision": decided.event}


def _manifest(manifest: Document) -> bytes:
    """The manifest as canonical JSON: of text, whole numbers and members that have names of ours (`manifest.py`)."""
    return encode_plain(manifest)


def _masked(manifest: Document) -> Json:
    counts = manifest.get("counts", {})
    return {key: value for key, value in counts.items() if isinstance(value, int)} if isinstance(counts, dict) else {}
