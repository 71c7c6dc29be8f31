import io
import json
import sys

import pytest

from gateway.__main__ import main
from gateway.core.policy import bundle, samples
from gateway.core.policy.decision import Entrypoint
from gateway.pdp import loader

SHIPPED = bundle.read(loader.shipped())


@pytest.fixture
def policies(tmp_path):
    loader.unpack(SHIPPED, tmp_path / "policies")
    return tmp_path / "policies"


def said(capsys):
    return capsys.readouterr().out


def test_eval_shows_the_answer_and_what_the_gateway_makes_of_it(capsys, tmp_path):
    document = next(asked for entrypoint, asked in samples.samples() if entrypoint is Entrypoint.CALL)
    (tmp_path / "input.json").write_text(json.dumps(document))

    assert main(["policy", "eval", "call", "-i", str(tmp_path / "input.json")]) == 0

    told = said(capsys)
    assert '"effect": "deny"' in told
    assert "The gateway reads this as deny." in told
    assert "no_role" in told


def test_eval_takes_a_query_a_directory_and_standard_input(capsys, policies, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"principal": {"groups": ["analysts"]}}')))

    assert main(["policy", "eval", "data.gateway.roles.name", "-d", str(policies), "-i", "-", "--format", "json"]) == 0

    assert json.loads(said(capsys))["result"][0]["expressions"][0]["value"] == "analysis"


def test_eval_says_undefined_where_there_is_no_answer(capsys):
    assert main(["policy", "eval", "data.gateway.roles.terms"]) == 0
    assert "undefined" in said(capsys)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["policy", "eval", "][", "-i", "{input}"], "<query.rego>:1:1: something else is expected here"),
        (["policy", "eval", "call", "-i", "{broken}"], "not JSON"),
        (["policy", "eval", "call", "-i", "{nowhere}"], "cannot be read"),
        (["policy", "eval", "call", "-d", "{nowhere}"], "cannot be read"),
        (["policy", "test", "{nowhere}"], "cannot be read"),
        (["policy", "test", "{policies}", "-r", "("], "not a regular expression"),
        (["bundle", "inspect", "{broken}"], "not a gzip file"),
        (["bundle", "build", "{policies}", "-o", "{nowhere}/x/y"], "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(capsys, tmp_path, policies, arguments, told):
    paths = {name: tmp_path / name for name in ("input", "broken", "nowhere")} | {"policies": policies}
    paths["input"].write_text("{}")
    paths["broken"].write_text("{ broken")

    assert main([argument.format(**paths) for argument in arguments]) == 2

    assert told in capsys.readouterr().err


def test_check_finds_nothing_in_the_shipped_library(capsys, policies):
    assert main(["policy", "check", str(policies)]) == 0
    assert "No faults" in said(capsys)


def test_check_tells_a_fault_with_its_fix(capsys, policies):
    (policies / "gateway/more.rego").write_text("package gateway.more\nx if walk(input)\n")

    assert main(["policy", "check", str(policies)]) == 1
    assert "gateway/more.rego:2:6:" in said(capsys)
    assert main(["policy", "check", str(policies), "--format", "json"]) == 1
    assert json.loads(said(capsys))["errors"][0]["code"] == "walk-as-value"


def test_check_does_not_hang_on_a_deep_literal(policies, capsys):
    (policies / "gateway/more.rego").write_text("package gateway.more\nx := " + "[" * 60 + "]" * 60 + "\n")

    assert main(["policy", "check", str(policies)]) == 1
    assert "deep-literal" in said(capsys)
