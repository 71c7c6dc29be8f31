"""Emergency accesses and their reviews: opened in the transaction of the access's leaf, closed by a leaf of their own.

What a principal does in an emergency soon after its first access, as long as policy's `emergency_s` says, belongs to
the same emergency and is reviewed with it. One that was closed is over: what comes then is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from gateway.core.errors import InternalFault
from gateway.core.evidence.record import LeafType, Record
from gateway.core.types import Document, LeafIndex
from gateway.store.engine import Connection
from gateway.store.stamps import timestamp


@dataclass(frozen=True, slots=True)
class Emergency:
    """One emergency, as stored. `id` is the exchange of its first access."""

    id: str
    actor: str
    """The pseudonym of whoever broke the glass."""
    began: str
    """RFC 3339."""
    leaf: LeafIndex
    closed: LeafIndex | None
    """The leaf of its review."""
    accesses: int


@dataclass(frozen=True, slots=True)
class Unreviewed:
    """The emergencies that nobody has reviewed yet: of one principal, and of all."""

    own: int
    all: int
    began: str | None
    """RFC 3339: when the principal's newest of them began."""


_SELECT = """SELECT id, actor, began, leaf, closed, (SELECT count(*) FROM emergency_access WHERE emergency = id)
    FROM emergency"""


def on_append(connection: Connection, record: Record, index: LeafIndex, at: datetime) -> None:
    """An `emergency.access` leaf was appended: it opens an emergency, or belongs to the one that is under way."""
    actor, joins_s = record.members["actor"], record.members["joins_s"]
    if record.exchange is None or not isinstance(joins_s, int):
        raise InternalFault("An emergency access names no exchange, or not how long its emergency lasts.")
    began = timestamp(at - timedelta(seconds=joins_s))
    query = "SELECT id FROM emergency WHERE actor = ? AND closed IS NULL AND began > ? ORDER BY leaf DESC LIMIT 1"
    row = connection.execute(query, (actor, began)).fetchone()
    id = record.exchange if row is None else row[0]
    if row is None:
        connection.execute("INSERT INTO emergency VALUES (?, ?, ?, ?, NULL)", (id, actor, timestamp(at), index))
    connection.execute("INSERT INTO emergency_access VALUES (?, ?)", (index, id))


def unreviewed(connection: Connection, actor: str) -> Unreviewed:
    """The emergencies that wait for their review, as a decision about this principal needs to know."""
    query = "SELECT count(*), count(*) FILTER (WHERE actor = ?), max(began) FILTER (WHERE actor = ?) FROM emergency"
    every, own, began = connection.execute(f"{query} WHERE closed IS NULL", (actor, actor)).fetchone()
    return Unreviewed(own, every, began)


def listed(connection: Connection, *, open_only: bool) -> list[Emergency]:
    """The emergencies, newest first."""
    where = "WHERE closed IS NULL" if open_only else ""
    return [_emergency(row) for row in connection.execute(f"{_SELECT} {where} ORDER BY leaf DESC").fetchall()]


def get(connection: Connection, id: str) -> Emergency | None:
    """The emergency with this id."""
    row = connection.execute(f"{_SELECT} WHERE id = ?", (id,)).fetchone()
    return None if row is None else _emergency(row)


def accesses(connection: Connection, id: str) -> list[LeafIndex]:
    """The `emergency.access` leaves of an emergency, in order."""
    query = "SELECT leaf FROM emergency_access WHERE emergency = ? ORDER BY leaf"
    return [LeafIndex(leaf) for (leaf,) in connection.execute(query, (id,)).fetchall()]


def review_record(reviewed: Emergency, by: str, bodies: Mapping[str, bytes]) -> Record:
    """The record of a review by the person with this pseudonym; `bodies` hold their reason, and policy's leave."""
    members: Document = {
        "emergency": reviewed.id,
        "of": reviewed.actor,
        "actor": by,
        "accesses": reviewed.accesses,
    }
    return Record(LeafType.ACTIVITY_REVIEW, members, bodies=bodies)


def close(connection: Connection, reviewed: Emergency, leaf: LeafIndex) -> None:
    """The emergency was reviewed in `leaf`, of the caller's transaction."""
    connection.execute("UPDATE emergency SET closed = ? WHERE id = ? AND closed IS NULL", (leaf, reviewed.id))


def _emergency(row: tuple[str, str, str, int, int | None, int]) -> Emergency:
    id, actor, began, leaf, closed, count = row
    return Emergency(id, actor, began, LeafIndex(leaf), None if closed is None else LeafIndex(closed), count)
