"""All texts of one message looked at together: patterns, named values in text and other readings, as spans.

Texts are distinct and joined into one buffer, so that a message costs one pass of the pattern set however many strings
it has. No pattern matches NUL, which separates them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.core.masking import fold, layers, patterns, tables
from gateway.core.masking.fold import Folded
from gateway.core.masking.phi import Phi
from gateway.core.masking.values import is_public

_SEPARATORS = b"-/."
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

    folded: dict[str, Folded] = field(repr=False)
    spans: dict[str, list[Span]] = field(repr=False)
    readings: list[tuple[str, Folded]] = field(default_factory=list, repr=False)
    unreadable: set[str] = field(default_factory=set, repr=False)
    rows: int = 0


def scan(texts: Iterable[str], fields: frozenset[str], views: list[tuple[str, str]]) -> Scanned:
    """Look at every text, and at every `(text, reading)` of `views`. `fields`: further names that count in text."""
    folded = {text: fold.fold(text) for text in texts}
    done = Scanned(folded, {})
    gates = _match(done, list(folded.items()), fields)
    readings = [(text, fold.fold(read)) for text, read in views]
    if gates - {"pairs"}:
        for text in folded:
            try:
                readings.extend((text, fold.fold(read)) for read in layers.readings(text, gates))
            except layers.Unreadable:
                done.unreadable.add(text)
    if readings:
        _match_readings(done, readings, fields)
    return done


def _match(done: Scanned, items: list[tuple[str, Folded]], fields: frozenset[str]) -> frozenset[str]:
    starts: list[int] = []
    at = 0
    for _, one in items:
        starts.append(at)
        at += len(one.data) + 1
    data = b"\0".join([one.data for _, one in items])
    indices, gates = patterns.occurring(data)
    for hit in patterns.search(data, indices):
        index = bisect_right(starts, hit.start) - 1
        text, one = items[index]
        if hit.phi is Phi.URL and is_public(data[hit.start : hit.end].decode("ascii")):
            continue
        start, end = hit.start - starts[index], hit.end - starts[index]
        if hit.phi is Phi.NAME:
            end = tables.without_label(one.data, start, end)
        else:
            start, end = _stretch(one.data, start, end)
        _add(done, text, one, Span(start, end, hit.phi, hit.detector))
    for text, one in items:
        if "pairs" in gates or b"\n" in one.data:
            for cell in tables.find(one.data, fields):
                assert cell.named.phi is not None
                detector = "table" if cell.table else "pair"
                _add(done, text, one, Span(cell.start, cell.end, cell.named.phi, detector, cell.named.name))
            done.rows += tables.rows(one.data) if b"\n" in one.data else 0
    return gates


def _add(done: Scanned, text: str, one: Folded, span: Span) -> None:
    start, end = one.original(span.start, span.end)
    done.spans.setdefault(text, []).append(Span(start, end, span.phi, span.detector, span.field))


def _stretch(data: bytes, start: int, end: int) -> tuple[int, int]:
    """A number goes on over adjoining digits: half of a longer one must not stay behind."""
    while end < len(data) and data[end - 1 : end].isdigit() and _goes_on(data, end):
        end += 1 if data[end : end + 1].isdigit() else 2
    while start > 0 and data[start : start + 1].isdigit() and _came_from(data, start):
        start -= 1 if data[start - 1 : start].isdigit() else 2
    while start > 0 and (data[start - 1 : start] == b"*" or (start > 1 and _STARRED.fullmatch(data, start - 2, start))):
        start -= 1  # What `partial` has left of a value is the value's end, not another value.
    return start, end


def _goes_on(data: bytes, end: int) -> bool:
    return data[end : end + 1].isdigit() or (data[end] in _SEPARATORS and data[end + 1 : end + 2].isdigit())


def _came_from(data: bytes, start: int) -> bool:
    before = data[start - 1 : start]
    return before.isdigit() or (before in (b"-", b"/", b".") and start > 1 and data[start - 2 : start - 1].isdigit())


def _read(text: str) -> str:
    return text if text.isascii() else fold.fold(text).data.decode("ascii")


def _match_readings(done: Scanned, readings: list[tuple[str, Folded]], fields: frozenset[str]) -> None:
    """A hit in a reading that is not one in the text itself takes the whole text (it cannot be cut out of it)."""
    own = Scanned({}, {})
    keyed = [(str(number), one) for number, (_, one) in enumerate(readings)]
    _match(own, keyed, fields)
    done.readings = readings
    for number, spans in own.spans.items():
        text, one = readings[int(number)]
        seen = {_read(text[span.start : span.end]) for span in done.spans.get(text, ())}
        seen |= {layers.without_markup(value) for value in seen}
        plain, source = one.data.decode("ascii"), _read(text)
        for span in spans:
            # Spans of a reading are positions in its source, which for the value itself the folded bytes will do.
            value = plain[span.start : span.end]
            # A star before it: the end that `partial` has left, with the stars read as emphasis and taken away.
            if value not in seen and f"*{value}" not in source:
                done.spans.setdefault(text, []).append(Span(0, len(text), span.phi, f"decoded-{span.detector}"))
