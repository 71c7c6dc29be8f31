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


@pytest.mark.parametrize(
    "body",
    [
        'open if {\n\tm := input.message\n\tnot startswith(m.name, "a")\n}',
        "open if {\n\tm := input.message\n\tnot m.name != 3\n}",
        'open if {\n\tm := input.message\n\tnot m.name in {"a"}\n}',
        "open if {\n\tm := input.message\n\tnot m.name == m.rows + 1\n}",
        "open if {\n\tm := input.message\n\tnot [m.name] == [1]\n}",
        'open if {\n\tsome m in [input.message]\n\tnot startswith(m.name, "a")\n}',
        'open if f(input.message)\n\nf(m) if not startswith(m.name, "a")',
        'name := input.message.name\n\nopen if not startswith(name, "a")',
        'name := input.message.name\n\nalias := name\n\nopen if not startswith(alias, "a")',
        "name := input.message.name\n\nopen if not name in {1}",
        "name := input.message.name\n\nopen if {\n\tm := input.message\n\tnot m[name]\n}",
        "one if input.rows == 1\n\nopen if not is_boolean(one)",
        "open if not 4 == f(1)\n\nf(x) if x == 2",
        'open if not startswith(f(1), "a")\n\nf(x) := x.a',
    ],
)
def test_the_negation_of_something_missing_holds_however_it_is_reached(body):
    assert answer(body, "open", document={"message": {"rows": 5}}) is True
    assert "not-undefined" in found(body)


@pytest.mark.parametrize(
    "body",
    [
        "open if {\n\tm := input.message\n\tnot m.name\n}",
        'open if {\n\tm := input.message\n\tnot m.name == "a"\n}',
        'open if {\n\tm := input.message\n\tm.name != ""\n\tnot startswith(m.name, "a")\n}',
        'open if {\n\tsome name in input.names\n\tnot startswith(name, "a")\n}',
        'default name := ""\n\nname := input.message.name\n\nopen if not startswith(name, "a")',
        'names contains input.message.name\n\nopen if not "a" in names',
        'names := {name | name := input.message.name}\n\nalias := names\n\nopen if not "a" in alias',
        "open if not f(1) == 2\n\nf(x) := x",
        "blocked if input.message.name\n\nopen if not blocked",
    ],
)
def test_the_negation_of_what_is_always_there_is_fine(body):
    assert "not-undefined" not in found(body)


@pytest.mark.parametrize(
    "body",
    [
        'open if ("blocked" in input.nope) == false',
        'open if {\n\tblocked := "blocked" in input.nope\n\tnot blocked\n}',
        'open if {\n\tblocked := input.nope in ["blocked"]\n\tblocked == false\n}',
        'blocked := "blocked" in input.nope\n\nopen if not blocked',
        'f(m) := "blocked" in m.groups\n\nopen if not f({})',
        'open if f("blocked" in input.nope)\n\nf(b) if b == false',
        'some_groups := input.nope\n\nopen if {"x": "blocked" in some_groups} == {"x": false}',
    ],
)
def test_in_as_a_value_is_false_of_something_missing(body):
    assert answer(body, "open") is True
    assert "in-as-value" in found(body)


@pytest.mark.parametrize(
    "body",
    [
        'open if "a" in input.nope',
        'open := [1 | "a" in input.nope]',
        'open if {\n\tgroups := input.nope\n\tblocked := "blocked" in groups\n\tblocked == false\n}',
        'open := "a" in {"a", "b"}',
        'names contains input.nope\n\nopen := "a" in names',
    ],
)
def test_in_of_what_is_there_or_as_a_condition_is_fine(body):
    assert "in-as-value" not in found(body)


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
