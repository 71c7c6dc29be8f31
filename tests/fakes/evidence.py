"""An evidence log for tests: keys, records, a clock, and connections that fail where they are told to."""

import os
import signal
import sqlite3
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from gateway.core.evidence import verify
from gateway.core.evidence.record import LeafType, Record
from gateway.store import engines, flocks, kms
from gateway.store import keys as keystore
from gateway.store.database import Database, is_url
from gateway.store.ddl import GUARDED
from gateway.store.engines import Store
from gateway.store.reader import Reader
from gateway.store.sqlite import Sqlite

URL_FILE = "postgresql.url"
ORIGIN = "example.org/log"
SECRET = "Jane Roe, SSN 900-45-6789"
BODIES = {"request": f"{SECRET} asked".encode(), "decision": f"{SECRET} decided".encode()}


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self, moment=datetime(2026, 11, 22, 12, 0, tzinfo=UTC)):
        self.moment = moment

    def __call__(self):
        return self.moment

    def passes(self, seconds):
        self.moment += timedelta(seconds=seconds)


def now():
    return datetime.now(UTC)


def make_keys(directory: Path):
    """Keys with those of this month and of the clock's, as replicas have them."""
    made = keystore.generate(directory / "keys", origin=ORIGIN)
    for at in (now(), Clock().moment):
        kms.prepare(directory / "keys", at, 2)
    return made


def intent(session, exchange, bodies=BODIES):
    return Record(LeafType.EXCHANGE_INTENT, {"effect": "allow"}, session, exchange, bodies=bodies)


def outcome(session, exchange, bodies=BODIES):
    return Record(LeafType.EXCHANGE_OUTCOME, {"status": "replied"}, session, exchange, bodies=bodies)


def report(store: Store, keys, **options):
    """What an auditor who has the keys says of the log in `store`."""
    with Reader.open(store, keys) as reader:
        return verify.verify(reader, [keys.signer.verifier], unseal=reader.body, **options)


def findings(checked):
    return [(result.check, finding) for result in checked.results for finding in result.findings]


def types(store: Store):
    with Reader.open(store) as reader:
        return [leaf.type for leaf in reader.leaves()]


class Heard:
    """A connection whose statements somebody hears first: `hear(statement, run)` is asked in the place of each."""

    def __init__(self, connection, hear):
        self._connection = connection
        self._hear = hear

    @property
    def in_transaction(self):
        return self._connection.in_transaction

    def execute(self, statement, *values):
        return self._hear(statement, lambda: self._connection.execute(statement, *values))

    def executemany(self, statement, rows):
        return self._hear(statement, lambda: self._connection.executemany(statement, rows))

    def close(self):
        self._connection.close()


class Fails:
    """Makes connections whose statement number `at` goes wrong, counted over all of them; later ones are sound.

    `how` is "lost" (it fails and has done nothing), "kept" (it has done its work and still says that it failed), or
    "killed" (the process is gone before it).
    """

    def __init__(self, at: int, how: str):
        self.at = at
        self.how = how
        self.count = 0

    def __call__(self, engine):
        self._engine = engine
        return Heard(engine.connect(), self._hear)

    def _hear(self, statement, run):
        self.count += 1
        if self.count != self.at:
            return run()
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "kept":
            run()
        if not isinstance(self._engine, Sqlite):
            raise psycopg.errors.IoError("could not write")
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error


def database(url: str) -> Database:
    """A store in PostgreSQL that is made when it is opened, and buries writers after a second of silence."""
    return Database(url, migrates=True, lease_s=1.0)


def store_in(directory: Path) -> Store:
    """The store of a directory: the database that it names, else a file in it."""
    named = directory / URL_FILE
    return database(named.read_text()) if named.exists() else directory / "evidence.db"


def named(text: str) -> Store:
    """The store that a test names to a process of its own."""
    return database(text) if is_url(text) else Path(text)


@contextmanager
def edited(store: Store):
    """A connection of somebody who may change the store behind the gateway's back, each statement at once."""
    with closing(engines.of(store).connect()) as connection:
        yield connection


@contextmanager
def locked(store: Store):
    """The log's write lock is another's while the block runs."""
    with edited(store) as connection:
        if isinstance(store, Path):
            connection.execute("BEGIN IMMEDIATE")
        else:
            connection.execute("BEGIN; SELECT 1 FROM head FOR UPDATE")
        yield
        connection.execute("ROLLBACK")


_ZEROBLOB = """CREATE FUNCTION zeroblob(int) RETURNS bytea LANGUAGE sql
    AS $$ SELECT decode(repeat('00', $1), 'hex') $$"""
"""SQLite's function, for PostgreSQL."""


def tamper(store: Store, *statements: str):
    """Change the store as its administrator could, triggers or not."""
    with edited(store) as connection:
        if isinstance(store, Path):
            triggers = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall()
            drops = [f"DROP TRIGGER {name}" for (name,) in triggers]
        else:
            drops = [f"DROP TRIGGER {table}_append_only ON {table}" for table in GUARDED]
            connection.execute(_ZEROBLOB)
        for statement in (*drops, *statements):
            connection.execute(statement)


def set_version(store: Store, version: int):
    """Have the store say that it has this schema version."""
    with edited(store) as connection:
        sqlite = isinstance(store, Path)
        connection.execute(
            f"PRAGMA user_version = {version}" if sqlite else f"UPDATE schema_version SET version = {version}"
        )


def writers_of(store: Store) -> list[str]:
    """Who is on the list of writers."""
    if isinstance(store, Path):
        return [lock.name for lock in flocks.directory_of(store).iterdir()]
    with edited(store) as connection:
        return [writer for (writer,) in connection.execute("SELECT id FROM writer")]
