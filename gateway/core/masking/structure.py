"""The walk over a message: every leaf with its place, what its field's name says of it, and the rule it falls under.

All of MCP is walked the same way: content blocks, structuredContent, `_meta`, errors, notification params. JSON inside
strings is opened and walked too. What is special is small and listed here: the few members whose values the protocol
fixes, definitions of tools and prompts (whose member names describe data and hold none), and binary blobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.core.masking import hints, layers, paths
from gateway.core.masking.layers import Style
from gateway.core.masking.names import LONGEST_NAME, Named, Shape, named, normalise, shape
from gateway.core.masking.phi import Phi
from gateway.core.masking.values import belongs
from gateway.core.policy.decision import MaskRule
from gateway.core.types import Document, Json

DEEPEST = 128
"""Containers inside containers; beyond it a subtree is unreadable."""
Place = tuple["Place | None", int | str]
"""Where a value is, as a chain of keys from the leaf up."""

_BLOCKS = frozenset({"text", "image", "audio", "resource", "resource_link", "tool_use", "tool_result"})
_BLOB_MEMBERS = frozenset({"blob", "data"})
_COLUMN_MEMBERS = frozenset(paths.COLUMNS)
_RESULT_TYPES = frozenset({"complete", "input_required", "task"})
_VERSIONS = frozenset({"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"})
"""MCP's protocol versions are dates, and no patient's."""
_DEFINITIONS = frozenset({"tools", "prompts", "resources", "resourceTemplates", "serverInfo", "capabilities"})


@dataclass(slots=True, eq=False)
class Leaf:
    """One value that is not a container (or an empty, or an unreadable one), where it can be replaced."""

    holder: list[Json] | dict[str, Json] = field(repr=False)
    key: int | str = field(repr=False)
    value: Json = field(repr=False)
    place: Place = field(repr=False)
    template: str = field(repr=False)
    """Path of the container, indices as `*`."""
    phi: Phi | None
    name: str
    rule: MaskRule | None
    detector: str = "name"


@dataclass(slots=True)
class Embedded:
    """JSON found in a string: `root[0]` is written back to its holder in its own style once it is masked."""

    holder: list[Json] | dict[str, Json] = field(repr=False)
    key: int | str = field(repr=False)
    root: list[Json] = field(repr=False)
    style: Style


@dataclass(frozen=True, slots=True)
class Explicit:
    """The rules that name places rather than classes: fields by normalised name, and paths."""

    fields: Mapping[str, MaskRule] = field(default_factory=dict)
    paths: tuple[tuple[tuple[paths.Step, ...], MaskRule], ...] = ()


class _At(NamedTuple):
    """What is known of a container on the way down."""

    place: Place | None
    template: str
    under: str = ""
    phi: Phi | None = None
    name: str = ""
    rule: MaskRule | None = None
    depth: int = 0
    layer: int = 0
    defines: bool = False
    counted: bool = False


class Walk:
    """One walk over one message; afterwards its lists say all that was met."""

    def __init__(self, explicit: Explicit | None = None) -> None:
        self.leaves: list[Leaf] = []
        self.odd_keys: set[str] = set()
        self._shapes: dict[int, Shape] = {}
        self.inner: list[dict[str, Json] | Embedded] = []
        """Objects and opened JSON in the order met, so outer before inner: they are finished in reverse."""
        self.mirrors: list[tuple[Embedded, bool]] = []
        """Texts that say `structuredContent` once more (or, True: its only member `result`)."""
        self.joins: list[tuple[list[Leaf], str]] = []
        self.unreadable: list[Leaf] = []
        self.rows: dict[str, int] = {}
        self._explicit = explicit or Explicit()
        self._marks: dict[tuple[int, int | str], MaskRule] = {}
        self._structured: Json = None
        self._zone = ""

    def message(self, root: list[Json]) -> None:
        """Walk `root[0]`, a result, an error or params. What is met adds to what was met in those before."""
        self._structured, self._zone = None, ""
        self._mark(root, self._explicit.paths)
        value = root[0]
        if not isinstance(value, dict):
            self._visit(root, 0, value, _At(None, "$"), Named(""), (None, 0), "$")
            return
        self._structured = value.get("structuredContent")
        mark = self._marks.get((id(root), 0))
        at = _At(None, "$", rule=mark)
        members = self._shape(value, at)
        self.inner.append(value)
        for (key, item), one in zip(list(value.items()), members.members, strict=True):
            self._zone = key
            if (key == "isError" and isinstance(item, bool)) or (
                key == "resultType" and isinstance(item, str) and item in _RESULT_TYPES
            ):
                continue
            if key == "code" and isinstance(item, int) and isinstance(value.get("message"), str):
                continue  # JSON-RPC 2.0 §5.1: an error's code is an integer and stays one.
            inner = _At(None, "$", rule=mark, defines=key in _DEFINITIONS, counted=key == "content")
            self._visit(value, key, item, inner, one, (None, key), _join("$", key))

    def names(self) -> set[str]:
        """Every member name met."""
        return set().union(*[read.keys for read in self._shapes.values()])

    def _mark(self, root: list[Json], rules: tuple[tuple[tuple[paths.Step, ...], MaskRule], ...]) -> None:
        for steps, rule in rules:
            for holder, key in paths.targets(root, steps):
                self._marks.setdefault((id(holder), key), rule)

    def _visit(
        self,
        holder: list[Json] | dict[str, Json],
        key: int | str,
        value: Json,
        at: _At,
        one: Named,
        place: Place,
        template: str,
    ) -> None:
        rule = self._marks.get((id(holder), key)) if self._marks else None
        if rule is None and not at.defines and self._explicit.fields:
            rule = self._explicit.fields.get(one.name)
        rule = rule or at.rule
        phi, name = at.phi, at.name
        if one.neutral:
            phi = None
        elif one.phi is not None and not at.defines:
            phi, name = one.phi, one.name
        elif one.name:
            name = name or one.name
        kind = type(value)
        if kind is dict or kind is list:
            deep = one.phi is None or one.deep
            self._container(holder, key, value, at, rule, phi if deep else None, name, one.name, place, template)
        elif kind is str:
            self._string(
                holder,
                key,
                str(value),
                at,
                rule,
                None if phi is None else belongs(phi, value, one),
                name or one.name,
                place,
                template,
            )
        elif value is not None and (rule is not None or kind is not bool):
            sort = belongs(phi, value, one) if phi is not None else None
            self.leaves.append(Leaf(holder, key, value, place, template, sort, name or one.name, rule))

    def _container(
        self,
        holder: list[Json] | dict[str, Json],
        key: int | str,
        value: Json,
        at: _At,
        rule: MaskRule | None,
        phi: Phi | None,
        name: str,
        under: str,
        place: Place,
        template: str,
    ) -> None:
        whole = rule is not None and rule.operator.name == "null"
        if at.depth >= DEEPEST or whole:
            leaf = Leaf(holder, key, value, place, template, phi if whole else Phi.BLOB, name, rule, "depth")
            self.leaves.append(leaf)
            if not whole:
                self.unreadable.append(leaf)
            return
        inner = _At(place, template, under or at.under, phi, name, rule, at.depth + 1, at.layer, at.defines, at.counted)
        if isinstance(value, dict):
            self._object(value, inner)
        elif isinstance(value, list):
            self._list(value, inner)

    def _shape(self, node: Document, at: _At) -> Shape:
        under = at.under
        if "resourceType" in node:
            kind = node["resourceType"]
            under = kind.lower() if isinstance(kind, str) and len(kind) <= LONGEST_NAME else under
        read = shape(tuple(node), under)
        if id(read) not in self._shapes:
            self._shapes[id(read)] = read
            self.odd_keys.update(read.odd)
        return read

    def _object(self, node: dict[str, Json], at: _At) -> None:
        read = self._shape(node, at)
        self.inner.append(node)
        blob = hints.blob_member(node) if read.keys & _BLOB_MEMBERS else ""
        told = hints.told(node, read.label) if read.label else None
        columns = paths.columns_of(node) if read.keys & _COLUMN_MEMBERS else None
        identifier = hints.identifier(node) if at.under in ("identifier", "identifiers") else None
        plain = not (self._marks or self._explicit.fields or at.rule or at.defines)
        for (key, value), one in zip(list(node.items()), read.members, strict=True):
            if key == "type" and at.counted and isinstance(value, str) and value in _BLOCKS:
                continue
            template = _join(at.template, key)
            if key == blob:
                phi = Phi.PHOTO if at.under == "photo" else Phi.BLOB
                rule = self._marks.get((id(node), key)) or at.rule
                self.leaves.append(Leaf(node, key, value, (at.place, key), template, phi, key, rule, "blob"))
                continue
            if told is not None and one.name.startswith(("value", "answer")):
                one = told
            elif identifier is not None and one.name == "value":
                one = identifier
            if plain and type(value) is str and value[:1] not in layers.OPENERS and value not in _VERSIONS:
                # What `_visit` and `_string` come to for most strings, without the calls.
                said = None if one.neutral else one.phi or at.phi
                name = one.name if one.phi is not None else at.name or one.name
                sort = None if said is None else belongs(said, value, one)
                self.leaves.append(Leaf(node, key, value, (at.place, key), template, sort, name, None))
                continue
            if columns is not None and key in paths.ROWS and isinstance(value, list):
                self._table(value, [str(column) for column in columns], _inner(at, key, template))
                continue
            self._visit(node, key, value, at, one, (at.place, key), template)

    def _table(self, rows: list[Json], columns: list[str], at: _At) -> None:
        """Rows of a table whose column names are given beside them."""
        members = shape(tuple(columns), at.under).members
        self._count(len(rows), at)
        inner = _At(at.place, at.template, at.under, at.phi, at.name, at.rule, at.depth, at.layer, at.defines, True)
        for number, row in enumerate(rows):
            if not isinstance(row, list) or len(row) > len(members):
                self._visit(rows, number, row, inner, Named(""), (at.place, number), f"{at.template}[*]")
                continue
            place: Place = (at.place, number)
            for index, cell in enumerate(row):
                template = f"{at.template}[*][{index}]"
                self._visit(row, index, cell, inner, members[index], (place, index), template)

    def _list(self, node: list[Json], at: _At) -> None:
        first = node[0] if node else None
        if isinstance(first, list) and len(node) > 1 and (columns := hints.header(first, self._explicit.fields)):
            self._table(node, columns, at)
            return
        if isinstance(first, dict | list) and not at.counted:
            self._count(len(node), at)
            at = _At(at.place, at.template, at.under, at.phi, at.name, at.rule, at.depth, at.layer, at.defines, True)
        start = len(self.leaves)
        template = f"{at.template}[*]"
        if at.place is not None and at.place == (None, "content") and self._zone == "content":
            at = _At(at.place, at.template, at.under, at.phi, at.name, at.rule, at.depth, at.layer, False, True)
        nothing = Named("")
        for index, item in enumerate(node):
            self._visit(node, index, item, at, nothing, (at.place, index), template)
        if len(node) > 1 and isinstance(first, str | int):
            self._join_up(self.leaves[start:])

    def _join_up(self, leaves: list[Leaf]) -> None:
        """Strings of one list read as if written without a break: a value may be split over them."""
        if all(isinstance(leaf.value, int) and 0 <= leaf.value <= 9 for leaf in leaves) and 9 <= len(leaves) <= 16:
            digits = "".join(str(leaf.value) for leaf in leaves)
            self.joins.append((leaves, f"{'SSN' if len(digits) == 9 else 'account'} {digits}"))
            return
        texts = [leaf.value for leaf in leaves if isinstance(leaf.value, str)]
        if len(texts) == len(leaves) and all(len(text) <= 64 for text in texts):
            self.joins.append((leaves, "".join(texts)))

    def _count(self, rows: int, at: _At) -> None:
        if not at.counted and not at.defines:
            self.rows[self._zone] = self.rows.get(self._zone, 0) + rows

    def _string(
        self,
        holder: list[Json] | dict[str, Json],
        key: int | str,
        text: str,
        at: _At,
        rule: MaskRule | None,
        phi: Phi | None,
        name: str,
        place: Place,
        template: str,
    ) -> None:
        if (
            len(text) == 10
            and text in _VERSIONS
            and template.endswith(("rotocolVersion", "rotocolVersions", "upportedVersions[*]"))
        ):
            return
        opened = layers.open_json(text) if text[:1] in layers.OPENERS and rule is None else None
        if opened is None:
            self.leaves.append(Leaf(holder, key, text, place, template, phi, name, rule))
            return
        if at.layer >= layers.DEPTH:
            leaf = Leaf(holder, key, text, place, template, Phi.BLOB, name, None, "depth")
            self.leaves.append(leaf)
            self.unreadable.append(leaf)
            return
        embedded = Embedded(holder, key, [opened.value], opened.style)
        if self._zone == "content" and at.layer == 0 and self._mirrors(opened.value, embedded):
            return
        self.inner.append(embedded)
        self._mark(embedded.root, tuple(rule for rule in self._explicit.paths if rule[0][0].deep))
        inner = _At(place, template, at.under, phi, name, None, at.depth + 1, at.layer + 1, at.defines, False)
        self._visit(embedded.root, 0, opened.value, inner, Named(""), place, template)

    def _mirrors(self, value: Json, embedded: Embedded) -> bool:
        """Whether a text block says `structuredContent` once more (MCP, Tools: Structured Content)."""
        structured = self._structured
        if structured is not None and value == structured:
            self.mirrors.append((embedded, False))
            return True
        if isinstance(structured, dict) and structured.keys() == {"result"} and value == structured["result"]:
            self.mirrors.append((embedded, True))
            return True
        return False


def _inner(at: _At, key: str, template: str) -> _At:
    place: Place = (at.place, key)
    return _At(place, template, at.under, at.phi, at.name, at.rule, at.depth + 1, at.layer, at.defines, at.counted)


def _join(template: str, key: str) -> str:
    return f"{template}.{key}"


def path(place: Place | None, safe: Mapping[str, str]) -> str:
    """`$.content[0].text`; `safe` gives the spelling of keys that are not shown as they are."""
    parts: list[str] = []
    while place is not None:
        place, key = place
        parts.append(f"[{key}]" if isinstance(key, int) else safe.get(key) or f".{key}")
    return "$" + "".join(reversed(parts))


def field_name(name: str) -> str:
    """A field selector's name as leaves carry it."""
    return named(name).name if len(name) <= LONGEST_NAME else normalise(name)
