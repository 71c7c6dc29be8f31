"""Which windows a policy's budgets ask for, and that what cannot be counted is refused."""

import pytest

from gateway.core.evidence.used import Window, window, windows

HOUR, DAY = window("PT1H"), window("P1D")


@pytest.mark.parametrize(
    ("name", "seconds"), [("PT1M", 60), ("PT1H", 3600), ("PT8H30M", 30600), ("P1D", 86400), ("P30DT12H", 2635200)]
)
def test_a_window_is_named_by_an_iso_8601_duration(name, seconds):
    assert window(name) == Window(name, seconds)


@pytest.mark.parametrize(
    "name", ["", "P", "PT", "1H", "PT1S", "PT0M", "P1M", "P1Y", "P367D", "pt1h", " PT1H", "PT１H", 3600]
)
def test_what_is_no_window_is_refused(name):
    with pytest.raises(ValueError, match="ISO 8601"):
        window(name)


def budgets(held):
    return {"gateway": {"settings": {"guards": {"budgets": held}}}}


def test_the_windows_of_a_policy_are_those_of_all_its_budgets_shortest_first():
    held = {"a": {"P1D": {"rows": 1}}, "b": {"PT1H": {"rows": 1}, "P1D": {"rows": 2}}}

    assert windows(budgets(held)) == (HOUR, DAY)
    assert windows({}) == windows({"gateway": {"settings": {"guards": {}}}}) == ()


@pytest.mark.parametrize(
    "held", [[], "P1D", {"a": []}, {"a": {"soon": {}}}, {"a": {f"PT{n}H": {} for n in range(1, 10)}}]
)
def test_budgets_that_cannot_be_counted_are_refused(held):
    with pytest.raises(ValueError, match="budgets"):
        windows(budgets(held))


def test_a_window_moves_on_in_steps_that_are_short_beside_it():
    assert HOUR.bucket == 150
    assert window("PT1M").bucket == 2
