"""Explanations as documents, and that watching a policy never passes for the policy itself."""

import pytest

from gateway.core.errors import PolicyFault
from gateway.core.policy.bundle import Source
from gateway.pdp import ask, explain
from gateway.pdp.ask import Question
from gateway.pdp.engine import load


def explained(text, query, asked="{}", data=None):
    sources = (Source("p.rego", text),)
    engine = load(sources, data or {})
    engine.set_input_json(asked)
    return {
        rule["rule"]: rule
        for rule in explain.explain(
            sources, data or {}, query, asked, ask.evaluate(engine, query), explain.roots(query)
        )
    }


def test_a_rule_has_its_value_definitions_and_what_they_use():
    text = "package p\n\ndefault a := 1\n\na := b if input.x\n\nb := 2\n"
    rules = explained(text, "data.p.a", '{"x": true}')
    assert list(rules) == ["data.p.a", "data.p.b"]
    default, given = rules["data.p.a"]["definitions"]
    assert (rules["data.p.a"]["value"], default["default"], default["bodies"]) == (2, True, [])
    assert given["location"] == {"file": "p.rego", "row": 5, "col": 1}
    (body,) = given["bodies"]
    assert (body["text"], body["begun"], body["held"], body["uses"]) == ("a := b", 1, 1, ["data.p.b"])


def test_an_undefined_rule_has_no_value_and_a_function_none_of_its_own():
    rules = explained("package p\na if f(input.x)\nf(x) if x == 1\n", "data.p.a", '{"x": 2}')
    assert "value" not in rules["data.p.a"]
    assert rules["data.p.f"]["function"]
    assert rules["data.p.f"]["definitions"][0]["bodies"][0]["stopped"]["values"] == [{"x": 2}]


def test_a_rule_that_fails_by_itself_tells_its_error():
    text = "package p\na if { input.x == 1; b == 1 }\nb := 1 / input.zero\n"
    rules = explained(text, "data.p.a", '{"x": 2, "zero": 0}')
    assert rules["data.p.b"]["error"] == "p.rego:3:8: divide by zero"


def test_looking_at_a_value_early_may_fail_and_then_it_is_not_looked_at():
    # The engine does not come to `b`; a probe that told its value would.
    text = "package p\na if { count([1 | input.nono; b]) == 5 }\nb := 1 / input.zero\n"
    rules = explained(text, "data.p.a", '{"zero": 0}')
    stopped = rules["data.p.a"]["definitions"][0]["bodies"][0]["stopped"]
    assert (stopped["text"], stopped["names"]) == ("count([1 | input.nono; b]) == 5", [])


def test_what_answers_otherwise_while_watched_is_not_explained():
    sources = (Source("p.rego", "package p\na := 1\n"),)
    with pytest.raises(PolicyFault, match="answers otherwise while it is being watched"):
        explain.explain(sources, {}, "data.p.a", "{}", [{"expressions": []}], [("p", "a")])


def test_names_that_are_no_words_are_quoted():
    rules = explained('package p["x-y"]\na := 1\n', 'data.p["x-y"].a')
    assert list(rules) == ['data.p["x-y"].a']


def test_a_question_is_answered_in_a_child_with_prints_and_metrics():
    source = Source("p.rego", 'package p\na := input.x if print("seen")\n')
    question = Question((source,), {}, "data.p.a", b'{"x": 1}', metrics=True, explain=True)
    answer = ask.ask(question, wall_s=10)
    assert answer.result[0]["expressions"][0]["value"] == 1
    assert answer.prints == ("p.rego:2: seen",)
    assert set(answer.metrics) == {
        "timer_rego_module_parse_ns",
        "timer_rego_input_parse_ns",
        "timer_rego_module_compile_ns",
        "timer_rego_query_eval_ns",
    }
    assert [rule["rule"] for rule in answer.explanation] == ["data.p.a"]


def test_without_an_input_input_is_undefined():
    assert ask.ask(Question((), {}, "input"), wall_s=10).result == []
