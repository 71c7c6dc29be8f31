"""`phigate bundle`: build a policy bundle, look into one, and check that one may decide."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
from rich.console import Console

from gateway.core.errors import PolicyFault
from gateway.core.policy import bundle as bundles
from gateway.core.policy import syntax
from gateway.core.policy.bundle import Bundle
from gateway.core.types import Document, Json
from gateway.pdp import admission, loader
from gateway.pdp.engine import load


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `phigate bundle …`."""
    noun = commands.add_parser("bundle", help="build policy bundles and look into them")
    verbs = noun.add_subparsers(title="verbs", metavar="VERB", required=True)

    verb = _verb(verbs, "build", _build, "make a bundle of policy sources")
    verb.add_argument("path", type=Path, nargs="?", default=Path("policies"), help="the sources (default: policies)")
    verb.add_argument("-o", "--output", type=Path, default=Path("bundle.tar.gz"), help="default: bundle.tar.gz")
    verb.add_argument("--revision", default="", help="default: made from the content")

    verb = _verb(verbs, "inspect", _inspect, "show what a bundle holds")
    verb.add_argument("path", type=Path, help="bundle file or directory of sources")

    verb = _verb(verbs, "verify", _verify, "check that a bundle may decide")
    verb.add_argument("path", type=Path, help="bundle file")
    verb.add_argument("--source", type=Path, metavar="DIR", help="also that it is what these sources build to")


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    help_: str,
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=help_, description=run.__doc__)
    verb.add_argument("--format", choices=("pretty", "json"), default="pretty", help="for people, or for programs")
    verb.set_defaults(run=run)
    return verb


def _build(arguments: argparse.Namespace) -> int:
    """Make a bundle of the sources in PATH. The same sources make the same bytes; it is written once admitted."""
    bundle = bundles.read(bundles.build(loader.sources(arguments.path), revision=arguments.revision))
    admission.admit(bundle)
    # Beside the target and renamed over it, so that a gateway that watches it never reads half a bundle. A link stays.
    target = Path(os.path.realpath(arguments.output))
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        draft.write_bytes(bundle.archive)
        draft.replace(target)
    except OSError as fault:
        draft.unlink(missing_ok=True)
        raise PolicyFault(f"{arguments.output} cannot be written: {fault.strerror}.") from None
    _tell(arguments, {"output": str(arguments.output), **_summary(bundle)})
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    """Show the manifest, packages, files and digest of a bundle."""
    bundle = loader.read(arguments.path)
    engine = load(bundle.sources, bundle.data)
    modules = syntax.modules(orjson.loads(engine.get_ast_as_json()))
    packages: list[Json] = [*sorted({"data." + ".".join(module.package) for module in modules})]
    files: list[Json] = [{"path": path, "bytes": len(content)} for path, content in bundle.files.items()]
    _tell(arguments, {**_summary(bundle), "packages": packages, "files": files})
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    """Check that a bundle can be read, passes its own tests and would be admitted by a gateway."""
    bundle = loader.read(arguments.path)
    faults: list[Json] = []
    try:
        admission.admit(bundle)
    except PolicyFault as fault:
        faults.append(fault.detail)
    if arguments.source is not None:
        built = bundles.read(bundles.build(loader.sources(arguments.source), revision=bundle.manifest.revision))
        if built.digest != bundle.digest:
            parts = sorted({*built.files, *bundle.files})
            changed = ", ".join(part for part in parts if built.files.get(part) != bundle.files.get(part))
            faults.append(f"The bundle is not what {arguments.source} builds to; these differ: {changed or 'none'}.")
    _tell(arguments, {**_summary(bundle), "faults": faults})
    return 1 if faults else 0


def _summary(bundle: Bundle) -> Document:
    return {
        "name": bundle.name,
        "revision": bundle.manifest.revision,
        "sha256": bundle.digest,
        "bytes": len(bundle.archive),
        "roots": [*bundle.manifest.roots],
    }


def _tell(arguments: argparse.Namespace, report: Document) -> None:
    if arguments.format == "json":
        sys.stdout.buffer.write(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        sys.stdout.buffer.flush()
        return
    console = Console(soft_wrap=True)
    for key, value in report.items():
        if not isinstance(value, list):
            console.print(f"{key}: {value}", markup=False, highlight=False)
            continue
        console.print(f"{key}:" if value else f"{key}: none", markup=False, highlight=False)
        for item in value:
            told = f"{item['path']}  {item['bytes']} bytes" if isinstance(item, dict) else str(item)
            console.print(f"  {told}", markup=False, highlight=False)
