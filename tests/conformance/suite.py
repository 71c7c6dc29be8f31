"""The official MCP conformance suite (npm `@modelcontextprotocol/conformance`), run against one URL."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests import real_parts

REVISIONS = ("2025-11-25", "2026-07-28")
_UNSCORED = re.compile(r"^  [✓✗] ([\w-]+) \(([\w-]+)\)$", re.MULTILINE)
_RUN_S = 300
_REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Scenario:
    """What one scenario came to. `why` holds a line for each check that failed."""

    name: str
    required: bool
    why: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.why


Runs = dict[str, Scenario]


def server(url: str, revision: str) -> Runs:
    """Every server scenario that `revision` lists, run against the MCP server at `url`, by name."""
    with tempfile.TemporaryDirectory() as place:
        said = _run("server", "--url", url, "--requirements", revision, "-o", place)
        return _scenarios(Path(place), said, "server-")


CLIENT = {
    "2025-11-25": ("initialize", "tools_call", "elicitation-sep1034-client-defaults", "sse-retry"),
    "2026-07-28": (
        "tools_call", "request-metadata", "sep-2322-client-request-state", "http-standard-headers",
        "http-custom-headers", "http-invalid-tool-headers", "json-schema-ref-no-deref",
    ),
}  # fmt: skip
"""The required client scenarios that are not about authorization, by revision."""


def client(command: str, revision: str, name: str) -> Scenario:
    """One client scenario with `command` as the client, the URL of the suite's server as its last word."""
    with tempfile.TemporaryDirectory() as place:
        said = _run(
            "client", "--command", command, "--scenario", name, "--spec-version", revision, "-o", place,
            "--timeout", "60000",
        )  # fmt: skip
        (found,) = _scenarios(Path(place), said, "").values()
        return found


def _run(*arguments: str) -> str:
    command = real_parts.npm_set("conformance") / "node_modules/.bin/conformance"
    done = subprocess.run(
        [command, *arguments],
        cwd=_REPOSITORY,
        env=real_parts.environment(),
        capture_output=True,
        text=True,
        timeout=_RUN_S,
        check=False,
    )
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)


def _scenarios(place: Path, said: str, prefix: str) -> Runs:
    unscored = {name for name, _ in _UNSCORED.findall(said)}
    found: Runs = {}
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
