"""Tool definitions as upstreams last listed them, for pins, annotations and promised schemas of later calls.

The definition seen first is accepted, and on record as that. One that differs from the accepted definition has changed,
whatever came between, until a person accepts it: a tool that turns into another must not inherit its good name.
"""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import cast

import orjson

from gateway.core.evidence import canonical
from gateway.core.evidence.record import LeafType, Record
from gateway.core.types import Digest, Document, Tool
from gateway.store.engine import Connection
from gateway.store.transaction import Transaction

_FRESH_S = 5.0
"""How long this process may go without noticing that another has learnt a new definition."""
_REMEMBERED_LIMIT = 16_384


_COLUMNS = "upstream, name, tool.pin, tool.definition, seen, tool_pin.pin, tool_pin.definition, accepted"


@dataclass(frozen=True, slots=True)
class Known:
    """A tool with both of its definitions. Times are RFC 3339."""

    upstream: str
    newest: Tool
    seen: str
    """When the newest definition was first listed."""
    accepted: Digest
    """The pin of the definition that was accepted."""
    definition: Document = field(repr=False)
    """That definition."""
    since: str


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


def write(transaction: Transaction, upstream: str, tools: Iterable[Tool]) -> list[Tool]:
    """Store each tool as the upstream's latest word on it; returns them with whether they have changed.

    A change goes on record when it is first seen, and so do the tools that are accepted because nobody knew them.
    """
    told, first = [], list[Tool]()
    for tool in tools:
        accepted = _pin(transaction.connection, "tool_pin", upstream, tool.name)
        if accepted is None:
            first.append(tool)
            _accept(transaction, upstream, tool)
        elif tool.pin not in (accepted, _pin(transaction.connection, "tool", upstream, tool.name)):
            _record_change(transaction, upstream, tool, accepted)
        transaction.connection.execute(
            """INSERT INTO tool VALUES (?, ?, ?, ?, ?) ON CONFLICT (upstream, name) DO UPDATE
                SET pin = excluded.pin, definition = excluded.definition, seen = excluded.seen""",
            (upstream, tool.name, tool.pin, orjson.dumps(tool.definition), transaction.now),
        )
        told.append(replace(tool, changed=accepted not in (None, tool.pin)))
    if first:
        pins = orjson.dumps({tool.name: tool.pin for tool in first})
        members: Document = {"upstream": upstream, "why": "first_use", "tools": len(first)}
        transaction.append(Record(LeafType.TOOL_ACCEPTED, members, bodies={"tools": pins}))
    return told


def read(connection: Connection, upstream: str, name: str) -> Tool | None:
    """The tool as stored, None when the upstream has never listed it."""
    query = f"SELECT {_COLUMNS} FROM tool LEFT JOIN tool_pin USING (upstream, name) WHERE upstream = ? AND name = ?"
    row = connection.execute(query, (upstream, name)).fetchone()
    return None if row is None else _known(row).newest


def known(connection: Connection, upstream: str | None = None) -> list[Known]:
    """Every tool of one upstream, or of all, by upstream and name."""
    where, values = ("", ()) if upstream is None else ("WHERE upstream = ?", (upstream,))
    query = f"SELECT {_COLUMNS} FROM tool LEFT JOIN tool_pin USING (upstream, name) {where} ORDER BY upstream, name"
    return [_known(row) for row in connection.execute(query, values).fetchall()]


def changed(connection: Connection) -> list[Known]:
    """The tools that are not defined as they were accepted: they wait for a person to look."""
    return [each for each in known(connection) if each.newest.changed]


def difference(known: Known, plain: Callable[[str], str]) -> list[str]:
    """What changed of a tool, as a unified diff; `plain` makes a text from outside fit to be shown."""
    before, after = lines(known.definition, plain), lines(known.newest.definition, plain)
    return list(difflib.unified_diff(before, after, "accepted", "newest", n=3, lineterm=""))


def lines(definition: Document, plain: Callable[[str], str]) -> list[str]:
    """A definition as lines: members in one order, long texts at their own line ends."""
    text = json.dumps(definition, indent=2, sort_keys=True, ensure_ascii=False)
    return [line for each in text.split("\n") for line in plain(each.replace("\\n", "\\n\n    ")).split("\n")]


def accept(transaction: Transaction, known: Known, by: str, bodies: Mapping[str, bytes]) -> bool:
    """Take the newest definition for the tool's own; False when the upstream has come up with another meanwhile.

    `by` is the pseudonym of whoever says so; `bodies` hold why, and policy's leave.
    """
    now = read(transaction.connection, known.upstream, known.newest.name)
    if now is None or now.pin != known.newest.pin:
        return False
    _accept(transaction, known.upstream, now)
    members: Document = {
        "upstream": known.upstream,
        "tool": now.name,
        "pin": now.pin,
        "why": "accepted",
        "actor": by,
    }
    transaction.append(Record(LeafType.TOOL_ACCEPTED, members, bodies=bodies))
    return True


def _accept(transaction: Transaction, upstream: str, tool: Tool) -> None:
    transaction.connection.execute(
        """INSERT INTO tool_pin VALUES (?, ?, ?, ?, ?) ON CONFLICT (upstream, name) DO UPDATE
            SET pin = excluded.pin, definition = excluded.definition, accepted = excluded.accepted""",
        (upstream, tool.name, tool.pin, orjson.dumps(tool.definition), transaction.now),
    )


def _record_change(transaction: Transaction, upstream: str, tool: Tool, accepted: str) -> None:
    members: Document = {"upstream": upstream, "tool": tool.name, "pin": tool.pin, "accepted": accepted}
    bodies = {"definition": canonical.encode(tool.definition)}
    transaction.append(Record(LeafType.TOOL_CHANGED, members, bodies=bodies))


def _pin(connection: Connection, table: str, upstream: str, name: str) -> str | None:
    query = f"SELECT pin FROM {table} WHERE upstream = ? AND name = ?"
    row = connection.execute(query, (upstream, name)).fetchone()
    return None if row is None else str(row[0])


def _known(row: tuple[str, str, str, bytes, str, str | None, bytes | None, str | None]) -> Known:
    upstream, name, pin, definition, seen, accepted, before, since = row
    newest = Tool(name, Digest(pin), _document(definition), changed=accepted != pin)
    return Known(upstream, newest, seen, Digest(accepted or ""), _document(before or b"{}"), since or "")


def _document(data: bytes) -> Document:
    return cast(Document, orjson.loads(data))
