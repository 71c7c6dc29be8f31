"""`phigate policy eval`: OPA's options and shapes, a limit on what it may take, recorded inputs, and why."""

import io
import json
import os
import subprocess
import sys

import pytest

from gateway.cli.main import main
from gateway.core.evidence.record import LeafType
from gateway.core.policy import bundle
from gateway.pdp import loader
from gateway.store import keys as keystore
from gateway.store.reader import Reader
from tests.cli.traffic import ANN, fill, options

SHIPPED = bundle.read(loader.shipped())
POLICY = """package p

default allow := false

allow if {
\tprint("asked", input.x)
\tinput.x == 1
\tevery role in data.roles { role != "b" }
}

reasons contains "x" if input.x > 1

loop if count([1 | some a in numbers.range(1, 9999); some b in numbers.range(1, 9999); a == b]) > 1
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "p.rego").write_text(POLICY)
    (tmp_path / "roles.json").write_text('{"roles": ["a", "b"]}')
    (tmp_path / "one.json").write_text('{"x": 1}')
    return tmp_path


def ask(place, *arguments):
    given = ["-d", place / "p.rego", "-d", place / "roles.json", *arguments]
    return main(["policy", "eval", *map(str, given)])


@pytest.fixture
def said(capsys):
    def read():
        captured = capsys.readouterr()
        return captured.out

    return read


def test_json_is_opas_result_set(place, said):
    assert ask(place, "data.p.allow", "-i", place / "one.json", "-f", "json") == 0
    expression = {"value": False, "text": "data.p.allow", "location": {"row": 1, "col": 1}}
    assert json.loads(said()) == {"result": [{"expressions": [expression]}]}


def test_what_is_undefined_is_an_empty_object_in_json_nothing_raw_and_a_word_for_people(place, said):
    told = []
    for format_ in ("json", "values", "raw", "pretty"):
        assert ask(place, "data.p.nothing", "--format", format_) == 0
        told.append(said().strip())
    assert told == ["{}", "", "", "undefined"]


def test_values_are_arrays_and_raw_text_has_no_quotes(place, said):
    query = 'x := ["s", 1][_]; x'
    assert ask(place, query, "-f", "values") == 0
    rows = said()
    assert [json.loads(row) for row in rows.replace("]\n[", "]\0[").split("\0")] == [[True, "s"], [True, 1]]
    assert ask(place, query, "-f", "raw") == 0
    assert said() == "true s\ntrue 1\n"


def test_bindings_and_several_expressions_are_tables_for_people(place, said):
    assert ask(place, "x := data.roles[i]") == 0
    rows = [line.replace("│", " ").split() for line in said().splitlines() if "│" in line]
    assert rows == [["i", "x"], ["0", "a"], ["1", "b"]]
    assert ask(place, "1; 2") == 0
    rows = [line.replace("│", " ").split() for line in said().splitlines() if "│" in line]
    assert rows == [["1", "2"], ["1", "2"]]


@pytest.mark.parametrize(
    ("query", "option", "code"),
    [
        ("data.p.nothing", "--fail", 1),
        ("data.p.allow", "--fail", 0),
        ("[]", "--fail", 0),
        ("false", "--fail", 0),
        ("data.p.nothing", "--fail-defined", 0),
        ("data.p.reasons", "--fail-defined", 1),
        ("null", "--fail-defined", 1),
    ],
)
def test_fail_and_fail_defined_ask_for_what_opa_does(place, query, option, code):
    assert ask(place, query, option, "-i", place / "one.json") == code


def test_the_input_may_be_yaml_and_standard_input(place, said, monkeypatch):
    (place / "in.yaml").write_text("x: 2\n")
    assert ask(place, "data.p.reasons", "-i", place / "in.yaml", "-f", "raw") == 0
    assert said() == '["x"]\n'
    for option in (["-i", "-"], ["-I"]):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"x": 3}')))
        assert ask(place, "input.x", *option, "-f", "raw") == 0
        assert said() == "3\n"


def test_what_a_policy_prints_goes_to_standard_error(place, capsys):
    assert ask(place, "data.p.allow", "-i", place / "one.json", "-f", "raw") == 0
    captured = capsys.readouterr()
    assert captured.out == "false\n"
    assert captured.err == f"{place / 'p.rego'}:6: asked 1\n"


def test_metrics_have_opas_names(place, said):
    assert ask(place, "data.p.allow", "-f", "json", "--metrics") == 0
    metrics = json.loads(said())["metrics"]
    assert {"timer_rego_query_eval_ns", "timer_rego_module_parse_ns", "timer_rego_load_files_ns"} <= metrics.keys()
    assert all(value >= 0 for value in metrics.values())
    assert ask(place, "data.p.allow", "--metrics") == 0
    assert "timer_rego_query_eval_ns" in said()


def test_an_evaluation_without_end_is_stopped(place, capsys):
    assert ask(place, "data.p.loop", "--timeout", "0.3") == 2
    assert "still being evaluated after 0.3 s" in capsys.readouterr().err


def test_a_function_that_calls_itself_costs_its_own_process_only(place, capsys):
    (place / "p.rego").write_text("package p\nf(x) := f(x)\na := f(1)\n")
    assert ask(place, "data.p.a") == 2
    assert "ended its process" in capsys.readouterr().err


def test_json_tells_what_went_wrong_in_json_too(place, said):
    assert ask(place, "1 +", "-f", "json") == 2
    (error,) = json.loads(said())["errors"]
    assert "<query.rego>:1" in error["message"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.rego", b"package x\na := \xff\n", "not UTF-8"),
        ("x.json", b'{"a": ', "x.json:1:"),
        ("x.json", b"[1]", "holds no object"),
        ("x.yaml", b"a: &x 1\nb: *x\n", "x.yaml:"),
        ("x.txt", b"", "no .rego, .json or .yaml"),
        ("roles.yaml", b"roles: [c]\n", "Two of the files give data.roles a value"),
    ],
)
def test_data_that_cannot_be_used_is_told_with_its_file(place, capsys, name, content, told):
    (place / name).write_bytes(content)
    assert ask(place, "data", "-d", place / name) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("depth", [127, 129, 300, 2000])
def test_what_is_nested_deeper_than_the_engine_reads_is_told(place, capsys, depth):
    (place / "deep.json").write_text('{"a":' * depth + "1" + "}" * depth)
    for option in ("-i", "-d"):
        assert ask(place, "1", option, place / "deep.json") == (0 if depth == 127 else 2)
        assert bool(capsys.readouterr().err) == (depth != 127)


@pytest.mark.parametrize("text", ['"\\ud800"', "1e999", "NaN", '{"a": 1} {}', "\x00"])
def test_an_input_that_is_no_json_is_told(place, capsys, text):
    (place / "odd.json").write_text(text)
    assert ask(place, "input", "-i", place / "odd.json") == 2
    assert "odd.json:1:" in capsys.readouterr().err


def test_a_directory_is_read_as_a_bundle_is_and_its_sources_are_named_so_that_they_can_be_opened(place, capsys):
    library = place / "lib"
    loader.unpack(SHIPPED, library)
    (library / "more.rego").write_text("package more\n\na if print(data.gateway.settings.precedence[0])\n")
    assert main(["policy", "eval", "data.more.a", "-d", str(library)]) == 0
    assert f"{library / 'more.rego'}:3: " in capsys.readouterr().err


def test_a_bundle_and_data_beside_it_are_one_policy(place, said):
    (place / "b.tar.gz").write_bytes(bundle.build({"p.rego": POLICY.encode()}))
    given = ["-b", str(place / "b.tar.gz"), "-d", str(place / "roles.json")]
    assert main(["policy", "eval", "[data.p.allow, data.roles]", *given, "-f", "raw"]) == 0
    assert said() == '[false,["a","b"]]\n'


def test_explain_shows_what_held_where_the_rest_stopped_and_with_which_values(place, said):
    assert ask(place, "data.p.allow", "-i", place / "one.json", "--explain", "notes") == 0
    told = said()
    for line in (
        "data.p.allow = false",
        f"✘ allow  {place / 'p.rego'}:6",
        'line 8: role != "b"',
        'where role = "b"',
        "nothing else holds, so the default does",
    ):
        assert line in told


def test_explain_of_the_library_says_why_a_call_is_denied(place, said):
    (place / "in.json").write_text('{"principal": {"groups": ["strangers"]}, "message": {"method": "tools/call"}}')
    told = {}
    for view in ("notes", "fails", "full"):
        assert main(["policy", "eval", "call", "-i", str(place / "in.json"), "--explain", view]) == 0
        told[view] = said()
    assert "✔ refusals contains reason  gateway/call/call.rego:" in told["notes"]
    assert "✘" in told["fails"]
    assert "✔ refusals contains reason" not in told["fails"]
    assert "· " in told["full"]
    assert len(told["full"]) > len(told["notes"])


def test_explain_in_json_has_rules_bodies_and_places(place, said):
    assert ask(place, "data.p.allow", "-i", place / "one.json", "--explain", "full", "-f", "json") == 0
    (rule,) = json.loads(said())["explanation"]
    assert (rule["rule"], rule["value"], rule["begun"]) == ("data.p.allow", False, True)
    (body,) = rule["definitions"][1]["bodies"]
    assert body["stopped"]["inner"]["values"] == [{"role": "b"}]
    assert body["stopped"]["location"] == {"file": str(place / "p.rego"), "row": 8, "col": 2}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A store with one exchange, a listing: decided for the call, for what may be seen, and for the result."""
    place = tmp_path_factory.mktemp("recorded")

    async def script(traffic):
        await traffic.activate(SHIPPED)
        return await traffic.call(ANN, items=["run_sql"])

    return place, fill(place, script)


def reads(place):
    with Reader.open(place / "evidence.db", keystore.load(place / "keys")) as reader:
        return [
            (leaf.members["kind"], leaf.members["of"], leaf.members["effect"], reader.body(leaf, "purpose"))
            for leaf in reader.leaves()
            if leaf.type is LeafType.EVIDENCE_READ
        ]


@pytest.mark.parametrize("entrypoint", ["call", "result", "catalogue"])
def test_the_recorded_input_of_an_exchange_is_that_of_the_entrypoint_and_its_reading_goes_on_record(
    recorded, capsys, entrypoint
):
    place, exchange = recorded
    before = len(reads(place))
    command = ["policy", "eval", entrypoint, *options(place), "--exchange", exchange, "--purpose", "a check"]
    assert main([*command, "-f", "json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["result"][0]["expressions"][0]["value"]["effect"] == "allow"
    assert f"put to gateway/{entrypoint}/decision" in captured.err
    assert reads(place)[before:] == [("exchange", exchange, "allow", b"a check")]


def test_another_policy_can_be_asked_about_a_recorded_input(recorded, tmp_path, capsys):
    place, exchange = recorded
    (tmp_path / "p.rego").write_text("package p\nwho := input.principal.sub\n")
    command = ["policy", "eval", "data.p.who", *options(place), "--exchange", exchange, "--purpose", "a check"]
    assert main([*command, "-d", str(tmp_path / "p.rego"), "-f", "raw"]) == 0
    assert capsys.readouterr().out == f"{ANN.subject}\n"


def test_a_recorded_input_is_not_opened_without_a_purpose(recorded, capsys):
    place, exchange = recorded
    before = reads(place)
    assert main(["policy", "eval", "input", *options(place), "--exchange", exchange]) == 2
    assert main(["policy", "eval", "input", *options(place), "--exchange", exchange, "--purpose", " "]) == 2
    captured = capsys.readouterr()
    assert "--purpose" in captured.err
    assert "Policy does not let you read this exchange" in captured.err
    assert captured.out == ""
    assert [effect for _, _, effect, _ in reads(place)[len(before) :]] == ["deny"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["call", "--exchange", "nobody"], "No exchange has an id"),
        (["approval", "--exchange", "{exchange}"], "no such decision on record"),
        (["call", "--exchange", "{exchange}", "--leaf", "0"], "no such decision on record"),
        (["call", "--exchange", "{exchange}", "-i", "{file}"], "there is one input document"),
    ],
)
def test_an_exchange_that_has_no_such_input_is_told(recorded, place, capsys, arguments, told):
    store, exchange = recorded
    given = [argument.format(exchange=exchange, file=place / "one.json") for argument in arguments]
    assert main(["policy", "eval", *given, *options(store), "--purpose", "a check"]) == 2
    assert told in capsys.readouterr().err


def test_a_query_that_the_engine_would_answer_wrongly_is_answered_rightly(place, said):
    assert ask(place, 'some r in data.roles; r == "b"', "-f", "json") == 0
    assert json.loads(said())["result"][0]["bindings"] == {"r": "b"}
    assert ask(place, "not data.roles", "--fail", "-f", "json") == 1
    assert json.loads(said()) == {}


def test_a_query_is_explained_by_the_rules_that_it_names(place, said):
    query = "not data.p.allow; data.p.reasons"
    assert ask(place, query, "-i", place / "one.json", "--explain", "full", "-f", "json") == 0
    assert [rule["rule"] for rule in json.loads(said())["explanation"]] == ["data.p.allow", "data.p.reasons"]


def test_a_rule_can_be_named_by_its_path_as_decision_logs_do(place, said):
    assert ask(place, "p/reasons", "-i", place / "one.json", "-f", "raw") == 0
    assert said() == "[]\n"


def test_a_reader_that_has_read_enough_ends_the_command_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "gateway", "policy", "eval", "1", "-f", "values"]
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")
