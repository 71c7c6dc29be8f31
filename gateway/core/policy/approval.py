"""The life of an approval, as rules over values: pending, then granted, refused, expired or cancelled, then spent.

A grant releases exactly one call. What "exactly" means is `binding`; who may release it is `review`; what may follow
what is `NEXT`. Nothing here reads a clock or a database: the store keeps these values and asks these functions inside
the transaction that changes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum

from gateway.core.call import Call
from gateway.core.errors import InternalFault
from gateway.core.policy import input as policy_input
from gateway.core.policy.decision import ApprovalTerms, Decision, Effect, Reason
from gateway.core.protocol import jsonrpc
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, Success
from gateway.core.types import ApprovalId, Digest, Document, ExchangeId, Principal, SessionId

VOLATILE = frozenset(
    {
        "progressToken",  # MCP, Progress: a fresh one for each request.
        "traceparent",  # W3C Trace Context: the two name a span, not a deed.
        "tracestate",
    }
)
"""The members of `_meta` that may differ between a call and its retry. All others are part of what is approved: what
is forwarded and not reviewed could tell the upstream to do something else, as W3C Baggage does (tenant, feature)."""

KEPT_S = 3_600
"""How long, after its grant was used, a call's reply is kept; later the same call is asked anew."""

REVIEWABLE_BYTES = 128 * 1024
"""The largest message that is put to reviewers: 40 pages, beyond which nobody reads what they grant. Whoever lists
approvals has them all unsealed, so their size is also what one client can cost everybody."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to reviewers: may this call run? Bound to the call by `binding`."""

    exchange: ExchangeId
    session: SessionId
    principal: Principal
    upstream: str
    method: str
    name: str
    binding: Digest
    terms: ApprovalTerms
    reasons: tuple[Reason, ...]
    input: Document = field(repr=False)
    """The decision input, so that the reviewer sees and policy re-decides exactly what was asked."""
    justification: str = field(default="", repr=False)
    meta: Document = field(default_factory=dict, repr=False)
    """The `_meta` that will be forwarded, less what is volatile: bound like the arguments, so shown like them."""


class State(Enum):
    PENDING = "pending"
    GRANTED = "granted"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    SPENT = "spent"


NEXT: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset({State.GRANTED, State.REFUSED, State.EXPIRED, State.CANCELLED}),
    State.GRANTED: frozenset({State.SPENT, State.EXPIRED, State.CANCELLED}),
    State.REFUSED: frozenset(),
    State.EXPIRED: frozenset(),
    State.CANCELLED: frozenset(),
    State.SPENT: frozenset(),
}
"""What may follow what. A state that nothing follows is an end."""


WITHDRAWN = "withdrawn"
DENIED_NOW = "denied_by_policy"
UNJUSTIFIED = "no_justification"
"""The words for `Approval.why`: the requester took it back, policy came to deny the call, a demanded justification was
not there."""
RESTORED = "restored"
"""Why questions and grants end that were live in a backup: whether they were used after it is not on record."""
CHANGED = "changed"
"""Why a retry cannot join what it came back for: the tool, or what the client says of itself, is another by now."""


class Verdict(Enum):
    GRANT = "grant"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Vote:
    """One reviewer's word on one approval. `counts`: whether policy lets it count to the quorum."""

    reviewer: Principal
    verdict: Verdict
    counts: bool
    at: datetime
    reason: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Approval:
    """A question and what has become of it. Times are aware datetimes."""

    id: ApprovalId
    ask: Ask
    created: datetime
    expires: datetime
    """While pending, when the question lapses; once granted, when the unspent grant does."""
    state: State = State.PENDING
    votes: tuple[Vote, ...] = ()
    resolved: datetime | None = None
    why: str = ""
    """For CANCELLED, a closed word that says what withdrew it."""

    @property
    def grants(self) -> int:
        """How many distinct people have granted it, of those whose word counts."""
        votes = (vote for vote in self.votes if vote.verdict is Verdict.GRANT and vote.counts)
        return len({_person(vote.reviewer) for vote in votes})

    @property
    def quorum(self) -> int:
        """How many are needed: never fewer than one, whatever the terms say."""
        return max(1, self.ask.terms.quorum)

    @property
    def lives_s(self) -> int:
        """How long after it was asked it can matter at most: pending, then granted, then with a reply that is kept."""
        return 2 * self.ask.terms.expires_s + KEPT_S

    def lapsed(self, at: datetime) -> bool:
        """Whether it can still change but its time is over."""
        return bool(NEXT[self.state]) and at >= self.expires


class Ground(Enum):
    """On what ground a review is not taken; the value is a closed word for evidence and the API."""

    NOT_PENDING = "not_pending"
    LAPSED = "lapsed"
    SELF_APPROVAL = "self_approval"
    NOT_A_PERSON = "not_a_person"
    ALREADY_VOTED = "already_voted"
    DENIED = "denied_by_policy"
    NO_JUSTIFICATION = "no_justification"
    NO_REASON = "no_reason"
    NOT_THE_REQUESTER = "not_the_requester"


@dataclass(frozen=True, slots=True)
class Objection:
    """A review that was not taken, and why; `message` is for the reviewer."""

    ground: Ground
    message: str


def reviewable(call: Call) -> bool:
    """Whether a person can be asked about this call at all."""
    return len(jsonrpc.format(call.message)) <= REVIEWABLE_BYTES


def ask(call: Call, decision: Decision) -> Ask:
    """The question that policy wants put to reviewers before `call` may run.

    Raises InternalFault when the decision has no approval terms: decoding makes such a decision a denial.
    """
    if decision.approval is None:
        raise InternalFault("a decision that requires approval has no terms")
    method, params = _content(call)
    return Ask(
        exchange=call.exchange,
        session=call.session,
        principal=call.principal,
        upstream=call.upstream.name,
        method=method,
        name=policy_input.name_of(call.message),
        binding=binding(call),
        terms=decision.approval,
        reasons=decision.reasons,
        input=policy_input.for_call(call),
        justification=call.justification,
        meta=_lasting_meta(params),
    )


def binding(call: Call) -> Digest:
    """The digest of everything a grant is good for: who, through which agent, what, where, and on which tool.

    SHA-256 over JSON with sorted keys. Not RFC 8785, which writes 1 and 1.0 alike: two calls that an upstream can
    tell apart have different bindings.
    """
    method, params = _content(call)
    principal = call.principal
    document: Document = {
        "principal": {
            "iss": principal.issuer,
            "sub": principal.subject,
            "client": principal.client,
            "chain": list(principal.chain),
        },
        "upstream": call.upstream.name,
        "kind": type(call.message).__name__,
        "method": method,
        "params": _lasting(params),
        "pin": call.tool.pin if call.tool is not None else None,
    }
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Digest(hashlib.sha256(text.encode("ascii")).hexdigest())


def opened(name: ApprovalId, question: Ask, *, at: datetime) -> Approval:
    """A new approval, pending from `at` for as long as its terms say."""
    return Approval(name, question, created=at, expires=at + timedelta(seconds=question.terms.expires_s))


def review(
    approval: Approval, reviewer: Principal, *, verdict: Verdict, reason: str, at: datetime, decision: Decision
) -> Approval | Objection:
    """The approval after `reviewer` has spoken, or the rule that keeps their word from counting.

    `decision` is policy's answer about this reviewer (`APPROVAL`). A refusal by one who may review ends it at once; a
    grant stands when `quorum` distinct people whose word counts have granted, and is then good for `expires_s` more.
    """
    objection = _objection(approval, reviewer, verdict, reason, at, decision)
    if objection is not None:
        return objection
    vote = Vote(reviewer, verdict, decision.counts, at, reason)
    voted = replace(approval, votes=(*approval.votes, vote))
    if verdict is Verdict.REFUSE:
        return _move(voted, State.REFUSED, at)
    if voted.grants >= voted.quorum:
        granted = _move(voted, State.GRANTED, at)
        return replace(granted, expires=at + timedelta(seconds=approval.ask.terms.expires_s))
    return voted


def expire(approval: Approval, *, at: datetime) -> Approval:
    """The approval after its time is over. Raises InternalFault when it is not."""
    if not approval.lapsed(at):
        raise InternalFault("an approval expired that had not lapsed")
    return _move(approval, State.EXPIRED, at)


def cancel(approval: Approval, *, at: datetime, why: str) -> Approval:
    """The approval after something ended it before reviewers did; `why` is a closed word.

    A grant ends so only where the log was restored: otherwise it is spent, or lapses unused.
    """
    if approval.state is not State.PENDING and why != RESTORED:
        raise InternalFault("a grant was to be cancelled")
    return replace(_move(approval, State.CANCELLED, at), why=why)


def withdraw(approval: Approval, principal: Principal, *, at: datetime) -> Approval | Objection:
    """The approval after its requester took the question back. A grant is not taken back: it lapses unused."""
    if approval.state is not State.PENDING:
        return Objection(Ground.NOT_PENDING, f"This approval is already {approval.state.value}; nothing was changed.")
    if not requested_by(approval.ask, principal):
        return Objection(Ground.NOT_THE_REQUESTER, "Only whoever asked for this call may withdraw the question.")
    return cancel(approval, at=at, why=WITHDRAWN)


def spend(approval: Approval, *, at: datetime) -> Approval | None:
    """The approval after its one call was released, or None when there is no grant left to use."""
    if approval.state is not State.GRANTED or approval.lapsed(at):
        return None
    return _move(approval, State.SPENT, at)


def requested_by(question: Ask, principal: Principal) -> bool:
    """Whether `principal` stands behind the question: the human it was asked for, through whatever client, or an
    actor of its delegation chain (RFC 8693 §4.1)."""
    return _person(question.principal) == _person(principal) or principal.subject in question.principal.chain


def _objection(
    approval: Approval, reviewer: Principal, verdict: Verdict, reason: str, at: datetime, decision: Decision
) -> Objection | None:
    """The first rule that this review breaks; who the reviewer is comes before what policy says about them."""
    terms = approval.ask.terms
    if approval.state is not State.PENDING:
        return Objection(Ground.NOT_PENDING, f"This approval is already {approval.state.value}; nothing was changed.")
    if approval.lapsed(at):
        return Objection(Ground.LAPSED, "This approval's time is over. The requester may ask again.")
    if requested_by(approval.ask, reviewer):
        return Objection(Ground.SELF_APPROVAL, "You asked for this call, so somebody else has to review it.")
    if reviewer.agent or reviewer.chain or reviewer.subject == reviewer.client:
        return Objection(Ground.NOT_A_PERSON, "Only a person may review: this token acts for one, or for none at all.")
    if any(_person(vote.reviewer) == _person(reviewer) for vote in approval.votes):
        return Objection(Ground.ALREADY_VOTED, "You have already reviewed this approval; each person is heard once.")
    if decision.effect is not Effect.ALLOW:
        why = "; ".join(item.message for item in decision.reasons) or "no policy allows it"
        return Objection(Ground.DENIED, f"Policy does not let you review this approval: {why}.")
    if terms.justification_required and not reason.strip():
        return Objection(Ground.NO_REASON, "This approval needs a reason from its reviewer; please give one.")
    if verdict is Verdict.GRANT and terms.justification_required and not approval.ask.justification.strip():
        return Objection(Ground.NO_JUSTIFICATION, "The requester gave no justification, and policy demands one.")
    return None


def _move(approval: Approval, state: State, at: datetime) -> Approval:
    if state not in NEXT[approval.state]:
        raise InternalFault(f"an approval cannot go from {approval.state.value} to {state.value}")
    return replace(approval, state=state, resolved=at)


def _person(principal: Principal) -> tuple[str, str]:
    """The human, whichever client or agent speaks for them (OpenID Connect Core §2: `iss` and `sub` together)."""
    return principal.issuer, principal.subject


def _content(call: Call) -> tuple[str, Document]:
    message: Message = call.message
    match message:
        case Request(method=method, params=params) | Notification(method=method, params=params):
            return method, params
        case Success(result=result):
            return call.answers, {"result": result}
        case Failure(code=code, message=text, data=data):
            return call.answers, {"error": {"code": code, "message": text, "data": data}}


def _lasting(params: Document) -> Document:
    """The params without what is volatile; an absent `_meta` and one that is all volatile are the same."""
    if not isinstance(params.get("_meta", {}), dict):
        return params
    rest: Document = {key: value for key, value in params.items() if key != "_meta"}
    meta = _lasting_meta(params)
    return {**rest, "_meta": meta} if meta else rest


def _lasting_meta(params: Document) -> Document:
    meta = params.get("_meta")
    return {key: value for key, value in meta.items() if key not in VOLATILE} if isinstance(meta, dict) else {}
