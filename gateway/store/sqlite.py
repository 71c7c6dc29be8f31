"""SQLite as the evidence store uses it: durable on commit, checked on open, and its errors told in our words."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from gateway.core.errors import EvidenceFault
from gateway.store import schema

T = TypeVar("T")

BUSY_MS = 2_000
"""How long a writer waits for another's transaction. Those last milliseconds; seconds mean that somebody holds it."""


@contextmanager
def faults(doing: str) -> Iterator[None]:
    """Translate SQLite's errors, whose text names tables and files but never values, into EvidenceFault."""
    try:
        yield
    except sqlite3.Error as error:
        raise fault(doing, error) from error


def fault(doing: str, error: Exception) -> EvidenceFault:
    """The EvidenceFault for a failure of the store, with what to do about it."""
    text = str(error)
    if "locked" in text or "busy" in text:
        advice = "another program holds the database locked; find and stop it (lsof on the file names it)"
    elif "full" in text or "disk I/O" in text:
        advice = "free space on its volume, or look at the disk; the log goes on by itself when a write succeeds"
    elif "readonly" in text or "unable to open" in text:
        advice = "check the path, and that this user may write the file and its directory"
    else:
        advice = "keep the file as it is and run `phigate evidence verify` on a copy"
    what = f"The evidence store failed while {doing}: {text}."
    return EvidenceFault(f"{what} Nothing is served until it works: {advice}.")


def altered(detail: str) -> EvidenceFault:
    """The EvidenceFault for a store that is not as we left it."""
    return EvidenceFault(
        f"This evidence store was altered or damaged: {detail}. Nothing is added to it. Keep it as it is, run "
        "`phigate evidence verify` on a copy, and restore or start a new store."
    )


def connect(path: Path) -> sqlite3.Connection:
    """A connection that writes: WAL, synchronous=FULL, explicit transactions. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000, check_same_thread=False)
    try:
        patiently(lambda: prepare(connection))
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def begin(connection: sqlite3.Connection) -> None:
    """Take the write lock, waiting as long as BUSY_MS. Raises sqlite3.OperationalError when that is over."""
    patiently(lambda: connection.execute("BEGIN IMMEDIATE"))


def begin_now(connection: sqlite3.Connection) -> bool:
    """Take the write lock if it can be had at once; False while another connection has it. Raises sqlite3.Error."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if _is_busy(error):
            return False
        raise
    return True


def _is_busy(error: sqlite3.OperationalError) -> bool:
    """Whether it is only another's turn; extended codes have the primary one in their low byte."""
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def patiently(attempt: Callable[[], T]) -> T:
    """Try again every millisecond while another connection is in the way, as long as BUSY_MS.

    SQLite's own waiting sleeps up to 100 ms at a time. Groups of other processes last a millisecond or two, so asking
    that often keeps turns short and fair. And some waiting it does not do by itself: a store that two processes are the
    first to open is switched to WAL by one of them, and the other is told at once that it is locked.
    """
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.001)


def prepare(connection: sqlite3.Connection) -> None:
    """Set what durability and our own habits need on a fresh connection."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")  # NORMAL in WAL mode loses acknowledged commits at power loss.
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA wal_autocheckpoint=1000")  # pages: 4 MB moved at a time keeps the stall of a group short
    connection.execute("PRAGMA busy_timeout=0")  # `patiently` waits in its place.


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises EvidenceFault when there is no store of ours at `path`."""
    if not path.is_file():
        raise EvidenceFault(f"There is no evidence store at {path}. Name it with --store, or start the gateway once.")
    with faults("opening it for reading"):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        check(connection)
    return connection


def check(connection: sqlite3.Connection) -> None:
    """Refuse a file that is no evidence store, or one that a newer phigate wrote. Raises EvidenceFault."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != schema.APPLICATION_ID:
        raise EvidenceFault("This file is a database, but not an evidence store of phigate. Name the right file.")
    if not 1 <= version <= schema.VERSION:
        raise EvidenceFault(
            f"This evidence store has schema version {version} and this phigate reads up to {schema.VERSION}. "
            "Use the phigate release that wrote it."
        )


def require_newest(connection: sqlite3.Connection) -> None:
    """Refuse a store that has no tables yet for what came with this version. Raises EvidenceFault."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != schema.VERSION:
        raise EvidenceFault(
            f"This evidence store has schema version {version}, which knows nothing of this yet. "
            "Start the gateway once: it brings the store up to date."
        )


def create_or_check(connection: sqlite3.Connection, origin: str) -> None:
    """Make the tables of a new store for the log `origin`, or check and bring up to date those of an existing one.

    An older store is brought up to date in one transaction, so that it is never half of each. Raises EvidenceFault.
    """
    begin(connection)
    try:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not tables:
            for statement in schema.statements():
                connection.execute(statement)
            connection.execute("INSERT INTO origin VALUES (1, ?)", (origin,))
            connection.execute("INSERT INTO head VALUES (1, 0, x'')")
            connection.execute(f"PRAGMA application_id={schema.APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={schema.VERSION}")
        check(connection)
        _bring_up_to_date(connection)
        (name,) = connection.execute("SELECT name FROM origin").fetchone()
        if name != origin:
            raise EvidenceFault(
                f"This evidence store belongs to the log {name} and the keys to {origin}. "
                "Use the keys directory that was made with it."
            )
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != schema.VERSION:
        for statement in schema.migrations(version):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={schema.VERSION}")
