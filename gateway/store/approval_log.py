"""What happens to an approval, each as one leaf and its row in one transaction of the evidence log.

All but `load` run in the log's writer thread, inside a transaction that holds the write lock: of several processes that
want the same approval, one comes first and the others see what it did.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256
from typing import Protocol

from gateway.core.commands import Decided
from gateway.core.errors import EvidenceFault
from gateway.core.evidence.leaf import Leaf
from gateway.core.evidence.record import LeafType, Record
from gateway.core.policy import approval, approval_bodies
from gateway.core.policy.approval import Approval, Ask, Ground, Objection, State, Verdict, Vote
from gateway.core.policy.decision import Effect
from gateway.core.types import ApprovalId, Digest, Document, LeafIndex, Principal
from gateway.store import projection, tools
from gateway.store.engine import Connection
from gateway.store.keys import Keys
from gateway.store.projection import Row
from gateway.store.transaction import Transaction

RECORDED = frozenset({Ground.SELF_APPROVAL, Ground.NOT_A_PERSON, Ground.DENIED})
"""Objections to who somebody is go on record; that they came late or forgot a reason does not."""


class Leaves(Protocol):
    """The log as it is read: the writer's transaction, or a reader's snapshot."""

    @property
    def connection(self) -> Connection: ...

    def leaf(self, index: LeafIndex) -> Leaf: ...

    def unseal(self, index: LeafIndex, name: str) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Review:
    """One reviewer's word with what policy says of it: about the reviewer, and about the call as of now."""

    reviewer: Principal
    verdict: Verdict
    reason: str = field(repr=False)
    decided: Decided
    again: Decided | None
    """The call decided anew under the active bundle, where a grant is to be given."""


def keyed(keys: Keys, binding: Digest) -> str:
    """The form of a binding that may stand in the clear: its plain digest would confirm a guess at the arguments."""
    return hmac.new(keys.pseudonym, b"approval binding\0" + binding.encode(), sha256).hexdigest()


def load(log: Leaves, row: Row) -> Approval:
    """The approval of a row, from its sealed leaves.

    Raises EvidenceFault when they do not bear the row out: a grant whose quorum of votes is not on record or whose
    use is, a vote or a question that belongs to another approval. A row edited in the database releases nothing.
    """
    name, question, created = approval_bodies.parse_ask(_bodies(log, row.leaf, "ask", "input", "justification"))
    cast = projection.votes(log.connection, row.id)
    votes = tuple(_vote(log, row.id, leaf) for leaf in cast)
    loaded = replace(
        approval.opened(row.id, question, at=created),
        state=row.state, votes=votes, resolved=row.resolved, why=row.why,
    )  # fmt: skip
    granted = row.state in (State.GRANTED, State.SPENT)
    used = row.state is State.GRANTED and cast and _used(log, row.id, cast[-1])
    if name != row.id or used or (granted and loaded.grants < loaded.quorum):
        raise EvidenceFault(
            f"Approval {row.id} was altered: its row says {row.state.value} and the leaves it names do not bear that "
            "out. Nothing is released on it. Verify the log: phigate evidence verify"
        )
    if not granted:
        return loaded
    # Its own votes say when the grant began: a later date in the row gives it no longer life.
    return replace(loaded, expires=votes[-1].at + timedelta(seconds=question.terms.expires_s))


def open_new(transaction: Transaction, keys: Keys, name: ApprovalId, question: Ask) -> Approval:
    """Ask: an `approval.request` leaf and a row. A question that lacks its demanded justification ends at once."""
    opened = approval.opened(name, question, at=transaction.at)
    binding = keyed(keys, question.binding)
    members: Document = {
        "actor": keys.actor(question.principal),
        "upstream": question.upstream,
        "binding": binding,
        "quorum": opened.quorum,
        "expires_s": question.terms.expires_s,
        "reasons": [reason.code for reason in question.reasons],
    }
    bodies = approval_bodies.format_ask(name, question, at=transaction.at)
    leaf = transaction.append(
        Record(LeafType.APPROVAL_REQUEST, members, question.session, question.exchange, name, bodies)
    )
    projection.insert(transaction.connection, opened, binding, leaf)
    if question.terms.justification_required and not question.justification.strip():
        return cancel(transaction, opened, why=approval.UNJUSTIFIED)
    return opened


def vote(transaction: Transaction, keys: Keys, held: Approval, review: Review) -> Approval | Objection:
    """Hear one reviewer: the vote, its leaf and what it does to the approval, or the objection to it.

    A grant for a call that policy denies by now ends the approval instead.
    """
    reviewed = approval.review(
        held,
        review.reviewer,
        verdict=review.verdict,
        reason=review.reason,
        at=transaction.at,
        decision=review.decided.decision,
    )
    members: Document = {
        "state": held.state.value,
        "verdict": review.verdict.value,
        "reviewer": keys.actor(review.reviewer),
        "bundle": review.decided.bundle,
    }
    bodies = {"decision": review.decided.event}
    if isinstance(reviewed, Objection):
        if reviewed.ground in RECORDED:
            transaction.append(_record(held, {**members, "objection": reviewed.ground.value}, bodies))
        return reviewed
    members |= {"counts": reviewed.votes[-1].counts, "grants": reviewed.grants, "quorum": reviewed.quorum}
    bodies |= approval_bodies.format_vote(held.id, reviewed.votes[-1])
    if review.again is not None:
        bodies["recheck"] = review.again.event
        if review.again.decision.effect is Effect.DENY:
            return cancel(transaction, held, why=approval.DENIED_NOW, members=members, bodies=bodies)
    leaf = transaction.append(_record(held, {**members, "state": reviewed.state.value}, bodies))
    projection.add_vote(transaction.connection, reviewed, keys.actor(review.reviewer), leaf)
    projection.save(transaction.connection, held.state, reviewed)
    return reviewed


def lapse(transaction: Transaction, held: Approval) -> Approval:
    """Its time is over and somebody noticed."""
    expired = approval.expire(held, at=transaction.at)
    transaction.append(_record(held, {"state": expired.state.value, "was": held.state.value}, {}))
    projection.save(transaction.connection, held.state, expired)
    return expired


def cancel(
    transaction: Transaction,
    held: Approval,
    *,
    why: str,
    members: Document | None = None,
    bodies: dict[str, bytes] | None = None,
) -> Approval:
    """It was withdrawn; `why` is a closed word."""
    cancelled = approval.cancel(held, at=transaction.at, why=why)
    members = {**(members or {}), "state": cancelled.state.value, "why": why}
    transaction.append(_record(held, members, bodies or {}))
    projection.save(transaction.connection, held.state, cancelled)
    return cancelled


def withdraw(transaction: Transaction, keys: Keys, held: Approval, requester: Principal) -> Approval | Objection:
    """The requester takes the question back."""
    withdrawn = approval.withdraw(held, requester, at=transaction.at)
    if isinstance(withdrawn, Approval):
        return cancel(transaction, held, why=withdrawn.why, members={"actor": keys.actor(requester)})
    return withdrawn


def spend(transaction: Transaction, held: Approval, record: Record) -> bool:
    """Use the grant up together with `record`; False, and nothing written, when there is none to use."""
    spent = approval.spend(held, at=transaction.at)
    if spent is None or _redefined(transaction, held.ask):
        return False
    projection.save(transaction.connection, held.state, spent, by=record.exchange)
    transaction.append(record)
    return True


def _redefined(transaction: Transaction, question: Ask) -> bool:
    """Whether the upstream has come to list another tool under the name that reviewers were asked about. The retry is
    bound to the new one and asks anew; the caller that was held since before the change is stopped here."""
    known = tools.read(transaction.connection, question.upstream, question.name)
    asked = question.input.get("tool")
    return (
        known is not None
        and question.method == "tools/call"
        and known.pin != (asked.get("pin") if isinstance(asked, dict) else None)
    )


def current(transaction: Transaction, name: ApprovalId) -> Approval | None:
    """The approval as it is now: one whose time is over is noticed here, and put on record."""
    row = projection.get(transaction.connection, name)
    return None if row is None else fresh(transaction, row)


def fresh(transaction: Transaction, row: Row) -> Approval:
    """The approval of `row` as it is now, put on record as expired if its time is over."""
    held = load(transaction, row)
    return lapse(transaction, held) if held.lapsed(transaction.at) else held


def _record(held: Approval, members: Document, bodies: dict[str, bytes]) -> Record:
    # Outside the session and the exchange that asked: both may have ended long before.
    return Record(LeafType.APPROVAL_RESOLVED, members, approval=held.id, bodies=bodies)


def _vote(log: Leaves, name: ApprovalId, leaf: LeafIndex) -> Vote:
    owner, vote = approval_bodies.parse_vote(_bodies(log, leaf, "vote", "reason"))
    if owner != name:
        raise EvidenceFault(f"Approval {name} was altered: leaf {leaf} is a vote on another one.")
    return vote


def _used(log: Leaves, name: ApprovalId, granted: LeafIndex) -> bool:
    """Whether the log says that the grant given in leaf `granted` was used, whatever its row says."""
    since = (log.leaf(index) for index in projection.resolved_since(log.connection, granted))
    return any(leaf.approval == name and leaf.members.get("state") == State.SPENT.value for leaf in since)


def _bodies(log: Leaves, leaf: LeafIndex, *names: str) -> dict[str, bytes]:
    present = log.leaf(leaf)
    return {name: log.unseal(leaf, name) for name in names if present.body(name) is not None}
