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
    return suite.server(upstream, revision), through_gateway(revision, upstream)


def through_gateway(revision: str, upstream: str, **settings: str) -> Runs:
    """The server scenarios of `revision` through a gateway; `settings` are more of the upstream's."""
    configured = {"url": upstream, "labels": {"phi": False}, **settings}
    with (
        issuer.running() as tokens,
        tempfile.TemporaryDirectory() as place,
        parts.behind_gateway(Path(place), tokens, configured) as through,
    ):
        return suite.server(through, revision)


BRIDGED = {
    "an upstream of the legacy era only": (parts.legacy_server, {}),
    "an upstream that is pinned to the modern era": (parts.everything_server, {"era": "modern"}),
}
"""Upstreams of one era, which the suite's clients of both eras are to use: how they are run, and their settings."""

LACKING: dict[str, frozenset[str]] = {
    "an upstream of the legacy era only": frozenset({
        # Version 1 of the fixture has none of the tools and prompts that these call.
        "input-required-result-basic-elicitation",
        "input-required-result-basic-list-roots", "input-required-result-basic-sampling",
        "input-required-result-capability-check", "input-required-result-multi-round",
        "input-required-result-multiple-input-requests", "input-required-result-non-tool-request",
        "input-required-result-request-state", "input-required-result-result-type",
        "input-required-result-tampered-state", "server-stateless",
    }),
    "an upstream that is pinned to the modern era": frozenset({
        # Its tools ask by requests of their own, which is what they may not in the modern era, and so do not.
        "elicitation-sep1034-defaults", "elicitation-sep1330-enums", "tools-call-elicitation", "tools-call-sampling",
    }),
}  # fmt: skip
"""The required scenarios that no bridge can pass, because the fixture does not play its part in them."""


def client_leg(revision: str) -> tuple[Runs, Runs]:
    """The client scenarios of `revision` that are not about authorization, directly and through a gateway."""
    direct = f"{sys.executable} -W ignore {real_parts.sdist('mcp') / '.github/actions/conformance/client.py'}"
    names = suite.CLIENT[revision]
    return tuple({name: suite.client(command, revision, name) for name in names} for command in (direct, THROUGH))


def main() -> int:
    """Run both legs in both revisions and print a table each; 1 when the gateway loses a required scenario."""
    console = Console()
    lost = _bridged(console)
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


def _bridged(console: Console) -> int:
    """A table for each upstream of one era and each revision; how many scenarios were lost without need."""
    lost = 0
    for what, (started, settings) in BRIDGED.items():
        with started() as upstream:
            for revision in suite.REVISIONS:
                direct, through = suite.server(upstream, revision), through_gateway(revision, upstream, **settings)
                console.print(_table(f"server {revision} before {what}", direct, through))
                failed = {name for name, each in through.items() if each.required and not each.passed}
                lost += len(failed - LACKING[what])
    return lost


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
