"""Where the log ends: its size, and the frontier of its tree.

The table `head` has both as of the newest checkpoint, and in a store that older releases may be writing to at the same
time as of the newest leaf. What was written since is told by the leaves themselves: so a commit need not change it.
"""

from __future__ import annotations

from gateway.core.evidence import merkle
from gateway.core.evidence.merkle import Frontier
from gateway.store.engine import Connection


def newest(connection: Connection) -> tuple[int, bytes]:
    """The size of the log and the hash of its last leaf, b"" where there is none."""
    row = connection.execute("SELECT idx, hash FROM leaf ORDER BY idx DESC LIMIT 1").fetchone()
    return (0, b"") if row is None else (row[0] + 1, row[1])


def holds(connection: Connection, size: int, digest: bytes) -> bool:
    """Whether the log has `size` leaves or more, the last of these with this hash. Raises ValueError for another one.

    What another process signed meanwhile is no proof of it: that process may never have seen the leaf.
    """
    if not size:
        return True
    query = "SELECT idx, hash FROM leaf WHERE idx >= ? ORDER BY idx LIMIT 1"
    row = connection.execute(query, (size - 1,)).fetchone()
    if row is not None and (row[0] != size - 1 or row[1] != digest):
        raise ValueError(f"leaf {size - 1} is not the one that was written")
    return row is not None


def stored(connection: Connection) -> tuple[int, Frontier]:
    """The head as it is stored. Raises ValueError for one that is none."""
    size, packed = connection.execute("SELECT size, frontier FROM head").fetchone()
    return size, merkle.unpack(size, packed)


def store(connection: Connection, size: int, frontier: Frontier) -> None:
    """Store the head."""
    connection.execute("UPDATE head SET size = ?, frontier = ?", (size, merkle.pack(frontier)))


def grown(connection: Connection, size: int, frontier: Frontier) -> tuple[int, Frontier]:
    """What a log of `size` leaves has grown to. Raises ValueError where a leaf is missing, or was altered since."""
    query = "SELECT idx, entry, hash FROM leaf WHERE idx >= ? ORDER BY idx"
    for index, entry, digest in connection.execute(query, (size,)):
        if index != size:
            raise ValueError(f"leaf {size} is missing")
        if not isinstance(entry, bytes) or merkle.leaf_hash(entry) != digest:
            raise ValueError(f"leaf {size} was altered")
        frontier = merkle.append(size, frontier, digest)
        size += 1
    return size, frontier
