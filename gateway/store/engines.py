"""Where an evidence store is, and the engine that speaks with it there."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import orjson

from gateway.core.errors import ConfigFault
from gateway.store import database
from gateway.store.database import Database
from gateway.store.engine import Engine
from gateway.store.sqlite import Sqlite

Store = Path | Database
"""A file is SQLite's, a database PostgreSQL's."""


def of(store: Store) -> Engine:
    """The engine of a store, for one process. Raises ConfigFault when its driver is not installed."""
    if isinstance(store, Path):
        return Sqlite(store)
    from gateway.store.postgres import Postgres  # An extra: needed where it is used.

    return Postgres(store)


def parse(text: str) -> Store:
    """The store that a person names: a URL or a path. Raises ConfigFault for a URL that may not be used."""
    if not database.is_url(text):
        return Path(text)
    try:
        return Database(database.checked(text))
    except ValueError as error:
        raise ConfigFault(f"--store {error}.") from None


def pack(store: Store) -> str:
    """A store as a text that another process of ours can `unpack`. It may hold a password: for pipes, not for eyes."""
    return str(store.absolute()) if isinstance(store, Path) else orjson.dumps(asdict(store), default=str).decode()


def unpack(text: str) -> Store:
    """The store that `pack` made this text of."""
    if not text.startswith("{"):
        return Path(text)
    members = orjson.loads(text)
    file = members.pop("password_file")
    return Database(**members, password_file=None if file is None else Path(file))
