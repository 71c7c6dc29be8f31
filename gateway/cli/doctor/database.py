"""The evidence store in PostgreSQL: reached, durable, of the right version, and this role may write it."""

from __future__ import annotations

from contextlib import closing

from gateway.cli.doctor.finding import Finding, fail, ok
from gateway.core.errors import EvidenceFault
from gateway.store import engines
from gateway.store.database import Database
from gateway.store.engine import Connection

_DOCS = "docs/postgresql.md"
_WRITTEN = ("leaf", "body", "checkpoint", "open_exchange", "mail", "writer")


def check(database: Database) -> list[Finding]:
    """What stands between this configuration and a store that takes evidence."""
    engine = engines.of(database)
    try:
        with engine.faults("connecting to it"), closing(engine.connect()) as connection:
            return [ok(f"{database} answers, and keeps what it acknowledges"), *_rights(connection)]
    except EvidenceFault as fault:
        return [fail(fault.detail, fix=f"{_DOCS}, When it fails")]


def _rights(connection: Connection) -> list[Finding]:
    """Whether the gateway's role may add evidence, and that it may not take any away."""
    if connection.execute("SELECT to_regclass('leaf') IS NULL").fetchone()[0]:
        return []  # That there is no store yet is told where it is read.
    tables = ", ".join(f"('{table}')" for table in _WRITTEN)
    query = f"SELECT name FROM (VALUES {tables}) AS wanted (name) WHERE NOT has_table_privilege(name, 'INSERT')"
    missing = [str(row[0]) for row in connection.execute(query)]
    if missing:
        text = f"This role may not add to {', '.join(missing)}: nothing can be put on record."
        return [fail(text, fix=f"grant it what {_DOCS} lists")]
    return [ok("this role may add evidence")]
