"""What the engine does wrongly, shown on the engine, and the finding that keeps it from deciding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pdp.child import End
from tests.core.policy.lint.policies import answer, below_package, end, found, review

SECRET = {"message": {"arguments": {"deep": "secret"}}}


@pytest.mark.parametrize(
    "line",
    [
        "[_, value] := walk(input)",
        "some [_, value] in walk(input)",
        "pair := walk(input); value := pair[1]",
    ],
)
def test_walk_as_a_value_never_finds_what_a_rule_would_deny(line):
    body = f'default denied := false\n\ndenied if {{\n\t{line}\n\tvalue == "secret"\n}}'

    assert answer(body, "denied", document=SECRET) is False
    assert "walk-as-value" in found(body)


def test_walk_with_a_pattern_finds_it():
    body = 'default denied := false\n\ndenied if {\n\twalk(input, [_, value])\n\tvalue == "secret"\n}'

    assert answer(body, "denied", document=SECRET) is True
    assert found(body) == set()


def test_a_function_that_calls_itself_kills_the_process():
    body = "f(x) := f(x)\n\nx := f(1)"

    assert end(body, "x") is End.CRASHED
    assert "recursion" in found(body)


def test_a_rule_that_needs_itself_fails_the_decision():
    body = "x if y\n\ny if x"

    assert "recursi" in answer(body, "x") or "cyclic" in answer(body, "x") or "evaluated" in answer(body, "x")
    assert "recursion" in found(body)


def test_recursion_is_told_once_for_each_rule_of_the_circle():
    assert found("a if b\n\nb if c\n\nc if a\n\nd if a") == {"recursion"}


@given(st.dictionaries(st.integers(0, 7), st.sets(st.integers(0, 7), max_size=3), min_size=1))
def test_recursion_is_told_for_exactly_the_rules_on_a_circle(drawn):
    uses = {at: used & drawn.keys() for at, used in drawn.items()}
    reached = {at: set(used) for at, used in uses.items()}
    for _ in uses:
        reached = {at: seen.union(*(reached[other] for other in seen)) for at, seen in reached.items()}
    body = "\n\n".join(
        f"r{at} := [{', '.join(['1', *(f'r{other}' for other in sorted(used))])}]" for at, used in uses.items()
    )
    told = [one.reason for one in review(below_package(body)) if one.rule == "recursion"]

    assert {reason.split("`")[1].rpartition(".")[2] for reason in told} == {
        f"r{at}" for at in uses if at in reached[at]
    }


def test_a_chain_of_thousands_of_rules_is_followed_quickly():
    body = "\n".join(f"r{number} := r{number + 1}" for number in range(5000)) + "\nr5000 := r0"

    assert len([one for one in review(below_package(body)) if one.rule == "recursion"]) == 5001


def test_the_clock_would_make_a_decision_that_cannot_be_checked_again():
    body = "x := time.now_ns()"

    assert answer(body, "x") != answer(body, "x")
    assert "nondeterministic" in found(body)


def test_http_send_is_undefined_here():
    body = 'x := http.send({"method": "get", "url": "https://attacker.example"})'

    assert answer(body, "x") == "<undefined>"
    assert "nondeterministic" in found(body)


def test_a_function_of_the_policy_may_have_the_name_of_what_panics():
    assert found("trace(given) := given\n\nx := trace(1)") <= {"shadows-builtin"}


def test_a_minus_before_a_reference_fails_the_decision():
    body = "x := -input.profile.rows"

    assert "numeric literals" in answer(body, "x", document={"profile": {"rows": 1}})
    assert "unary-minus" in found(body)
    assert answer("x := -1", "x") == -1
    assert found("x := -1") == set()


def test_a_local_of_the_rules_own_name_fails_the_decision():
    body = "group := [group | some group in input.principal.groups]"

    assert "before definition" in answer(body, "group", document={"principal": {"groups": ["a"]}})
    assert "own-name" in found(body)


@pytest.mark.parametrize(
    ("call", "wrong"), [('json.remove(input, ["/a"])', {"a": 1}), ('json.filter(input, ["/a"])', {})]
)
def test_a_leading_slash_finds_nothing(call, wrong):
    assert answer(f"x := {call}", "x", document={"a": 1}) == wrong
    assert "leading-slash" in found(f"x := {call}")


def test_print_writes_what_may_be_phi_to_stderr(capfd):
    body = "x if print(input.message)"

    assert answer(body, "x", document={"message": "SSN 123-45-6789"}) is True
    assert "123-45-6789" in capfd.readouterr().err
    assert "print" in found(body)


def test_an_import_that_is_a_keyword_is_found():
    assert "keyword-import" in found("import data.gateway.settings.default\n\nx := 1")
