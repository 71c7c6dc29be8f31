"""Approvals, durable: asked, reviewed, waited for and spent, by any process on one evidence log.

Everything is in the log and its tables, and nothing is remembered here: a restart forgets no question, no vote and no
kept reply, and the caller that waits learns of a grant whichever process took it.
"""

from __future__ import annotations

import base64
import builtins
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import orjson
import trio

from gateway.core.commands import Decided, Resolution, Settled
from gateway.core.errors import EvidenceFault
from gateway.core.evidence.record import LeafType, Record
from gateway.core.policy import approval_bodies
from gateway.core.policy.approval import CHANGED, Approval, Ask, Objection, State, Verdict
from gateway.core.policy.decision import Entrypoint
from gateway.core.protocol import jsonrpc
from gateway.core.protocol.jsonrpc import DEPTH_CEILING, Limits, Message
from gateway.core.types import ApprovalId, Document, Principal
from gateway.store import approval_log, head, projection
from gateway.store.approval_log import Review
from gateway.store.engine import Connection
from gateway.store.projection import Row
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog, Transaction
from gateway.store.watch import Watch

_RECORDED = Limits(max_bytes=1 << 30, max_depth=DEPTH_CEILING)
"""What is on record was within the limits of its day."""
LISTED = 100
"""Most approvals in one listing: what a reviewer can look through."""
BREATH_S = 0.0005
"""Seconds between two approvals of a listing, in which the thread that serves calls has the interpreter to itself."""

_SETTLED = {
    State.PENDING: Settled.PENDING,
    State.GRANTED: Settled.GRANTED,
    State.REFUSED: Settled.REFUSED,
    State.EXPIRED: Settled.EXPIRED,
    State.CANCELLED: Settled.CANCELLED,
    # Used by another exchange, and no reply is kept: whoever still believes in the grant is told when it spends it.
    State.SPENT: Settled.GRANTED,
}


def fresh_id() -> ApprovalId:
    """A new approval's id: 80 random bits that a person can read out, `ap_` and 16 of [a-z2-7]."""
    return ApprovalId("ap_" + base64.b32encode(os.urandom(10)).decode().lower())


class Approvals:
    """The approvals of one evidence log. Belongs to the trio thread that opened the log."""

    def __init__(
        self,
        log: EvidenceLog,
        decide: Callable[[Entrypoint, Document], Decided],
        *,
        url: Callable[[ApprovalId], str],
        stamp: Callable[[Document], Awaitable[Document]] | None = None,
    ) -> None:
        """`decide` asks the active bundle, with the time stamped in; `url` is where people review an approval.

        `stamp` adds to the input of a call how its principal stands now.
        """
        self._log = log
        self._stamp = _as_it_was if stamp is None else stamp
        self._decide = decide
        self._url = url
        self._watch = Watch(self._moved)
        self._listing = trio.Lock()
        self._still: tuple[frozenset[ApprovalId], int, str] = (frozenset(), -1, "")
        """What had not moved when it was last looked at, the log's size then, and when the first of all lapses."""

    async def request(self, ask: Ask, joins: ApprovalId | None = None) -> Resolution:
        """Join what is already under way for exactly this call, or durably ask anew; or see what has become of the
        approval `joins` that its caller came back for, if it is for exactly this call.

        Joins a question or a grant that is live, a call that is still running on one, and a kept reply, which is
        there until the outcome of a retry says that it was handed out. Raises EvidenceFault.
        """
        name = fresh_id()
        if joins is not None:
            return await self._log.transact(lambda transaction: self._rejoined(transaction, ask, joins))
        return await self._log.transact(lambda transaction: self._join_or_open(transaction, ask, name))

    async def look(self, approval: ApprovalId) -> Resolution:
        """Where an approval stands, for whoever was given its name. Raises EvidenceFault."""
        return await self._log.transact(lambda transaction: self._resolution_of(transaction, approval, joined=True))

    async def asked(self, approval: ApprovalId) -> Message:
        """The very message that was put to reviewers. Raises EvidenceFault."""

        def job(transaction: Transaction) -> bytes:
            row = _row(transaction, approval)
            question = approval_log.load(transaction, row).ask
            return transaction.unseal(projection.intent(transaction.connection, question, row.leaf), "request")

        return jsonrpc.parse(await self._log.transact(job), _RECORDED)

    async def wait(self, approval: ApprovalId, *, joined: bool = False) -> Resolution:
        """Return once the approval is no longer pending, whichever process resolved it. Safe to cancel.

        `joined`: for a caller who came back for this very approval, and is told how its call ended in any case.

        Raises EvidenceFault when the store cannot be read any more: nobody waits for what they cannot see.
        """
        while True:
            await self._watch.moved(approval)
            resolution = await self._log.transact(
                lambda transaction: self._resolution_of(transaction, approval, joined=joined)
            )
            if resolution.state is not Settled.PENDING:
                return resolution

    async def spend(self, approval: ApprovalId, record: Record) -> bool:
        """Use the grant for the exchange of `record`, both in one transaction; False when there is none left to use.

        Of any number of exchanges in any number of processes, one gets True. Raises EvidenceFault.
        """

        def job(transaction: Transaction) -> bool:
            held = approval_log.current(transaction, approval)
            return held is not None and approval_log.spend(transaction, held, record)

        done = await self._log.transact(job)
        self._watch.nudge(approval)
        return done

    async def resolve(
        self, approval: ApprovalId, reviewer: Principal, verdict: Verdict, *, reason: str
    ) -> Approval | Objection | None:
        """Hear one reviewer: the approval as it is afterwards, an objection, or None for no such approval.

        Policy says whether they may and whether it counts; a grant also needs it not to deny the call by now, else the
        approval is cancelled. The leaf of the vote is durable on return. Raises EvidenceFault.
        """
        while True:
            seen = await self.get(approval)
            if seen is None:
                return None
            decided = self._decide(Entrypoint.APPROVAL, approval_bodies.for_review(seen, reviewer))
            again = None
            if verdict is Verdict.GRANT:
                again = self._decide(Entrypoint.CALL, await self._stamp(seen.ask.input))
            review = Review(reviewer, verdict, reason, decided, again)
            heard = await self._log.transact(lambda transaction: self._hear(transaction, seen, review))  # noqa: B023
            self._watch.nudge(approval)
            if heard is not None:
                return heard

    async def cancel(self, approval: ApprovalId, requester: Principal) -> Approval | Objection | None:
        """Withdraw a question that is still pending; only whoever asked it may. Raises EvidenceFault."""

        def job(transaction: Transaction) -> Approval | Objection | None:
            held = approval_log.current(transaction, approval)
            return None if held is None else approval_log.withdraw(transaction, self._log.keys, held, requester)

        withdrawn = await self._log.transact(job)
        self._watch.nudge(approval)
        return withdrawn

    async def get(self, approval: ApprovalId) -> Approval | None:
        """The approval as it is now, with all that is sealed about it; None for no such approval."""
        return await self._log.transact(lambda transaction: approval_log.current(transaction, approval))

    async def list(self, state: State | None = None) -> tuple[Approval, ...]:
        """The newest approvals, of one state or of all, newest first; at most LISTED. Raises EvidenceFault.

        Read beside the log and not in its turn: calls wait for the writer, and must not wait for whoever lists.
        """
        if self._log.fault is not None:
            raise EvidenceFault(self._log.fault)
        async with self._listing:
            found = await trio.to_thread.run_sync(self._read, state)
        over = [each.id for each in found if each.lapsed(self._log.now())]
        if over:  # Each only once: somebody has noticed, and it goes on record.
            now = await self._log.transact(lambda transaction: {name: _noticed(transaction, name) for name in over})
            found = [now.get(each.id, each) for each in found]
        return tuple(each for each in found if state is None or each.state is state)

    def _read(self, state: State | None) -> builtins.list[Approval]:
        """One listing, in a thread of its own, as of one moment."""
        found = []
        with Reader.open(self._log.store, self._log.keys) as reader:
            for row in projection.listed(reader.connection, state, LISTED):
                found.append(approval_log.load(reader, row))
                time.sleep(BREATH_S)
        return found

    async def waiting(self) -> tuple[int, float]:
        """How many approvals wait for reviewers, and how many seconds the oldest has waited. Raises EvidenceFault."""
        now = self._log.now()
        number, oldest = await self._log.read(lambda connection: projection.waiting(connection, now))
        return number, 0.0 if oldest is None else (now - oldest).total_seconds()

    async def read_by(self, reader: Principal, approval: Approval, decided: Decided) -> None:
        """Put on record that `reader` is about to see what is sealed about an approval. Raises EvidenceFault."""
        members: Document = {"reader": self._log.keys.actor(reader), "kind": "approval", "bundle": decided.bundle}
        bodies = {"decision": decided.event}
        await self._log.append(Record(LeafType.EVIDENCE_READ, members, approval=approval.id, bodies=bodies))

    async def _moved(self, names: frozenset[ApprovalId]) -> frozenset[ApprovalId]:
        """Which of these a waiting caller should look at: resolved, lapsed, or run to the end."""
        now = self._log.now()

        def job(connection: Connection) -> frozenset[ApprovalId]:
            # Every change is a leaf, in whichever process: a log that has not grown need not be looked through.
            size, _ = head.newest(connection)
            known, seen, until = self._still
            if size == seen and names <= known and (not until or approval_bodies.format_time(now) < until):
                return frozenset()
            found, until = projection.moved(connection, names, now)
            self._still = (names - found, size, until)
            return found

        return await self._log.read(job)

    def _join_or_open(self, transaction: Transaction, ask: Ask, name: ApprovalId) -> Resolution:
        row = projection.newest(transaction.connection, approval_log.keyed(self._log.keys, ask.binding))
        if row is not None:
            held = approval_log.fresh(transaction, row)
            if held.ask.binding != ask.binding:
                raise EvidenceFault(f"Approval {held.id} was altered: its row names a call that it was not asked for.")
            unfinished = row.kept(transaction.at) or projection.running(transaction.connection, row)
            if unfinished or held.state in (State.PENDING, State.GRANTED):
                return self._resolution(transaction, row, held)
        opened = approval_log.open_new(transaction, self._log.keys, name, ask)
        return self._resolved(opened)

    def _rejoined(self, transaction: Transaction, ask: Ask, name: ApprovalId) -> Resolution:
        row = _row(transaction, name)
        held = approval_log.fresh(transaction, row)
        if held.ask.binding != ask.binding:
            return self._told(held, Settled.CANCELLED, {"why": CHANGED})
        return self._resolution(transaction, row, held, joined=True)

    def _resolution_of(self, transaction: Transaction, name: ApprovalId, *, joined: bool) -> Resolution:
        row = _row(transaction, name)
        return self._resolution(transaction, row, approval_log.fresh(transaction, row), joined=joined)

    def _resolution(self, transaction: Transaction, row: Row, held: Approval, *, joined: bool = False) -> Resolution:
        if projection.running(transaction.connection, row):
            return self._told(held, Settled.PENDING, {"url": self._url(held.id)})
        ended = row.ended(transaction.at) if joined else row.kept(transaction.at)
        if ended and row.kept_leaf is not None:
            reply = orjson.loads(transaction.unseal(row.kept_leaf, "response"))
            return replace(self._told(held, Settled.KEPT, {}), reply=reply)
        if joined and held.state is State.SPENT:
            return self._told(held, Settled.LOST, {})
        return self._resolved(held)

    def _resolved(self, held: Approval) -> Resolution:
        """How the holder of a call is told where its approval stands."""
        detail: Document = {}
        match held.state:
            case State.PENDING:
                detail = {"url": self._url(held.id)}
            case State.GRANTED | State.SPENT:
                detail = approval_bodies.granted_document(held)
            case State.CANCELLED:
                detail = {"why": held.why}
        return self._told(held, _SETTLED[held.state], detail)

    def _told(self, held: Approval, state: Settled, detail: Document) -> Resolution:
        created = approval_bodies.format_time(held.created)
        changed = created if held.resolved is None else approval_bodies.format_time(held.resolved)
        return Resolution(held.id, state, detail, created=created, changed=changed, lives_s=held.lives_s)

    def _hear(self, transaction: Transaction, seen: Approval, review: Review) -> Approval | Objection | None:
        """Hear the reviewer, unless the approval is not the one that policy was asked about: then None."""
        held = approval_log.current(transaction, seen.id)
        if held is None or (held.state is seen.state is State.PENDING and held.votes != seen.votes):
            return None
        return approval_log.vote(transaction, self._log.keys, held, review)


async def _as_it_was(document: Document) -> Document:
    return document


def _row(transaction: Transaction, name: ApprovalId) -> Row:
    row = projection.get(transaction.connection, name)
    if row is None:
        raise EvidenceFault(f"Approval {name} is not in the store any more. Run: phigate evidence verify")
    return row


def _noticed(transaction: Transaction, name: ApprovalId) -> Approval:
    """An approval whose time is over, put on record as such unless somebody else did."""
    held = approval_log.current(transaction, name)
    if held is None:
        raise EvidenceFault(f"Approval {name} is not in the store any more. Run: phigate evidence verify")
    return held
