"""The store's schema in PostgreSQL's words: made from the one that SQLite is given, with what only PostgreSQL needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from gateway.store import schema

GUARDED = ("leaf", "body", "checkpoint", "bundle")
"""The tables of evidence: nothing in them is ever changed or removed."""

_WORDS = (
    (r"\bINTEGER PRIMARY KEY AUTOINCREMENT\b", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
    (r"\bINTEGER\b", "BIGINT"),
    (r"\bBLOB\b", "BYTEA"),
    # Text sorts as bytes, as it does in SQLite: times are compared as text.
    (r"\bTEXT\b", 'TEXT COLLATE "C"'),
    (r"\) WITHOUT ROWID$", ")"),
)
_OWN = (
    "CREATE TABLE schema_version (one BIGINT PRIMARY KEY CHECK (one = 1), version BIGINT NOT NULL)",
    # since: from when on it has been heard of without a break.
    """CREATE TABLE writer (
        id TEXT COLLATE "C" PRIMARY KEY, since TIMESTAMPTZ NOT NULL, seen TIMESTAMPTZ NOT NULL)""",
)
_GUARDS = (
    """CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'evidence is append-only: %', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
        END $$""",
    *(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        for table in GUARDED
    ),
    # Ciphertext does not compress.
    "ALTER TABLE body ALTER COLUMN data SET STORAGE EXTERNAL",
)


def creation() -> tuple[str, ...]:
    """Everything that a new store is made with, in order. The first statement fails where another makes one."""
    return (*_OWN, *_translated(schema.statements()), *_GUARDS)


def migrations(version: int) -> tuple[str, ...]:
    """What brings a store of an older `version` to this one, in order."""
    return tuple(_translated(schema.migrations(version)))


def _translated(statements: Iterable[str]) -> Iterator[str]:
    for statement in statements:
        if not statement.startswith("CREATE TRIGGER"):
            for word, ours in _WORDS:
                statement = re.sub(word, ours, statement.rstrip())
            yield statement
