"""SQLite as the evidence store uses it: durable on commit, checked on open, and its errors told in our words."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

from gateway.core.errors import EvidenceFault
from gateway.store import flocks, schema
from gateway.store.engine import Connection
from gateway.store.kms import Kms

T = TypeVar("T")

BUSY_MS = 2_000
"""How long a writer waits for another's transaction. Those last milliseconds; seconds mean that somebody holds it."""


class Sqlite:
    """The store in a file; see `Engine`."""

    errors = sqlite3.Error
    beat_s = None
    mixed = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def kms(self, kms: Kms) -> Kms:
        return kms

    def connect(self) -> Connection:
        return connect(self.path)

    def read_only(self) -> Connection:
        return read_only(self.path)

    def create_or_check(self, connection: Connection, origin: str) -> None:
        create_or_check(connection, origin)

    def migrate(self, connection: Connection, origin: str) -> int | None:
        before = self.version(connection)
        create_or_check(connection, origin)
        return before

    def version(self, connection: Connection) -> int | None:
        return _version(connection) or None

    def begin(self, connection: Connection, writer: str) -> None:  # noqa: ARG002 - nobody takes a locked file's writer for dead
        patiently(lambda: connection.execute("BEGIN IMMEDIATE"))

    def begin_now(self, connection: Connection) -> bool:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if _is_busy(error):
                return False
            raise
        return True

    def patiently(self, attempt: Callable[[], T]) -> T:
        return patiently(attempt)

    def broken(self, error: Exception) -> bool:  # noqa: ARG002 - a file is there or not: another connection is no other
        return False

    def refused(self, error: Exception) -> bool:
        return isinstance(error, sqlite3.IntegrityError)

    def fault(self, doing: str, error: Exception) -> EvidenceFault:
        return fault(doing, error)

    def faults(self, doing: str) -> AbstractContextManager[None]:
        return faults(doing)

    def enlist(self, connection: Connection, writer: str) -> None:  # noqa: ARG002 - the list is beside the database
        if self._lock is None:
            self._lock = flocks.enlist(self.path, writer)

    def beat(self, connection: Connection, writer: str) -> None:
        """A lock needs no beat."""

    def suspects(self, connection: Connection, writer: str) -> set[str]:
        found = connection.execute("SELECT DISTINCT writer FROM open_exchange WHERE writer != ?", (writer,))
        return {row[0] for row in found}

    def dead(self, connection: Connection, writer: str) -> AbstractContextManager[bool]:  # noqa: ARG002 - as above
        return flocks.taken(self.path, writer)

    def retire(self, connection: Connection, writer: str) -> None:  # noqa: ARG002 - as above
        flocks.retire(self.path, writer)

    def sweep(self, writer: str) -> None:
        flocks.sweep(self.path, writer)

    def settle(self) -> None:
        """Move what the write-ahead log has into the database. What that cannot do yet, it does next time."""
        with contextlib.suppress(sqlite3.Error), contextlib.closing(connect(self.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def leave(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


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


def connect(path: Path) -> sqlite3.Connection:
    """A connection that writes: WAL, synchronous=FULL, explicit transactions. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_MS / 1000, check_same_thread=False)
    try:
        patiently(lambda: prepare(connection))
    except sqlite3.Error:
        connection.close()
        raise
    return connection


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
    # Pages of 4 KB, for a log that nobody settles in time: whoever commits then moves them, and all others wait.
    connection.execute("PRAGMA wal_autocheckpoint=4000")
    connection.execute("PRAGMA busy_timeout=0")  # `patiently` waits in its place.


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises EvidenceFault when there is no store of ours at `path`."""
    if not path.is_file():
        raise EvidenceFault(f"There is no evidence store at {path}. Name it with --store, or start the gateway once.")
    with faults("opening it for reading"):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        check(connection)
        connection.execute("BEGIN")
    return connection


def check(connection: Connection) -> None:
    """Refuse a file that is no evidence store, or one that a newer phigate wrote. Raises EvidenceFault."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != schema.APPLICATION_ID:
        raise EvidenceFault("This file is a database, but not an evidence store of phigate. Name the right file.")
    schema.check_version(_version(connection))


def _version(connection: Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def create_or_check(connection: Connection, origin: str) -> None:
    """Make the tables of a new store for the log `origin`, or check and bring up to date those of an existing one.

    An older store is brought up to date in one transaction, so that it is never half of each. Raises EvidenceFault.
    """
    patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
    try:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not tables:
            for statement in schema.statements():
                connection.execute(statement)
            schema.begin_log(connection, origin)
            connection.execute(f"PRAGMA application_id={schema.APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={schema.VERSION}")
        check(connection)
        _bring_up_to_date(connection)
        schema.check_origin(connection, origin)
    except BaseException:  # Whatever it was, half a store must not stay.
        with contextlib.suppress(sqlite3.Error):  # When the disk is full, SQLite has done it: that is to be told.
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _bring_up_to_date(connection: Connection) -> None:
    version = _version(connection)
    if version != schema.VERSION:
        for statement in schema.migrations(version):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={schema.VERSION}")
