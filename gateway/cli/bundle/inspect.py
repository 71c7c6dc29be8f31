"""`phigate bundle inspect`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from gateway.cli.bundle.shared import say, summary
from gateway.cli.policy.shared import print_json, refuse_unparsable, verb
from gateway.core.policy import bundle as bundles
from gateway.core.policy import metadata, signature, structured, syntax
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.decision import Entrypoint
from gateway.core.policy.syntax import Module
from gateway.core.types import Document, Json
from gateway.pdp import loader
from gateway.pdp.engine import load

if TYPE_CHECKING:
    from gateway.cli.policy.shared import Verbs


def add(verbs: Verbs) -> None:
    """Register the verb."""
    parser = verb(verbs, "inspect", _inspect, "show what a bundle holds")
    parser.description = _inspect.__doc__
    parser.add_argument("path", type=Path, help="bundle file or directory of sources")
    parser.add_argument("-a", "--annotations", action="store_true", help="also the METADATA of packages and rules")


def parsed(bundle: Bundle) -> tuple[Module, ...]:
    """The modules of a bundle. Raises PolicyFault when they cannot be parsed."""
    refuse_unparsable(bundle)
    return syntax.modules(orjson.loads(load(bundle.sources, bundle.data).get_ast_as_json()))


def _inspect(arguments: argparse.Namespace) -> int:
    """Show the manifest, packages, entrypoints, data, signature and digest of a bundle. Nothing is verified."""
    bundle = loader.read(arguments.path)
    modules = parsed(bundle)
    report: Document = {
        "manifest": structured.decode(bundle.files.get(bundles.MANIFEST, b"{}"), bundles.MANIFEST),
        "signatures_config": _signatures(bundle),
        "namespaces": _namespaces(bundle, modules),
        **summary(bundle),
        "entrypoints": _entrypoints(modules),
        "data": [*sorted("/".join(leaf) for leaf in bundles.leaves(bundle.data))],
        "files": [{"path": path, "bytes": len(content)} for path, content in bundle.files.items()],
    }
    if bundle.is_signed:
        report["signature"] = signature.described(bundle.files)
    if arguments.annotations:
        report["annotations"] = [found.document() for source in bundle.sources for found in metadata.find(source)]
    if arguments.format == "json":
        print_json(report)
    else:
        _show(report)
    return 0


def _signatures(bundle: Bundle) -> Json:
    return structured.decode(bundle.files[bundles.SIGNATURES], bundles.SIGNATURES) if bundle.is_signed else {}


def _namespaces(bundle: Bundle, modules: tuple[Module, ...]) -> Document:
    """As `opa inspect` has them: which files make which package, and which the data."""
    found: dict[str, list[str]] = {}
    for module in modules:
        found.setdefault(".".join(("data", *module.package)), []).append(module.file)
    for path in bundle.files:
        directory, _, name = path.rpartition("/")
        if name in bundles.DATA:
            found.setdefault(".".join(("data", *directory.split("/"))).rstrip("."), []).append(path)
    return {name: [*files] for name, files in sorted(found.items())}


def _entrypoints(modules: tuple[Module, ...]) -> list[Json]:
    """Which of the gateway's entrypoints the bundle answers."""
    rules = {"/".join(rule.path) for module in modules for rule in module.rules}
    return [entrypoint.value for entrypoint in Entrypoint if entrypoint.value in rules]


def _show(report: Document) -> None:
    for key, value in report.items():
        if key == "signatures_config":  # Told as `signature`.
            continue
        if isinstance(value, dict):
            say(f"{key}:")
            for name, inner in value.items():
                say(f"  {name}: {', '.join(map(str, inner)) if isinstance(inner, list) else inner}")
        elif isinstance(value, list):
            say(f"{key}:" if value else f"{key}: none")
            for item in value:
                say(f"  {_line(item)}")
        else:
            say(f"{key}: {value}")


def _line(item: Json) -> str:
    match item:
        case {"path": str(path), "bytes": size}:
            return f"{path}  {size} bytes"
        case {"annotations": dict(members), "location": {"file": file, "row": row}}:
            title = members.get("title") or members.get("description") or ""
            return f"{file}:{row}: {members.get('scope')}: {title}"
    return str(item)
