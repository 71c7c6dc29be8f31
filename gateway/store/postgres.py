"""PostgreSQL as the evidence store uses it: one log that several replicas write, in turn.

Whoever holds the row `head` has the write lock. Durability is asked for and checked; time that somebody can hold others
up is bounded, by the server for whoever stopped in the middle, and here for a server that does not answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from typing import Any, TypeVar

from gateway.core.errors import ConfigFault, EvidenceFault
from gateway.store import ddl, leases, schema
from gateway.store.database import Database
from gateway.store.engine import Connection, Cursor
from gateway.store.kms import Kms

try:
    import psycopg
    from psycopg import errors, pq
except ImportError:
    raise ConfigFault(
        "A store in PostgreSQL needs its driver, which is not installed. Run: pip install 'phigate[postgresql]'"
    ) from None

T = TypeVar("T")

CONNECT_S = 5
"""How long connecting may take."""
LOCK_S = 2.0
"""How long a writer waits for another's transaction, which lasts milliseconds."""
STATEMENT_S = 8.0
"""How long the server works on one statement of a writer."""
ANSWER_S = 10.0
"""How long a writer waits for the server in all: longer than that only takes who hangs, or a network that is gone."""
PATIENCE_S = 2.0
"""How long a writer tries to connect anew before it says that the store is down: a restart lasts no longer."""
_OLDEST = 140000

_LOST = frozenset({"57P01", "57P02", "57P03", "25P03", "25P04", "25006", "40001", "40P01"})
"""Shut down, crashed, starting; ended for idling; a standby by now; to be tried again by the rules of the database."""


class Conversation:
    """One connection; see `engine.Connection`."""

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self.raw = raw

    @property
    def in_transaction(self) -> bool:
        return self.raw.pgconn.transaction_status != pq.TransactionStatus.IDLE

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Cursor:
        cursor = self.raw.cursor()
        if values:
            cursor.execute(_translated(statement), values, binary=True)
        else:
            cursor.execute(statement.encode())
        if statement == "COMMIT" and cursor.statusmessage != "COMMIT":
            raise errors.InFailedSqlTransaction("the transaction had failed and was rolled back")
        return cursor

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]], /) -> Cursor:
        cursor = self.raw.cursor()
        cursor.executemany(_translated(statement), rows)
        return cursor

    def close(self) -> None:
        self.raw.close()


class _Bounded(psycopg.Connection[Any]):
    """A connection that waits for no answer longer than ANSWER_S."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        return super().wait(gen, interval, ANSWER_S if timeout is None else timeout)


class Postgres:
    """The store in a database; see `Engine`."""

    errors = psycopg.Error
    mixed = True

    def __init__(self, database: Database) -> None:
        self._database = database
        self._leases = leases.Leases(database.lease_s)

    @property
    def beat_s(self) -> float:
        return self._database.lease_s / 4

    def kms(self, kms: Kms) -> Kms:
        return kms.shared()

    def connect(self) -> Connection:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                connection = Conversation(self._connect(_Bounded, target_session_attrs="read-write"))
                break
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        try:
            _prepare(connection, idle_s=max(1.0, self._database.lease_s / 4))
        except BaseException:  # Whatever it was, nobody else knows of this connection.
            connection.close()
            raise
        return connection

    def read_only(self) -> Connection:
        with self.faults("opening it for reading"):
            connection = Conversation(self._connect(psycopg.Connection))
            try:
                schema.check_version(_version(connection) or _missing(self._database))
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            except BaseException:  # As above.
                connection.close()
                raise
        return connection

    def create_or_check(self, connection: Connection, origin: str) -> None:
        version = _version(connection)
        if version != schema.VERSION and self._database.migrates:
            self.migrate(connection, origin)
        elif version is None:
            _missing(self._database)
        else:
            schema.check_version(version)
            if version < schema.VERSION:
                raise schema.outdated(version)
        schema.check_origin(connection, origin)

    def version(self, connection: Connection) -> int | None:
        return _version(connection)

    def migrate(self, connection: Connection, origin: str) -> int | None:
        """Make the tables of a new store, or bring those of an older one up to date, in one transaction.

        Returns the version that there was, None for a new store. Several may do so at once. Raises EvidenceFault.
        """
        try:
            return _migrate(connection, origin)
        except (errors.UniqueViolation, errors.DuplicateTable):
            # Another was quicker, and was waited for: PostgreSQL makes each name once.
            return _migrate(connection, origin)

    def begin(self, connection: Connection, writer: str) -> None:
        # Statements of their own, so that each sees what was committed while the one before waited.
        found = connection.execute(
            "BEGIN; SELECT 1 FROM head FOR UPDATE; " + leases.ALIVE.replace("?", f"'{_plain(writer)}'")
        )
        while found.nextset():  # type: ignore[attr-defined]  # psycopg's: one round trip for three statements
            pass
        if found.fetchone() is None:
            connection.execute("ROLLBACK")
            raise leases.buried()

    def begin_now(self, connection: Connection) -> bool:  # noqa: ARG002 - a network is always waited for
        return False

    def patiently(self, attempt: Callable[[], T]) -> T:
        return attempt()

    def broken(self, error: Exception) -> bool:
        if isinstance(error, errors._WaitTimeout) or not isinstance(error, psycopg.Error):
            return False
        state = error.sqlstate
        if state is None:
            return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        return state in _LOST or state.startswith("08")

    def refused(self, error: Exception) -> bool:
        return isinstance(error, (psycopg.IntegrityError, psycopg.DataError))

    def fault(self, doing: str, error: Exception) -> EvidenceFault:
        return fault(doing, error)

    @contextmanager
    def faults(self, doing: str) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise fault(doing, error) from error

    def enlist(self, connection: Connection, writer: str) -> None:
        self._leases.enlist(connection, writer)

    def beat(self, connection: Connection, writer: str) -> None:
        self._leases.beat(connection, writer)

    def suspects(self, connection: Connection, writer: str) -> set[str]:
        return self._leases.suspects(connection, writer)

    def dead(self, connection: Connection, writer: str) -> AbstractContextManager[bool]:
        return self._leases.dead(connection, writer)

    def retire(self, connection: Connection, writer: str) -> None:
        self._leases.retire(connection, writer)

    def sweep(self, writer: str) -> None:
        """Whoever is buried is off the list."""

    def settle(self) -> None:
        """The server does that by itself."""

    def leave(self) -> None:
        """The writer's last transaction has taken it off the list."""

    def _connect(self, kind: type[psycopg.Connection[Any]], **more: Any) -> psycopg.Connection[Any]:
        secret = self._database.secret()
        given: dict[str, Any] = {} if secret is None else {"password": secret}
        try:
            return kind.connect(
                self._database.url, autocommit=True, connect_timeout=CONNECT_S, tcp_user_timeout=10_000,
                fallback_application_name="phigate", **given, **more,
            )  # fmt: skip
        except psycopg.ProgrammingError:
            raise EvidenceFault(
                f"The address of the evidence store cannot be used: {self._database.url}. See docs/postgresql.md."
            ) from None


_MIGRATE = "Run once, as the tables' owner: phigate store migrate"


def fault(doing: str, error: Exception) -> EvidenceFault:
    """The EvidenceFault for a failure of the database. Its own words only where they cannot hold a value."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    text = f"{type(error).__name__}{f', SQLSTATE {state}' if state else ''}"
    advice = "keep the database as it is and run `phigate evidence verify`"
    if isinstance(error, errors._WaitTimeout):
        text, advice = f"no answer within {ANSWER_S:.0f} s", "look at the database server and the network in between"
    elif isinstance(error, psycopg.OperationalError) and (state is None or state[:2] in ("08", "28", "3D", "57")):
        text = f"{text}: {str(error).partition(chr(10))[0]}" if str(error) else text
        advice = "start the database, or correct its address, user or password; the gateway connects anew by itself"
    elif state == "55P03":
        text, advice = "its write lock was not to be had", "find who holds a row of `head`: pg_stat_activity"
    elif state is not None and state[:2] in ("53", "58"):
        advice = "look at the space on the database's volume, and its limits; the log goes on when a write succeeds"
    elif state == "42501":
        advice = "grant this role what docs/postgresql.md lists"
    return EvidenceFault(
        f"The evidence store failed while {doing}: {text}. Nothing is served until it works: {advice}."
    )


def _prepare(connection: Connection, *, idle_s: float) -> None:
    """Set what durability and our own habits need, and refuse a server that promises less. Raises EvidenceFault.

    `idle_s`: how long the server leaves a transaction to a writer that says nothing. One that was stopped in its turn
    holds up all others, and less long than a lease.
    """
    query = "SELECT current_setting('server_version_num')::int, current_setting('fsync'), "
    query += "current_setting('full_page_writes'), current_setting('synchronous_commit')"
    version, fsync, pages, commits = connection.execute(query).fetchone()
    if version < _OLDEST:
        raise EvidenceFault(f"PostgreSQL {version // 10000} is too old for an evidence store: use 14 or newer.")
    weak = [
        name
        for name, value in (("fsync", fsync), ("full_page_writes", pages), ("synchronous_commit", commits))
        if value in ("off", "local")
    ]
    if weak:
        raise EvidenceFault(
            f"The database runs with {' and '.join(weak)} off: what it acknowledges may be lost, so that nothing is "
            f"written to it. Turn on, for this role and database too: {', '.join(weak)}."
        )
    # Said in this session, so that a later change of the server's configuration cannot take it away.
    connection.execute(
        f"SET synchronous_commit = {commits}; SET lock_timeout = {LOCK_S * 1000:.0f}; "
        f"SET statement_timeout = {STATEMENT_S * 1000:.0f}; "
        f"SET idle_in_transaction_session_timeout = {idle_s * 1000:.0f}; "
        "SET default_transaction_isolation = 'read committed'"
    )


def _version(connection: Connection) -> int | None:
    """The schema version, None where there is no store."""
    if connection.execute("SELECT to_regclass('schema_version') IS NULL").fetchone()[0]:
        return None
    return int(connection.execute("SELECT version FROM schema_version").fetchone()[0])


def _missing(database: Database) -> int:
    raise EvidenceFault(f"There is no evidence store in {database.url} yet. {_MIGRATE}")


def _migrate(connection: Connection, origin: str) -> int | None:
    connection.execute("BEGIN; SET LOCAL statement_timeout = 0")
    try:
        before = _version(connection)
        if before is None:
            for statement in ddl.creation():
                connection.execute(statement)
            schema.begin_log(connection, origin)
            connection.execute("INSERT INTO schema_version VALUES (1, ?)", (schema.VERSION,))
        else:
            (before,) = connection.execute("SELECT version FROM schema_version FOR UPDATE").fetchone()
            schema.check_version(before)
            for statement in ddl.migrations(before):
                connection.execute(statement)
            connection.execute("UPDATE schema_version SET version = ?", (schema.VERSION,))
        schema.check_origin(connection, origin)
    except BaseException:  # Whatever it was, half a store must not stay.
        with suppress(psycopg.Error):  # A connection that broke has taken it along, and why it broke is to be told.
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return before


def _plain(writer: str) -> str:
    """A writer's id as it may stand in a statement."""
    if not writer.replace("-", "").isalnum():
        raise ValueError("a writer's id is a UUID")
    return writer


@lru_cache(1024)
def _translated(statement: str) -> bytes:
    """Our `?` as psycopg's `%s`; none of our statements has either in a literal."""
    return statement.replace("%", "%%").replace("?", "%s").encode()
