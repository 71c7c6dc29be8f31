"""What a policy costs: figures that hang together, and the rule that costs most found by name."""

import pytest

from gateway.core.errors import PolicyFault
from gateway.core.policy.bundle import Source
from gateway.pdp import bench
from gateway.pdp.bench import Run, Task
from gateway.pdp.child import Stopped

POLICY = """package p

decision := {"a": light, "b": heavy, "c": outer}

light := input.x

heavy := count([n | some n in numbers.range(1, 2000); n % 7 == input.x])

outer := heavy + light

never := heavy if input.never
"""

RUN = Run(50, 5.0)


def measured(*tasks, text=POLICY, run=RUN):
    return list(bench.measure((Source("p.rego", text), Source("p_test.rego", "nonsense")), {}, tasks, run))


def test_the_rule_that_costs_most_comes_first_with_its_place_and_share():
    (found,) = measured(Task("data.p.decision", (b'{"x": 1}',)))
    first = found["rules"][0]
    assert (first["rule"], first["location"]) == ("data.p.heavy", {"file": "p.rego", "row": 7, "col": 1})
    assert first["share"] > 0.5
    assert {rule["rule"] for rule in found["rules"]} == {
        "data.p.decision",
        "data.p.heavy",
        "data.p.light",
        "data.p.outer",
    }


def test_a_rule_is_not_charged_with_what_it_refers_to():
    (found,) = measured(Task("data.p.decision", (b'{"x": 1}',)))
    rules = {rule["rule"]: rule for rule in found["rules"]}
    assert rules["data.p.outer"]["total_ns"] > rules["data.p.heavy"]["self_ns"] / 2
    assert rules["data.p.outer"]["self_ns"] < rules["data.p.heavy"]["self_ns"] / 2


def test_the_histograms_have_opas_names_and_are_in_order():
    (found,) = measured(Task("data.p.light", (b'{"x": 1}', b'{"x": 2}')))
    assert (found["rule"], found["inputs"], found["N"]) == ("data.p.light", 2, 50)
    for clock in ("query_eval_ns", "query_eval_cpu_ns"):
        names = ("min", "median", "75%", "90%", "95%", "99%", "99.9%", "max")
        values = [found["Extra"][f"histogram_timer_rego_{clock}_{name}"] for name in names]
        assert values == sorted(values)
        assert values[0] > 0
        assert found["Extra"][f"histogram_timer_rego_{clock}_count"] == 50


def test_the_costliest_of_several_inputs_is_looked_into():
    text = "package p\na := count(numbers.range(1, input.n))\n"
    (small,) = measured(Task("data.p.a", (b'{"n": 1}',)), text=text)
    (both,) = measured(Task("data.p.a", (b'{"n": 1}', b'{"n": 5000}')), text=text)
    assert both["rules"][0]["total_ns"] > 5 * max(1, small["rules"][0]["total_ns"])


def test_each_task_has_its_own_answer_in_order():
    found = measured(Task("data.p.light", (b"{}",)), Task("data.p.heavy", (b'{"x": 1}',)))
    assert [each["rule"] for each in found] == ["data.p.light", "data.p.heavy"]


def test_a_rule_that_is_not_there_or_fails_is_told():
    with pytest.raises(PolicyFault, match="not a valid rule path"):
        measured(Task("data.p.nothing", (b"{}",)))
    with pytest.raises(PolicyFault, match=r"p\.rego:2:8: divide by zero"):
        measured(Task("data.p.a", (b'{"x": 0}',)), text="package p\na := 1 / input.x\n")


def test_a_policy_that_recurses_without_end_is_told():
    with pytest.raises(Stopped, match="ended its process"):
        measured(Task("data.p.a", (b"{}",)), text="package p\nf(x) := f(x)\na := f(1)\n")
