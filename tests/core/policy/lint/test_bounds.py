"""Builtins that never end, or take all memory there is; each asked in a child that is killed."""

import pytest

from gateway.pdp.child import End
from tests.core.policy.lint.policies import answer, end, found


@pytest.mark.parametrize(
    ("call", "size"),
    [
        ("bits.lsh(1, input.message.arguments.n)", 10**9),
        ("count(numbers.range(1, input.message.arguments.n))", 10**9),
        ("count(net.cidr_expand(input.message.arguments.n))", "10.0.0.0/4"),
        ("count(sprintf(input.message.arguments.n, [1]))", "%9999999999d"),
        ("units.parse(input.message.arguments.n)", "9e999999999"),
        ("units.parse_bytes(input.message.arguments.n)", "9e999999999"),
    ],
)
def test_whoever_calls_could_end_the_process(call, size):
    body = f"x := {call}"

    assert end(body, "x", document={"message": {"arguments": {"n": size}}}) in End
    assert "unbounded" in found(body)


def test_a_replacement_by_what_the_caller_sent_multiplies():
    body = 'x := count(replace(input.a, "a", input.b))'

    assert answer(body, "x", document={"a": "a" * 1000, "b": "b" * 1000}) == 1_000_000
    assert "growing" in found(body)


@pytest.mark.parametrize(
    "body",
    [
        "x := numbers.range(1, 100)",
        "x := numbers.range(1, count(input.a) + 1)",
        "x := numbers.range(1, data.gateway.settings.group)",
        "x := numbers.range(1, most)\n\nmost := 5 if input.a else := 6",
        "default most := 5\n\nmost := count(input.a)\n\nx := numbers.range(1, most)",
        'x := units.parse("10G")',
        "x := units.parse_bytes(data.gateway.settings.group)",
        'x := units.parse(most)\n\nmost := "10G"',
        "x := bits.lsh(1, 8)",
        'x := net.cidr_expand("10.0.0.0/24")',
        "x := numbers.range(1, n) if {\n\tn := input.a\n\tn < 100\n}",
        "f(n) := numbers.range(1, n) if n <= 10",
        "x := numbers.range(1, n) if n := 5",
    ],
)
def test_what_is_bounded_is_fine(body):
    assert "unbounded" not in found(body)


@pytest.mark.parametrize(
    "body",
    [
        "x := numbers.range(1, 100000000)",
        "x := bits.lsh(1, 1000000000)",
        'x := net.cidr_expand("10.0.0.0/8")',
        'x := sprintf("%999999999d", [1])',
        "f(n) := numbers.range(1, n)",
        "x := numbers.range(1, most)\n\nmost := input.a",
        "x := numbers.range(1, most)\n\nmost := 5 if input.b else := input.a",
        "x := numbers.range(1, most.a)\n\nmost := input.b",
        "x := numbers.range(1, most[input.a])\n\nmost := {1: 100000000}",
        "x := units.parse(input.a)",
        "x := units.parse_bytes(size)\n\nsize := input.a",
        "f(size) := units.parse(size)",
        'x := graph.reachable_paths(input.a, {"a"})',
        "x := numbers.range(1, n) if n := input.a",
        "x := numbers.range(1, input.a * 2)",
        "x := numbers.range(1, input.a) if input.a != 5",
    ],
)
def test_what_is_not_bounded_is_found(body):
    assert "unbounded" in found(body)
