import base64

import pytest

from gateway.core.errors import PolicyFault
from gateway.core.policy import outcome
from gateway.core.policy.compare import ABSENT, Difference
from gateway.pdp import suite
from gateway.pdp.suite import Suite

from .policies import policy

TESTS = b"""package gateway.call_test

test_passes if 1 == 1

test_fails if 1 == 2

test_is_not_true := "yes"

test_is_an_object := {"a": true}

test_raises if to_number("x") == 1

todo_test_later if 1 == 2

test_prints if print("hello")

helper if 1 == 2
"""

WHY = b"""package gateway.why_test

two := 2

# More than one definition: the one that came furthest is told.
test_stops if 1 == 2

test_stops if {
	some number in [1, 2, 3]
	number < 3
	number > two + 1
}

test_every if {
	every number in [1, 2, 3] {
		doubled := number * 2
		doubled < 6
	}
}

test_with if {
	data.gateway.call.decision.effect == "allow" with input as {}
}

test_notes[note] if {
	some note, number in {"one": 1, "two": 2, "three": 3}
	number < two
}

test_nested["a"][number] if {
	some number in [1, 2]
	"a" == "a"
}

test_nothing[note] if {
	some note in []
}
"""

CASES = """entrypoint: call
given: {principal: {groups: [a]}}
cases:
  - note: as it is
    want: {effect: deny}
  - note: not as it is
    want: {effect: allow, reasons: [x]}
  - note: another time
    todo: true
    want: {effect: allow}
  - note: with other data
    data: {gateway: {settings: {open: true}}}
    want: {effect: allow}
  - note: over a rule
    data: {gateway: {call: {decision: {effect: allow}}}}
    want: {effect: allow}
  - note: raises
    input: {divide: 0}
    want: {effect: deny}
"""

CALL = """
decision := {"effect": "allow"} if data.gateway.settings.open
decision := {"effect": "allow"} if 1 / input.divide == 2
"""


def outcomes(tests=TESTS, **options):
    return suite.run(policy(files={"gateway/call_test.rego": tests}), **options)


def cases(text=CASES, call=CALL, **options):
    bundle = policy(call, files={"gateway/settings/data.json": b'{"open": false}'})
    return {each.name: each for each in suite.run(bundle, files={"a_cases.yaml": text.encode()}, **options)}


def why(name):
    bundle = policy(files={"gateway/why_test.rego": WHY})
    tests = Suite(bundle.sources, bundle.data, only=f"{name}$")
    (test,) = tests.tests
    return tests.why(test, tests.run(test))


def test_a_test_passes_when_it_is_true_and_only_then():
    assert {outcome.name: outcome.word for outcome in outcomes()} == {
        "test_passes": "PASS",
        "test_fails": "FAIL",
        "test_is_not_true": "FAIL",
        "test_is_an_object": "FAIL",
        "test_raises": "ERROR",
        "todo_test_later": "SKIPPED",
        "test_prints": "PASS",
    }


def test_outcomes_have_the_shape_that_opa_prints():
    documents = {outcome.name: outcome.document for outcome in outcomes()}

    assert documents["test_fails"]["location"] == {"file": "gateway/call_test.rego", "row": 5, "col": 1}
    assert documents["test_fails"]["package"] == "data.gateway.call_test"
    assert documents["test_fails"]["fail"] is True
    raised = "gateway/call_test.rego:11:27: could not parse string as number"
    assert documents["test_raises"]["error"]["message"] == raised
    assert documents["todo_test_later"]["skip"] is True
    assert base64.b64decode(documents["test_prints"]["output"]) == b"hello\n"
    assert documents["test_passes"].keys() == {"location", "package", "name", "duration"}


def test_a_pattern_chooses_by_package_and_name():
    assert [outcome.name for outcome in outcomes(only="call_test.test_pas")] == ["test_passes"]
    assert outcomes(only="nowhere") == []


def test_a_package_with_a_name_that_is_no_word_is_tested_too():
    (found,) = outcomes(b'package gateway["call-test"]\n\ntest_passes if 1 == 1\n')

    assert found.word == "PASS"


def test_a_panic_costs_the_test_that_met_it_and_no_other():
    found = outcomes(b'package gateway.call_test\n\ntest_a if strings.count("x", "") == 1\n\ntest_b if 1 == 1\n')

    assert [each.word for each in found] == ["ERROR", "PASS"]


def test_a_case_passes_when_the_decision_is_the_one_it_wants():
    found = cases()

    assert {name: each.word for name, each in found.items()} == {
        "as it is": "PASS",
        "not as it is": "FAIL",
        "another time": "SKIPPED",
        "with other data": "PASS",
        "over a rule": "ERROR",
        "raises": "ERROR",
    }
    assert (found["as it is"].package, found["as it is"].file, found["as it is"].place.line) == (
        "data.gateway.call",
        "a_cases.yaml",
        4,
    )


def test_a_case_that_fails_tells_each_difference_and_the_reasons_given():
    refusing = 'decision := {"effect": "deny", "reasons": [{"code": "y", "message": "why"}]} if input.principal\n'
    failed = cases(call=refusing)["not as it is"]

    assert failed.differences == (
        Difference("effect", "allow", "deny"),
        Difference("reasons", "x", ABSENT),
        Difference("reasons", ABSENT, "y"),
    )
    assert failed.reasons == ("y: why",)


def test_a_case_cannot_take_the_place_of_a_rule():
    assert "gateway/call/decision/effect is a rule (gateway/call/decision.rego:2)" in cases()["over a rule"].fault


def test_an_entrypoint_that_fails_is_no_denial_that_a_case_could_want():
    assert "divide by zero" in cases()["raises"].fault


def test_an_undefined_entrypoint_is_the_denial_that_it_would_be():
    text = "entrypoint: call\ncases: [{note: x, want: {effect: deny, reasons: [policy_undefined]}}]"
    bundle = policy()
    sources = tuple(source for source in bundle.sources if "call" not in source.path)
    empty = Suite(sources, {}, tuple(suite.read_cases({"a_cases.yaml": text.encode()})))

    with_rule = Suite(bundle.sources, {}, tuple(suite.read_cases({"a_cases.yaml": text.encode()})))

    assert empty.run(empty.tests[0]).word == "ERROR"
    assert with_rule.run(with_rule.tests[0]).word == "FAIL"


def test_cases_are_chosen_by_package_and_note():
    assert cases(only="call: not as").keys() == {"not as it is"}


def test_the_faults_of_all_case_files_are_told_together():
    with pytest.raises(PolicyFault) as caught:
        list(suite.read_cases({"b_cases.yaml": b"1", "a_cases.json": b"{", "other.yaml": b"["}))

    assert {line.split(":")[0] for line in caught.value.detail.splitlines()} == {"a_cases.json", "b_cases.yaml"}


def test_a_rule_with_parameters_names_those_that_fail():
    assert why("test_notes").parts == ((("one",), True), (("three",), False), (("two",), False))
    assert why("test_nested").parts == ((("a", "1"), True), (("a", "2"), True))
    assert why("test_notes").document["sub_results"]["two"] == {"name": "two", "fail": True}


def test_a_rule_with_parameters_of_which_there_is_none_fails():
    assert why("test_nothing").word == "FAIL"


def test_a_failing_rule_tells_the_expression_and_the_values_in_it():
    (halt,) = why("test_stops").halts

    assert (halt.line, halt.text) == (11, "number > two + 1")
    assert {"number": [1], "two": [2]} in halt.values


def test_a_failing_every_tells_the_expression_within():
    outer, inner = why("test_every").halts

    assert outer.line == 15
    assert (inner.line, inner.text) == (17, "doubled < 6")
    assert inner.values == ({"doubled": [6]},)


def test_a_failing_expression_with_mocked_input_tells_the_values_under_it():
    (halt,) = why("test_with").halts

    assert halt.text == 'data.gateway.call.decision.effect == "allow" with input as {}'
    assert halt.values == ({"data.gateway.call.decision.effect": ["deny"]},)


def test_an_outcome_is_read_from_its_own_document():
    found = [*outcomes(), *cases().values(), why("test_stops"), why("test_notes"), why("test_nested")]

    assert [outcome.read(each.document) for each in found] == found
