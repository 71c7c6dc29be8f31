"""Conditions that ask something else than they seem to."""

import pytest

from tests.core.policy.lint.policies import answer, found


def test_not_equals_in_a_loop_lets_a_blocked_member_through():
    body = 'x if input.groups[_] != "blocked"'

    assert answer(body, "x", document={"groups": ["blocked", "staff"]}) is True
    assert "not-equals-in-loop" in found(body)


def test_a_call_that_answers_a_number_always_holds():
    body = 'x if indexof(input.a, "read")'

    assert answer(body, "x", document={"a": "write"}) is True
    assert "unused-result" in found(body)
    assert "unused-result" not in found('x := at if indexof(input.a, "read", at)')


def test_a_value_taken_from_every_element_fails_the_decision():
    body = "x := input.a[_]"

    assert "conflict" in answer(body, "x", document={"a": [1, 2]}) or "multiple" in answer(
        body, "x", document={"a": [1, 2]}
    )
    assert "top-level-iteration" in found(body)


@pytest.mark.parametrize("condition", ["1 == 1", "{}", "[input.a]", '"text"', "5"])
def test_a_condition_that_asks_nothing_is_told(condition):
    assert "constant-condition" in found(f"x if {condition}")


def test_if_true_says_so_plainly():
    assert found("x if true") == set()


def test_arguments_in_another_order_are_told():
    assert found("f(a, b) := a - b\n\nf(b, a) := b * a") == {"inconsistent-args"}
    assert found("f(a, 1) := a\n\nf(a, 2) := a") == set()
