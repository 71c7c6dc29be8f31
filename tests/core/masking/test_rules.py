"""Plans are kept by what their rules say, so that no plan is taken for another."""

from __future__ import annotations

import pytest

from gateway.core.errors import MaskFault
from gateway.core.masking import rules
from gateway.core.masking.phi import Phi
from gateway.core.policy.decision import MaskRule, Operator, Selector
from gateway.core.types import Json


def rule(by: str, value: str, name: str = "redact", **options: Json) -> MaskRule:
    return MaskRule(Selector(by, value), Operator(name, options))


def test_the_same_rules_make_the_same_plan_and_it_is_made_once() -> None:
    plans = [rules.compiled((rule("class", "SSN", "partial", keep=2),)) for _ in range(2)]
    assert plans[0] is plans[1]
    assert plans[0] == rules.Plan.of((rule("class", "SSN", "partial", keep=2),))


@pytest.mark.parametrize("other", [1.0, True, "1", 2])
def test_options_that_compare_alike_are_told_apart(other: Json) -> None:
    assert rules.compiled((rule("class", "SSN", "partial", keep=1),)).classes[Phi.SSN].operator.options == {"keep": 1}
    if other == 2:
        assert rules.compiled((rule("class", "SSN", "partial", keep=2),)).classes[Phi.SSN].operator.options["keep"] == 2
    else:
        with pytest.raises(MaskFault):
            rules.compiled((rule("class", "SSN", "partial", keep=other),))


def test_plans_at_hand_are_bounded_and_each_is_its_rules_own() -> None:
    made = [(rule("class", "SSN", "partial", keep=number % 9), rule("field", f"f{number}")) for number in range(600)]
    for _ in range(2):
        assert all(rules.compiled(one) == rules.Plan.of(one) for one in made)
    assert len(rules._AT_HAND) <= rules._AT_HAND_MOST


def test_the_order_of_the_rules_counts() -> None:
    first, second = rule("class", "SSN"), rule("class", "SSN", "null")
    assert rules.compiled((first, second)).classes[Phi.SSN] == first
    assert rules.compiled((second, first)).classes[Phi.SSN] == second


@pytest.mark.parametrize("odd", [rule("field", "\ud800x"), rule("class", "SSN", "partial", keep=2**70)])
def test_rules_that_cannot_be_written_down_are_judged_as_they_are(odd: MaskRule) -> None:
    if odd.select.by == "field":
        assert rules.compiled((odd,)) == rules.Plan.of((odd,))
    else:
        with pytest.raises(MaskFault):
            rules.compiled((odd,))


def test_rules_that_are_not_well_formed_are_a_fault_each_time() -> None:
    for _ in range(2):
        with pytest.raises(MaskFault):
            rules.compiled((rule("colour", "red"),))
