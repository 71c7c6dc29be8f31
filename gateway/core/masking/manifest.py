"""The manifest of a masked value: class, place, detector and operator of what was masked, never the value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.core.masking.phi import Phi
from gateway.core.masking.structure import Leaf, Node
from gateway.core.types import Document, Json

ITEMS_MOST = 200
"""Items of a manifest; counts are of all."""

Done = tuple[Leaf | str, Phi, str, str]
"""What was masked: where, of which class, found by which detector, and by which operator."""


def manifest(done: Sequence[Done], safe: Mapping[str, str]) -> Document:
    """What was done, in words; `safe` gives the spelling of member names that are not shown as they are."""
    counts: dict[str, int] = {}
    for _, phi, _, _ in done:
        counts[phi._value_] = counts.get(phi._value_, 0) + 1
    paths: dict[Node, str] = {}
    items: list[Json] = [
        {
            "path": where if isinstance(where, str) else _shown(where, paths, safe),
            "class": phi._value_,
            "detector": detector,
            "operator": operator,
        }
        for where, phi, detector, operator in done[:ITEMS_MOST]
    ]
    return {"counts": {**counts}, "items": items, "truncated": len(done) > ITEMS_MOST}


def _shown(leaf: Leaf, paths: dict[Node, str], safe: Mapping[str, str]) -> str:
    """`$.content[0].text`; `paths` has those of containers that were worked out before."""
    node = leaf.node
    path = paths.get(node) or _path(node, paths, safe)
    return path if node.style is not None else path + _step(leaf.key, safe)


def _path(node: Node, paths: dict[Node, str], safe: Mapping[str, str]) -> str:
    above = node.above
    path = "$" if above is None else paths.get(above) or _path(above, paths, safe)
    if above is not None and above.style is None:
        path += _step(node.key, safe)
    paths[node] = path
    return path


def _step(key: int | str, safe: Mapping[str, str]) -> str:
    return f"[{key}]" if isinstance(key, int) else safe.get(key) or f".{key}"
