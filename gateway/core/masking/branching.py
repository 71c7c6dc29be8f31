"""How much a JSON Schema may make of one value: an upstream writes it, and a few references that each branch in two ask
for more looks at the same place than anybody could wait for.

Estimates from above, made without a value: all of what may be asked of one place is asked, whatever the value is.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote

from gateway.core.types import Document, Json

MOST = 100_000
"""Looks along one path into a value that are waited for: a tenth of a second."""
_MOST_SCHEMAS = 20_000
"""Schemas in one that are looked at, in a third of a second; what has more is too much."""
_HERE = frozenset({
    "$ref", "$dynamicRef", "$recursiveRef", "not", "if", "then", "else", "allOf", "anyOf", "oneOf", "dependentSchemas",
    "dependencies",
})  # fmt: skip
"""Keywords whose schemas are asked about the same place, and those about places inside it, whatever they are called."""
_INSIDE = frozenset({
    "patternProperties", "additionalProperties", "unevaluatedProperties", "propertyNames", "items", "additionalItems",
    "prefixItems", "unevaluatedItems", "contains",
})  # fmt: skip
_NAMES = ("$anchor", "$dynamicAnchor", "$id", "id")
_ANY = ""
_DEEP = 128
"""Levels of a value; no message has more."""


class _Looks(NamedTuple):
    here: int
    inside: dict[str, int]
    """By the name of a member; `_ANY` for those that may be of any."""

    @property
    def deepest(self) -> int:
        named = max((count for name, count in self.inside.items() if name != _ANY), default=0)
        return min(MOST + 1, self.here + self.inside.get(_ANY, 0) + named)


def too_much(schema: Document) -> bool:
    """Whether it may take more than anybody waits for to find out that a value keeps `schema`. What leads back to
    itself counts once: the validator remembers what it found at a place."""
    return _exceeds(schema, 0, step=0)


def too_much_to_tell(schema: Document) -> bool:
    """The same for finding out where a value breaks it, of which the validator remembers nothing."""
    return _exceeds(schema, _DEEP, step=1)


def _exceeds(schema: Document, deep: int, *, step: int) -> bool:
    try:
        return _Count(schema, step=step).looks(schema, deep).deepest > MOST
    except RecursionError:  # References that lead on and on.
        return True


class _Count:
    def __init__(self, schema: Document, *, step: int) -> None:
        """`step`: how much less deep it goes inside a place."""
        self._root = schema
        self._step = step
        self._known: dict[tuple[int, int], _Looks] = {}
        self._named: dict[str, list[Json]] = {}
        """Schemas that references know by a name."""
        self._roots: list[Json] = [schema]
        """Where references may begin: the document, and whatever in it has an address of its own."""
        containers: list[Json] = [schema]
        for each in containers:  # Grows on the way.
            if isinstance(each, dict):
                names = {_last(name) for keyword in _NAMES if isinstance(name := each.get(keyword), str)}
                for name in names:
                    self._named.setdefault(name, []).append(each)
                self._roots += [each] if names and each is not schema else []
            items = each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
            containers += [item for item in items if isinstance(item, dict | list)]

    def looks(self, schema: Json, deep: int) -> _Looks:
        if not isinstance(schema, dict) or deep < 0:
            return _Looks(1, {})
        key = id(schema), deep
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MOST_SCHEMAS:
                return _Looks(MOST + 1, {})
            self._known[key] = _Looks(1, {})  # Whoever is met on the way to itself.
            known = self._known[key] = self._counted(schema, deep)
        return known

    def _counted(self, schema: Document, deep: int) -> _Looks:
        here, inside = 1, dict[str, int]()

        def add(name: str, count: int) -> None:
            inside[name] = min(MOST + 1, inside.get(name, 0) + count)

        for keyword in _HERE & schema.keys():
            for each in self._schemas(schema, keyword):
                found = self.looks(each, deep)
                here = min(MOST + 1, here + found.here)
                for name, count in found.inside.items():
                    add(name, count)
        for keyword in _INSIDE & schema.keys():
            for each in self._schemas(schema, keyword):
                add(_ANY, self.looks(each, deep - self._step).deepest)
        properties = schema.get("properties")
        for name, each in properties.items() if isinstance(properties, dict) else ():
            add(f".{name}", self.looks(each, deep - self._step).deepest)
        return _Looks(here, inside)

    def _schemas(self, schema: Document, keyword: str) -> list[Json]:
        held = schema.get(keyword)
        if isinstance(held, str):
            return self._targets(held)
        if isinstance(held, list):
            return held
        several = keyword in ("dependentSchemas", "dependencies", "patternProperties")
        return [*held.values()] if several and isinstance(held, dict) else [held]

    def _targets(self, reference: str) -> list[Json]:
        """What a reference within the document may lead to; nothing is fetched, so one that leads elsewhere is none."""
        base, _, fragment = unquote(reference).partition("#")
        name, *steps = fragment.split("/")
        if not steps:
            return self._named.get(name or _last(base), self._roots[:1])
        return [found for root in self._roots if (found := _at(root, steps)) is not None]


def _at(found: Json, steps: list[str]) -> Json:
    """What a JSON pointer leads to (RFC 6901); None where there is nothing."""
    for step in steps:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list):
            found = found[int(step)] if step.isdigit() and int(step) < len(found) else None
        else:
            found = found.get(step) if isinstance(found, dict) else None
    return found


def _last(name: str) -> str:
    """The end of a schema's address, by which alone it is told here: two that share one are told as either."""
    return name.rstrip("#").rpartition("#")[2].rpartition("/")[2]
