"""`phigate policy check`: find what would make a policy decide wrongly."""

from __future__ import annotations

import argparse
from pathlib import Path

import orjson
from rich.console import Console

from gateway.cli.policy import shared
from gateway.core.policy import lint
from gateway.core.types import Document
from gateway.pdp import loader
from gateway.pdp.engine import load


def add(verbs: shared.Verbs) -> None:
    """Register `phigate policy check`."""
    verb = shared.verb(verbs, "check", run, "find what would make a policy decide wrongly")
    verb.add_argument(
        "path", type=Path, nargs="?", default=Path("policies"), help="sources or bundle (default: policies)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print every finding; 1 when there is one."""
    bundle = loader.read(arguments.path)
    found = lint.unparsed(bundle.sources)
    if not found:
        engine = load(bundle.sources, bundle.data)
        found = lint.check(orjson.loads(engine.get_ast_as_json()), bundle.data, bundle.manifest)
    if arguments.format == "json":
        shared.print_json([_finding(finding) for finding in found])
    else:
        console = Console(soft_wrap=True)
        for finding in found:
            console.print(str(finding), markup=False, highlight=False)
        count = "No faults" if not found else f"{len(found)} fault(s)"
        console.print(f"{count} in {len(bundle.sources)} sources.", highlight=False)
    return 1 if found else 0


def _finding(finding: lint.Finding) -> Document:
    return {
        "rule": finding.rule,
        "location": {"file": finding.file, "row": finding.place.line, "col": finding.place.column},
        "reason": finding.reason,
        "fix": finding.fix,
    }
