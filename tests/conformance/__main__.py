"""`make conformance`: the official suite against the upstream directly and through the gateway, side by side."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests import real_parts
from tests.conformance import parts, suite
from tests.conformance.suite import Runs, Scenario
from tests.e2e import issuer

THROUGH = f"{sys.executable} -m tests.conformance.client"
"""The official client with a gateway between it and the suite's server."""


def server_leg(revision: str, upstream: str) -> tuple[Runs, Runs]:
    """The server scenarios of `revision`, directly and through a gateway."""
    with (
        issuer.running() as tokens,
        tempfile.TemporaryDirectory() as place,
        parts.behind_gateway(Path(place), tokens, {"url": upstream, "labels": {"phi": False}}) as through,
    ):
        return suite.server(upstream, revision), suite.server(through, revision)


def client_leg(revision: str) -> tuple[Runs, Runs]:
    """The client scenarios of `revision` that are not about authorization, directly and through a gateway."""
    direct = f"{sys.executable} -W ignore {real_parts.sdist('mcp') / '.github/actions/conformance/client.py'}"
    names = suite.CLIENT[revision]
    return tuple({name: suite.client(command, revision, name) for name in names} for command in (direct, THROUGH))


def main() -> int:
    """Run both legs in both revisions and print a table each; 1 when the gateway loses a required scenario."""
    console = Console()
    lost = 0
    with parts.everything_server() as upstream, Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("conformance", total=2 * len(suite.REVISIONS))
        for revision in suite.REVISIONS:
            for leg, (direct, through) in (
                ("server", server_leg(revision, upstream)),
                ("client", client_leg(revision)),
            ):
                progress.advance(task)
                console.print(_table(f"{leg} {revision}", direct, through))
                lost += sum(each.required and not each.passed for each in through.values())
    return 1 if lost else 0


def _table(what: str, direct: Mapping[str, Scenario], through: Mapping[str, Scenario]) -> Table:
    required = [name for name, each in direct.items() if each.required]
    scores = [sum(name in run and run[name].passed for name in required) for run in (direct, through)]
    table = Table(title=f"{what}: direct {scores[0]}, through the gateway {scores[1]} of {len(required)} required")
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
