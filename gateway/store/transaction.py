"""Writing to the log, once it is this process's turn: leaves, their bodies, and what is derived from them.

All of it happens in the writer thread, inside one transaction that holds the write lock, so that the head that
was read is the head that is extended. Nothing here is durable until that transaction commits.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache

from gateway.core.errors import EvidenceFault, InternalFault, SessionEnded
from gateway.core.evidence import checkpoint, leaf, merkle
from gateway.core.evidence.checkpoint import Checkpoint
from gateway.core.evidence.leaf import Leaf, Place
from gateway.core.evidence.merkle import Frontier
from gateway.core.evidence.note import Signer
from gateway.core.evidence.record import LeafType, Record
from gateway.core.evidence.used import Used
from gateway.core.types import Digest, Document, ExchangeId, LeafIndex, SessionId
from gateway.store import emergencies, projection, usage
from gateway.store import head as ends
from gateway.store.engine import Connection, altered
from gateway.store.schema import BODIES_LIMIT
from gateway.store.sealing import Sealed, Sealer
from gateway.store.stamps import timestamp, uuid7

_BEGINS = frozenset({LeafType.EXCHANGE_INTENT, LeafType.EXCHANGE_REFUSED})
_ENDS = frozenset({LeafType.EXCHANGE_OUTCOME, LeafType.EXCHANGE_UNKNOWN})
_OWES_OR_ENDS = _ENDS | {LeafType.EXCHANGE_INTENT}
_NEEDS_LIVE_SESSION = _BEGINS | {LeafType.EXCHANGE_MERGED}
_ROWS_EXACT, _ROWS_LIMIT = 8, 64
_CHAINS_LIMIT = 4096


@dataclass(slots=True)
class Chain:
    """A session as far as the log goes."""

    sseq: int
    prev: bytes
    exchanges: int
    closed: bool


@dataclass(slots=True)
class Memory:
    """What a process knows from its last turn, so that it need not read it again."""

    size: int = 0
    newest: bytes = b""
    """The hash of the log's last leaf."""
    frontier: Frontier = ()
    chains: dict[SessionId, Chain] = field(default_factory=dict)
    """Right only while the log is as this process left it: any process may write in a session, and adds a leaf then."""
    opened: set[ExchangeId] | None = None
    """The exchanges that this process has open; None: to be read. Only the dead have theirs ended by others."""


class Transaction:
    """One group's turn at the log, inside a transaction: jobs neither commit nor roll back.

    Leaves are written some at a time: each statement costs the thread its turn at the interpreter. Whoever asks for
    `connection` finds all of them written.
    """

    def __init__(
        self, connection: Connection, sealer: Sealer, writer: str, at: datetime, memory: Memory | None = None
    ) -> None:
        self.at = at
        self.now = timestamp(at)
        """The transaction's one time, as leaves carry it."""
        self.touched: set[ExchangeId] = set()
        """Exchanges that the current job wrote about."""
        self._connection = connection
        self._sealer = sealer
        self._writer = writer
        self._memory = Memory() if memory is None else memory
        self._leaves: list[tuple[object, ...]] = []
        self._bodies: list[tuple[object, ...]] = []
        self._began: dict[ExchangeId, tuple[object, ...]] = {}
        self._ended: list[tuple[ExchangeId]] = []
        self._used: list[Used] = []
        self._moved: dict[SessionId, Chain] = {}
        """The chains that have grown since they were written."""
        self.newest: bytes | None = None
        """The hash of the log's last leaf, if that was written here."""
        self.size: int
        self.frontier: Frontier
        self._find_end()

    @property
    def connection(self) -> Connection:
        """The connection, for whatever else is kept in step with the log."""
        self.flush()
        self._memory.chains.clear()  # What is done with it may be about a session.
        return self._connection

    def append(self, record: Record) -> LeafIndex:
        """Seal `record` and write it as the next leaf; durable when the transaction is.

        Raises InternalFault for a record that breaks the log's rules, ValueError for one that does not fit a leaf.
        """
        return self.place(self._sealer.seal(self._connection, record, self.at))

    def place(self, sealed: Sealed) -> LeafIndex:
        """Write an already sealed record as the next leaf."""
        record, index = sealed.record, LeafIndex(self.size)
        kind, session, exchange = record.type, record.session, record.exchange
        if exchange is not None:
            self.touched.add(exchange)
        chain = None
        if session is not None:
            chain = self._memory.chains.get(session) or self._chain(session)
            if chain.closed and kind in _NEEDS_LIVE_SESSION:
                raise SessionEnded("This session has ended. Begin another with `initialize`.")
        entry = leaf.format(record, self._place(index, sealed.id, chain), sealed.refs)
        if kind in _OWES_OR_ENDS:
            self._track(record, index)
        # From here on only the database and the projection can fail; `Writer._perform` relies on it.
        digest = merkle.leaf_hash(entry)
        self._leaves.append((index, kind.value, session, exchange, entry, digest))
        place = index * BODIES_LIMIT
        for ref, data in zip(sealed.refs, sealed.bodies, strict=True):
            self._bodies.append((place, ref.name, data))
            place += 1
        if chain is not None and session is not None:
            chain.sseq, chain.prev = chain.sseq + 1, digest
            chain.exchanges += kind in _BEGINS
            self._moved[session] = chain
        self.frontier, self.newest = merkle.append(index, self.frontier, digest), digest
        self.size += 1
        if record.used is not None:
            self._used.append(record.used)
        if record.approval is not None:
            projection.on_append(self.connection, record, index)
        if kind is LeafType.EMERGENCY_ACCESS:
            emergencies.on_append(self.connection, record, index, self.at)
        return index

    def flush(self) -> None:
        """Write the leaves that have gathered, and what is derived from them. Raises one of `Engine.errors`."""
        if not self._leaves:
            return
        _execute(self._connection, "INSERT INTO leaf VALUES {}", "(?,?,?,?,?,?)", self._leaves)
        _execute(self._connection, "INSERT INTO body VALUES {}", "(?,?,?)", self._bodies)
        _execute(self._connection, "INSERT INTO open_exchange VALUES {}", "(?,?,?,?)", [*self._began.values()])
        ended = _execute(self._connection, "DELETE FROM open_exchange WHERE exchange IN ({})", "?", self._ended)
        if ended != len(self._ended):
            # Fails the group, or the job that asked for this: what was written by then is undone.
            raise EvidenceFault(
                "The evidence store refused a change: an exchange of this process was ended by another process."
            )
        self._write_chains()
        if self._used:
            usage.charge(self._connection, self._used, self.at)
        self._clear()

    def forget(self, size: int, frontier: Frontier, newest: bytes | None) -> None:
        """The current job was undone in the database: go on from where the log was before it."""
        self.size, self.frontier, self.newest, self._memory.opened = size, frontier, newest, None
        self._memory.chains.clear()
        self._clear()

    def open_session(self, key: str, members: Document) -> SessionId:
        """Begin a session under its pseudonymous key: its data key, and its `session.open` leaf."""
        session = SessionId(uuid7(self.at))
        self._sealer.new_key(self.connection, session, self.at)
        self.connection.execute(
            "INSERT INTO session VALUES (?, ?, ?, ?, 0, ?, 0, NULL)", (session, key, self.size, self.now, b"")
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
        self.connection.execute("INSERT INTO bundle VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (digest, data, self.now))

    def archived_bundle(self, digest: Digest) -> bytes | None:
        """A policy bundle from the archive; None when it is not there."""
        row = self.connection.execute("SELECT data FROM bundle WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else as_bytes(row[0])

    def publish(self, signer: Signer) -> None:
        """Sign a checkpoint of the log as it is, and store its head, unless that was done."""
        newest = self.connection.execute("SELECT max(size) FROM checkpoint").fetchone()[0] or 0
        if self.size < newest:
            raise EvidenceFault(f"The log has {self.size} leaves but {newest} were signed: it was rolled back.")
        if self.size == newest:
            return
        signed = checkpoint.sign(Checkpoint(signer.name, self.size, merkle.root(self.frontier)), signer)
        row = (self.size, signed, merkle.pack(self.frontier), self.now)
        self.connection.execute("INSERT INTO checkpoint VALUES (?, ?, ?, ?)", row)
        ends.store(self.connection, self.size, self.frontier)

    def finish(self, *, head: bool) -> None:
        """Write what has gathered, and with `head` where the log ends now: the last thing before the commit."""
        self.flush()
        if self.newest is not None:
            memory = self._memory
            memory.size, memory.newest, memory.frontier = self.size, self.newest, self.frontier
            if head:
                ends.store(self._connection, self.size, self.frontier)

    def _find_end(self) -> None:
        """Where the log ends. What other processes have written since this one was last here is looked through."""
        memory, (size, newest) = self._memory, ends.newest(self._connection)
        if size != memory.size or newest != memory.newest:
            memory.chains.clear()
            try:
                memory.frontier = self._grown()
            except ValueError as error:
                raise altered(str(error)) from None
            memory.size, memory.newest = size, newest
        self.size, self.frontier = size, memory.frontier

    def _grown(self) -> Frontier:
        """The frontier, from what is known of the log and the leaves since. Raises ValueError."""
        memory, (size, frontier) = self._memory, ends.stored(self._connection)
        if ends.holds(self._connection, memory.size, memory.newest) and size < memory.size:
            size, frontier = memory.size, memory.frontier
        return ends.grown(self._connection, size, frontier)[1]

    def _place(self, index: LeafIndex, id: str, chain: Chain | None) -> Place:
        if chain is None:
            return Place(index, id, self.now)
        return Place(index, id, self.now, chain.sseq, Digest(chain.prev.hex()) if chain.prev else None)

    def _chain(self, session: SessionId) -> Chain:
        """Where a session's next record comes to stand. Raises InternalFault when there is no such session."""
        chains = self._memory.chains
        query = "SELECT sseq, prev, exchanges, closed FROM session WHERE id = ?"
        row = self._connection.execute(query, (session,)).fetchone()
        if row is None:
            raise InternalFault("A record names a session that was never opened.")
        if len(chains) >= _CHAINS_LIMIT:
            self._write_chains()
            chains.clear()
        chains[session] = chain = Chain(row[0], row[1], row[2], row[3] is not None)
        return chain

    def _track(self, record: Record, index: LeafIndex) -> None:
        """Keep the list of exchanges that have begun and not ended: each is opened once and ended once."""
        exchange, kind = record.exchange, record.type
        if exchange is None:
            raise InternalFault(f"A record of type {kind.value} names no exchange.")
        opened = self._opened()
        if kind is LeafType.EXCHANGE_INTENT:
            if exchange in opened:
                raise InternalFault("An exchange was begun twice.")
            opened.add(exchange)
            self._began[exchange] = (exchange, self._writer, record.session, index)
            return
        if exchange not in opened and not self._open_elsewhere(exchange):
            raise InternalFault("An exchange was ended that is not open: its end is on record already.")
        opened.discard(exchange)
        if self._began.pop(exchange, None) is None:
            self._ended.append((exchange,))

    def _opened(self) -> set[ExchangeId]:
        memory = self._memory
        if memory.opened is None:
            query = "SELECT exchange FROM open_exchange WHERE writer = ?"
            memory.opened = {row[0] for row in self._connection.execute(query, (self._writer,))}
        return memory.opened

    def _open_elsewhere(self, exchange: ExchangeId) -> bool:
        """Whether another process began it and it has no end yet, in this transaction neither."""
        self.flush()
        query = "SELECT 1 FROM open_exchange WHERE exchange = ?"
        return self._connection.execute(query, (exchange,)).fetchone() is not None

    def _write_chains(self) -> None:
        query = "UPDATE session SET sseq = ?, prev = ?, exchanges = ?, last = ? WHERE id = ?"
        for session, chain in self._moved.items():
            self._connection.execute(query, (chain.sseq, chain.prev, chain.exchanges, self.now, session))
        self._moved.clear()

    def _clear(self) -> None:
        self._leaves.clear()
        self._bodies.clear()
        self._began.clear()
        self._ended.clear()
        self._used.clear()
        self._moved.clear()


def _execute(connection: Connection, statement: str, row: str, rows: Sequence[tuple[object, ...]]) -> int:
    """Run `statement`, which takes any number of rows, for `rows`; returns how many it changed.

    Only ever for up to 8, or 16, 32 or 64 of them, so that there are few different statements and SQLite keeps them
    compiled.
    """
    changed = start = 0
    while (rest := len(rows) - start) > 0:
        count = rest if rest <= _ROWS_EXACT else min(1 << rest.bit_length() - 1, _ROWS_LIMIT)
        values = [*itertools.chain.from_iterable(rows[start : start + count])]
        changed += connection.execute(_repeated(statement, row, count), values).rowcount
        start += count
    return changed


@cache
def _repeated(statement: str, row: str, count: int) -> str:
    return statement.format(",".join([row] * count))


def read_leaf(connection: Connection, index: LeafIndex) -> Leaf:
    """The leaf at `index`. Raises EvidenceFault when it is not there or not a leaf."""
    row = connection.execute("SELECT entry FROM leaf WHERE idx = ?", (index,)).fetchone()
    if row is None:
        raise EvidenceFault(f"There is no leaf {index} in this log.")
    try:
        return leaf.parse(as_bytes(row[0]))
    except ValueError as error:
        raise EvidenceFault(f"Leaf {index} was altered: {error}.") from None


def read_body(connection: Connection, of: Leaf, position: int) -> bytes | None:
    """The ciphertext of the body at `position` of a leaf's list, None when it is not stored."""
    row = connection.execute("SELECT data FROM body WHERE place = ?", (of.index * BODIES_LIMIT + position,)).fetchone()
    return None if row is None else as_bytes(row[0])


def as_bytes(value: object) -> bytes:
    """A column that must hold bytes; text in its place, which only tampering leaves there, is bytes too."""
    return value if isinstance(value, bytes) else str(value).encode()


def unseal(connection: Connection, sealer: Sealer, of: Leaf, name: str) -> bytes:
    """The plaintext of body `name` of a leaf. Raises EvidenceFault when there is none or it was altered."""
    for position, ref in enumerate(of.bodies):
        if ref.name == name:
            data = read_body(connection, of, position)
            if data is None:
                raise EvidenceFault(f"Body `{name}` of leaf {of.index} is missing from the store.")
            return sealer.unseal(connection, of, ref, data)
    raise EvidenceFault(f"Leaf {of.index} has no body `{name}`.")
