"""Reads a TOML table member by member and remembers every fault with its line, what it means and how to fix it.

Knows nothing of what the members are for; the package does. tomllib says where a file stops being TOML but not where a
value stood, so `lines` finds that again: it only ever labels a message, and decides nothing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Where = tuple[str | int, ...]
"""The way to a value: table names, and the position in an array of tables: ("upstream", 0, "url")."""

_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'  # Strings first, so that nothing inside one is taken for structure.
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[\[\]{}=\n]"
    r"|[^\s\"'\#\[\]{}=]+"
    r"|[^\S\n]+"
    r"|.",
    re.DOTALL,
)


class Wrong(Exception):
    """A value cannot be used: `what` is wrong with it, and how to `fix` it. Neither repeats a secret."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


@dataclass(slots=True)
class Faults:
    """Every fault of one file, in the order they were found."""

    file: Path
    lines: dict[Where, int] = field(default_factory=dict)
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, where: Where, what: str, fix: str) -> None:
        """Note a fault at `where`, or at the nearest thing around it whose line is known."""
        at = where
        while at and at not in self.lines:
            at = at[:-1]
        line = self.lines.get(at, 1)
        stop = "" if fix.endswith("?") else "."
        self.found.append((line, f"{self.file}:{line}: {label(where)}: {what}. Fix: {fix}{stop}"))

    def texts(self) -> list[str]:
        """The faults as sentences, in the order of their lines."""
        return [text for _, text in sorted(self.found, key=lambda fault: fault[0])]


@dataclass(slots=True)
class Table:
    """One TOML table. Each member is taken once; what nobody took is a fault when the table is finished."""

    where: Where
    members: dict[str, Any]
    faults: Faults
    taken: set[str] = field(default_factory=set)

    def take(self, key: str, decode: Callable[[Any], T], default: T) -> T:
        """The member decoded, or `default` when it is absent or wrong; when wrong, the fault is noted."""
        self.taken.add(key)
        if key not in self.members:
            return default
        try:
            return decode(self.members[key])
        except Wrong as wrong:
            self.fault(key, wrong.what, wrong.fix)
            return default

    def need(self, key: str, decode: Callable[[Any], T], placeholder: T, *, fix: str) -> T:
        """Like `take` for a member that must be there. The placeholder is never used: a fault stops the loading."""
        if key not in self.members:
            self.taken.add(key)
            self.fault(key, "is missing", fix)
            return placeholder
        return self.take(key, decode, placeholder)

    def fault(self, key: str, what: str, fix: str) -> None:
        """Note a fault of one member."""
        self.faults.add((*self.where, key), what, fix)

    def has(self, key: str) -> bool:
        """Is the member there, right or wrong?"""
        return key in self.members

    def table(self, key: str, *, fix: str = "") -> Table:
        """The table under `key`; empty when absent, which is a fault if `fix` says what to write."""
        self.taken.add(key)
        value = self.members.get(key, {})
        if fix and key not in self.members:
            self.fault(key, "is missing", fix)
        if not isinstance(value, dict):
            self.fault(key, "must be a table", f"write it as [{label((*self.where, key))}]")
            value = {}
        return Table((*self.where, key), value, self.faults)

    def belongs(self, owner: str, *keys: str) -> None:
        """Note a fault for each of the keys that is there without its owner."""
        for key in keys:
            if self.has(key) and not self.has(owner):
                self.fault(key, f"has no effect without {owner}", "remove it")

    def optional_tables(self, key: str) -> list[Table]:
        """The array of tables under `key`; none when it is absent."""
        self.taken.add(key)
        return (
            self.tables(key, fix=f"remove it, or write each one as [[{label((*self.where, key))}]]")
            if self.has(key)
            else []
        )

    def tables(self, key: str, *, fix: str) -> list[Table]:
        """The array of tables under `key`, of which there must be at least one."""
        self.taken.add(key)
        value = self.members.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.fault(key, "must be an array of tables", f"write each one as [[{label((*self.where, key))}]]")
            return []
        if not value:
            self.fault(key, "is missing", fix)
        return [Table((*self.where, key, index), item, self.faults) for index, item in enumerate(value)]

    def finish(self) -> None:
        """Note a fault for each member that nobody took: a misspelt setting is one that does not hold."""
        for key in self.members:
            if key not in self.taken:
                self.fault(key, "is not a setting", did_you_mean(key, self.taken))


def distinct(tables: list[Table], key: str, found: list[str]) -> None:
    """Note a fault for each value under `key` that an earlier table has."""
    for index, value in enumerate(found):
        if value and value in found[:index]:
            table, first = tables[index], tables[found.index(value)]
            line = table.faults.lines.get((*first.where, key), 1)
            table.fault(key, f"is the same as on line {line}", f"give each {table.where[0]} its own {key}")


def did_you_mean(word: str, known: Collection[str]) -> str:
    """A fix for an unknown word: the nearest known one, else all of them."""
    near = difflib.get_close_matches(word[:80], sorted(known), n=1)
    return f"did you mean {near[0]!r}?" if near else "remove it; known here: " + ", ".join(sorted(known))


def label(where: Where) -> str:
    """How a message names a value: `upstream[1].url`, counted from 1 as people do."""
    text = ""
    for step in where:
        text += f"[{step + 1}]" if isinstance(step, int) else ("." if text else "") + shown(step)
    return text or "the file"


def shown(text: str) -> str:
    """A text from the file as it may stand in a message: short, and on one line."""
    return text if text.isprintable() and len(text) <= 80 else ascii(text[:80])


def lines(text: str) -> dict[Where, int]:
    """The line (from 1) on which each key and table header of a valid TOML document stands; escaped keys have none."""
    found: dict[Where, int] = {}
    counts: dict[Where, int] = {}
    table: Where = ()
    for line, statement in _statements(text):
        if statement[:2] == ["[", "["]:
            name = _parts(statement[2:], stop="]")
            position = counts.get(name, -1) + 1
            counts[name] = position
            found.setdefault(name, line)
            table = (*name, position)
        elif statement[:1] == ["["]:
            name = _parts(statement[1:], stop="]")
            parent = name[:1]
            # A sub-table of an array belongs to the element that was opened last.
            table = (*parent, counts[parent], *name[1:]) if len(name) > 1 and parent in counts else name
        else:
            found.setdefault((*table, *_parts(statement, stop="=")), line)
            continue
        found.setdefault(table, line)
    return found


def _statements(text: str) -> Iterator[tuple[int, list[str]]]:
    """The significant tokens of each statement with its first line; a value may run over many lines."""
    line, start, depth, header = 1, 1, 0, False
    tokens: list[str] = []
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token == "\n" and depth <= 0:
            if tokens:
                yield start, tokens
            tokens, depth, header = [], 0, False
        elif not token.isspace() and not token.startswith("#"):
            if not tokens:
                start, header = line, token == "["
            tokens.append(token)
            if not header:
                depth += (token in "[{") - (token in "]}")
        line += token.count("\n")
    if tokens:
        yield start, tokens


def _parts(tokens: list[str], *, stop: str) -> Where:
    """The dotted name that ends before `stop`."""
    name: list[str] = []
    for token in tokens:
        if token == stop:
            break
        if token[:1] in "\"'":
            name.append(token[1:-1])
        else:
            name.extend(part for part in token.split(".") if part)
    return tuple(name)
