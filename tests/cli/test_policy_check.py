"""`phigate policy check`: what it says, in each format, and that nothing makes it crash."""

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cli.main import main
from gateway.core.policy.bundle import Manifest, Source
from gateway.core.policy.lint import Schemas
from gateway.pdp import child, loader, review
from gateway.pdp.schemas import schema

ROOT = Path(__file__).parents[2]
LIBRARY = loader.read(ROOT / "policies")
SCHEMAS = Schemas(schema("input"), schema("settings"))


@pytest.fixture
def policies(tmp_path, monkeypatch):
    """A copy of the shipped library, in the current directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "policies", "policies")
    return Path("policies")


def check(*words):
    return main(["policy", "check", *map(str, words)])


def test_the_shipped_library_has_not_even_a_warning(policies, capsys):
    code = check(policies, "--strict")

    assert (code, capsys.readouterr().out.splitlines()[-1]) == (0, f"No faults in {len(LIBRARY.sources)} sources.")


def test_a_fault_is_shown_with_its_line_a_caret_its_fix_and_its_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("more.rego").write_text("package gateway.more\n\nx if {\n\twalk(input)\n}\n")

    assert check("more.rego") == 1
    reason = "`walk(x)` used as a value yields nothing in this engine, so the rule never holds."
    assert capsys.readouterr().out.splitlines() == [
        f"more.rego:4:2: error: {reason} [walk-as-value]",
        "    4 |  walk(input)",
        "      |  ^",
        "  Fix: write `walk(x, [path, value])`. (docs/lint.md#walk-as-value)",
        "1 error(s), 0 warning(s) in 1 sources.",
    ]


def test_a_warning_counts_only_when_strict_and_may_be_ignored(tmp_path, capsys):
    source = tmp_path / "warned.rego"
    source.write_text(f'package {tmp_path.name}\n\nx if "a" == input.message.name\n')

    assert check(source) == 0
    assert "[yoda]" in capsys.readouterr().out
    assert check(source, "--strict", "--ignore", "package-directory") == 1
    assert check(source, "--strict", "--ignore", "yoda", "--ignore", "package-directory") == 0


def test_an_error_cannot_be_ignored(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        check(tmp_path, "--ignore", "walk-as-value")

    assert ended.value.code == 2
    assert "walk-as-value" in capsys.readouterr().err


def test_json_is_opas_and_names_files_as_they_were_given(tmp_path, capsys):
    source = tmp_path / "bad.rego"
    source.write_text("package bad\n\nx := := 1\n")

    assert check(source, "--format", "json") == 1
    told = json.loads(capsys.readouterr().out)["errors"]
    assert [(one["code"], one["location"]) for one in told] == [
        ("unparsable", {"file": str(source), "row": 3, "col": 6})
    ]


def test_sarif_and_github_tell_the_same(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a, b.rego").write_text("package a\n\nx if walk(input)\n")

    assert check("a, b.rego", "--format", "sarif") == 1
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    location = run["results"][0]["locations"][0]["physicalLocation"]
    assert location == {"artifactLocation": {"uri": "a%2C%20b.rego"}, "region": {"startLine": 3, "startColumn": 6}}
    assert check("a, b.rego", "--format", "github") == 1
    assert capsys.readouterr().out.startswith("::error file=a%2C b.rego,line=3,col=6,title=phigate walk-as-value::")


def test_several_paths_are_one_policy(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a.rego").write_text("package a\n\nf(x) := data.b.g(x)\n")
    Path("b.rego").write_text("package b\n\ng(x) := data.a.f(x)\n")

    assert check("a.rego") == 0
    assert check("a.rego", "b.rego") == 1
    assert "[recursion]" in capsys.readouterr().out


def test_a_bundle_is_checked_as_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("built.tar.gz").write_bytes(LIBRARY.archive)

    assert check("-b", "built.tar.gz") == 0
    assert check("built.tar.gz") == 0
    assert "sources." in capsys.readouterr().out


def test_a_schema_of_ones_own_is_compared_with(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.rego").write_text("package a\n\nx if input.who.name\n")
    Path("own.json").write_text('{"type": "object", "properties": {"who": {"type": "string"}}}')

    assert check("a.rego", "-s", "own.json") == 1
    assert "`input.who` has no `name`" in capsys.readouterr().out


def test_prints_nothing_that_a_terminal_would_obey(tmp_path, capsys):
    source = tmp_path / "a.rego"
    source.write_text('package a\n\nx if walk("\x9b31m\u202e")\n')

    assert check(source) == 1
    assert not {"\x9b", "\u202e"} & set(capsys.readouterr().out)


def unreadable(tmp_path, name):
    """A path of which nothing good can be read."""
    path = tmp_path / f"{name}.rego"
    match name:
        case "cyclic":
            path.symlink_to(path)
        case "binary":
            path.write_bytes(b"package a\n\xff\xfe")
        case "huge":
            with path.open("wb") as file:
                file.truncate(100 * 2**20)
        case "pipe":
            os.mkfifo(path)
        case "empty directory":
            path.mkdir()
    return path


@pytest.mark.parametrize("name", ["missing", "cyclic", "binary", "huge", "pipe", "empty directory"])
@pytest.mark.parametrize("format_", ["pretty", "json"])
def test_what_cannot_be_read_is_told_in_a_sentence(tmp_path, capsys, name, format_):
    path = unreadable(tmp_path, name)

    assert check(path, "--format", format_) == 2
    said = capsys.readouterr()
    assert str(path) in said.out + said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("name", ["cyclic", "binary", "huge", "pipe"])
def test_what_cannot_be_read_within_a_directory_is_told_or_is_no_part_of_it(tmp_path, capsys, name):
    (tmp_path / "good.rego").write_text("package good\n")
    unreadable(tmp_path, name)

    assert check(tmp_path) in (1, 2)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", "{", "5", "\xff"])
def test_a_schema_that_is_none_is_told(tmp_path, capsys, text):
    source, own = tmp_path / "a.rego", tmp_path / "s.json"
    source.write_text("package a\n")
    own.write_text(text, encoding="latin-1")

    assert check(source, "-s", own) == 2
    assert str(own) in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "",
        "package",
        "package a\n" + "x := " + "[" * 5000,
        "package a\nx := " + "-" * 5000 + "1",
        "package a\nx := " + "1+" * 20000 + "1",
        "package a\nx if " + "not " * 5000 + "y",
        "package a\nx := a" + ".b" * 20000,
        "package a\nx := a" + "[0]" * 20000,
        "package a\n" + "x := 1\n" * 20000,
        "package a\nx := `" + "\n" * 50000,
        "package a\nx := 1e999999999",
        "package a\n#" + "\x00" * 1000,
        "package a\nx := 1 " + "else := 1 if input " * 3000,
    ],
    ids=range(13),
)
def test_odd_sources_neither_hang_nor_crash(tmp_path, capsys, text):
    source = tmp_path / "a.rego"
    source.write_text(text)

    assert check(source) in (0, 1, 2)
    assert "Traceback" not in capsys.readouterr().err


@st.composite
def mutated(draw):
    """The shipped entrypoint for calls, with pieces cut out, put in twice or replaced."""
    text = draw(st.sampled_from(LIBRARY.sources)).text[:6000]
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 40)))
        piece = draw(
            st.sampled_from(
                [
                    "",
                    text[start:end] * 2,
                    "[_]",
                    "not ",
                    "some x in ",
                    "walk(",
                    "\n",
                    '"',
                    "}",
                    "{",
                    "input.",
                    " := ",
                    "é",
                ]
            )
        )
        text = text[:start] + piece + text[end:]
    return text


@settings(max_examples=150)
@given(mutated())
def test_a_mutated_source_is_told_and_never_ends_the_check(text):
    for finding in review.findings(
        (Source("gateway/a.rego", text),), LIBRARY.data, Manifest(roots=("gateway",)), SCHEMAS
    ):
        assert finding.place.line >= 1
        assert finding.place.column >= 1
        assert finding.fix


def test_a_child_that_comes_to_no_end_of_its_own_is_told_in_a_sentence():
    with pytest.raises(child.Stopped, match="its process ended"):
        child.run(review.answer, b"[", wall_s=5.0)
