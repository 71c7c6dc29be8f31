"""Tests that would prove nothing, on the engine and in the findings."""

from tests.core.policy.lint.policies import answer, found, review

TEST = "gateway/call/call_test.rego"


def in_test(body):
    return {finding.rule for finding in review(f"package gateway.call_test\n\n{body}\n", path=TEST)}


def test_two_tests_of_one_name_hide_the_one_that_fails():
    body = "test_x if 1 == 2\n\ntest_x if 1 == 1"

    assert answer(body, "test_x") is True
    assert in_test(body) == {"duplicate-test"}


def test_a_function_named_from_data_is_not_replaced():
    body = "f(_) := 1\n\nx := y if y := f(1) with data.gateway.call.f as 2"

    assert answer(body, "x") == 1
    assert "mock-ignored" in found(body)
    assert answer(body.replace("data.gateway.call.f", "f"), "x") == 2


def test_a_builtin_that_stands_in_fails_everything():
    body = 'f(_) := ""\n\nx if f("a") == "A" with f as upper'

    assert "unsafe" in answer(body, "x")
    assert "mock-by-builtin" in found(body)


def test_a_rule_that_has_a_builtins_name_may_stand_in():
    assert "mock-by-builtin" not in in_test('f(_) := ""\n\nmax := 1\n\ntest_x if f("a") == 1 with f as max')


def test_with_is_for_tests():
    assert "with-outside" in found("x if y with input as {}\n\ny if input.message")
    assert in_test("test_x if input.message with input as {}") == set()


def test_a_test_among_what_decides_is_told():
    assert "test-outside" in found("test_x if input.message.name")
