"""Definitions that contradict each other: what the engine makes of them, and what is found."""

import pytest

from tests.core.policy.lint.policies import answer, found


def test_of_two_defaults_one_counts_and_nobody_is_told():
    assert answer("default limit := 10\n\ndefault limit := 10000", "limit") in (10, 10000)
    assert found("default limit := 10\n\ndefault limit := 10000") == {"duplicate-default"}


def test_two_values_that_always_hold_fail_every_decision():
    assert "conflict" in answer("limit := 10\n\nlimit := 20", "limit")
    assert found("limit := 10\n\nlimit := 20") == {"contradiction"}
    assert found("limit := 10\n\nlimit := 10") == set()


@pytest.mark.parametrize(
    "body",
    [
        "x := 1\n\nx contains 2",
        "x := 1\n\nx(y) := y",
        "x(y) := y\n\nx(y, z) := [y, z]",
        "x := {}\n\nx.y := 2",
        "x contains 1\n\nx := {2}",
    ],
)
def test_one_name_for_two_kinds_is_found(body):
    assert "conflict" in found(body)


def test_what_belongs_together_is_no_conflict():
    assert found('x["a"] := 1\n\nx["b"] := 2') == set()
    assert found("default f(_) := 1\n\nf(y) := 2 if y == 1") == set()
    assert found("x[y] := 1 if some y in input.a\n\nx.b := 2") == set()


def test_base_data_replaces_a_rule_that_denies():
    body = 'decision := {"effect": "deny"}\n\ndefault decision := {"effect": "deny"}'
    data = {"gateway": {"call": {"decision": {"effect": "allow"}}}}

    assert answer(body, "decision", data=data) == {"effect": "allow"}
    assert "data-over-rule" in found(body, data=data)
