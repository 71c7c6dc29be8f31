"""Which replicas are writing to a log in PostgreSQL: each has a row that it says "I live" in, by the database's clock.

One whose lease ran out is dead to the others: whoever finds that ends its exchanges and removes its row, in one
transaction that holds the log's write lock. So a writer that only slept learns it when it has that lock itself, before
it can write anything: its row is gone. It goes on under a new name, and what it still has to say of the exchanges that
were ended is refused.

After an outage all leases have run out. Nobody who was out too may bury: only a writer that has been heard of without a
break for as long as a lease lasts, while the others had the same chance to speak.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.store.engine import Buried, Connection

ALIVE = "SELECT 1 FROM writer WHERE id = ?"


def buried() -> Buried:
    """The fault of a writer whose row is gone."""
    return Buried(
        "This process was silent for so long that another one took it for dead and ended its exchanges as unknown. "
        "It goes on by itself, under another name."
    )


class Leases:
    """The list of writers of one store."""

    def __init__(self, lease_s: float) -> None:
        self._over = f"clock_timestamp() - interval '{lease_s:.3f} seconds'"

    def enlist(self, connection: Connection, writer: str) -> None:
        """Put a writer on the list; again is no change."""
        query = "INSERT INTO writer VALUES (?, clock_timestamp(), clock_timestamp()) ON CONFLICT DO NOTHING"
        connection.execute(query, (writer,))

    def beat(self, connection: Connection, writer: str) -> None:
        """Renew the lease. Raises Buried when there is none any more."""
        query = f"""UPDATE writer SET since = CASE WHEN seen < {self._over} THEN clock_timestamp() ELSE since END,
            seen = clock_timestamp() WHERE id = ?"""
        if connection.execute(query, (writer,)).rowcount != 1:
            raise buried()

    def suspects(self, connection: Connection, writer: str) -> set[str]:
        """Writers whose lease ran out, if `writer` is steady enough to say so."""
        query = f"""SELECT id FROM writer WHERE id <> ? AND seen < {self._over}
            AND EXISTS (SELECT 1 FROM writer WHERE id = ? AND since < {self._over} AND seen >= {self._over})
            UNION SELECT writer FROM open_exchange WHERE writer NOT IN (SELECT id FROM writer)"""
        return {row[0] for row in connection.execute(query, (writer, writer))}

    @contextmanager
    def dead(self, connection: Connection, writer: str) -> Iterator[bool]:
        """Take a writer off the list if its lease has run out; True also when it is not on it."""
        query = f"DELETE FROM writer WHERE id = ? AND seen < {self._over}"
        gone = connection.execute(query, (writer,)).rowcount == 1
        yield gone or connection.execute(ALIVE, (writer,)).fetchone() is None

    def retire(self, connection: Connection, writer: str) -> None:
        """Take a writer that has left nothing open off the list."""
        connection.execute("DELETE FROM writer WHERE id = ?", (writer,))
