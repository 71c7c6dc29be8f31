"""Writing to the log, once it is this process's turn: leaves, their bodies, and what is derived from them.

All of it happens in the writer thread, inside one SQLite transaction that holds the write lock, so that the head that
was read is the head that is extended. Nothing here is durable until that transaction commits.
"""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime

from gateway.core.errors import EvidenceFault, InternalFault, SessionEnded
from gateway.core.evidence import checkpoint, leaf, merkle
from gateway.core.evidence.checkpoint import Checkpoint
from gateway.core.evidence.leaf import Leaf, Place
from gateway.core.evidence.merkle import Frontier
from gateway.core.evidence.note import Signer
from gateway.core.evidence.record import LeafType, Record
from gateway.core.types import Digest, Document, ExchangeId, LeafIndex, SessionId
from gateway.store import projection, sqlite
from gateway.store.schema import BODIES_LIMIT
from gateway.store.sealing import Sealed, Sealer

_BEGINS = frozenset({LeafType.EXCHANGE_INTENT, LeafType.EXCHANGE_REFUSED})
_ENDS = frozenset({LeafType.EXCHANGE_OUTCOME, LeafType.EXCHANGE_UNKNOWN})
_INSERT_BODIES = tuple(
    f"INSERT INTO body VALUES {', '.join(['(?, ?, ?)'] * count)}" for count in range(BODIES_LIMIT + 1)
)


def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds, always of one length, so that text sorts as time."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def uuid7(at: datetime) -> str:
    """A UUIDv7 (RFC 9562 §5.7): sorts by `at`, then random."""
    value = int(at.timestamp() * 1000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Transaction:
    """One group's turn at the log. `connection` is inside a transaction: jobs neither commit nor roll back."""

    def __init__(self, connection: sqlite3.Connection, sealer: Sealer, writer: str, at: datetime) -> None:
        self.connection = connection
        self.at = at
        self.now = timestamp(at)
        """The transaction's one time, as leaves carry it."""
        self.touched: set[ExchangeId] = set()
        """Exchanges that the current job wrote about."""
        self._sealer = sealer
        self._writer = writer
        size, packed = connection.execute("SELECT size, frontier FROM head").fetchone()
        self.size: int = size
        try:
            self.frontier: Frontier = merkle.unpack(size, packed)
        except ValueError as error:
            raise sqlite.altered(str(error)) from None

    def append(self, record: Record) -> LeafIndex:
        """Seal `record` and write it as the next leaf; durable when the transaction is.

        Raises InternalFault for a record that breaks the log's rules, ValueError for one that does not fit a leaf.
        """
        return self.place(self._sealer.seal(self.connection, record, uuid7(self.at)))

    def place(self, sealed: Sealed) -> LeafIndex:
        """Write an already sealed record as the next leaf."""
        record, index = sealed.record, LeafIndex(self.size)
        if record.exchange is not None:
            self.touched.add(record.exchange)
        sseq, prev, exchanges = self._chain(record)
        place = Place(index, sealed.id, self.now, sseq, None if prev is None else Digest(prev.hex()))
        entry = leaf.format(record, place, sealed.refs)
        digest = merkle.leaf_hash(entry)
        self._track(record, index)
        # From here on only SQLite and the projection can fail; `Writer._perform` relies on it.
        execute = self.connection.execute
        execute(
            "INSERT INTO leaf VALUES (?, ?, ?, ?, ?, ?)",
            (index, record.type.value, record.session, record.exchange, entry, digest),
        )
        if sealed.refs:
            rows = zip(
                range(index * BODIES_LIMIT, (index + 1) * BODIES_LIMIT), sealed.refs, sealed.bodies, strict=False
            )
            values = [value for place, ref, data in rows for value in (place, ref.name, data)]
            execute(_INSERT_BODIES[len(sealed.refs)], values)
        if sseq is not None:
            execute(
                "UPDATE session SET sseq = ?, prev = ?, exchanges = ?, last = ? WHERE id = ?",
                (sseq + 1, digest, exchanges, self.now, record.session),
            )
        self.frontier = merkle.append(self.size, self.frontier, digest)
        self.size += 1
        if record.approval is not None:
            projection.on_append(self.connection, record, index)
        return index

    def open_session(self, key: str, members: Document) -> SessionId:
        """Begin a session under its pseudonymous key: its data key, and its `session.open` leaf."""
        session = SessionId(uuid7(self.at))
        self._sealer.new_key(self.connection, session, self.at)
        self.connection.execute(
            "INSERT INTO session VALUES (?, ?, ?, ?, 0, x'', 0, NULL)", (session, key, self.size, self.now)
        )
        self.append(Record(LeafType.SESSION_OPEN, members, session))
        return session

    def close_session(self, session: SessionId, why: str) -> None:
        """End a session with the count of exchanges that began in it; nothing happens when it has ended already.

        What those exchanges still have to say may follow; a new exchange may not.
        """
        row = self.connection.execute("SELECT exchanges, closed FROM session WHERE id = ?", (session,)).fetchone()
        if row is None or row[1] is not None:
            return
        index = self.append(Record(LeafType.SESSION_CLOSE, {"why": why, "exchanges": row[0]}, session))
        self.connection.execute("UPDATE session SET closed = ? WHERE id = ?", (index, session))

    def unknown(self, exchange: ExchangeId, session: SessionId | None, intent: int, why: str) -> None:
        """End an exchange of which nobody can say any more how it ended. It is never tried again."""
        members: Document = {"why": why, "intent": intent, "forwarded": "maybe"}
        self.append(Record(LeafType.EXCHANGE_UNKNOWN, members, session, exchange))

    def leaf(self, index: LeafIndex) -> Leaf:
        """The leaf at `index`. Raises EvidenceFault when it is not there or not a leaf."""
        return read_leaf(self.connection, index)

    def unseal(self, index: LeafIndex, name: str) -> bytes:
        """The plaintext of body `name` of leaf `index`. Raises EvidenceFault when there is none or it was altered."""
        return unseal(self.connection, self._sealer, self.leaf(index), name)

    def newest_members(self, kind: LeafType) -> Document | None:
        """What the newest leaf of a kind outside any session says, None when the log has none."""
        query = "SELECT max(idx) FROM leaf WHERE type = ? AND session IS NULL"
        (index,) = self.connection.execute(query, (kind.value,)).fetchone()
        return None if index is None else self.leaf(LeafIndex(index)).members

    def archive_bundle(self, digest: Digest, data: bytes) -> None:
        """Keep a policy bundle for ever under its digest; again is no change."""
        self.connection.execute("INSERT OR IGNORE INTO bundle VALUES (?, ?, ?)", (digest, data, self.now))

    def publish(self, signer: Signer) -> None:
        """Sign a checkpoint of the log as it is, unless there is one."""
        newest = self.connection.execute("SELECT max(size) FROM checkpoint").fetchone()[0] or 0
        if self.size < newest:
            raise EvidenceFault(f"The log has {self.size} leaves but {newest} were signed: it was rolled back.")
        if self.size == newest:
            return
        signed = checkpoint.sign(Checkpoint(signer.name, self.size, merkle.root(self.frontier)), signer)
        row = (self.size, signed, merkle.pack(self.frontier), self.now)
        self.connection.execute("INSERT INTO checkpoint VALUES (?, ?, ?, ?)", row)

    def finish(self) -> None:
        """Write the head that the leaves have led to: the last thing before the commit."""
        self.connection.execute("UPDATE head SET size = ?, frontier = ?", (self.size, merkle.pack(self.frontier)))

    def _chain(self, record: Record) -> tuple[int | None, bytes | None, int]:
        """Where the record comes in its session: its sequence number, the hash before it, exchanges begun so far."""
        if record.session is None:
            return None, None, 0
        query = "SELECT sseq, prev, exchanges, closed FROM session WHERE id = ?"
        row = self.connection.execute(query, (record.session,)).fetchone()
        if row is None:
            raise InternalFault("A record names a session that was never opened.")
        sseq, prev, exchanges, closed = row
        if record.type in _BEGINS:
            if closed is not None:
                raise SessionEnded("This session has ended. Begin another with `initialize`.")
            exchanges += 1
        return sseq, prev or None, exchanges

    def _track(self, record: Record, index: LeafIndex) -> None:
        """Keep the list of exchanges that have begun and not ended: each is opened once and ended once."""
        if record.type is LeafType.EXCHANGE_INTENT:
            row = (record.exchange, self._writer, record.session, index)
            opened = self.connection.execute("INSERT OR IGNORE INTO open_exchange VALUES (?, ?, ?, ?)", row)
            if opened.rowcount != 1:
                raise InternalFault("An exchange was begun twice.")
        elif record.type in _ENDS:
            ended = self.connection.execute("DELETE FROM open_exchange WHERE exchange = ?", (record.exchange,))
            if ended.rowcount != 1:
                raise InternalFault("An exchange was ended that is not open: its end is on record already.")


def read_leaf(connection: sqlite3.Connection, index: LeafIndex) -> Leaf:
    """The leaf at `index`. Raises EvidenceFault when it is not there or not a leaf."""
    row = connection.execute("SELECT entry FROM leaf WHERE idx = ?", (index,)).fetchone()
    if row is None:
        raise EvidenceFault(f"There is no leaf {index} in this log.")
    try:
        return leaf.parse(as_bytes(row[0]))
    except ValueError as error:
        raise EvidenceFault(f"Leaf {index} was altered: {error}.") from None


def read_body(connection: sqlite3.Connection, of: Leaf, position: int) -> bytes | None:
    """The ciphertext of the body at `position` of a leaf's list, None when it is not stored."""
    row = connection.execute("SELECT data FROM body WHERE place = ?", (of.index * BODIES_LIMIT + position,)).fetchone()
    return None if row is None else as_bytes(row[0])


def as_bytes(value: object) -> bytes:
    """A column that must hold bytes; text in its place, which only tampering leaves there, is bytes too."""
    return value if isinstance(value, bytes) else str(value).encode()


def unseal(connection: sqlite3.Connection, sealer: Sealer, of: Leaf, name: str) -> bytes:
    """The plaintext of body `name` of a leaf. Raises EvidenceFault when there is none or it was altered."""
    for position, ref in enumerate(of.bodies):
        if ref.name == name:
            data = read_body(connection, of, position)
            if data is None:
                raise EvidenceFault(f"Body `{name}` of leaf {of.index} is missing from the store.")
            return sealer.unseal(connection, of, ref, data)
    raise EvidenceFault(f"Leaf {of.index} has no body `{name}`.")
