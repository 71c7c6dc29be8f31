"""`phigate bundle diff`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from gateway.cli.bundle.inspect import parsed
from gateway.cli.bundle.shared import say, summary
from gateway.cli.places import plain
from gateway.cli.policy.shared import print_json, verb
from gateway.core.policy import bundle_diff
from gateway.core.policy.bundle_diff import BundleDiff, Change, ValueChange
from gateway.core.types import Json
from gateway.pdp import loader

if TYPE_CHECKING:
    from gateway.cli.policy.shared import Verbs

_MARKS = {Change.ADDED: "+", Change.REMOVED: "-", Change.CHANGED: "~"}


def add(verbs: Verbs) -> None:
    """Register the verb."""
    parser = verb(verbs, "diff", _diff, "show what differs between two bundles")
    parser.description = _diff.__doc__
    parser.add_argument("before", type=Path, metavar="A", help="bundle file or directory of sources")
    parser.add_argument("after", type=Path, metavar="B", help="bundle file or directory of sources")
    parser.add_argument("--source", action="store_true", help="also the lines that differ, as a unified diff")


def _diff(arguments: argparse.Namespace) -> int:
    """Show which rules, data, manifest members and signatures differ between A and B. Exit code 1 when any do."""
    before, after = loader.read(arguments.before), loader.read(arguments.after)
    found = bundle_diff.compare(before, after, (parsed(before), parsed(after)))
    lines = [*bundle_diff.source_diff(before, after)] if arguments.source else []
    if arguments.format == "json":
        source: dict[str, Json] = {"source": [*lines]} if arguments.source else {}
        print_json({"before": summary(before), "after": summary(after), **found.document(), **source})
    else:
        _show(found)
        for line in lines:
            say(plain(line))
    return 0 if found.same else 1


def _show(found: BundleDiff) -> None:
    if found.same:
        say("The bundles hold the same files.")
        return
    package = ""
    for rule in found.rules:
        if rule.package != package:
            package = rule.package
            say(f"package {package}")
        say(f"  {_MARKS[rule.change]} {rule.rule}  ({', '.join(rule.files)})")
    for title, changes in (("data", found.data), ("manifest", found.manifest), ("signature", found.signature)):
        if changes:
            say(title)
        for change in changes:
            say(plain(f"  {_MARKS[change.change]} {change.path}{_values(change)}"))
    say("files")
    for path, kind in found.files:
        say(f"  {_MARKS[kind]} {path}")


def _values(change: ValueChange) -> str:
    before, after = (orjson.dumps(value).decode()[:200] for value in (change.before, change.after))
    return {
        Change.ADDED: f": {after}",
        Change.REMOVED: f": {before}",
        Change.CHANGED: f": {before} → {after}",
    }[change.change]
