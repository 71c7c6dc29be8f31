"""`make conformance`: the official suite against the upstream directly and through the gateway, side by side."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.conformance import parts, suite
from tests.conformance.suite import Scenario
from tests.e2e import issuer


def main() -> int:
    """Run both and print the table; 1 when the gateway loses a required scenario."""
    console = Console()
    lost = 0
    with (
        parts.everything_server() as direct,
        issuer.running() as tokens,
        tempfile.TemporaryDirectory() as place,
        parts.behind_gateway(Path(place), tokens, {"url": direct}) as through,
    ):
        for revision in suite.REVISIONS:
            ours, theirs = suite.server(through, revision), suite.server(direct, revision)
            console.print(_table(revision, theirs, ours))
            lost += sum(each.required and not each.passed for each in ours.values())
    return 1 if lost else 0


def _table(revision: str, direct: Mapping[str, Scenario], through: Mapping[str, Scenario]) -> Table:
    required = [name for name, each in direct.items() if each.required]
    scores = [sum(name in run and run[name].passed for name in required) for run in (direct, through)]
    table = Table(title=f"{revision}: direct {scores[0]}, through the gateway {scores[1]} of {len(required)} required")
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
