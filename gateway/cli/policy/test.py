"""`phigate policy test`: run the `test_` rules of a policy."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

from rich.console import Console

from gateway.cli.policy import shared
from gateway.core.errors import PolicyFault
from gateway.pdp import loader, suite

_COLOURS = {"PASS": "green", "FAIL": "red", "ERROR": "red", "SKIPPED": "yellow"}


def add(verbs: shared.Verbs) -> None:
    """Register `phigate policy test`."""
    verb = shared.verb(verbs, "test", run, "run the test_ rules of a policy")
    verb.add_argument(
        "path", type=Path, nargs="?", default=Path("policies"), help="sources or bundle (default: policies)"
    )
    verb.add_argument("-r", "--run", dest="only", default="", metavar="REGEX", help="only tests whose name matches")
    verb.add_argument("-v", "--verbose", action="store_true", help="name the tests that pass too")


def run(arguments: argparse.Namespace) -> int:
    """Run the tests; 1 when one failed."""
    try:
        re.compile(arguments.only)
    except re.error as fault:
        raise PolicyFault(f"--run is not a regular expression: {fault}.") from None
    bundle = loader.read(arguments.path)
    shared.refuse_unparsable(bundle)
    began = time.perf_counter()
    outcomes = suite.run(bundle, only=arguments.only)
    failed = [outcome for outcome in outcomes if not outcome.passed and not outcome.skipped]
    if arguments.format == "json":
        shared.print_json([outcome.document for outcome in outcomes])
        return 1 if failed else 0
    console = Console()
    for outcome in outcomes:
        if arguments.verbose or not outcome.passed:
            told = f"{outcome.file}:{outcome.place.line}: {outcome.package}.{outcome.name}: "
            console.print(told, end="", markup=False, highlight=False, soft_wrap=True)
            console.print(f"[{_COLOURS[outcome.word]}]{outcome.word}[/] ({outcome.duration_ns / 1e6:.2f} ms)")
            for text in filter(None, (outcome.fault, outcome.output.rstrip())):
                console.print(text, markup=False, highlight=False)
    passed = sum(outcome.passed for outcome in outcomes)
    took = time.perf_counter() - began
    console.print(f"{passed} of {len(outcomes)} tests passed in {took:.2f} s.", highlight=False)
    return 1 if failed else 0
