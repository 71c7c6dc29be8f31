"""The official MCP conformance suite (npm `@modelcontextprotocol/conformance`), run against one URL."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests import real_parts

REVISIONS = ("2025-11-25", "2026-07-28")
_UNSCORED = re.compile(r"^  [✓✗] ([\w-]+) \(([\w-]+)\)$", re.MULTILINE)
_RUN_S = 300


@dataclass(frozen=True)
class Scenario:
    """What one scenario came to. `why` holds a line for each check that failed."""

    name: str
    required: bool
    why: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.why


def server(url: str, revision: str) -> dict[str, Scenario]:
    """Every server scenario that `revision` lists, run against the MCP server at `url`, by name."""
    with tempfile.TemporaryDirectory() as place:
        said = _run("server", "--url", url, "--requirements", revision, "-o", place)
        return _scenarios(Path(place), said, "server-")


def client(command: str, revision: str, names: tuple[str, ...]) -> dict[str, Scenario]:
    """These client scenarios, each with `command` as the client, the URL of the suite's server as its last word."""
    found: dict[str, Scenario] = {}
    for name in names:
        with tempfile.TemporaryDirectory() as place:
            said = _run(
                "client", "--command", command, "--scenario", name, "--spec-version", revision, "-o", place,
                "--timeout", "60000",
            )  # fmt: skip
            found |= _scenarios(Path(place), said, "")
    return found


def _run(*arguments: str, more: Mapping[str, str] | None = None) -> str:
    command = real_parts.npm_set("conformance") / "node_modules/.bin/conformance"
    environment = {**real_parts.environment(), **(more or {})}
    done = subprocess.run(
        [command, *arguments], env=environment, capture_output=True, text=True, timeout=_RUN_S, check=False
    )
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


def _scenarios(place: Path, said: str, prefix: str) -> dict[str, Scenario]:
    unscored = {name for name, _ in _UNSCORED.findall(said)}
    found: dict[str, Scenario] = {}
    for file in sorted(place.glob("**/checks.json")):
        name = re.sub(r"-\d{4}-\d\d-\d\dT[\d-]+Z$", "", str(file.parent.relative_to(place))).removeprefix(prefix)
        checks = json.loads(file.read_text())
        why = tuple(
            f"{check['id']}: {check.get('errorMessage') or check.get('description', '')}"
            for check in checks
            if check["status"] == "FAILURE"
        )
        found[name] = Scenario(name, name not in unscored, why)
    assert found, f"the conformance suite gave no results:\n{said[-4000:]}"
    return found
