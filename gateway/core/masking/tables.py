"""Named values in running text: `name: value` pairs in every usual quoting, Markdown and `|` tables, CSV and TSV.

Works on folded bytes and yields spans of values with the name that they stand under; what the name means is decided by
the same dictionary as for object members. Broken JSON and Python's `repr` of rows are read as pairs, so that text which
merely looks like JSON is not a way around field rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import re2

from gateway.core.masking.names import LONGEST_NAME, Named, named, shape
from gateway.core.masking.phi import Phi

_PAIR = re2.compile(rb"([A-Za-z][A-Za-z0-9_.#/' -]{0,48}?)[\"')]{0,2}[ \t]*(?::|=>?)[ \t]*\n?[ \t]*")
_NAME_RUN = re2.compile(
    rb"(?:(?:Mr|Mrs|Ms|Mx|Dr|Miss|Prof)\.? )?[A-Z][A-Za-z0-9'-]*\.?(?:,? (?:(?:van|von|de|del|der|di|la|le|bin|al) )?"
    rb"[A-Z][A-Za-z0-9'-]*\.?){0,4}"
)
_LOWER_RUN = re2.compile(rb"[a-z][a-z'-]+(?: [a-z][a-z'-]+){0,3}$")
_NEXT_PAIR = re2.compile(rb" +[A-Za-z][A-Za-z_#]*(?: [A-Za-z#]+){0,2}[ \t]*[:=]|\t|  ")
_STOP = {  # Where an unquoted value ends; an address, a date or a list of names goes on after a comma.
    Phi.GEO: re2.compile(rb"[;|\r\n\x00}\]]"),
    Phi.NAME: re2.compile(rb"[;|\r\n\x00}\]]"),
}
_STOP_AT_COMMA = re2.compile(rb"[,;|\r\n\x00}\]]")
_LINE_END = re2.compile(rb"[\r\n\x00]")
_YEAR_AFTER = re2.compile(rb", ?\d{4}\b")
_RULE_LINE = re.compile(rb"[ \t]*\|?[ \t:+|-]*-{2,}[ \t:+|-]*")
_BAR = re.compile(rb"(?<!\\)\|")
_BORDERS = {mark: re.compile(b"[\n" + re.escape(mark) + b"]") for mark in (b",", b"\t", b";", b"|")}
"""Where a field of a table ends, by what separates its fields."""
_HEADER_CELL = re.compile(r"[A-Za-z_][\w .#/()-]{0,48}")
_LONGEST_VALUE = 256
_WORDY = frozenset({Phi.NAME, Phi.GEO, Phi.DATE, Phi.BIRTH_DATE, Phi.EMAIL, Phi.URL, Phi.BIOMETRIC, Phi.PHOTO, Phi.PHI})
"""Classes whose values need no digit; `Account: closed` names no account."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A value in a text, by the span of folded bytes it takes, and what its name says."""

    start: int
    end: int
    named: Named
    table: bool = False


def find(data: bytes, fields: frozenset[str]) -> tuple[list[Cell], int]:
    """The named values in one text and how many data rows its table has, if it has one; `fields` are further
    normalised names that count although no class has them."""
    table = _table(data) if b"\n" in data else None
    cells = [] if table is None else list(_table_cells(data, table, fields))
    if b":" in data or b"=" in data:
        cells.extend(_pairs(data, fields))
    return cells, 0 if table is None else len(table[1])


def meaning(name: str, fields: frozenset[str]) -> Named | None:
    """What a name in text means: its tail decides, because text before a name is no part of it."""
    known = named(name)
    if fields:
        parts = known.name.split("_")
        for size in range(min(4, len(parts)), 0, -1):
            if "_".join(parts[-size:]) in fields:
                return Named("_".join(parts[-size:]), known.phi or Phi.PHI)
    if known.name in ("name", "names") or known.name.endswith("_name"):
        return Named(known.name, known.phi or (Phi.NAME if known.name in ("name", "names") else None))
    return known


def _pairs(data: bytes, fields: frozenset[str]) -> Iterator[Cell]:
    for match in _PAIR.finditer(data):
        name = match.group(1).decode("ascii")
        known = meaning(name, fields)
        if known is None or known.phi is None or match.end() >= len(data):
            continue
        if known.name in fields and data[match.start() - 1 : match.start()] not in (b'"', b"'"):
            span = _line(data, match.end(), known.phi)
        else:
            span = _value(data, match.end(), known.phi)
        if span is not None:
            yield Cell(*span, known)


def _value(data: bytes, start: int, phi: Phi) -> tuple[int, int] | None:
    first = data[start : start + 1]
    if first in (b'"', b"'"):
        end = _closing(data, start + 1, first)
        return _strip(data, start + 1, end)
    if first in (b"\\",) and data[start + 1 : start + 2] in (b'"', b"'"):
        end = data.find(b"\\" + data[start + 1 : start + 2], start + 2)
        return _strip(data, start + 2, end if end > 0 else len(data))
    if first == b"[":
        end = data.find(b"]", start, start + _LONGEST_VALUE)
        if data[start + 1 : end].replace(b"_", b"").isupper():
            return start, end + 1  # A label of ours, brackets and all.
        return _strip(data, start + 1, end) if end > 0 else None
    if first in (b"{", b"(") and phi is not Phi.PHONE:
        return None
    stop = _STOP.get(phi, _STOP_AT_COMMA).search(data, start, min(len(data), start + _LONGEST_VALUE))
    end = stop.start() if stop else min(len(data), start + _LONGEST_VALUE)
    if phi in (Phi.DATE, Phi.BIRTH_DATE) and (year := _YEAR_AFTER.match(data, end)):
        end = year.end()
    if following := _NEXT_PAIR.search(data, start, end):
        end = following.start()
    if phi is Phi.NAME:
        return _name_run(data, start, end)
    span = _strip(data, start, end)
    if span and phi not in _WORDY and not any(48 <= byte <= 57 for byte in data[span[0] : span[1]]):
        return None
    return span


def _line(data: bytes, start: int, phi: Phi) -> tuple[int, int] | None:
    """A value that a rule asks for by name: nothing says what it looks like, so it is the rest of the line."""
    quoted = _value(data, start, phi) if data[start : start + 1] in (b'"', b"'", b"[") else None
    stop = _LINE_END.search(data, quoted[1] if quoted else start)
    return _strip(data, start, stop.start() if stop else len(data))


def _name_run(data: bytes, start: int, end: int) -> tuple[int, int] | None:
    run = _NAME_RUN.match(data, start, end) or _LOWER_RUN.match(data, start, end)
    return None if run is None else (start, without_label(data, start, run.end()))


def without_label(data: bytes, start: int, end: int) -> int:
    """The end of a name that a label may follow: `Ann Smith DOB` is a name of two words."""
    words = data[start:end].split(b" ")
    while len(words) > 1 and (words[-1].isupper() and named(words[-1].decode("ascii")).phi is not None):
        end -= len(words.pop()) + 1
    return end


def _closing(data: bytes, at: int, quote: bytes) -> int:
    while True:
        end = data.find(quote, at)
        if end < 0:
            return len(data)
        if data[end - 1 : end] != b"\\":
            return end
        at = end + 1


def _strip(data: bytes, start: int, end: int) -> tuple[int, int] | None:
    piece = data[start:end]
    left = len(piece) - len(piece.lstrip())
    right = len(piece.rstrip().rstrip(b".")) if piece.rstrip().endswith(b".") else len(piece.rstrip())
    return (start + left, start + right) if right > left else None


_Row = list[tuple[int, int]]


def _table_cells(data: bytes, table: tuple[list[str], list[_Row]], fields: frozenset[str]) -> Iterator[Cell]:
    header, body = table
    known = [_column(one, fields) for one in shape(tuple(header), "").members]
    for row in body:
        for one, span in zip(known, row, strict=False):
            cell = _strip(data, *span) if one is not None else None
            if one is not None and cell is not None:
                yield Cell(*cell, one, table=True)


def _column(one: Named, fields: frozenset[str]) -> Named | None:
    if one.name in fields:
        return Named(one.name, one.phi or Phi.PHI)
    return one if one.phi is not None else None


def _table(data: bytes) -> tuple[list[str], list[_Row]] | None:
    """The first table in a text: its header cells and, for each data row, the spans of its cells."""
    lines = _lines(data)
    for number in range(len(lines) - 1):
        start, end = lines[number]
        if b"|" in data[start:end] and _RULE_LINE.fullmatch(data, *lines[number + 1]):
            body = [_bars(data, *line) for line in lines[number + 2 :] if b"|" in data[line[0] : line[1]]]
            return _texts(data, _bars(data, start, end)), body
    return _separated(data, lines)


def _separated(data: bytes, lines: list[tuple[int, int]]) -> tuple[list[str], list[_Row]] | None:
    start, end = lines[0]
    for separator in _BORDERS:
        if separator not in data[start:end]:
            continue
        records = _records(data, separator)
        header = _texts(data, next(records, []))
        if header and all(_HEADER_CELL.fullmatch(cell) and len(cell) <= LONGEST_NAME for cell in header):
            body = list(records)
            if body:
                return header, body
    return None


def _lines(data: bytes) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    at = 0
    for line in data.split(b"\n"):
        spans.append((at, at + len(line)))
        at += len(line) + 1
    return spans


def _bars(data: bytes, start: int, end: int) -> _Row:
    """Cells between bars; `\\|` is no bar, and a bar at either edge opens no cell."""
    cells: _Row = []
    at = start
    for bar in _BAR.finditer(data, start, end):
        cells.append((at, bar.start()))
        at = bar.end()
    cells.append((at, end))
    if cells and not data[cells[0][0] : cells[0][1]].strip():
        cells.pop(0)
    return cells


def _records(data: bytes, separator: bytes) -> Iterator[_Row]:
    """CSV records (RFC 4180): a quoted field may hold separators, doubled quotes and line ends."""
    row: _Row = []
    at, size, border = 0, len(data), _BORDERS[separator]
    while at <= size:
        if data[at : at + 1] == b'"':
            end = data.find(b'"', at + 1)
            while end >= 0 and data[end + 1 : end + 2] == b'"':
                end = data.find(b'"', end + 2)
            row.append((at + 1, end if end >= 0 else size))
            stop = border.search(data, end + 1) if end >= 0 else None  # What is between belongs to no field.
        else:
            stop = border.search(data, at)
            row.append((at, stop.start() if stop else size))
        at = stop.start() if stop else size
        if at >= size or data[at] == 0x0A:
            if any(data[a:b].strip() for a, b in row):
                yield row
            row = []
        at += 1


def _texts(data: bytes, row: _Row) -> list[str]:
    return [data[start:end].decode("ascii").strip().strip('"*` ') for start, end in row]
