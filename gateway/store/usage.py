"""What principals have used of their budgets: counted with the outcome's leaf, asked for before each decision.

Counts are kept in buckets of 1/24 of a window, and of patients the last time that each was seen, under keyed digests.
What is asked for is what has been committed: calls that are under way at once do not see each other, so that a budget
may be overrun by as many results as were in flight when it ran out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from gateway.core.evidence.used import Used, Window
from gateway.core.types import Document, Json
from gateway.store.engine import Connection
from gateway.store.stamps import timestamp

_ASKED_AT_ONCE = 500
"""Digests in one query; SQLite takes 32,766 variables at most, and long statements are dear to compile."""


def charge(connection: Connection, charged: Iterable[Used], at: datetime) -> None:
    """Add to the counts, in the caller's transaction."""
    now = int(at.timestamp())
    for used in charged:
        for window in used.windows:
            bucket = now - now % window.bucket
            connection.execute(
                """INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (who, span, bucket) DO UPDATE SET
                    calls = usage.calls + excluded.calls, rows = usage.rows + excluded.rows,
                    phi_fields = usage.phi_fields + excluded.phi_fields,
                    uncounted = usage.uncounted + excluded.uncounted""",
                (
                    used.who,
                    window.name,
                    bucket,
                    bucket + window.bucket + window.seconds,
                    used.calls,
                    used.rows,
                    used.phi_fields,
                    used.uncounted,
                ),
            )
        longest = max((window.seconds for window in used.windows), default=0)
        connection.executemany(
            """INSERT INTO usage_patient VALUES (?, ?, ?, ?) ON CONFLICT (who, patient) DO UPDATE SET
                last = excluded.last, expires = CASE WHEN usage_patient.expires > excluded.expires
                    THEN usage_patient.expires ELSE excluded.expires END""",
            [(used.who, patient, now, now + longest) for patient in used.patients],
        )


def total(connection: Connection, who: str, windows: Iterable[Window], at: datetime) -> Document:
    """What `who` has used in each window: `{window: {calls, rows, patients, phi_fields, frees_up}}`.

    `frees_up`: RFC 3339, when the oldest of it ceases to count; None when nothing was used.
    """
    now = int(at.timestamp())
    query = """SELECT span, CAST(sum(calls) AS BIGINT), CAST(sum(rows) AS BIGINT), CAST(sum(phi_fields) AS BIGINT),
        CAST(sum(uncounted) AS BIGINT), min(expires) FROM usage
        WHERE who = ? AND expires > ? GROUP BY span"""
    counted = {row[0]: row[1:] for row in connection.execute(query, (who, now)).fetchall()}
    found: Document = {}
    for window in windows:
        calls, rows, fields, uncounted, expires = counted.get(window.name, (0, 0, 0, 0, None))
        query = "SELECT count(*) FROM usage_patient WHERE who = ? AND last > ?"
        (patients,) = connection.execute(query, (who, now - window.seconds)).fetchone()
        frees_up: Json = None if expires is None else timestamp(datetime.fromtimestamp(expires, UTC))
        found[window.name] = {
            "calls": calls,
            "rows": rows,
            "patients": patients + uncounted,
            "phi_fields": fields,
            "frees_up": frees_up,
        }
    return found


def unseen(connection: Connection, who: str, window: Window, at: datetime, patients: frozenset[bytes]) -> int:
    """How many of these patients `who` has not seen in the window."""
    since = int(at.timestamp()) - window.seconds
    known = 0
    for part in _parts(sorted(patients)):
        marks = ",".join("?" * len(part))
        query = f"SELECT count(*) FROM usage_patient WHERE who = ? AND last > ? AND patient IN ({marks})"
        known += connection.execute(query, (who, since, *part)).fetchone()[0]
    return len(patients) - known


def sweep(connection: Connection, at: datetime) -> int:
    """Forget what counts in no window any more; returns how many rows that was."""
    now = int(at.timestamp())
    swept = connection.execute("DELETE FROM usage WHERE expires <= ?", (now,)).rowcount
    return swept + connection.execute("DELETE FROM usage_patient WHERE expires <= ?", (now,)).rowcount


def _parts(patients: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(patients), _ASKED_AT_ONCE):
        yield patients[start : start + _ASKED_AT_ONCE]
