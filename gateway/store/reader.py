"""Reading the evidence without touching it: for auditors, the CLI and reports, also on a file that nobody serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.core.errors import EvidenceFault
from gateway.core.evidence import leaf as leaves
from gateway.core.evidence import merkle
from gateway.core.evidence.leaf import Leaf
from gateway.core.evidence.proof import Proof
from gateway.core.evidence.record import LeafType
from gateway.core.types import ApprovalId, Digest, ExchangeId, LeafIndex, SessionId
from gateway.store import engines, head, schema
from gateway.store.engine import Connection, Engine
from gateway.store.engines import Store
from gateway.store.keys import Keys
from gateway.store.sealing import Sealer
from gateway.store.transaction import as_bytes, read_body, read_leaf, unseal

_READ_AT_ONCE = 512
"""Leaves in one query: a log is longer than memory."""


@dataclass(frozen=True, slots=True)
class Session:
    """A session as the store counts it."""

    id: SessionId
    opened: LeafIndex
    last: str
    """RFC 3339: when it was last heard of."""
    leaves: int
    exchanges: int
    closed: LeafIndex | None


class Reader:
    """One snapshot of the log: what is appended meanwhile does not show. Also the auditor's `verify.Evidence`."""

    def __init__(self, connection: Connection, keys: Keys | None, engine: Engine) -> None:
        self._engine = engine
        self.connection = connection
        """For what is kept beside the log."""
        self.origin: str = connection.execute("SELECT name FROM origin").fetchone()[0]
        self._sealer = None if keys is None else Sealer(self.origin, keys.kms, "")

    @staticmethod
    @contextmanager
    def open(store: Store, keys: Keys | None = None) -> Iterator[Reader]:
        """The log in a store. Bodies open only with `keys`. Raises EvidenceFault, also while reading."""
        engine = engines.of(store)
        connection = engine.read_only()
        try:
            with engine.faults("reading"):
                yield Reader(connection, keys, engine)
        finally:
            connection.close()

    def version(self) -> int:
        """The version of the store's schema."""
        return self._engine.version(self.connection) or 0

    def require_newest(self) -> None:
        """Refuse a store that has no tables yet for what came with this version. Raises EvidenceFault."""
        if self.version() != schema.VERSION:
            raise schema.outdated(self.version())

    def size(self) -> int:
        """How many leaves the log has."""
        return self.head()[0]

    def head(self) -> tuple[int, bytes]:
        """The size and root hash that the store gives itself. A frontier that is not one has no root: b''."""
        try:
            size, frontier = head.grown(self.connection, *head.stored(self.connection))
        except ValueError:
            return head.newest(self.connection)[0], b""
        return size, merkle.root(frontier)

    def entries(self, first: int = 0, last: int | None = None) -> Iterator[tuple[LeafIndex, bytes, bytes]]:
        """Index, bytes and stored hash of the leaves from `first` up to, not including, `last`."""
        query = "SELECT idx, entry, hash FROM leaf WHERE idx >= ? AND idx < ? ORDER BY idx LIMIT ?"
        end = 2**62 if last is None else last
        while rows := self.connection.execute(query, (first, end, _READ_AT_ONCE)).fetchall():
            for index, entry, digest in rows:
                yield LeafIndex(index), as_bytes(entry), as_bytes(digest)
            first = rows[-1][0] + 1

    def leaves(self, first: int = 0, last: int | None = None) -> Iterator[Leaf]:
        """The leaves from `first` up to, not including, `last`. Raises EvidenceFault at one that is not a leaf."""
        for index, entry, _ in self.entries(first, last):
            try:
                yield leaves.parse(entry)
            except ValueError as error:
                raise EvidenceFault(f"Leaf {index} was altered: {error}.") from None

    def leaf(self, index: LeafIndex) -> Leaf:
        """The leaf at `index`. Raises EvidenceFault when it is not there or not a leaf."""
        return read_leaf(self.connection, index)

    def session_leaves(self, session: SessionId) -> tuple[Leaf, ...]:
        """A session's leaves in order; none when there is no such session."""
        rows = self.connection.execute("SELECT idx FROM leaf WHERE session = ? ORDER BY idx", (session,)).fetchall()
        return tuple(self.leaf(LeafIndex(row[0])) for row in rows)

    def approval_leaves(self, approvals: frozenset[ApprovalId]) -> tuple[Leaf, ...]:
        """The leaves about these approvals that stand outside any session: what reviewers said."""
        query = "SELECT idx FROM leaf WHERE type = ? AND session IS NULL ORDER BY idx"
        rows = self.connection.execute(query, (LeafType.APPROVAL_RESOLVED.value,)).fetchall()
        found = (self.leaf(LeafIndex(row[0])) for row in rows)
        return tuple(leaf for leaf in found if leaf.approval in approvals)

    def body(self, of: Leaf, name: str) -> bytes:
        """The plaintext of a leaf's body. Raises EvidenceFault without keys, or when it is not what the leaf says.

        Whoever shows it to somebody appends an `evidence.read` leaf first.
        """
        if self._sealer is None:
            raise EvidenceFault(
                "Bodies are sealed, and no keys were given to open them. Name their directory with --keys."
            )
        return unseal(self.connection, self._sealer, of, name)

    def unseal(self, index: LeafIndex, name: str) -> bytes:
        """The plaintext of body `name` of leaf `index`; as `body`."""
        return self.body(self.leaf(index), name)

    def sealed(self, of: Leaf, position: int) -> bytes | None:
        """The ciphertext of the body at `position` of a leaf's list; None when it is not there."""
        return read_body(self.connection, of, position)

    def sessions(self) -> tuple[Session, ...]:
        """Every session, newest first."""
        query = "SELECT id, opened, last, sseq, exchanges, closed FROM session ORDER BY opened DESC"
        return tuple(
            Session(SessionId(id), LeafIndex(opened), last, count, exchanges, closed)
            for id, opened, last, count, exchanges, closed in self.connection.execute(query)
        )

    def open_exchanges(self) -> frozenset[ExchangeId]:
        """Exchanges that began and have not ended, as the writers keep count."""
        return frozenset(ExchangeId(row[0]) for row in self.connection.execute("SELECT exchange FROM open_exchange"))

    def bundle(self, digest: Digest) -> bytes:
        """A policy bundle from the archive. Raises EvidenceFault when it is not there."""
        data = self.archived(digest)
        if data is None:
            raise EvidenceFault(f"The policy bundle {digest} is not in this store's archive.")
        return data

    def archived(self, bundle: Digest) -> bytes | None:
        """A policy bundle from the archive; None when it is not there."""
        row = self.connection.execute("SELECT data FROM bundle WHERE digest = ?", (bundle,)).fetchone()
        return None if row is None else as_bytes(row[0])

    def checkpoints(self) -> Iterator[str]:
        """Every checkpoint, smallest first, as the signed note it is."""
        for (note,) in self.connection.execute("SELECT note FROM checkpoint ORDER BY size"):
            yield str(note)

    def checkpoint(self) -> tuple[int, str]:
        """The newest checkpoint: its size and the signed note. Raises EvidenceFault when nothing was signed yet."""
        query = "SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1"
        row = self.connection.execute(query).fetchone()
        if row is None:
            raise EvidenceFault("This log has no checkpoint yet: nothing was appended to it.")
        return row[0], row[1]

    def proof(self, index: LeafIndex) -> Proof:
        """Proof that leaf `index` is under the newest checkpoint. Raises EvidenceFault when it is not, or not yet."""
        size, signed = self.checkpoint()
        if not 0 <= index < size:
            raise EvidenceFault(f"Leaf {index} is not under a checkpoint; the newest one covers {size} leaves.")
        hashes = [digest for _, _, digest in self.entries(0, size)]
        return Proof(index, merkle.inclusion(hashes, index), signed)
