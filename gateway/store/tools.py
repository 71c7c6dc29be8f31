"""Tool definitions as upstreams last listed them, for pins, annotations and promised schemas of later calls."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from hashlib import sha256
from typing import cast

import orjson

from gateway.core.evidence import canonical
from gateway.core.types import Digest, Document, Tool
from gateway.store.transaction import Transaction

_FRESH_S = 5.0
"""How long this process may go without noticing that another has learnt a new definition."""
_REMEMBERED_LIMIT = 16_384


class Remembered:
    """Tools that this process has lately looked up."""

    def __init__(self) -> None:
        self._tools: dict[tuple[str, str], tuple[Tool, float]] = {}

    def get(self, upstream: str, name: str) -> Tool | None:
        """The tool, if it was looked up a moment ago."""
        known = self._tools.get((upstream, name))
        return known[0] if known is not None and time.monotonic() - known[1] < _FRESH_S else None

    def put(self, upstream: str, tool: Tool) -> None:
        """Remember a tool that was just read or written."""
        if len(self._tools) >= _REMEMBERED_LIMIT:
            self._tools.clear()
        self._tools[upstream, tool.name] = (tool, time.monotonic())


def of(definition: Document) -> Tool | None:
    """A definition with its pin, the SHA-256 of its canonical form; None when it has no name."""
    name = definition.get("name")
    if not isinstance(name, str):
        return None
    return Tool(name, Digest(sha256(canonical.encode(definition)).hexdigest()), definition)


def write(transaction: Transaction, upstream: str, tools: Iterable[Tool]) -> None:
    """Store each tool as the upstream's latest word on it."""
    transaction.connection.executemany(
        """INSERT INTO tool VALUES (?, ?, ?, ?, ?) ON CONFLICT (upstream, name) DO UPDATE
            SET pin = excluded.pin, definition = excluded.definition, seen = excluded.seen""",
        [(upstream, tool.name, tool.pin, orjson.dumps(tool.definition), transaction.now) for tool in tools],
    )


def read(connection: sqlite3.Connection, upstream: str, name: str) -> Tool | None:
    """The tool as stored, None when the upstream has never listed it."""
    query = "SELECT pin, definition FROM tool WHERE upstream = ? AND name = ?"
    row = connection.execute(query, (upstream, name)).fetchone()
    return None if row is None else Tool(name, Digest(row[0]), cast(Document, orjson.loads(row[1])))
