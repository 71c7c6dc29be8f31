"""Which session a client's call belongs to: the live one under its key, else a new one.

A session ends when its client says so, or when nothing was heard of it for the idle time. Several processes may serve
one session; its row in the store is the truth, and this process's memory of it is trusted for half the idle time only.
"""

from __future__ import annotations

import time
from datetime import timedelta

from gateway.core.errors import SessionEnded
from gateway.core.types import Document, SessionId
from gateway.store.engine import Connection
from gateway.store.stamps import timestamp
from gateway.store.transaction import Transaction

_REMEMBERED_LIMIT = 16_384


class Remembered:
    """Sessions that this process has lately used, so that a call need not ask the store."""

    def __init__(self) -> None:
        self._used: dict[str, tuple[SessionId, float]] = {}

    def get(self, key: str, idle_s: float) -> SessionId | None:
        """The session under `key`, if it was used so recently that no process can have closed it for idleness."""
        known = self._used.get(key)
        now = time.monotonic()
        if known is None or now - known[1] > idle_s / 2:
            return None
        self._used[key] = (known[0], now)
        return known[0]

    def put(self, key: str, session: SessionId) -> None:
        """Remember that `session` is live under `key`."""
        if len(self._used) >= _REMEMBERED_LIMIT:
            self._used.clear()
        self._used[key] = (session, time.monotonic())

    def forget(self, session: SessionId) -> None:
        """The session has ended."""
        self._used = {key: known for key, known in self._used.items() if known[0] != session}


def find_or_open(transaction: Transaction, key: str, members: Document, idle_s: float) -> SessionId:
    """The live session under the pseudonymous `key`; one that has been idle too long is closed and a new one opened."""
    query = "SELECT id, last FROM session WHERE key = ? AND closed IS NULL"
    for id, last in transaction.connection.execute(query, (key,)).fetchall():
        session = SessionId(id)
        if last >= _horizon(transaction, idle_s):
            transaction.connection.execute("UPDATE session SET last = ? WHERE id = ?", (transaction.now, session))
            return session
        transaction.close_session(session, "idle")
    return transaction.open_session(key, members)


def fresh(connection: Connection, session: SessionId, since: str) -> bool:
    """Whether something was heard of a live session since then. Raises SessionEnded where it is not live."""
    row = connection.execute("SELECT closed, last FROM session WHERE id = ?", (session,)).fetchone()
    if row is None or row[0] is not None:
        raise SessionEnded("This session has ended. Begin another with `initialize`.")
    return str(row[1]) >= since


def touch(transaction: Transaction, session: SessionId) -> None:
    """Something was heard of a session that no leaf of its own tells."""
    if not fresh(transaction.connection, session, transaction.now):
        transaction.connection.execute("UPDATE session SET last = ? WHERE id = ?", (transaction.now, session))


def close_idle(transaction: Transaction, idle_s: float) -> list[SessionId]:
    """Close the sessions of which nothing was heard for `idle_s` seconds and that have no exchange open."""
    query = """SELECT id FROM session WHERE closed IS NULL AND last < ?
        AND id NOT IN (SELECT session FROM open_exchange WHERE session IS NOT NULL) LIMIT 256"""
    rows = transaction.connection.execute(query, (_horizon(transaction, idle_s),)).fetchall()
    sessions = [SessionId(row[0]) for row in rows]
    for session in sessions:
        transaction.close_session(session, "idle")
    return sessions


def _horizon(transaction: Transaction, idle_s: float) -> str:
    return timestamp(transaction.at - timedelta(seconds=idle_s))
