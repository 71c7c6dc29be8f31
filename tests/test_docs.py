"""What the documents say is so: they quote the code where they can, and are compared with it where they cannot.

`make docs` runs this file, which writes the quotations anew: docs/commands.md, docs/messages.md,
docs/policy-documents.md, and the demo's output in README.md.
"""

import argparse
import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.main import parser
from gateway.core.evidence.record import LeafType
from tests import message_pages, schema_pages

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
COMMANDS = DOCS / "commands.md"
QUOTE = re.compile(r"(?<=<!-- demo -->\n```text\n).*?(?=```\n<!-- /demo -->)", re.DOTALL)
DEMO_S = 120


Found = tuple[argparse.ArgumentParser, str, list[argparse.Action]]


def commands(known: argparse.ArgumentParser, about: str = "") -> list[Found]:
    """Every command that does something: its parser, what it is for, its options and arguments."""
    inner = [action for action in known._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        actions = [action for action in known._actions if action.dest != "help"]
        return [(known, (known.description or about).strip(), actions)]
    helps = {choice.dest: choice.help or "" for one in inner for choice in one._choices_actions}
    return [found for one in inner for name, each in one.choices.items() for found in commands(each, helps[name])]


def described(known: argparse.ArgumentParser) -> str:
    """The whole command line as a page."""
    page = [
        "# Commands\n\nWritten by `make docs` from the commands' own help; a test compares both.\n",
        "Exit codes: 0 done · 1 the answer is no · 2 the command could not be carried out.\n",
    ]
    for command, about, actions in commands(known):
        page.append(f"## {command.prog}\n\n{about}\n")
        if actions:
            page.append("| option | |\n|---|---|\n" + "".join(map(line, actions)))
    return "\n".join(page)


def line(action: argparse.Action) -> str:
    """One option or argument as a row."""
    names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar or action.dest}`"
    value = f" {action.metavar or action.dest.upper()}" if action.option_strings and action.nargs != 0 else ""
    choices = f" ({', '.join(map(str, action.choices))})" if action.choices else ""
    return f"| {names}{value} | {(action.help or '').replace('|', '&#124;')}{choices} |\n"


def told(place: Path) -> str:
    """The demo's output, from a fresh run in `place`."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "demo"],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def normal(text: str) -> str:
    """The text without what differs from run to run: ids, digests, times, ports, byte offsets and paths."""
    for pattern, word in (
        (r"\S*/bin/phigate", "phigate"),
        (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "UUID"),
        (r"\b[0-9a-f]{12,}\b", "HEX"),
        (r"\bap_[a-z0-9]+", "APPROVAL"),
        (r"\b[A-Za-z0-9+/]{43}=", "BASE64"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?( [A-Z]{3,5})?", "TIME"),
        (r"\d+ checkpoints?", "N checkpoints"),
        (r"127\.0\.0\.1:\d+", "HOST"),
        (r"byte \d+", "byte N"),
        (r"\b\d+(\.\d+)? (ms|s)\b", "N s"),
        (r"[ ]+$", ""),
    ):
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return re.sub(r"[ ─]{2,}", " ", text)


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return told(tmp_path_factory.mktemp("demo"))


def test_the_readme_shows_what_the_demo_really_prints(output):
    quoted = QUOTE.search(README.read_text())

    assert quoted is not None, "README.md has lost its <!-- demo --> markers"
    assert normal(output) == normal(quoted[0]), "the demo prints something else by now: run `make docs`"


def test_every_command_and_option_is_documented():
    assert COMMANDS.read_text() == described(parser()), "run `make docs`"


def test_every_command_and_option_has_a_help_text():
    bare = [command.prog for command, about, _ in commands(parser()) if not about]
    bare += [
        f"{command.prog} {one.dest}" for command, _, actions in commands(parser()) for one in actions if not one.help
    ]

    assert bare == []


def test_what_policy_is_asked_and_may_answer_is_documented_field_by_field():
    assert schema_pages.PAGE.read_text() == schema_pages.page(), "run `make docs`"


@pytest.mark.parametrize("name", [name for name, _ in schema_pages.PARTS])
def test_every_field_of_the_schemas_is_described(name):
    assert schema_pages.undescribed(json.loads((schema_pages.SCHEMAS / f"{name}.json").read_text())) == []


def test_every_leaf_type_is_documented_and_no_other():
    table = (DOCS / "architecture.md").read_text().split("<!-- leaf types")[1].split("\n\n")[0]

    assert set(re.findall(r"`([a-z]+\.?[a-z]*)`", table)) == {kind.value for kind in LeafType}


def test_every_invariant_names_tests_that_exist():
    rows = re.findall(r"^\| (\d) \| .+ \| (.*) \|$", (DOCS / "architecture.md").read_text(), re.MULTILINE)

    assert [number for number, _ in rows] == [str(number) for number in range(1, 10)]
    for number, cell in rows:
        named = re.findall(r"\[`(test_\w+)`\]\(\.\./(tests/[\w/]+\.py)\)", cell)
        assert named, f"invariant {number} names no test"
        for test, file in named:
            assert test in functions(ROOT / file), f"invariant {number}: {file} has no {test}"


def functions(file: Path) -> set[str]:
    """The functions that a Python file defines."""
    return {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, FUNCTIONS)}


FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def test_every_make_target_is_documented_and_explained():
    makefile = (ROOT / "Makefile").read_text()
    explained = set(re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    guide = (DOCS / "getting-started.md").read_text()

    assert explained == set(phony.split())
    assert {target for target in explained if not re.search(rf"(make |`){target}\b", guide)} == set()


def test_every_link_leads_somewhere():
    dead = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in (README, *DOCS.rglob("*.md"))
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / link).exists()
    ]

    assert dead == []


def test_every_decision_is_in_the_list_of_decisions():
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", (DOCS / "decisions" / "README.md").read_text())

    assert sorted(listed) == sorted(page.name for page in (DOCS / "decisions").glob("[0-9]*.md"))


def test_every_dependency_is_accounted_for():
    page = (DOCS / "dependencies.md").read_text()
    wanted = re.findall(r'^\s+"([A-Za-z0-9-]+)[>=]', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)

    assert [name for name in wanted if f"`{name}`" not in page] == []


if __name__ == "__main__":
    COMMANDS.write_text(described(parser()))
    schema_pages.PAGE.write_text(schema_pages.page())
    message_pages.PAGE.write_text(message_pages.page())
    README.write_text(QUOTE.sub(lambda _: told(ROOT), README.read_text()))
