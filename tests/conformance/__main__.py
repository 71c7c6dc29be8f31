"""`make conformance`: the official suite against the upstream directly and through the gateway, side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from tests import real_parts
from tests.conformance import parts, suite
from tests.conformance.parts import Through
from tests.conformance.suite import Runs, Scenario

PLAIN = "everything"
"""The upstream of both eras."""
TASKS = "tasks"
"""The one that has tasks, and nothing else that the suite asks for."""
BRIDGED_TASKS = "tasks-of-the-legacy-era"
"""One whose tasks are those of 2025-11-25."""


@contextmanager
def upstreams() -> Iterator[dict[str, dict[str, Any]]]:
    """The servers that the suite meets, as upstreams: in both eras, and in one each, which clients of both are to use.

    By name, with their settings.
    """
    with parts.everything_server() as url, parts.legacy_server() as legacy, parts.tasks_server() as tasks:
        yield {
            PLAIN: {"url": url, "labels": {"phi": False}},
            "of-the-legacy-era": {"url": legacy, "labels": {"phi": False}},
            "pinned-to-the-modern-era": {"url": url, "labels": {"phi": False}, "era": "modern"},
            TASKS: {"url": tasks, "labels": {"phi": False}},
            BRIDGED_TASKS: {**parts.legacy_tasks(), "labels": {"phi": False}},
        }


LACKING: dict[str, frozenset[str]] = {
    "of-the-legacy-era": frozenset({
        # Version 1 of the fixture has none of the tools and prompts that these call.
        "input-required-result-basic-elicitation",
        "input-required-result-basic-list-roots", "input-required-result-basic-sampling",
        "input-required-result-capability-check", "input-required-result-multi-round",
        "input-required-result-multiple-input-requests", "input-required-result-non-tool-request",
        "input-required-result-request-state", "input-required-result-result-type",
        "input-required-result-tampered-state", "server-stateless",
    }),
    BRIDGED_TASKS: frozenset({
        # No legacy call asks by its answer; and a tool that must be a task is waited for, so that it can be called.
        "tasks-mrtr-composition", "tasks-required-task-error",
    }),
    "pinned-to-the-modern-era": frozenset({
        # Its tools ask by requests of their own, which is what they may not in the modern era, and so do not.
        "elicitation-sep1034-defaults", "elicitation-sep1330-enums", "tools-call-elicitation", "tools-call-sampling",
    }),
}  # fmt: skip
"""The required scenarios that no bridge can pass, because the fixture does not play its part in them."""


def through(gateway: Through) -> str:
    """The official client with the gateway between it and the suite's server, as a command of the suite."""
    return f"{sys.executable} -m tests.conformance.client {gateway.config} {gateway.mcp}"


def of_tasks(url: str) -> Runs:
    """The scenarios of the tasks extension: the suite does not score them, and its own fixtures have no tasks."""
    return {name: each for name, each in suite.server(url, suite.REVISIONS[-1]).items() if name.startswith("tasks-")}


def client_leg(revision: str, gateway: Through) -> tuple[Runs, Runs]:
    """The client scenarios of `revision` that are not about authorization, directly and through the gateway."""
    direct = f"{sys.executable} -W ignore {real_parts.sdist('mcp') / '.github/actions/conformance/client.py'}"
    names = suite.CLIENT[revision]
    commands = (direct, through(gateway))
    return tuple({name: suite.client(command, revision, name) for name in names} for command in commands)


def main() -> int:
    """Run all legs in both revisions and print a table each; 1 when the gateway loses a required scenario."""
    console = Console()
    lost = 0
    with upstreams() as behind, parts.gateway(behind) as gateway:
        for revision in suite.REVISIONS:
            for name, settings in behind.items():
                if name in (TASKS, BRIDGED_TASKS):
                    continue
                runs = suite.server(settings["url"], revision), suite.server(f"{gateway.mcp}/{name}", revision)
                lost += _told(console, f"server {revision}, {name}", *runs, LACKING.get(name, frozenset()))
            lost += _told(console, f"client {revision}", *client_leg(revision, gateway), frozenset())
        direct = of_tasks(behind[TASKS]["url"])
        for name in (TASKS, BRIDGED_TASKS):
            runs = of_tasks(f"{gateway.mcp}/{name}")
            console.print(_table(name, direct, runs))
            lost += len(played(direct) - played(runs) - LACKING.get(name, frozenset()))
    return 1 if lost else 0


def played(runs: Runs) -> set[str]:
    """The scenarios that passed."""
    return {name for name, each in runs.items() if each.passed}


def _told(console: Console, what: str, direct: Runs, through: Runs, lacking: frozenset[str]) -> int:
    """Print a table; how many required scenarios were lost without need."""
    console.print(_table(what, direct, through))
    failed = {name for name, each in through.items() if each.required and not each.passed}
    return len(failed - lacking)


def _table(what: str, direct: Mapping[str, Scenario], through: Mapping[str, Scenario]) -> Table:
    required = [name for name, each in direct.items() if each.required or what in (TASKS, BRIDGED_TASKS)]
    scores = [sum(name in run and run[name].passed for name in required) for run in (direct, through)]
    table = Table(title=f"{what}: direct {scores[0]}, through the gateway {scores[1]} of {len(required)}")
    for column in ("scenario", "direct", "through", "why not"):
        table.add_column(column, overflow="fold")
    for name, each in direct.items():
        ours = through.get(name)
        why = "did not run" if ours is None else "" if ours.why == each.why else "\n".join(ours.why)
        words = ["passed" if run is not None and run.passed else "FAILED" for run in (each, ours)]
        table.add_row(name if each.required else f"({name})", *words, why)
    return table


if __name__ == "__main__":
    sys.exit(main())
