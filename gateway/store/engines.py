"""Where an evidence store is, and the engine that speaks with it there."""

from __future__ import annotations

from pathlib import Path

from gateway.store.engine import Engine
from gateway.store.sqlite import Sqlite

Store = Path
"""A file: SQLite."""


def of(store: Store) -> Engine:
    """The engine of a store, for one process."""
    return Sqlite(store)
