"""docs/operations.md is done as it says, and what it and its neighbours name exists: commands, options and tests."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import pytest
import trio

from gateway.cli.main import parser
from gateway.store import schema
from tests.e2e import harness, issuer
from tests.test_docs import functions
from tests.test_docs_authoring import same, shell, steps

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
OPERATIONS = DOCS / "operations.md"
PAGES = ["getting-started.md", "operations.md", "threat-model.md", "upgrading.md"]
WARD = harness.Upstream(
    "ward", {"command": sys.executable, "args": [str(ROOT / "tests" / "e2e" / "upstream_server.py")]}
)


def serve_a_while(place: Path, provider: issuer.Issuer) -> None:
    """A gateway that has served a call, and was stopped."""

    async def call(gateway: harness.Gateway) -> None:
        async with harness.client(gateway, "ward", "clinician") as client:
            await client.list_tools()
            assert not (await client.call_tool("census", {"ward": "icu"})).is_error

    gateway = harness.prepare(place, provider, [WARD])
    try:
        gateway.start()
        trio.run(call, gateway)
        gateway.stop()
    finally:
        gateway.kill()


def test_operations_are_done_as_the_page_says(tmp_path):
    with issuer.running() as provider, shell(tmp_path) as running:
        serve_a_while(tmp_path / "work" / "my-gateway", provider)
        for step in steps(OPERATIONS.read_text()):
            printed, code = running.do(step)
            printed = printed.replace(f"{tmp_path}/work/", "")
            assert code == 0, f"{OPERATIONS.name}:{step.line}: {step.command}\nended with {code}:\n{printed}"
            assert same(step.output, printed), (
                f"{OPERATIONS.name}:{step.line}: {step.command}\n--- the page shows\n{step.output}"
                f"--- it printed\n{printed}"
            )


def known(words: list[str]) -> argparse.ArgumentParser:
    """The parser of a command. Raises KeyError for one that is none."""
    found = parser()
    for word in words:
        inner = [action for action in found._actions if isinstance(action, argparse._SubParsersAction)]
        if not inner:
            break
        found = inner[0].choices[word]
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_names_is_one_with_these_options(page):
    named = re.findall(r"(?:`|^\$ )phigate ([^`\n]+)", (DOCS / page).read_text(), re.MULTILINE)

    assert named
    for text in named:
        words = text.split()
        command = known([word for word in words if not word.startswith("-")])
        options = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert options <= set(command._option_string_actions), text


@pytest.mark.parametrize("page", ["operations.md", "threat-model.md"])
def test_every_test_that_a_page_names_is_there(page):
    named = re.findall(r"\[`(test_\w+)`\]\(\.\./(tests/[\w/]+\.py)\)", (DOCS / page).read_text())

    assert named
    assert [f"{file}: {test}" for test, file in named if test not in functions(ROOT / file)] == []


def test_what_one_machine_carries_is_on_the_page_as_measured():
    (measured,) = re.findall(r"<!-- capacity -->\n(.*?)<!-- /capacity -->", OPERATIONS.read_text(), re.DOTALL)

    assert re.match(r"Measured \d{4}-\d\d-\d\d on \d+ cores .*load average", measured)
    assert len(re.findall(r"^\| [^|]+ \|.* (ms|MB|KB|GB|leaves|\d) \|", measured, re.MULTILINE)) >= 9


def test_every_schema_version_is_on_the_page_about_upgrading():
    table = re.findall(r"^\| (\d+) \| [\d-]+ \|", (DOCS / "upgrading.md").read_text(), re.MULTILINE)

    assert [int(version) for version in table] == list(range(1, schema.VERSION + 1))


def test_every_actor_of_the_threat_model_says_what_remains():
    page = (DOCS / "threat-model.md").read_text()
    actors = page.split("\n## ")[2:]

    assert len(actors) == 9
    assert [actor.partition("\n")[0] for actor in actors if "*Remains:*" not in actor] == []
