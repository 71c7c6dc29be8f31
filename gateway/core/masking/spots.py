"""What the names on the way to a value say of it, before anybody has looked at the value.

That is the same for whatever stands at the same place of other messages, so it is read once and kept: a `Spot` for a
place, with the spots below it by the member names that were met there. Values are never kept, and what is kept of names
is bounded: objects with many members or long names are read anew each time.
"""

from __future__ import annotations

import re
from functools import lru_cache

from gateway.core.masking import paths
from gateway.core.masking.fold import fold
from gateway.core.masking.names import (
    KEPT_CHARACTERS,
    KEPT_MEMBERS,
    LONGEST_NAME,
    Named,
    Shape,
    named,
    shape,
)
from gateway.core.masking.phi import Phi
from gateway.core.masking.values import JUDGES, Judge
from gateway.core.types import Document

NOTHING = Named("")
BLOB_MEMBERS = frozenset({"blob", "data"})
_BLOCKS = frozenset({"text", "image", "audio", "resource", "resource_link", "tool_use", "tool_result"})
_COLUMN_MEMBERS = frozenset(paths.COLUMNS)
_VERSIONS = frozenset({"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"})
"""MCP's protocol versions are dates, and no patient's."""
_VERSION_PLACES = ("rotocolVersion", "rotocolVersions", "upportedVersions[*]")
_TIME_PLACES = frozenset({f"$.{place}{name}" for place in ("", "task.") for name in ("createdAt", "lastUpdatedAt")})


class _Times:
    """When a task was made or has changed: a whole moment, and none from before there were tasks."""

    _MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
    _SINCE = "2025-11-25"

    def __contains__(self, text: str) -> bool:
        return text >= self._SINCE and self._MOMENT.fullmatch(text) is not None


TIMES = _Times()
_DEFINITIONS = frozenset({"tools", "prompts", "resources", "resourceTemplates", "serverInfo", "capabilities"})


class Spot:
    """A place as the names on the way to it describe it. Compared by identity; never changed once it is made, but for
    what is worked out when it is first asked for."""

    __slots__ = (
        "_items",
        "_opened",
        "blob",
        "counted",
        "defines",
        "depth",
        "fixed",
        "judge",
        "layer",
        "name",
        "named",
        "outer",
        "passed",
        "phi",
        "plain",
        "said",
        "shown",
        "template",
        "under",
    )

    def __init__(
        self,
        above: Spot | None,
        template: str,
        named: Named,
        *,
        defines: bool | None = None,
        counted: bool | None = None,
    ) -> None:
        self.template = template
        """Path, indices as `*`."""
        self.named = named
        """What the last name says by itself."""
        self.depth: int = above.depth + 1 if above else 0
        """How many containers are around it."""
        self.layer: int = above.layer if above else 0
        """How many strings it was opened from."""
        self.defines: bool = above is not None and above.defines if defines is None else defines
        """Whether names here are those of data to come: definitions of tools and the like."""
        self.counted: bool = above is not None and above.counted if counted is None else counted
        """Whether entries of lists here are rows of something that was counted already."""
        self.outer: str = above.under if above else ""
        self.under: str = named.name or self.outer
        """Nearest normalised name, for objects that stand here."""
        phi, name = (above.passed, above.name) if above else (None, "")
        if named.neutral:
            phi = None
        elif named.phi is not None and not self.defines:
            phi, name = named.phi, named.name
        else:
            name = name or named.name
        self.phi: Phi | None = phi
        """The class of what stands here, if its value is of it; see `judge`."""
        self.passed: Phi | None = phi if named.phi is None or named.deep else None
        """The class of whatever is in an object or a list here."""
        self.name: str = name
        """The name that counts for what is in it."""
        self.said: str = name or named.name
        """The name that a value here stands under."""
        self.judge: Judge | None = None if phi is None else JUDGES.get(phi)
        """Which texts are of the class, where not all are."""
        self.fixed: frozenset[str] | _Times | None = _fixed(template)
        """Texts that the protocol prescribes here: they are nobody's. TIMES only in a task."""
        self.blob: Phi | None = None
        """The class of base64 of something binary that stands here."""
        self.plain = self.fixed is None
        """Whether a text here is just a text: neither prescribed nor something binary."""
        self.shown = ""
        """The template as policy may see it, once somebody has asked."""
        self._items: dict[bool, Spot] = {}
        self._opened: dict[Phi | None, Spot] = {}

    def of(self, text: str) -> Phi | None:
        """The class of a text that stands here."""
        if self.phi is None or not text:
            return None
        return self.phi if self.judge is None else self.judge(text, self.named)

    def item(self, *, counted: bool) -> Spot:
        """The spot of a list's entries. `counted`: whether they were counted."""
        found = self._items.get(counted)
        if found is None:
            found = self._items[counted] = Spot(self, f"{self.template}[*]", NOTHING, counted=counted)
        return found

    def opened(self, phi: Phi | None) -> Spot:
        """The spot of JSON in a string that stands here, of which `phi` is the class."""
        found = self._opened.get(phi)
        if found is None:
            found = Spot(self, self.template, NOTHING, counted=False)
            found.phi = found.passed = phi
            found.judge = None if phi is None else JUDGES.get(phi)
            found.name = found.said = self.said
            found.outer = found.under = self.outer
            found.layer = self.layer + 1
            self._opened[phi] = found
        return found


class Members:
    """An object's members, in order. `shape`: what their names say together."""

    __slots__ = ("_folded", "columns", "identifier", "shape", "spots", "telling")

    def __init__(self, shape: Shape, spots: tuple[Spot, ...], *, identifier: bool) -> None:
        self.shape, self.spots = shape, spots
        self.columns = not shape.keys.isdisjoint(_COLUMN_MEMBERS)
        """Whether they may be a table's columns and rows."""
        self.identifier = identifier
        """Whether this is a FHIR Identifier, whose value is of the class that its type says."""
        self.telling = self.columns or identifier or bool(shape.label) or not shape.keys.isdisjoint(BLOB_MEMBERS)
        """Whether their values may say more of one another than their names do."""
        self._folded: frozenset[bytes] | None = None

    @property
    def folded(self) -> frozenset[bytes]:
        """Names that may be known values, as those are compared: folded, in lower case. A field's name is none."""
        if self._folded is None:
            self._folded = frozenset([fold(key).data.lower() for key in self.shape.keys if named(key[:80]).phi is None])
        return self._folded


def members(at: Spot, node: Document) -> Members:
    """The members of an object that stands at `at`."""
    under = _under(node, at.under)
    if len(node) <= KEPT_MEMBERS and len(at.template) + len("".join(node)) <= KEPT_CHARACTERS:
        return _members(at, tuple(node), under)
    return _members.__wrapped__(at, tuple(node), under)


def _fixed(template: str) -> frozenset[str] | _Times | None:
    if template in _TIME_PLACES:
        return TIMES
    return _VERSIONS if template.endswith(_VERSION_PLACES) else None


@lru_cache(maxsize=2048)
def _members(at: Spot, keys: tuple[str, ...], under: str) -> Members:
    read = shape(keys, under)
    spots = tuple(_member(at, key, one) for key, one in zip(keys, read.members, strict=True))
    return Members(read, spots, identifier=at.under in ("identifier", "identifiers"))


def _member(at: Spot, key: str, named: Named) -> Spot:
    spot = Spot(at, f"{at.template}.{key}", named)
    if key == "type" and at.counted:
        spot.fixed, spot.plain = _BLOCKS, False
    return spot


@lru_cache(maxsize=64)
def _blob(at: Spot, key: str) -> Spot:
    spot = _member(at, key, NOTHING)
    spot.said = key
    spot.blob, spot.plain = Phi.PHOTO if at.under == "photo" else Phi.BLOB, False
    return spot


def blob(at: Spot, key: str) -> Spot:
    """The member `key` of an object that stands at `at`, which holds base64 of something binary."""
    return _blob(at, key) if len(at.template) <= KEPT_CHARACTERS else _blob.__wrapped__(at, key)


def renamed(at: Spot, key: str, named: Named) -> Spot:
    """The member `key` of an object that stands at `at`, where something else than its name says what it is."""
    if len(at.template) + len(key) + len(named.name) <= KEPT_CHARACTERS:
        return _renamed(at, key, named)
    return _member(at, key, named)


_renamed = lru_cache(maxsize=1024)(_member)


def columns(at: Spot, names: list[str]) -> tuple[Spot, tuple[Spot, ...]]:
    """The spots of rows and of their cells, where `names` are the columns of a table that stands at `at`."""
    if len(names) <= KEPT_MEMBERS and len(at.template) + len("".join(names)) <= KEPT_CHARACTERS:
        return _columns(at, tuple(names))
    return _columns.__wrapped__(at, tuple(names))


@lru_cache(maxsize=256)
def _columns(at: Spot, names: tuple[str, ...]) -> tuple[Spot, tuple[Spot, ...]]:
    row = at.item(counted=True)
    read = shape(names, at.under).members
    return row, tuple(Spot(at, f"{row.template}[{index}]", one, counted=True) for index, one in enumerate(read))


_ROOT = Spot(None, "$", NOTHING)
WHOLE = Spot(_ROOT, "$", NOTHING)
"""The spot of a message that is no object."""


def top(node: Document) -> Members:
    """The members of a message."""
    under = _under(node, "")
    if len(node) <= KEPT_MEMBERS and len("".join(node)) <= KEPT_CHARACTERS:
        return _top(tuple(node), under)
    return _top.__wrapped__(tuple(node), under)


@lru_cache(maxsize=256)
def _top(keys: tuple[str, ...], under: str) -> Members:
    read = shape(keys, under)
    spots = [
        Spot(_ROOT, f"$.{key}", one, defines=key in _DEFINITIONS, counted=key == "content")
        for key, one in zip(keys, read.members, strict=True)
    ]
    return Members(read, tuple(spots), identifier=False)


def _under(node: Document, otherwise: str) -> str:
    kind = node.get("resourceType")
    return kind.lower() if isinstance(kind, str) and len(kind) <= LONGEST_NAME else otherwise
