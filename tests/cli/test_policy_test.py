"""`phigate policy test`; tests/vectors/opa_test holds what `opa test` answers to the same policy."""

import json
import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gateway.cli.main import main
from gateway.cli.policy import test as verb
from gateway.cli.policy import test_files
from gateway.core.policy import bundle
from gateway.pdp import loader

VECTORS = Path(__file__).parents[1] / "vectors" / "opa_test"
POLICY = str(VECTORS / "policy")
SHIPPED = bundle.read(loader.shipped())
DURATION = re.compile(r"\([0-9.]+(ns|µs|ms|s)\)")

CASES = """entrypoint: call
cases:
  - note: nobody may
    want: {effect: deny}
  - note: somebody may
    want:
      effect: allow
      labels: {purpose: TREAT}
"""
RULE = (
    'package gateway.call\n\ndefault decision := {"effect": "deny", "reasons": [{"code": "no", "message": "Never."}]}\n'
)


@pytest.fixture
def policy(tmp_path):
    """A directory with one rule and two cases, the second of which fails."""
    (tmp_path / "call.rego").write_text(RULE)
    (tmp_path / "call_cases.yaml").write_text(CASES)
    return tmp_path


def run(*arguments):
    return main(["policy", "test", *(str(argument) for argument in arguments)])


def vector(name):
    return (VECTORS / name).read_text()


def plain(document):
    """A report in a form that can be compared: by name, without what differs from run to run or is ours alone."""
    ours = ("duration", "halts", "differences", "reasons")
    found = {item["name"]: {key: value for key, value in item.items() if key not in ours} for item in document}
    for item in found.values():
        item["location"]["file"] = Path(item["location"]["file"]).name
    return found


def test_the_json_report_is_opas(capsys):
    assert run(POLICY, "--format", "json") == 1

    assert plain(json.loads(capsys.readouterr().out)) == plain(json.loads(vector("report.json")))


def test_every_line_that_opa_prints_is_printed_in_its_order(capsys):
    run(POLICY)
    ours = DURATION.sub("(…)", capsys.readouterr().out).replace(POLICY + "/", "").splitlines()

    at = iter(ours)
    theirs = DURATION.sub("(…)", vector("pretty.txt")).splitlines()
    assert [line for line in theirs if line not in at] == []


@pytest.mark.parametrize("recorded", json.loads(vector("runs.json")), ids=lambda item: " ".join(item["arguments"]))
def test_what_opa_exits_with_zero_we_do_and_where_it_does_not_we_exit_with_one(recorded, capsys):
    assert run(POLICY, *recorded["arguments"]) == min(recorded["exit"], 1)


def test_coverage_has_opas_shape_and_its_lines_but_for_heads_and_tests(capsys):
    theirs = json.loads(vector("coverage.json"))["files"]["clinic.rego"]

    assert run(POLICY, "-c", "-r", "ward$|ward.nope", "--format", "json") == 0
    report = json.loads(capsys.readouterr().out)
    (ours,) = report["files"].values()

    def rows(document, part):
        return {row for each in document[part] for row in range(each["start"]["row"], each["end"]["row"] + 1)}

    assert report.keys() == {"files", "covered_lines", "not_covered_lines", "coverage"}
    assert ours.keys() == theirs.keys()
    heads = {3, 5, 10}
    assert rows(ours, "covered") - heads == rows(theirs, "covered") - heads | {11}, "regorus has no index of rules"
    assert rows(ours, "not_covered") - heads == rows(theirs, "not_covered") - heads - {11}


def test_the_shipped_library_passes_and_is_covered(tmp_path, capsys):
    loader.unpack(SHIPPED, tmp_path / "policies")

    assert run(tmp_path / "policies", "--threshold", "95") == 0
    assert re.search(r"^PASS: (\d+)/\1$", capsys.readouterr().out, re.MULTILINE)


def test_a_failing_case_is_shown_as_wanted_against_got_by_path(policy, capsys):
    assert run(policy) == 1

    told = capsys.readouterr().out
    assert f"{policy}/call_cases.yaml:5:\ndata.gateway.call: somebody may: FAIL" in told
    assert '  effect\n    - "allow"\n    + "deny"\n  labels.purpose\n    - "TREAT"\n' in told
    assert "reason given: no: Never." in told
    assert "PASS: 1/2\nFAIL: 1/2\n" in told


def test_a_failing_rule_shows_its_expression_and_the_values_in_it(capsys):
    run(POLICY, "-r", "fifty")

    told = capsys.readouterr().out
    assert f"{POLICY}/clinic_test.rego:10: most == 50  does not hold\n    most = 25\n" in told
    assert "most rows 25" in told


def test_verbose_names_what_passes_too(policy, capsys):
    run(policy, "-v")

    assert "data.gateway.call: nobody may: PASS (" in capsys.readouterr().out


def test_coverage_marks_the_lines_that_no_test_came_to(policy, capsys):
    (policy / "call.rego").write_text(RULE + '\ndecision := {"effect": "allow"} if {\n\tinput.a\n\tinput.b\n}\n')

    assert run(policy, "-c", "-r", "nobody") == 0

    told = capsys.readouterr().out
    assert "        6 |     input.a\n  >     7 |     input.b\n" in told
    assert "coverage: 50.00 %" in told


def test_too_little_coverage_is_told_and_exits_with_one(policy, capsys):
    (policy / "call.rego").write_text(RULE + '\ndecision := {"effect": "allow"} if {\n\tinput.a\n\tinput.b\n}\n')

    assert run(policy, "--threshold", "50", "-r", "nobody") == 0
    assert run(policy, "--threshold", "50.1", "-r", "nobody", "--format", "json") == 1

    said = capsys.readouterr()
    assert "Code coverage threshold not met: got 50.00 instead of 50.10" in said.err


def test_coverage_in_json_is_alone_on_standard_output_and_what_failed_beside_it(policy, capsys):
    assert run(policy, "-c", "--format", "json") == 1

    said = capsys.readouterr()
    assert "coverage" in json.loads(said.out)
    assert "somebody may: FAIL" in said.err


def test_junit_has_a_suite_a_file_and_a_case_a_test(policy, capsys):
    (policy / "call_test.rego").write_text(
        'package gateway.call_test\n\ntest_a if print("\\u0007bell")\n\ntest_b if 1 / 0 == 1\n\ntodo_test_c if true\n'
    )

    assert run(policy, "--format", "junit") == 1

    root = ElementTree.fromstring(capsys.readouterr().out)
    assert (root.get("tests"), root.get("failures"), root.get("errors"), root.get("skipped")) == ("5", "1", "1", "1")
    assert [suite.get("name") for suite in root] == [f"{policy}/call_cases.yaml", f"{policy}/call_test.rego"]
    found = {case.get("name"): case for case in root.iter("testcase")}
    assert 'labels.purpose\n    - "TREAT"' in found["somebody may"].find("failure").text
    assert found["test_b"].find("error").get("message")
    assert found["todo_test_c"].find("skipped") is not None
    assert found["test_a"].find("system-out").text == "\ufffdbell\n"
    assert found["test_b"].get("classname") == "data.gateway.call_test"


def test_several_paths_are_one_policy(tmp_path, capsys):
    for name, text in (("rules/call.rego", RULE), ("tests/call_cases.yaml", CASES), ("tests/x.rego", "package x\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert run(tmp_path / "rules", tmp_path / "tests", "-r", "nobody") == 0
    assert run(tmp_path / "rules/call.rego", "-b") == 0
    (tmp_path / "tests/call.rego").write_text("package other\n")
    assert run(tmp_path / "rules", tmp_path / "tests") == 2
    assert "has another call.rego than" in capsys.readouterr().err


def test_a_bundle_is_tested_by_the_tests_in_it(tmp_path, capsys):
    (tmp_path / "b.tar.gz").write_bytes(SHIPPED.archive)

    assert run("-b", tmp_path / "b.tar.gz", "-r", "catalogue") == 0
    assert "PASS" in capsys.readouterr().out


def test_what_is_ignored_is_not_read(policy, capsys):
    (policy / "drafts").mkdir()
    (policy / "drafts" / "x_cases.yaml").write_text("- broken")
    (policy / "drafts" / "x_test.rego").write_text("package x_test\n\ntest_x if false\n")

    assert run(policy, "--ignore", "drafts", "--ignore", "call_*.yaml") == 0
    assert "No test was run." in capsys.readouterr().err
    assert run(policy, "--ignore", "drafts/*_cases.yaml") == 1


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("x_cases.yaml", b"cases: []", "x_cases.yaml:1: `cases` is a list of at least one case"),
        ("x_cases.yaml", b"\xff", "x_cases.yaml:1: not UTF-8 text"),
        ("x_cases.yaml", b"#" * (2**20 + 1), "larger than"),
        ("x_cases.json", b"[", "x_cases.json:1: not JSON"),
        ("x_test.rego", b"package x\n\xff", "x_test.rego is not UTF-8 text"),
        ("x_test.rego", b"package x_test\n\ntest_x if {", "x_test.rego:3"),
        ("x_test.rego", b"package x_test\n\nx := " + b"[" * 40 + b"]" * 40, "x_test.rego:3"),
        ("data.json", b"{", "data.json:1: not JSON"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_file_and_exits_with_two(policy, capsys, file, content, told):
    (policy / file).write_bytes(content)

    assert run(policy) == 2

    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said


def test_what_is_no_file_is_refused_unread(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.rego")

    assert run(tmp_path / "pipe.rego") == 2
    assert run("/dev/zero") == 2
    assert "neither a file nor a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--timeout", "soon"],
        ["--timeout", "0"],
        ["--timeout", "2h"],
        ["--threshold", "101"],
        ["--count", "0"],
        ["-p", "-1"],
    ],
)
def test_an_option_that_means_nothing_is_refused(policy, capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        run(policy, *arguments)

    assert caught.value.code == 2


def test_a_pattern_that_is_none_is_refused(policy, capsys):
    assert run(policy, "-r", "(") == 2
    assert "not a regular expression" in capsys.readouterr().err


def test_a_time_is_written_as_go_writes_it(policy, capsys):
    (policy / "call_test.rego").write_text(
        "package gateway.call_test\n\ntest_long if {\n\tr := numbers.range(1, 3000)\n\t"
        "count([1 | some a in r; some b in r; some c in r; a + b == c + 9999]) == 0\n}\n"
    )

    assert run(policy, "-r", "test_long", "--timeout", "250ms") == 1
    assert "timed out after 0.25 s" in capsys.readouterr().out
    assert run(policy, "-r", "nobody", "--timeout", "1m30s", "--count", "2") == 0
    assert "PASS: 2/2" in capsys.readouterr().out


def test_watching_runs_again_when_a_file_changes_and_ends_with_the_last_result(policy, capsys):
    steps = iter(
        [
            lambda: None,
            lambda: (policy / "call_cases.yaml").write_text("cases: 1"),
            lambda: (policy / "call_cases.yaml").write_text(CASES.replace("allow", "deny").replace("TREAT", "X")),
            lambda: (policy / "call.rego").write_text(RULE.replace('"deny"', '"deny", "labels": {"purpose": "X"}')),
            lambda: None,
        ]
    )
    codes = []

    def act():
        codes.append(run(policy))
        return codes[-1]

    def pause():
        step = next(steps, None)
        if step is None:
            return False
        step()
        return True

    assert verb.watch(act, lambda: test_files.fingerprint([policy]), pause) == 0
    assert codes == [1, 2, 1, 0]


def test_watching_ends_with_ctrl_c(policy):
    def pause():
        raise KeyboardInterrupt

    assert verb.watch(lambda: 1, lambda: 0, pause) == 1
