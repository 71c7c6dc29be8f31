"""Schemas that ask ever more of one value are told from those that are merely large, or come back to themselves."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gateway.core.errors import MaskFault
from gateway.core.masking import branching, plan
from gateway.core.policy.decision import MaskRule, Operator, Selector

ALL = (MaskRule(Selector("class", "PHI"), Operator("redact")),)
SSN = "219-09-9999"
LEVELS = 34


def twice(*, into: str = "allOf", name: str = "a{}", reference: str = "#/$defs/a{}", called: str = "") -> Any:
    """Levels that each refer to the next one twice."""
    levels: dict[str, Any] = {}
    for level in range(LEVELS):
        following = {"$ref": reference.format(level + 1)}
        levels[name.format(level)] = {into: [following, following]}
    levels[name.format(LEVELS)] = {"type": "object"}
    if called:
        for level in range(LEVELS + 1):
            levels[name.format(level)][called] = f"a{level}"
    return {"$defs": levels, "$ref": reference.format(0)}


def inside() -> Any:
    """Levels that each refer to the next one twice for the very same member."""
    schema = twice()
    for level in range(LEVELS):
        following = {"$ref": f"#/$defs/a{level + 1}"}
        schema["$defs"][f"a{level}"] = {
            "properties": {"c": following}, "patternProperties": {"^c": following}, "type": "object",
        }  # fmt: skip
    return schema


BOMBS = {
    "allOf": twice(),
    "anyOf": twice(into="anyOf"),
    "oneOf": twice(into="oneOf"),
    "by anchors": twice(reference="#a{}", called="$anchor"),
    "by ids": twice(reference="a{}", called="$id"),
    "at an address of its own": {
        "$defs": {"a0": {}, "decoy": {"$id": "http://x.example/"}},
        "allOf": [{"$id": "http://y.example/z", **twice()}],
    },
    "percent-encoded": twice(name="b{}", reference="#/%24defs/%62{}"),
    "inside": inside(),
    "references that lead on and on": {
        "$defs": {f"a{level}": {"$ref": f"#/$defs/a{level + 1}"} for level in range(5000)},
        "$ref": "#/$defs/a0",
    },
    "a schema without end": {"properties": {f"p{number}": {"type": "string"} for number in range(30_000)}},
    "not": {
        "$defs": {
            **{
                f"a{level}": {"not": {"$ref": f"#/$defs/a{level + 1}"}, "if": {"$ref": f"#/$defs/a{level + 1}"}}
                for level in range(LEVELS)
            },
            f"a{LEVELS}": {},
        },
        "$ref": "#/$defs/a0",
    },
}
TREE = {"$ref": "#", "type": "object"}
OFTEN = {
    "$defs": {
        "n": {
            "allOf": [{"$ref": "#/$defs/base"}, {"$ref": "#/$defs/more"}],
        },
        "base": {"properties": {"id": {"type": "string"}}},
        "more": {"properties": {"c": {"anyOf": [{"items": {"anyOf": [{"$ref": "#/$defs/n"}, {}]}}, {}]}}},
    },
    "$ref": "#/$defs/n",
}
GOOD = {
    "what comes back by many ways": OFTEN,
    "no references": {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(5000)}},
    "a tree": {"properties": {"left": TREE, "right": TREE, "of": {"items": TREE}}},
    "a union of what comes back": {
        "$defs": {
            kind: {"properties": {"children": {"items": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]}}}}
            for kind in "ab"
        },
        "$ref": "#/$defs/a",
    },
    "a type that many have": {
        "$defs": {
            "code": {"type": "string"},
            "coding": {"properties": {f"c{number}": {"$ref": "#/$defs/code"} for number in range(50)}},
            "row": {"properties": {f"r{number}": {"$ref": "#/$defs/coding"} for number in range(50)}},
        },
        "properties": {f"p{number}": {"items": {"$ref": "#/$defs/row"}} for number in range(50)},
    },
    "what leads nowhere": {"properties": {"a": {"$ref": "#/$defs/none"}, "b": {"$ref": "#/properties/a/x"}}},
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_attack_a_schema_that_branches_without_end_is_not_waited_for(bomb: str) -> None:
    value: Any = {"ssn": SSN}
    for _ in range(LEVELS):
        value = {"c": value, "ssn": SSN}
    start = time.process_time()
    with pytest.raises(MaskFault, match="outputSchema cannot be used"):
        plan.apply({"structuredContent": value}, ALL, key=b"k" * 32, schema=BOMBS[bomb])
    assert time.process_time() - start < 1


def wide(into: str, *, kind: Any) -> Any:
    """A level that comes back to itself twice for the same member, and wants of each number that it is one."""
    again = {into: [{"$ref": "#/$defs/n"}, {"$ref": "#/$defs/n"}]}
    return {"$defs": {"n": {"properties": {"c": again, "ssn": kind}, "required": ["ssn"]}}, "$ref": "#/$defs/n"}


@pytest.mark.parametrize("into", ["allOf", "anyOf"])
def test_attack_where_a_schema_is_broken_that_comes_back_to_itself_twice_is_not_waited_for(into: str) -> None:
    value: Any = {"ssn": SSN}
    for _ in range(LEVELS):
        value = {"c": value, "ssn": SSN}
    start = time.process_time()
    schema = wide(into, kind={"type": ["string", "null"], "pattern": "^[0-9-]*$"})
    done: Any = plan.apply({"structuredContent": value}, ALL, key=b"k" * 32, schema=schema).value
    assert time.process_time() - start < 1
    assert done["structuredContent"]["ssn"] is None
    assert SSN not in str(done)


@pytest.mark.parametrize("good", GOOD)
def test_a_schema_that_is_merely_large_or_comes_back_to_itself_is_used(good: str) -> None:
    assert not branching.too_much(GOOD[good])
    assert branching.too_much_to_tell(GOOD[good]) == (good == "a union of what comes back")
