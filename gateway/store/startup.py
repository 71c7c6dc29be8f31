"""What a process checks before it extends a log: that it is the log that was last signed, grown and not rewritten."""

from __future__ import annotations

from gateway.core.evidence import checkpoint, merkle
from gateway.core.evidence.note import Verifier
from gateway.store import head
from gateway.store.engine import Connection, altered
from gateway.store.schema import BODIES_LIMIT
from gateway.store.transaction import Transaction


def check_log(transaction: Transaction, verifier: Verifier, known: tuple[int, bytes]) -> None:
    """Recompute the head from the newest checkpoint and the leaves since. Raises EvidenceFault when they disagree.

    `known`: the size that this process knows the log to have had, and the hash of its last leaf then. Leaves before the
    checkpoint are not read again: `phigate evidence verify` does that.
    """
    try:
        head.holds(transaction.connection, *known)
        if grown(transaction.connection, verifier) != (transaction.size, transaction.frontier):
            raise ValueError("the leaves do not lead to the head that is stored")
    except ValueError as error:
        raise altered(str(error)) from None


def grown(connection: Connection, verifier: Verifier) -> tuple[int, merkle.Frontier]:
    """The size and frontier that the newest checkpoint and the leaves since lead to. Raises ValueError."""
    execute = connection.execute
    size, frontier = 0, merkle.frontier_of(())
    row = execute("SELECT size, note, frontier FROM checkpoint ORDER BY size DESC LIMIT 1").fetchone()
    if row is not None:
        size, frontier = row[0], merkle.unpack(row[0], row[2])
        signed = checkpoint.verify(row[1], [verifier])
        if (signed.size, signed.root) != (size, merkle.root(frontier)):
            raise ValueError("the newest checkpoint does not sign the tree that is stored with it")
    size, frontier = head.grown(connection, size, frontier)
    (newest,) = execute("SELECT max(idx) FROM leaf").fetchone()
    # What stands beside the leaves still tells of those that were cut off, unless somebody thought of all of it: that
    # is what checkpoints kept elsewhere are for.
    (body,) = execute("SELECT max(place) FROM body").fetchone()
    (opened,) = execute("SELECT max(intent) FROM open_exchange").fetchone()
    told = max(-1 if body is None else body // BODIES_LIMIT, -1 if opened is None else opened)
    if size != (0 if newest is None else newest + 1) or told >= size:
        raise ValueError("the last leaves are missing")
    return size, frontier
