"""`phigate policy`: ask a policy, test it, check it, and decide again what is on record. A verb a file."""

from __future__ import annotations

import argparse

from gateway.cli.policy import bench, check, diff, evaluate, new, replay, shadow, test


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `phigate policy …`."""
    noun = commands.add_parser("policy", help="write, ask, test, check and measure policies, and replay decisions")
    verbs = noun.add_subparsers(title="verbs", metavar="VERB", required=True)
    for part in (new, evaluate, test, check, bench, replay, diff, shadow):
        part.add(verbs)
