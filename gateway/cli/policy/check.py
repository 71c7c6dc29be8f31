"""`phigate policy check`: find what would make a policy decide wrongly."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import orjson
from rich.console import Console
from rich.text import Text

from gateway.cli.places import plain
from gateway.cli.policy import given, shared
from gateway.cli.policy.given import Given
from gateway.core.errors import PolicyFault
from gateway.core.policy import bundle as bundles
from gateway.core.policy.bundle import Manifest, Source
from gateway.core.policy.lint import Finding, Schemas, Severity, report
from gateway.core.policy.lint.registry import CHECKS
from gateway.core.types import Document, Json
from gateway.pdp import loader, review
from gateway.pdp.schemas import schema

FORMATS = ("pretty", "json", "sarif", "github")
SCHEMA_MAX = 8 * 2**20
_WIDE = 100
"""Characters of a source's line that are shown around the finding."""

_PARTS = frozenset(("missing-entrypoint", "unknown-reference", "unknown-function"))
"""What single files cannot be blamed for: the rest of the policy is not there."""


def add(verbs: shared.Verbs) -> None:
    """Register `phigate policy check`."""
    verb = shared.verb(verbs, "check", run, "find what would make a policy decide wrongly", formats=FORMATS)
    verb.add_argument(
        "path", type=Path, nargs="*", help="sources, directories of them, or bundles; as one policy (default: policies)"
    )
    verb.add_argument(
        "-b", "--bundle", type=Path, action="append", default=[], metavar="PATH", help="a bundle; repeatable"
    )
    verb.add_argument(
        "-s", "--schema", type=Path, metavar="FILE", help="JSON Schema of the input (default: what the gateway sends)"
    )
    verb.add_argument("-S", "--strict", action="store_true", help="exit with 1 for warnings too")
    verb.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="RULE",
        choices=[one.name for one in CHECKS if one.severity is Severity.WARNING],
        help="a rule whose warnings are not wanted; repeatable (docs/lint.md lists them)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print every finding; 1 when there is an error, or with `--strict` any finding."""
    try:
        sources, found = _found(arguments)
    except PolicyFault as fault:
        if arguments.format != "json":
            raise
        shared.print_json({"errors": [{"message": fault.detail, "code": "policy_fault"}]})
        return 2
    match arguments.format:
        case "json":
            shared.print_json(report.as_json(found))
        case "sarif":
            shared.print_json(report.as_sarif(found, version=version("phigate")))
        case "github":
            sys.stdout.write("".join(f"{report.as_github(finding)}\n" for finding in found))
        case _:
            _print(found, sources)
    return int(any(arguments.strict or finding.severity is Severity.ERROR for finding in found))


def _found(arguments: argparse.Namespace) -> tuple[tuple[Source, ...], list[Finding]]:
    """The sources by the names that findings have for them, and the findings."""
    paths = [*arguments.path, *arguments.bundle] or [Path("policies")]
    parts = [_part(path) for path in paths]
    whole, manifest = parts[0] if len(parts) == 1 else (given.joined(part for part, _ in parts), Manifest())
    schemas = Schemas(_schema(arguments.schema) if arguments.schema else schema("input"), schema("settings"))
    found = review.review(whole.sources, whole.data, manifest, schemas)
    unwanted = {*arguments.ignore, *(_PARTS if any(path.suffix == ".rego" for path in paths) else ())}
    return whole.sources, [finding for finding in found if finding.rule not in unwanted]


def _part(path: Path) -> tuple[Given, Manifest]:
    """One of the paths, its sources under the names by which their author can open them. Raises PolicyFault."""
    if not path.is_dir() and not path.is_file():
        reason = "is no file" if path.exists() else "is not there, or cannot be read"
        raise PolicyFault(f"{path} {reason}. Name .rego files, a directory of them, or a bundle.")
    if path.suffix == ".rego" and path.is_file():
        return Given((_source(path),), {}), Manifest()
    bundle = loader.read(path)
    prefix = path if path.is_dir() else Path()
    sources = tuple(replace(source, path=(prefix / source.path).as_posix()) for source in bundle.sources)
    return Given(sources, bundle.data), bundle.manifest


def _source(path: Path) -> Source:
    try:
        return Source(path.as_posix(), _read(path, bundles.SOURCE_MAX).decode())
    except UnicodeDecodeError:
        raise PolicyFault(f"{path} is not UTF-8 text.") from None


def _schema(path: Path) -> Document:
    try:
        read: Json = orjson.loads(_read(path, SCHEMA_MAX))
    except orjson.JSONDecodeError as fault:
        raise PolicyFault(f"{path}:{fault.lineno}:{fault.colno}: not JSON: {fault.msg}.") from None
    if not isinstance(read, dict):
        raise PolicyFault(f"{path} holds no object, so it is no JSON Schema.")
    return read


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as fault:
        raise PolicyFault(f"{path} cannot be read: {fault.strerror}.") from None
    if len(content) > most:
        raise PolicyFault(f"{path} is larger than the {most} bytes that are read of it.")
    return content


def _print(found: list[Finding], sources: tuple[Source, ...]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    lines = {source.path: source.text.split("\n") for source in sources}
    for finding in found:
        error = finding.severity is Severity.ERROR
        place = f"{plain(finding.file)}:{finding.place.line}:{finding.place.column}"
        console.print(
            Text.assemble(
                (f"{place}: ", "bold"),
                (finding.severity.value, "red" if error else "yellow"),
                f": {plain(finding.reason)} [{finding.rule}]",
            )
        )
        console.print(Text(_excerpt(finding, lines.get(finding.file, []))), end="")
        console.print(Text(f"  Fix: {finding.fix} ({finding.docs})", "dim"))
    errors = sum(finding.severity is Severity.ERROR for finding in found)
    told = f"{errors} error(s), {len(found) - errors} warning(s)" if found else "No faults"
    console.print(f"{told} in {len(sources)} sources.")


def _excerpt(finding: Finding, lines: list[str]) -> str:
    """The source's line with a caret below the place; empty when there is no such line."""
    if finding.place.line > len(lines):
        return ""
    line = lines[finding.place.line - 1]
    start = max(0, finding.place.column - 1 - _WIDE // 2)
    shown = plain(line[start : start + _WIDE].replace("\t", " "))
    number = f"{finding.place.line:>5} | "
    return f"{number}{shown}\n{'| ':>{len(number)}}{' ' * (finding.place.column - 1 - start)}^\n"
