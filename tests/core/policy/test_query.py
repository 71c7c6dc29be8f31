"""Queries become rules where the engine would answer them wrongly; the result set is the one that OPA gives."""

import orjson
import pytest

from gateway.core.policy import query as queries
from gateway.core.policy.bundle import Source
from gateway.pdp.engine import load

POLICY = Source("p.rego", "package p\n\nallow if input.x == 1\n\nf(x) := x\n")
DATA = {"roles": ["a", "b"]}


def tree(text):
    return orjson.loads(load((queries.wrapped(text),), {}).get_ast_as_json())


def answer(text):
    """Of each result: the values, and the bindings."""
    asked = queries.rewritten(tree(text), text)
    assert asked is not None
    engine = load((POLICY, asked.source), DATA)
    engine.set_input_json('{"x": 1}')
    rows = asked.result(orjson.loads(engine.eval_query_as_json(queries.RULE)).get("result", []))
    return [([item["value"] for item in row["expressions"]], row.get("bindings", {})) for row in rows]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        # The first two are what regorus gets wrong when it is asked directly.
        ("not data.p.allow", []),
        ('some r in data.roles; r == "b"', [([True, True], {"r": "b"})]),
        ("not data.p.nope", [([True], {})]),
        ("some r in data.roles", [([True], {"r": "a"}), ([True], {"r": "b"})]),
        ('some i, r in data.roles; r == "b"', [([True, True], {"i": 1, "r": "b"})]),
        ('some i; data.roles[i] == "b"', [([True], {"i": 1})]),
        ("data.roles[i]; i > 0", [(["b", True], {"i": 1})]),
        ("data.nope; 1", []),
        ("false; 1", []),
        ("null; 1", [([None, 1], {})]),
        ('"a" in data.roles\nnot false', [([True, True], {})]),
        ("y := [x | some x in data.roles]; z := count(y)", [([True, True], {"y": ["a", "b"], "z": 2})]),
        ("x = [1, y]; y = 2", [([True, True], {"x": [1, 2], "y": 2})]),
        ("data.p.allow with input as {}; 7", []),
        ("data.p.f(3); every x in [1] { x == 1 }", [([3, True], {})]),
        ('data.roles[_] == "b"; 5', [([True, 5], {})]),
    ],
)
def test_a_query_of_several_expressions_has_opas_results(text, rows):
    assert answer(text) == rows


def test_expressions_keep_their_text_and_place():
    text = '"é" == "é"; 1\n\tnot false'
    asked = queries.rewritten(tree(text), text)
    assert [(each.text, each.row, each.column) for each in asked.expressions] == [
        ('"é" == "é"', 1, 1),
        ("1", 1, 13),
        ("not false", 2, 2),
    ]


@pytest.mark.parametrize("text", ["data.p.allow", "x := data.roles[i]", "1 == 2", '"s"', "data.p.f(1)"])
def test_a_single_plain_expression_is_left_to_the_engine(text):
    assert queries.rewritten(tree(text), text) is None


def test_what_closes_the_body_and_goes_on_is_no_query():
    text = "true }\n\nmore if { true"
    assert queries.rewritten(tree(text), text) is None
