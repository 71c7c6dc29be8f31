"""`phigate policy new`: what it writes passes tests and check at once, and nothing is ever written over."""

import json

import pytest

from gateway.cli.main import main
from gateway.core.policy import bundle
from gateway.pdp import loader

SHIPPED = bundle.read(loader.shipped())


@pytest.fixture
def policies(tmp_path):
    loader.unpack(SHIPPED, tmp_path / "policies")
    return tmp_path / "policies"


def new(name, policies):
    return main(["policy", "new", name, "-d", str(policies)])


def files(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_a_new_guard_has_a_rule_tests_cases_and_a_page_and_is_named_in_the_table(policies, capsys):
    assert new("night_shift", policies) == 0
    written = sorted(path.name for path in (policies / "gateway/night_shift").iterdir())
    assert written == ["README.md", "night_shift.rego", "night_shift_cases.yaml", "night_shift_test.rego"]
    table = (policies / "gateway/call/call.rego").read_text()
    for row in (
        'verdict("night_shift") := data.gateway.night_shift.verdict',
        'reasons("night_shift") := data.gateway.night_shift.reasons',
    ):
        assert f"\n{row}\n" in table
        assert row in capsys.readouterr().out or row in table
    assert "$" not in "".join(path.read_text() for path in (policies / "gateway/night_shift").iterdir())


def test_its_tests_and_cases_pass_at_once(policies, capsys):
    assert new("night_shift", policies) == 0
    capsys.readouterr()
    assert main(["policy", "test", str(policies), "-r", "night_shift", "-f", "json"]) == 0
    told = [item for item in json.loads(capsys.readouterr().out) if "night_shift" in item["location"]["file"]]
    assert sum(item["location"]["file"].endswith(".rego") for item in told) == 4
    assert sum(item["location"]["file"].endswith(".yaml") for item in told) == 3


def test_check_has_nothing_to_say_of_it(policies, capsys):
    assert new("night_shift", policies) == 0
    capsys.readouterr()
    assert main(["policy", "check", str(policies)]) == 0
    assert "night_shift" not in capsys.readouterr().out


def test_it_decides_once_the_settings_switch_it_on(policies, tmp_path, capsys):
    assert new("night_shift", policies) == 0
    settings = policies / "gateway/settings/data.json"
    document = json.loads(settings.read_text())
    document["guards"] = {"night_shift": {"tools": ["run_sql"]}}
    settings.write_text(json.dumps(document))
    (tmp_path / "in.json").write_text('{"message": {"method": "tools/call", "name": "run_sql"}}')
    capsys.readouterr()
    assert main(["policy", "eval", "call", "-d", str(policies), "-i", str(tmp_path / "in.json"), "-f", "raw"]) == 0
    assert "night_shift_closed" in capsys.readouterr().out


def test_two_guards_stand_in_the_table_one_after_the_other(policies):
    assert new("first_one", policies) == 0
    assert new("second_one", policies) == 0
    table = (policies / "gateway/call/call.rego").read_text()
    assert 0 < table.index('reasons("first_one")') < table.index('verdict("second_one")')


@pytest.mark.parametrize("name", ["sql", "call", "night_shift"])
def test_what_is_there_is_left_as_it_is(policies, capsys, name):
    assert new("night_shift", policies) == 0
    before = files(policies)
    assert new(name, policies) == 2
    assert "Choose another name" in capsys.readouterr().err
    assert files(policies) == before


@pytest.mark.parametrize(
    "name", ["", "a", "Upper", "with-dash", "../up", "a/b", "1a", "some", "input", "x_test", "é" * 3]
)
def test_names_that_no_package_can_have_are_refused(policies, capsys, name):
    before = files(policies)
    assert new(name, policies) == 2
    assert "can be no guard's name" in capsys.readouterr().err
    assert files(policies) == before


def test_without_the_librarys_table_nothing_is_written(policies, tmp_path, capsys):
    (tmp_path / "other/gateway/call").mkdir(parents=True)
    assert new("night_shift", tmp_path / "other") == 2
    assert "it names every guard" in capsys.readouterr().err
    (tmp_path / "other/gateway/call/call.rego").write_text("package gateway.call\n")
    assert new("night_shift", tmp_path / "other") == 2
    assert "no table of guards" in capsys.readouterr().err
    assert not (tmp_path / "other/gateway/night_shift").exists()


def test_a_directory_that_cannot_be_written_is_told(policies, capsys):
    (policies / "gateway/night_shift").write_text("a file")
    assert new("night_shift", policies) == 2
    assert "is there already" in capsys.readouterr().err
