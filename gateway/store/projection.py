"""Approvals as tables that the evidence log keeps in step: changed in the transaction that appends the leaf.

`approval` has one row for each question, `approval_vote` one for each vote. They hold states, times and the positions
of leaves; what was asked and who said what is read from the sealed bodies of those leaves. A row is therefore only
believed as far as the leaves bear it out: `approval_log.load`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.core.errors import EvidenceFault
from gateway.core.evidence.record import LeafType, Record
from gateway.core.policy.approval import KEPT_S, Approval, Ask, State
from gateway.core.policy.approval_bodies import format_time, parse_time
from gateway.core.types import ApprovalId, ExchangeId, LeafIndex
from gateway.store.engine import Connection

SCHEMA: tuple[str, ...] = (
    # binding: keyed, because the plain digest of a call would confirm a guess at the identifiers in its arguments.
    """CREATE TABLE approval (
        id TEXT PRIMARY KEY, binding TEXT NOT NULL, state TEXT NOT NULL, leaf INTEGER NOT NULL,
        created TEXT NOT NULL, expires TEXT NOT NULL, resolved TEXT, why TEXT NOT NULL DEFAULT '',
        spent_exchange TEXT, kept_exchange TEXT, kept_leaf INTEGER, collected INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID""",
    # At most one question about one call is open at a time, whichever process it came to.
    "CREATE UNIQUE INDEX approval_live ON approval (binding) WHERE state IN ('pending', 'granted')",
    "CREATE INDEX approval_binding ON approval (binding, leaf)",
    "CREATE INDEX approval_state ON approval (state, leaf)",
    """CREATE TABLE approval_vote (
        approval TEXT NOT NULL, position INTEGER NOT NULL, reviewer TEXT NOT NULL, leaf INTEGER NOT NULL,
        PRIMARY KEY (approval, position), UNIQUE (approval, reviewer)) WITHOUT ROWID""",
    # Few leaves are of this type: whether a grant was used already is asked of the log itself (`resolved_since`).
    "CREATE INDEX leaf_resolved ON leaf (idx) WHERE type = 'approval.resolved'",
)
"""DDL statements that create the tables; part of the store's schema."""

_ASKED_AT_ONCE = 500
"""Ids in one query: long statements are dear to compile."""
_COLUMNS = "id, binding, state, leaf, created, expires, resolved, why, spent_exchange, kept_leaf, collected"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `approval`, as stored."""

    id: ApprovalId
    binding: str
    state: State
    leaf: LeafIndex
    created: datetime
    expires: datetime
    resolved: datetime | None
    why: str
    spent_exchange: ExchangeId | None
    kept_leaf: LeafIndex | None
    """The outcome of its call."""
    collected: bool
    """Whether that was handed to somebody: it waits for nobody who makes the same call again."""

    def kept(self, at: datetime) -> bool:
        """Whether the reply of its call waits for a retry."""
        return self.ended(at) and not self.collected

    def ended(self, at: datetime) -> bool:
        """Whether its call has a reply for those who come back for this very approval."""
        if self.state is not State.SPENT or self.kept_leaf is None or self.resolved is None:
            return False
        return at < self.resolved + timedelta(seconds=KEPT_S)


def on_append(connection: Connection, record: Record, index: LeafIndex) -> None:
    """Bring the tables up to date with `record`, the leaf `index`. Called for records that name an approval."""
    if record.type is not LeafType.EXCHANGE_OUTCOME:
        return
    if record.members.get("status") == "joined":
        # Not before: a retry that hung up while it was being handed the kept reply leaves it for the next.
        connection.execute("UPDATE approval SET collected = 1 WHERE id = ?", (record.approval,))
    elif "response" in record.bodies:
        # Whoever comes back with what it was given for this approval is told the end of its call, whatever that was;
        # one who only makes the same call again joins a reply that nobody got.
        connection.execute(
            "UPDATE approval SET kept_exchange = ?, kept_leaf = ?, collected = ? WHERE id = ? AND spent_exchange = ?",
            (record.exchange, index, int(record.members.get("status") != "kept"), record.approval, record.exchange),
        )


def get(connection: Connection, name: ApprovalId) -> Row | None:
    """The row of an approval."""
    found = connection.execute(f"SELECT {_COLUMNS} FROM approval WHERE id = ?", (name,)).fetchone()
    return None if found is None else _row(found)


def newest(connection: Connection, binding: str) -> Row | None:
    """The last question that was asked about the call with this keyed binding."""
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM approval WHERE binding = ? ORDER BY leaf DESC LIMIT 1", (binding,)
    ).fetchone()
    return None if found is None else _row(found)


def listed(connection: Connection, state: State | None, limit: int) -> list[Row]:
    """The newest approvals, of one state or of all."""
    where, values = ("WHERE state = ?", (state.value,)) if state is not None else ("", ())
    query = f"SELECT {_COLUMNS} FROM approval {where} ORDER BY leaf DESC LIMIT {limit:d}"
    return [_row(found) for found in connection.execute(query, values).fetchall()]


def waiting(connection: Connection, now: datetime) -> tuple[int, datetime | None]:
    """How many approvals wait for reviewers, and since when the oldest of them does."""
    query = "SELECT count(*), min(created) FROM approval WHERE state = 'pending' AND expires > ?"
    number, oldest = connection.execute(query, (format_time(now),)).fetchone()
    return number, None if oldest is None else parse_time(oldest)


def intent(connection: Connection, question: Ask, asked: LeafIndex) -> LeafIndex:
    """The leaf of the intent of the exchange that asked, in leaf `asked`. Raises EvidenceFault when there is none."""
    found = connection.execute(
        "SELECT idx FROM leaf WHERE session = ? AND exchange = ? AND type = ? AND idx < ? ORDER BY idx DESC LIMIT 1",
        (question.session, question.exchange, LeafType.EXCHANGE_INTENT.value, asked),
    ).fetchone()
    if found is None:
        raise EvidenceFault("An approval names an exchange whose intent is not on record. Run: phigate evidence verify")
    return LeafIndex(found[0])


def running(connection: Connection, row: Row) -> bool:
    """Whether the call that used the grant has not come to its end yet."""
    found = connection.execute("SELECT 1 FROM open_exchange WHERE exchange = ?", (row.spent_exchange,)).fetchone()
    return row.state is State.SPENT and found is not None


def moved(connection: Connection, names: Iterable[ApprovalId], now: datetime) -> tuple[frozenset[ApprovalId], str]:
    """Which of these a waiting caller should look at: resolved, lapsed, run to the end, or not there; and when the
    first of the others lapses, empty when none of them does."""
    asked, at = list(names), format_time(now)
    rows = []
    for start in range(0, len(asked), _ASKED_AT_ONCE):
        part = asked[start : start + _ASKED_AT_ONCE]
        marks = ",".join("?" * len(part))
        query = f"""SELECT id, state, expires, EXISTS (SELECT 1 FROM open_exchange WHERE exchange = spent_exchange)
            FROM approval WHERE id IN ({marks})"""
        rows += connection.execute(query, part).fetchall()
    still = {
        name: expires if state == State.PENDING.value else ""
        for name, state, expires, running in rows
        if (state == State.PENDING.value and expires > at) or (state == State.SPENT.value and running)
    }
    return frozenset(asked) - still.keys(), min(filter(None, still.values()), default="")


def insert(connection: Connection, opened: Approval, binding: str, leaf: LeafIndex) -> None:
    """Add the row of a new approval, asked for in leaf `leaf`."""
    connection.execute(
        "INSERT INTO approval (id, binding, state, leaf, created, expires) VALUES (?, ?, ?, ?, ?, ?)",
        (opened.id, binding, opened.state.value, leaf, format_time(opened.created), format_time(opened.expires)),
    )


def save(connection: Connection, before: State, after: Approval, *, by: ExchangeId | None = None) -> None:
    """Write what has become of an approval that was in state `before`; `by` is the exchange that used its grant."""
    resolved = format_time(after.resolved) if after.resolved is not None else None
    changed = connection.execute(
        "UPDATE approval SET state = ?, expires = ?, resolved = ?, why = ?, spent_exchange = ? "
        "WHERE id = ? AND state = ?",
        (after.state.value, format_time(after.expires), resolved, after.why, by, after.id, before.value),
    )
    if changed.rowcount != 1:
        raise EvidenceFault(f"Approval {after.id} changed under the transaction that holds the log's lock.")


def add_vote(connection: Connection, voted: Approval, reviewer: str, leaf: LeafIndex) -> None:
    """Add the newest vote of `voted`, cast by the reviewer with this pseudonym in leaf `leaf`."""
    row = (voted.id, len(voted.votes) - 1, reviewer, leaf)
    connection.execute("INSERT INTO approval_vote VALUES (?, ?, ?, ?)", row)


def votes(connection: Connection, name: ApprovalId) -> list[LeafIndex]:
    """The leaves of an approval's votes, in the order in which they were cast."""
    query = "SELECT leaf FROM approval_vote WHERE approval = ? ORDER BY position"
    return [LeafIndex(leaf) for (leaf,) in connection.execute(query, (name,)).fetchall()]


def resolved_since(connection: Connection, leaf: LeafIndex) -> list[LeafIndex]:
    """The `approval.resolved` leaves after `leaf`, of whichever approval."""
    query = "SELECT idx FROM leaf WHERE type = 'approval.resolved' AND idx > ? ORDER BY idx"
    return [LeafIndex(index) for (index,) in connection.execute(query, (leaf,)).fetchall()]


def _row(found: tuple[str, str, str, int, str, str, str | None, str, str | None, int | None, int]) -> Row:
    try:
        return _parsed(found)
    except ValueError:
        raise EvidenceFault("A row of the table `approval` was altered: it holds what no approval can be.") from None


def _parsed(found: tuple[str, str, str, int, str, str, str | None, str, str | None, int | None, int]) -> Row:
    name, binding, state, leaf, created, expires, resolved, why, spent, kept, collected = found
    return Row(
        id=ApprovalId(name),
        binding=binding,
        state=State(state),
        leaf=LeafIndex(leaf),
        created=parse_time(created),
        expires=parse_time(expires),
        resolved=parse_time(resolved) if resolved is not None else None,
        why=why,
        spent_exchange=ExchangeId(spent) if spent is not None else None,
        kept_leaf=LeafIndex(kept) if kept is not None else None,
        collected=bool(collected),
    )
