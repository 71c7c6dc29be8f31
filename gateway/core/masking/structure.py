"""The walk over a message: every leaf with its place, what its field's name says of it, and the rule it falls under.

All of MCP is walked the same way: content blocks, structuredContent, `_meta`, errors, notification params. JSON inside
strings is opened and walked too. What is special is small and listed here and in `spots`: the few members whose values
the protocol fixes, definitions of tools and prompts (whose member names describe data and hold none), and binary blobs.

Nothing of the message is changed or copied: a leaf knows the container it is in, and that one knows its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gateway.core.masking import hints, layers, paths, spots, values
from gateway.core.masking.layers import Style
from gateway.core.masking.names import LONGEST_NAME, named, normalise
from gateway.core.masking.phi import Phi
from gateway.core.masking.spots import NOTHING, Members, Spot
from gateway.core.policy.decision import MaskRule
from gateway.core.types import Json

DEEPEST = 128
"""Containers inside containers; beyond it a subtree is unreadable."""
_RESULT_TYPES = frozenset({"complete", "input_required", "task"})


@dataclass(slots=True, eq=False)
class Node:
    """A container where it was met. JSON that was found in a string is in a list of one, which has a `style`: once it
    is masked it is written back in that style, in place of the string."""

    value: list[Json] | dict[str, Json] = field(repr=False)
    above: Node | None = field(default=None, repr=False)
    key: int | str = field(default=0, repr=False)
    """Under which it is in the one above."""
    style: Style | None = None


@dataclass(slots=True, eq=False)
class Leaf:
    """One value that is not a container (or an unreadable one), where it can be replaced."""

    node: Node = field(repr=False)
    key: int | str = field(repr=False)
    value: Json = field(repr=False)
    spot: Spot = field(repr=False)
    phi: Phi | None
    rule: MaskRule | None = None
    detector: str = "name"


@dataclass(frozen=True, slots=True)
class Explicit:
    """The rules that name places rather than classes: fields by normalised name, and paths."""

    fields: Mapping[str, MaskRule] = field(default_factory=dict)
    paths: tuple[tuple[tuple[paths.Step, ...], MaskRule], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.fields or self.paths)


NO_PLACES = Explicit()


class Walk:
    """One walk over one message; afterwards its lists say all that was met."""

    def __init__(self, explicit: Explicit = NO_PLACES) -> None:
        self.leaves: list[Leaf] = []
        self.objects: dict[Members, None] = {}
        """The names of members that were met together."""
        self.inner: list[Node] = []
        """Objects and opened JSON in the order met, so outer before inner: they are finished in reverse."""
        self.mirrors: list[tuple[Node, bool]] = []
        """Texts that say `structuredContent` once more (or, True: its only member `result`)."""
        self.joins: list[tuple[list[Leaf], str]] = []
        self.unreadable: list[Leaf] = []
        self.rows: dict[str, int] = {}
        self._explicit = explicit
        self._ruled = bool(explicit)
        self._marks: dict[tuple[int, int | str], MaskRule] = {}
        self._structured: Json = None
        self._written: str | None = None
        """`structuredContent` as most write it into a text block, once a text asked for it."""
        self._zone = ""
        self._of_task = False
        """The message is a task, or holds one (2025-11-25, Tasks; tasks extension)."""

    def message(self, value: Json) -> Node:
        """Walk a result, an error or params, and give its node; what is no object is in a list of one. What is met
        adds to what was met in those before."""
        self._structured, self._written, self._zone = None, None, ""
        root = [value]
        self._mark(root, self._explicit.paths)
        if not isinstance(value, dict):
            node = Node(root)
            self._visit(node, 0, value, spots.WHOLE, None)
            return node
        node = Node(value)
        self._of_task = _is_task(value) or _is_task(value.get("task"))
        self._structured = value.get("structuredContent")
        mark = self._marks.get((id(root), 0))
        members = spots.top(value)
        self.objects[members] = None
        self.inner.append(node)
        for (key, item), spot in zip(value.items(), members.spots, strict=True):
            self._zone = key
            if (key == "isError" and isinstance(item, bool)) or (
                key == "resultType" and isinstance(item, str) and item in _RESULT_TYPES
            ):
                continue
            if key == "code" and isinstance(item, int) and isinstance(value.get("message"), str):
                continue  # JSON-RPC 2.0 §5.1: an error's code is an integer and stays one.
            self._visit(node, key, item, spot, mark)
        return node

    def names(self) -> set[str]:
        """Every member name met."""
        return set().union(*[members.shape.keys for members in self.objects])

    def _mark(self, root: list[Json], rules: Iterable[tuple[tuple[paths.Step, ...], MaskRule]]) -> None:
        for steps, rule in rules:
            for holder, key in paths.targets(root, steps):
                self._marks.setdefault((id(holder), key), rule)

    def _visit(self, node: Node, key: int | str, value: Json, spot: Spot, above: MaskRule | None) -> None:
        """Meet one value; `above` is the rule that its container falls under."""
        rule = self._rule(node, key, spot) or above if self._ruled else None
        kind = type(value)
        if kind is str:
            self._string(node, key, str(value), spot, rule)
        elif kind is dict or kind is list:
            self._container(node, key, value, spot, rule)  # type: ignore[arg-type] # its type was just asked
        elif kind is int or kind is float:
            phi = None if spot.phi is None else values.number(spot.phi, value, spot.named)  # type: ignore[arg-type]
            self.leaves.append(Leaf(node, key, value, spot, phi, rule))
        elif value is not None and rule is not None:
            self.leaves.append(Leaf(node, key, value, spot, None, rule))

    def _rule(self, node: Node, key: int | str, spot: Spot) -> MaskRule | None:
        rule = self._marks.get((id(node.value), key))
        if rule is not None or spot.defines or spot.blob is not None:
            return rule
        return self._explicit.fields.get(spot.named.name)

    def _container(
        self, above: Node, key: int | str, value: list[Json] | dict[str, Json], spot: Spot, rule: MaskRule | None
    ) -> None:
        whole = rule is not None and rule.operator.name == "null"
        if whole or spot.depth > DEEPEST:
            leaf = Leaf(above, key, value, spot, spot.passed if whole else Phi.BLOB, rule, "depth")
            self.leaves.append(leaf)
            if not whole:
                self.unreadable.append(leaf)
        elif isinstance(value, dict):
            self._object(value, Node(value, above, key), spot, rule)
        else:
            self._list(value, Node(value, above, key), spot, rule)

    def _object(self, value: dict[str, Json], node: Node, at: Spot, rule: MaskRule | None) -> None:
        members = spots.members(at, value)
        self.objects[members] = None
        self.inner.append(node)
        each = _told(value, at, members) if members.telling else members.spots
        columns = paths.columns_of(value) if members.columns else None
        by_name, leaves, openers = not self._ruled, self.leaves, layers.OPENERS
        for (key, item), spot in zip(value.items(), each, strict=True):
            if type(item) is str and by_name and spot.plain and item[:1] not in openers:
                # What `_visit` and `_string` come to for most strings, without the calls.
                phi = spot.phi
                if phi is not None and (spot.judge is not None or not item):
                    phi = spot.of(item)
                leaves.append(Leaf(node, key, item, spot, phi))
            elif columns is not None and key in paths.ROWS and isinstance(item, list):
                inner = spots.renamed(at, key, NOTHING)
                self._table(item, [str(column) for column in columns], Node(item, node, key), inner, rule)
            else:
                self._visit(node, key, item, spot, rule)

    def _table(self, rows: list[Json], names: list[str], node: Node, at: Spot, rule: MaskRule | None) -> None:
        """Rows of a table whose column names are given beside them."""
        self._count(len(rows), at)
        row, cells = spots.columns(at, names)
        for number, items in enumerate(rows):
            if not isinstance(items, list) or len(items) > len(cells):
                self._visit(node, number, items, row, rule)
                continue
            inner = Node(items, node, number)
            for index, item in enumerate(items):
                self._visit(inner, index, item, cells[index], rule)

    def _list(self, value: list[Json], node: Node, at: Spot, rule: MaskRule | None) -> None:
        first = value[0] if value else None
        if isinstance(first, list) and len(value) > 1 and (names := hints.header(first, self._explicit.fields)):
            self._table(value, names, node, at, rule)
            return
        counted = at.counted
        if isinstance(first, dict | list) and not counted:
            self._count(len(value), at)
            counted = True
        start = len(self.leaves)
        spot = at.item(counted=counted)
        for index, item in enumerate(value):
            self._visit(node, index, item, spot, rule)
        if len(value) > 1 and isinstance(first, str | int):
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

    def _count(self, rows: int, at: Spot) -> None:
        if not at.counted and not at.defines:
            self.rows[self._zone] = self.rows.get(self._zone, 0) + rows

    def _string(self, node: Node, key: int | str, text: str, spot: Spot, rule: MaskRule | None) -> None:
        if (
            spot.fixed is not None
            and text in spot.fixed
            and (spot.fixed is not spots.TIMES or (self._of_task and rule is None))
        ):
            return
        if spot.blob is not None:
            self.leaves.append(Leaf(node, key, text, spot, spot.blob, rule, "blob"))
            return
        if rule is None and spot.layer == 0 and self._zone == "content" and self._is_structured(text):
            self.mirrors.append((Node([self._structured], node, key, layers.COMPACT), False))
            return
        phi = spot.of(text)
        opened = layers.open_json(text) if text[:1] in layers.OPENERS and rule is None else None
        if opened is None:
            self.leaves.append(Leaf(node, key, text, spot, phi, rule))
            return
        if spot.layer >= layers.DEPTH:
            leaf = Leaf(node, key, text, spot, Phi.BLOB, None, "depth")
            self.leaves.append(leaf)
            self.unreadable.append(leaf)
            return
        inner = Node([opened.value], node, key, opened.style)
        if self._zone == "content" and spot.layer == 0 and self._mirrors(opened.value, inner):
            return
        self.inner.append(inner)
        self._mark(inner.value, [rule for rule in self._explicit.paths if rule[0][0].deep])  # type: ignore[arg-type]
        self._visit(inner, 0, opened.value, spot.opened(phi), None)

    def _is_structured(self, text: str) -> bool:
        """Whether a text is just what `structuredContent` is as most write it, so that it need not be opened."""
        if text[:1] != "{" or not isinstance(self._structured, dict):
            return False
        if self._written is None:
            self._written = layers.compact(self._structured)
        return text == self._written

    def _mirrors(self, value: Json, inner: Node) -> bool:
        """Whether a text block says `structuredContent` once more (MCP, Tools: Structured Content)."""
        structured = self._structured
        if structured is not None and value == structured:
            self.mirrors.append((inner, False))
            return True
        if isinstance(structured, dict) and structured.keys() == {"result"} and value == structured["result"]:
            self.mirrors.append((inner, True))
            return True
        return False


def _is_task(value: Json) -> bool:
    return isinstance(value, dict) and "taskId" in value and "status" in value


def _told(value: dict[str, Json], at: Spot, members: Members) -> Iterable[Spot]:
    """The spots of members of which some say what others are."""
    blob = hints.blob_member(value)
    label = members.shape.label
    told = hints.told(value, label) if label else None
    identifier = hints.identifier(value) if members.identifier else None
    if not blob and told is None and identifier is None:
        return members.spots
    each = dict(zip(value, members.spots, strict=True))
    for key, spot in each.items():
        if key == blob:
            each[key] = spots.blob(at, key)
        elif told is not None and spot.named.name.startswith(("value", "answer")):
            each[key] = spots.renamed(at, key, told)
        elif identifier is not None and spot.named.name == "value":
            each[key] = spots.renamed(at, key, identifier)
    return each.values()


def place(node: Node, key: int | str) -> list[int | str]:
    """Where a value is, as keys from the message down; those in JSON in a string follow those of the string."""
    keys = [key] if node.style is None else []
    while node.above is not None:
        key, node = node.key, node.above
        if node.style is None:
            keys.append(key)
    return keys[::-1]


def is_of_mcp(node: Node) -> bool:
    """Whether MCP says how members of this are called: everywhere but in `structuredContent` and in JSON in strings."""
    while node.above is not None:
        if node.style is not None or (node.above.above is None and node.key == "structuredContent"):
            return False
        node = node.above
    return True


def field_name(name: str) -> str:
    """A field selector's name as leaves carry it."""
    return named(name).name if len(name) <= LONGEST_NAME else normalise(name)
