"""Exchanges of a writer that died are ended by one that lives.

How a writer is known to be dead is the engine's affair: a lock that the kernel let go of (`flocks.py`), or a lease that
ran out (`leases.py`).
"""

from __future__ import annotations

from gateway.core.types import ExchangeId, SessionId
from gateway.store.engine import Engine
from gateway.store.transaction import Transaction


def bury(transaction: Transaction, engine: Engine, self: str) -> int:
    """End every open exchange whose writer is dead, as unknown. Returns how many there were."""
    ended = 0
    for writer in sorted(engine.suspects(transaction.connection, self)):
        with engine.dead(transaction.connection, writer) as dead:
            if dead:
                ended += end_all(transaction, writer, "writer_died")
    return ended


def end_all(transaction: Transaction, writer: str, why: str) -> int:
    """End every open exchange of one writer as unknown. Returns how many there were."""
    query = "SELECT exchange, session, intent FROM open_exchange WHERE writer = ? ORDER BY intent"
    rows = transaction.connection.execute(query, (writer,)).fetchall()
    for exchange, session, intent in rows:
        transaction.unknown(ExchangeId(exchange), None if session is None else SessionId(session), intent, why)
    return len(rows)
