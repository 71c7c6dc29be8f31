"""An evidence log for tests: keys, records, a clock, and connections that fail where they are told to."""

import os
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.core.evidence import verify
from gateway.core.evidence.record import LeafType, Record
from gateway.store import keys as keystore
from gateway.store.reader import Reader

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
    return keystore.generate(directory / "keys", origin=ORIGIN)


def intent(session, exchange, bodies=BODIES):
    return Record(LeafType.EXCHANGE_INTENT, {"effect": "allow"}, session, exchange, bodies=bodies)


def outcome(session, exchange, bodies=BODIES):
    return Record(LeafType.EXCHANGE_OUTCOME, {"status": "replied"}, session, exchange, bodies=bodies)


def report(path: Path, keys, **options):
    """What an auditor who has the keys says of the log at `path`."""
    with Reader.open(path, keys) as reader:
        return verify.verify(reader, [keys.signer.verifier], unseal=reader.body, **options)


def findings(checked):
    return [(result.check, finding) for result in checked.results for finding in result.findings]


def types(path: Path):
    with Reader.open(path) as reader:
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
        return Heard(engine.connect(), self._hear)

    def _hear(self, statement, run):
        self.count += 1
        if self.count != self.at:
            return run()
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "kept":
            run()
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error


def tamper(path: Path, *statements: str):
    """Change the store as its administrator could, triggers or not."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
