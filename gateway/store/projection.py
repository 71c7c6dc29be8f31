"""Approvals as a table that the evidence log keeps in step: changed in the transaction that appends the leaf."""

from __future__ import annotations

import sqlite3

from gateway.core.evidence.record import Record
from gateway.core.types import LeafIndex

SCHEMA: tuple[str, ...] = ()
"""DDL statements that create the tables; part of the store's schema."""


def on_append(connection: sqlite3.Connection, record: Record, index: LeafIndex) -> None:
    """Bring the tables up to date with `record`, which is being appended as leaf `index`. Called when `approval` is set."""
