"""The part of JSONPath (RFC 9535) that mask rules may use: names, quoted names, indices, `*` and `..name`.

`$.structuredContent.rows[*].ssn`, `$['a.b']["c"][0]`, `$..name`. Where a table is given as columns and rows, a name
taken of a row means its column. Filters, slices and unions are refused: a path that cannot be followed must not look
like one that found nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from gateway.core.errors import MaskFault
from gateway.core.types import Json

LONGEST_PATH = 512
_STEP = re.compile(
    r"\.\.(?P<deep>\*|[A-Za-z_\u0080-\uffff][\w\u0080-\uffff-]*)|\.(?P<name>\*|[A-Za-z_\u0080-\uffff][\w\u0080-\uffff-]*)"
    r"|\[(?P<index>\d{1,9}|\*)\]|\['(?P<single>(?:[^'\\]|\\.){0,128})'\]|\[\"(?P<double>(?:[^\"\\]|\\.){0,128})\"\]"
)
_UNESCAPE = re.compile(r"\\(.)")

COLUMNS = ("columns", "fields", "headers", "header", "column_names", "columnNames")
ROWS = ("rows", "data", "values", "records", "results")


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a member's name, an index, or None for all; `deep` looks at every depth below."""

    key: str | int | None
    deep: bool = False


Target = tuple[list[Json] | dict[str, Json], int | str]
"""A place in a tree: the container and the key or index in it."""


@lru_cache(maxsize=1024)
def parse(path: str) -> tuple[Step, ...]:
    """The steps of `path`. Raises MaskFault where it is not of the subset."""
    if not path.startswith("$") or len(path) > LONGEST_PATH:
        raise MaskFault("A mask rule's path must start with $; see docs/masking.md for what a path may hold.")
    steps: list[Step] = []
    at = 1
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            raise MaskFault(f"A mask rule's path cannot be followed from character {at} on; see docs/masking.md.")
        steps.append(_step(found))
        at = found.end()
    if not steps:
        raise MaskFault("A mask rule's path must select something below $.")
    return tuple(steps)


def _step(found: re.Match[str]) -> Step:
    kind = found.lastgroup
    text = found.group(str(kind))
    if kind in ("deep", "name"):
        return Step(None if text == "*" else text, deep=kind == "deep")
    if kind == "index":
        return Step(None if text == "*" else int(text))
    return Step(_UNESCAPE.sub(r"\1", text))


def targets(root: list[Json], steps: tuple[Step, ...]) -> Iterator[Target]:
    """Every place below `root[0]` that the steps lead to. `root` is a list of one so that the whole has a place too."""
    found: list[tuple[Target, list[Json]]] = [((root, 0), [])]
    for step in steps:
        reached: list[tuple[Target, list[Json]]] = []
        for place, columns in found:
            starts = _below(place, columns) if step.deep else [(place, columns)]
            for start, context in starts:
                reached.extend(_take(start, context, step.key))
        found = reached
    for place, _ in found:
        yield place


def columns_of(node: dict[str, Json]) -> list[Json] | None:
    """The column names of a table given as columns and rows, or None when `node` is no such table."""
    for key in COLUMNS:
        columns = node.get(key)
        if isinstance(columns, list) and columns and any(isinstance(node.get(rows), list) for rows in ROWS):
            names: list[Json] = [item.get("name") if isinstance(item, dict) else item for item in columns]
            if all(isinstance(name, str) for name in names):
                return names
    return None


def _get(place: Target) -> Json:
    holder, key = place
    return holder[key]  # type: ignore[index]  # The key came out of this holder.


def _below(place: Target, columns: list[Json]) -> Iterator[tuple[Target, list[Json]]]:
    stack = [(place, columns)]
    while stack:
        at, context = stack.pop()
        yield at, context
        stack.extend(_take(at, context, None))


def _take(place: Target, columns: list[Json], key: str | int | None) -> Iterator[tuple[Target, list[Json]]]:
    node = _get(place)
    if isinstance(node, dict):
        table = columns_of(node) or []
        for name in [key] if key in node else list(node) if key is None else []:
            yield (node, str(name)), table if name in ROWS else []
    elif isinstance(node, list):
        if isinstance(key, str):
            yield from (((node, index), []) for index, name in enumerate(columns) if name == key and index < len(node))
        elif key is None:
            yield from (((node, index), columns) for index in range(len(node)))
        elif key < len(node):
            yield (node, key), columns
