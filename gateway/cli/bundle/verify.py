"""`phigate bundle verify`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.bundle.shared import add_verification, summary, tell, verification
from gateway.cli.policy.shared import verb
from gateway.core.errors import PolicyFault
from gateway.core.policy import bundle as bundles
from gateway.core.policy import signature
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.signature import Verification
from gateway.core.types import Document, Json
from gateway.pdp import admission, loader

if TYPE_CHECKING:
    from gateway.cli.policy.shared import Verbs


def add(verbs: Verbs) -> None:
    """Register the verb."""
    parser = verb(verbs, "verify", _verify, "check who made a bundle and that it may decide")
    parser.description = _verify.__doc__
    parser.add_argument("path", type=Path, help="bundle file, or signed directory")
    parser.add_argument("--source", type=Path, metavar="DIR", help="also that it is what these sources build to")
    add_verification(parser)


def _verify(arguments: argparse.Namespace) -> int:
    """Check a bundle's signature, that it passes its own tests and that a gateway would admit it.

    A signed bundle needs --verification-key: nobody could say else by whom it is signed.
    """
    wanted = verification(arguments)
    bundle = loader.read(arguments.path)
    faults: list[Json] = []
    told: Document = {}
    try:
        told = _signed(bundle, wanted)
        admission.admit(bundle)  # What is not signed as wanted is not even tried.
    except PolicyFault as fault:
        faults.append(fault.detail)
    if arguments.source is not None:
        faults.extend(_differences(bundle, arguments.source))
    tell(arguments, {**summary(bundle), **told, "faults": faults})
    return 1 if faults else 0


def _signed(bundle: Bundle, wanted: Verification | None) -> Document:
    if wanted is None:
        if bundle.is_signed:
            raise PolicyFault("The bundle is signed. Say with --verification-key whose signature it must be.")
        return {}
    found = signature.verify(bundle.files, wanted)
    return {"verified": {"key_id": found.key_id, "algorithm": found.algorithm, "scope": found.scope, **found.claims}}


def _differences(bundle: Bundle, source: Path) -> list[str]:
    built = bundles.parts(loader.sources(source), revision=bundle.manifest.revision)
    held = {path: content for path, content in bundle.files.items() if path != bundles.SIGNATURES}
    if built == held:
        return []
    changed = sorted(path for path in {*built, *held} if built.get(path) != held.get(path))
    return [f"The bundle is not what {source} builds to; these differ: {', '.join(changed)}."]
