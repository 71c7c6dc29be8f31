"""Variables and negations: what the engine answers, and what is found."""

import pytest

from tests.core.policy.lint.policies import answer, found


def test_a_name_that_only_some_declares_makes_a_rule_that_never_holds():
    body = "default x := false\n\nx if {\n\tsome limit\n\tlimit > 5\n}"

    assert answer(body, "x") is False
    assert "unsafe-variable" in found(body)


def test_a_misspelt_name_makes_the_engine_refuse_every_decision():
    body = "x if input.message.name == nme\n\nother := 1"

    assert "unsafe" in answer(body, "other")
    assert "unsafe-variable" in found(body)


@pytest.mark.parametrize(
    "body",
    [
        "x if { some i; input.a[i] == 1 }",
        "x contains i if input.a[i]",
        "x if { y = input.a; y == 1 }",
        "x if { [y, _] = input.a; y == 1 }",
        "x if { walk(input, [path, value]); count(path) == value }",
        "f(a, [b, _]) := a + b",
        "x if every i, y in input.a { y == i }",
        "x[k] := v if some k, v in input.a",
        "x := {k: v | some k; v := input.a[k]}",
        'x if regex.match("a", input.a)',
        "x := y if y := 1 else := z if z := 2",
    ],
)
def test_what_binds_a_name_is_known(body):
    assert "unsafe-variable" not in found(body)


@pytest.mark.parametrize(
    "negation",
    [
        'not "x" in input.nope',
        'not startswith(input.nope, "a")',
        "not input.nope < 5",
        "not f(input.nope)",
        "not table[input.nope]",
    ],
)
def test_the_negation_of_something_missing_holds(negation):
    body = f'table := {{"a": true}}\n\nf(x) := x\n\nopen if {negation}'

    assert answer(body, "open") is True
    assert "not-undefined" in found(body)


def test_a_bound_value_makes_the_negation_undefined():
    body = 'open if {\n\tname := input.nope\n\tnot startswith(name, "a")\n}'

    assert answer(body, "open") == "<undefined>"
    assert found(body) == {"may-fail"}


def test_not_with_a_wildcard_lets_a_blocked_member_through():
    body = 'open if {\n\tgroups := input.groups\n\tnot groups[_] == "blocked"\n}'

    assert answer(body, "open", document={"groups": ["blocked", "staff"]}) is True
    assert "not-unbound" in found(body)


def test_not_with_an_index_that_some_only_declares_does_so_too():
    body = 'open if {\n\tsome i\n\tgroups := input.groups\n\tnot groups[i] == "blocked"\n}'

    assert answer(body, "open", document={"groups": ["blocked", "staff"]}) is True
    assert "not-unbound" in found(body)


def test_a_name_that_is_bound_before_not_is_fine():
    body = 'x if {\n\tsome i\n\tinput.groups[i]\n\tother := input.other\n\tnot other[i] == "x"\n}'

    assert "not-unbound" not in found(body)


@pytest.mark.parametrize(
    "body",
    ["x if {\n\ty := 1\n\tinput.a\n}", "x if {\n\tsome y in input.a\n}", "x if every y, z in input.a { z == 1 }"],
)
def test_unused_locals_are_told(body):
    assert "unused-local" in found(body)


def test_an_unused_argument_is_told_and_a_wildcard_is_not():
    assert found("f(a, b) := a") == {"unused-argument"}
    assert found("f(a, _) := a") == set()
