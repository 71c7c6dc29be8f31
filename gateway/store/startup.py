"""What a process checks before it extends a log: that it is the log that was last signed, grown and not rewritten."""

from __future__ import annotations

import sqlite3

from gateway.core.errors import EvidenceFault
from gateway.core.evidence import checkpoint, merkle
from gateway.core.evidence.note import Verifier


def check_log(connection: sqlite3.Connection, verifier: Verifier) -> None:
    """Recompute the head from the newest checkpoint and the leaves since. Raises EvidenceFault when they disagree.

    Leaves before that checkpoint are not read again: `phigate evidence verify` does that.
    """
    size, packed = connection.execute("SELECT size, frontier FROM head").fetchone()
    row = connection.execute("SELECT size, note, frontier FROM checkpoint ORDER BY size DESC LIMIT 1").fetchone()
    try:
        frontier: merkle.Frontier = ()
        grown = 0
        if row is not None:
            grown, frontier = row[0], merkle.unpack(row[0], row[2])
            signed = checkpoint.verify(row[1], [verifier])
            if (signed.size, signed.root) != (grown, merkle.root(frontier)):
                raise ValueError("the newest checkpoint does not sign the tree that is stored with it")
        for index, entry in connection.execute("SELECT idx, entry FROM leaf WHERE idx >= ? ORDER BY idx", (grown,)):
            if index != grown:
                raise ValueError(f"leaf {grown} is missing")
            frontier = merkle.append(grown, frontier, merkle.leaf_hash(entry))
            grown += 1
        if grown != size or frontier != merkle.unpack(size, packed):
            raise ValueError("the leaves do not lead to the head that is stored")
    except ValueError as error:
        raise EvidenceFault(
            f"This evidence store was altered or damaged: {error}. Nothing is added to it. Keep it as it is, run "
            "`phigate evidence verify` on a copy, and restore or start a new store."
        ) from None
