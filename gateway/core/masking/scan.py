"""All texts of one message looked at together: patterns, named values in text and other readings, as spans.

Texts are distinct and joined into one buffer, so that a message costs one pass of the pattern set however many strings
it has. No pattern matches NUL, which separates them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.core.masking import fold, layers, patterns, tables
from gateway.core.masking.fold import Joined
from gateway.core.masking.phi import Phi
from gateway.core.masking.values import is_public

_DIGITS = b"0123456789"
_SEPARATORS = b"-/."
_STAR = ord("*")
_STARRED = re.compile(rb"\*[-./ ()]")


class Span(NamedTuple):
    """A value inside a text, by characters. A find in another reading spans all of the text."""

    start: int
    end: int
    phi: Phi
    detector: str
    field: str = ""
    """Normalised name that the value stands under, where it has one."""


@dataclass(slots=True)
class Scanned:
    """What was found in each text; `readings` are other texts that a text can be read as."""

    spans: dict[str, list[Span]] = field(default_factory=dict, repr=False)
    readings: list[tuple[str, str]] = field(default_factory=list, repr=False)
    unreadable: set[str] = field(default_factory=set, repr=False)
    rows: int = 0


def scan(texts: Sequence[str], fields: frozenset[str], views: list[tuple[str, str]]) -> Scanned:
    """Look at every text, and at every `(text, reading)` of `views`. `fields`: further names that count in text."""
    done = Scanned(readings=views)
    texts = [text for text in texts if not patterns.is_word(text)]
    found, gates = _match(done, Joined(texts), fields)
    for number, spans in found.items():
        done.spans[texts[number]] = spans
    gates -= {"pairs"}
    if gates:
        signs = layers.signs(gates)
        for text in texts:
            if signs.search(text):
                try:
                    views.extend([(text, read) for read in layers.readings(text, gates)])
                except layers.Unreadable:
                    done.unreadable.add(text)
    if views:
        _match_readings(done, fields)
    return done


def _match(done: Scanned, joined: Joined, fields: frozenset[str]) -> tuple[dict[int, list[Span]], frozenset[str]]:
    """The finds by the number of their text, and which gates are open."""
    found: dict[int, list[Span]] = {}
    data, starts = joined.data, joined.starts
    indices, gates = patterns.occurring(data)
    for hit in patterns.search(data, indices):
        start, end, phi, detector = hit
        if phi is Phi.URL and is_public(data[start:end].decode("ascii")):
            continue
        if phi is Phi.NAME:
            end = tables.without_label(data, start, end)
        else:
            start, end = _stretch(data, start, end)
        number = bisect_right(starts, start) - 1
        start, end = joined.original(number, start - starts[number], end - starts[number])
        found.setdefault(number, []).append(Span(start, end, phi, detector))
    if "pairs" in gates or b"\n" in data:
        _match_named(done, joined, fields, found, pairs="pairs" in gates)
    return found, gates


def _match_named(
    done: Scanned, joined: Joined, fields: frozenset[str], found: dict[int, list[Span]], *, pairs: bool
) -> None:
    """Values in tables and in `name: value` pairs."""
    for number, data in enumerate(joined.data.split(b"\0")):
        if b"\n" not in data and not (pairs and (b":" in data or b"=" in data)):
            continue
        cells, rows = tables.find(data, fields)
        done.rows += rows
        for cell in cells:
            assert cell.named.phi is not None
            start, end = joined.original(number, cell.start, cell.end)
            span = Span(start, end, cell.named.phi, "table" if cell.table else "pair", cell.named.name)
            found.setdefault(number, []).append(span)


def _stretch(data: bytes, start: int, end: int) -> tuple[int, int]:
    """A number goes on over adjoining digits: half of a longer one must not stay behind."""
    size = len(data)
    while end < size and data[end - 1] in _DIGITS:
        if data[end] in _DIGITS:
            end += 1
        elif data[end] in _SEPARATORS and end + 1 < size and data[end + 1] in _DIGITS:
            end += 2
        else:
            break
    while start > 0 and data[start] in _DIGITS:
        if data[start - 1] in _DIGITS:
            start -= 1
        elif data[start - 1] in _SEPARATORS and start > 1 and data[start - 2] in _DIGITS:
            start -= 2
        else:
            break
    while start > 0 and (data[start - 1] == _STAR or (start > 1 and _STARRED.fullmatch(data, start - 2, start))):
        start -= 1  # What `partial` has left of a value is the value's end, not another value.
    return start, end


def _read(text: str) -> str:
    return text if text.isascii() else fold.fold(text).data.decode("ascii")


def _match_readings(done: Scanned, fields: frozenset[str]) -> None:
    """A hit in a reading that is not one in the text itself takes the whole text (it cannot be cut out of it)."""
    joined = Joined([reading for _, reading in done.readings])
    found, _ = _match(Scanned(), joined, fields)
    folded = joined.data.split(b"\0") if found else []
    for number, spans in found.items():
        text, _ = done.readings[number]
        seen = {_read(text[span.start : span.end]) for span in done.spans.get(text, ())}
        seen |= {layers.without_markup(value) for value in seen}
        plain, source = folded[number].decode("ascii"), _read(text)
        for span in spans:
            # Spans of a reading are positions in its source, which for the value itself the folded bytes will do.
            value = plain[span.start : span.end]
            # A star before it: the end that `partial` has left, with the stars read as emphasis and taken away.
            if value not in seen and f"*{value}" not in source:
                done.spans.setdefault(text, []).append(Span(0, len(text), span.phi, f"decoded-{span.detector}"))
