"""What there is to know about a message before anything is done to it: its leaves, and the finds in its texts.

A survey is made of a copy of the message, which masking then changes in place: it serves to inspect any number of
times and to mask once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from gateway.core.masking import layers
from gateway.core.masking.phi import Phi
from gateway.core.masking.scan import Scanned, Span, scan
from gateway.core.masking.structure import Explicit, Leaf, Walk
from gateway.core.types import Json

_BASE64 = re.compile(r"[A-Za-z0-9+/=\r\n]*")
"""What only claims to be a blob is read as the text it is."""


@dataclass(frozen=True, slots=True)
class Survey:
    root: list[Json] = field(repr=False)
    """The copy, as the only item, so that it can be replaced as a whole."""
    walk: Walk = field(repr=False)
    scanned: Scanned = field(repr=False)

    @property
    def empty(self) -> bool:
        """Whether nothing was found that a rule for classes could take: no kind by name, no place in a text or in a
        member's name, nothing that could not be looked into."""
        found = self.scanned.spans or self.scanned.unreadable or self.walk.unreadable
        return not found and all(leaf.phi is None for leaf in self.walk.leaves)

    def spans(self, leaf: Leaf) -> list[Span]:
        """What was found in a leaf's text."""
        return self.scanned.spans.get(leaf.value, []) if isinstance(leaf.value, str) else []

    def split(self) -> Iterator[tuple[Leaf, Span]]:
        """Leaves that hold a piece of a value split over several strings of one list; each goes as a whole."""
        for leaves, text in self.walk.joins:
            at = 0
            pieces: list[tuple[int, int, Leaf]] = []
            for leaf in leaves:
                size = len(leaf.value) if isinstance(leaf.value, str) else 0
                pieces.append((at, at + size, leaf))
                at += size
            for span in self.scanned.spans.get(text, ()):
                touched = [leaf for start, end, leaf in pieces if end == 0 or (start < span.end and span.start < end)]
                if len(touched) > 1:
                    yield from ((leaf, span) for leaf in touched)

    def less(self, owned: Callable[[Leaf], bool]) -> Survey:
        """The same without what is found only in leaves that are `owned`: those go whole, whatever is in them."""
        texts, blobs = _texts(self.walk, owned)
        kept = texts.keys() | blobs
        scanned = self.scanned
        return Survey(
            self.root,
            self.walk,
            Scanned(
                {text: scanned.folded[text] for text in texts},
                {text: spans for text, spans in scanned.spans.items() if text in kept},
                [(text, reading) for text, reading in scanned.readings if text in kept],
                scanned.unreadable & kept,
            ),
        )


def look(value: Json, explicit: Explicit, *, owned: Callable[[Leaf], bool]) -> Survey:
    """Walk a copy of `value` and scan its texts, but for those that stand only in leaves that are `owned`."""
    root = [_copy(value)]
    walk = Walk(explicit)
    walk.message(root)
    return Survey(root, walk, _scanned(walk, explicit, owned))


def look_at_all(values: Sequence[Json]) -> Survey:
    """Several messages looked at as one, which finds whatever is found in any of them; not to be masked."""
    walk = Walk()
    for value in values:
        walk.message([value])
    return Survey([], walk, _scanned(walk, Explicit(), lambda _: False))


def _scanned(walk: Walk, explicit: Explicit, owned: Callable[[Leaf], bool]) -> Scanned:
    texts, blobs = _texts(walk, owned)
    views: list[tuple[str, str]] = []
    stuck: set[str] = set()
    for data in blobs:
        _blob(data, views, stuck)
    scanned = scan(texts, frozenset(explicit.fields), views)
    scanned.unreadable |= stuck
    return scanned


def _texts(walk: Walk, owned: Callable[[Leaf], bool]) -> tuple[dict[str, None], set[str]]:
    """The distinct texts that are to be scanned, in order, and the blobs that are to be opened."""
    texts: dict[str, None] = {}
    blobs: set[str] = set()
    for leaf in walk.leaves:
        if isinstance(leaf.value, str) and not owned(leaf):
            if leaf.detector == "blob" and _BASE64.fullmatch(leaf.value):
                blobs.add(leaf.value)
            else:
                texts[leaf.value] = None
    for key in walk.odd_keys:
        texts[key] = None
    for leaves, text in walk.joins:
        if not all(owned(leaf) for leaf in leaves):
            texts[text] = None
    return texts, blobs


def _copy(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def _blob(data: str, views: list[tuple[str, str]], stuck: set[str]) -> None:
    try:
        views.extend((data, text) for text in layers.blob_text(data))
    except layers.Unreadable:
        stuck.add(data)


def related(first: Phi, second: Phi) -> bool:
    """Whether one class takes the other."""
    return first in second.wider or second in first.wider
