"""What there is to know about a message before anything is done to it: its leaves, and the finds in its texts.

A survey leaves the message as it is: it serves to inspect and to mask any number of times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from gateway.core.masking import layers, patterns, spots
from gateway.core.masking.fold import Joined
from gateway.core.masking.phi import Phi
from gateway.core.masking.scan import Scanned, Span, scan
from gateway.core.masking.structure import NO_PLACES, Explicit, Leaf, Node, Walk
from gateway.core.types import Json

_BASE64 = re.compile(r"[A-Za-z0-9+/=\r\n]*")
"""What only claims to be a blob is read as the text it is."""
_OPAQUE = frozenset({Phi.BLOB, Phi.PHOTO})


@dataclass(frozen=True, slots=True)
class Survey:
    root: Node = field(repr=False)
    walk: Walk = field(repr=False)
    scanned: Scanned = field(repr=False)

    @property
    def empty(self) -> bool:
        """Whether nothing was found that a rule for classes could take: no kind by name, no place in a text or in a
        member's name, nothing that could not be looked into."""
        found = self.scanned.spans or self.scanned.unreadable or self.walk.unreadable
        return not found and all(leaf.phi is None for leaf in self.walk.leaves)

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


NOTHING = Survey(Node([]), Walk(), Scanned())
"""Of a value in which nothing was found."""


def look(value: Json, explicit: Explicit = NO_PLACES, *, owned: Callable[[Leaf], bool] | None = None) -> Survey:
    """Walk `value` and scan its texts, but for those that stand only in leaves that are `owned`: those go whole,
    whatever is in them."""
    walk = Walk(explicit)
    return Survey(walk.message(value), walk, _scanned(walk, explicit, owned))


def look_at_all(values: Sequence[Json]) -> Survey:
    """Several messages looked at as one, which finds whatever is found in any of them; not to be masked."""
    walk = Walk()
    for value in values:
        walk.message(value)
    return Survey(Node([]), walk, _scanned(walk, NO_PLACES, None))


def hold_nothing(values: Sequence[Json]) -> bool:
    """Whether messages of few words plainly hold nothing, as lines of progress do: objects of texts, numbers and names
    that say nothing. Nothing is found in any of them then, however it is looked for."""
    texts: dict[str, None] = {}
    known: set[tuple[str, ...]] = set()
    for value in values:
        if type(value) is not dict or "resourceType" in value:
            return False
        names = tuple(value)
        if names not in known:
            members = spots.top(value)
            if any(spot.phi is not None or spot.blob is not None for spot in members.spots):
                return False
            known.add(names)
            texts |= dict.fromkeys(members.shape.odd)
        for item in value.values():
            if type(item) is str:
                if item[:1] in layers.OPENERS:
                    return False
                texts[item] = None
            elif type(item) is dict or type(item) is list:
                return False
    scanned = scan([*texts], frozenset(), [])
    return not (scanned.spans or scanned.unreadable or scanned.rows)


def _scanned(walk: Walk, explicit: Explicit, owned: Callable[[Leaf], bool] | None) -> Scanned:
    leaves = walk.leaves if owned is None else [leaf for leaf in walk.leaves if not owned(leaf)]
    texts, blobs = to_scan(walk, leaves, _as_named(leaves))
    views: list[tuple[str, str]] = []
    stuck: set[str] = set()
    for data in blobs:
        _blob(data, views, stuck)
    scanned = scan(list(texts), frozenset(explicit.fields), views)
    scanned.unreadable |= stuck
    return scanned


def _as_named(leaves: list[Leaf]) -> AbstractSet[Phi]:
    """Classes whose leaves plainly are what their names say: no other class occurs in any of them.

    Nothing is lost by not scanning those: whatever rule takes what would be found takes the leaf, and as a whole.
    """
    texts: dict[Phi, dict[str, None]] = {}
    for leaf in leaves:
        phi, value = leaf.phi, leaf.value
        if phi is not None and type(value) is str:
            unsure = texts.setdefault(phi, {})
            if not patterns.is_word(value):
                unsure[value] = None
    return {
        phi
        for phi, unsure in texts.items()
        if phi not in _OPAQUE and (not unsure or patterns.are_plainly(phi, Joined([*unsure]).data))
    }


def to_scan(walk: Walk, leaves: list[Leaf], but: AbstractSet[Phi] = frozenset()) -> tuple[dict[str, None], set[str]]:
    """The distinct texts that are to be scanned for these leaves, in order, and the blobs that are to be opened; `but`
    are classes of leaves whose own texts are left out."""
    texts: dict[str, None] = {}
    blobs: set[str] = set()
    for leaf in leaves:
        value = leaf.value
        if type(value) is str and leaf.phi not in but:
            if leaf.detector == "blob" and _BASE64.fullmatch(value):
                blobs.add(value)
            else:
                texts[value] = None
    for members in walk.objects:
        for key in members.shape.odd:
            texts[key] = None
    if walk.joins:
        met = set(leaves)
        for parts, text in walk.joins:
            if not met.isdisjoint(parts):
                texts[text] = None
    return texts, blobs


def _blob(data: str, views: list[tuple[str, str]], stuck: set[str]) -> None:
    try:
        views.extend((data, text) for text in layers.blob_text(data))
    except layers.Unreadable:
        stuck.add(data)
