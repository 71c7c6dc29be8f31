"""`phigate policy bench`: the entrypoints on samples, or rules on an input, for people and for programs."""

import json

import pytest

from gateway.cli.main import main
from gateway.core.policy import bundle
from gateway.pdp import loader

QUICK = ["--seconds", "0.1", "--count", "20"]


def test_the_entrypoints_are_measured_on_samples(capsys):
    assert main(["policy", "bench", "approval", "access", *QUICK, "-f", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["rule"] for each in found] == ["data.gateway.approval.decision", "data.gateway.access.decision"]
    for each in found:
        assert each["inputs"] > 1
        assert 0 < each["N"] <= 20
        assert each["rules"][0]["self_ns"] > 0


def test_people_get_a_table_and_what_its_figures_mean(capsys):
    assert main(["policy", "bench", "approval", *QUICK]) == 0
    told = capsys.readouterr().out
    for words in (
        "p50",
        "per second",
        "gateway.approval.decision on the costliest of its",
        "gateway/approval/",
        "own:",
    ):
        assert words in told


def test_any_rule_is_measured_on_a_given_input(tmp_path, capsys):
    loader.unpack(bundle.read(loader.shipped()), tmp_path / "policies")
    (tmp_path / "in.json").write_text('{"principal": {"groups": ["analysts"]}}')
    given = ["-d", str(tmp_path / "policies"), "-i", str(tmp_path / "in.json")]
    assert main(["policy", "bench", "data.gateway.roles.name", *given, *QUICK, "-f", "json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["rule"], found["inputs"]) == ("data.gateway.roles.name", 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nonsense"], "give an input"),
        (["data.gateway.roles.name"], "give an input"),
        (["gateway/roles/name", "-i", "{input}"], "nor a rule's path"),
        (["data.gateway.nothing", "-i", "{input}"], "not a valid rule path"),
    ],
)
def test_what_cannot_be_measured_is_told(tmp_path, capsys, arguments, told):
    (tmp_path / "in.json").write_text("{}")
    given = [argument.format(input=tmp_path / "in.json") for argument in arguments]
    assert main(["policy", "bench", *given, *QUICK]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--count", "0"], ["--seconds", "0"], ["--seconds", "x"]])
def test_bounds_are_numbers_above_none(option, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["policy", "bench", *option])
    assert ended.value.code == 2
    assert option[0] in capsys.readouterr().err
