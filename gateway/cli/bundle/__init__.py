"""`phigate bundle`: build policy bundles, sign and verify them, look into them, and compare them. A verb a file."""

from __future__ import annotations

import argparse

from gateway.cli.bundle import build, diff, inspect, sign, verify


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `phigate bundle …`."""
    noun = commands.add_parser("bundle", help="build, sign, verify and compare policy bundles")
    verbs = noun.add_subparsers(title="verbs", metavar="VERB", required=True)
    for part in (build, sign, verify, inspect, diff):
        part.add(verbs)
