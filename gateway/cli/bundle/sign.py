"""`phigate bundle sign`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.bundle.shared import add_signing, signer, summary, tell, write
from gateway.cli.policy.shared import verb
from gateway.core.errors import PolicyFault
from gateway.core.policy import bundle as bundles
from gateway.pdp import loader

if TYPE_CHECKING:
    from gateway.cli.policy.shared import Verbs


def add(verbs: Verbs) -> None:
    """Register the verb."""
    parser = verb(verbs, "sign", _sign, "sign a bundle")
    parser.description = _sign.__doc__
    parser.add_argument("path", type=Path, help="bundle file, or directory of sources")
    parser.add_argument(
        "-o", "--output", type=Path, help="default: PATH itself, or .signatures.json in the directory that PATH is"
    )
    add_signing(parser, required=True)


def _sign(arguments: argparse.Namespace) -> int:
    """Sign every file of a bundle, or of a directory, whose .signatures.json is then written. Replaces a signature."""
    by = signer(arguments)
    if by is None:
        raise PolicyFault("Say with --signing-key what to sign with.")
    path: Path = arguments.path
    if path.is_dir():
        target = arguments.output or path / bundles.SIGNATURES
        content = by.signed(loader.sources(path, whole=True))[bundles.SIGNATURES]
        write(target, content)
        tell(arguments, {"output": str(target), "algorithm": by.algorithm, "key_id": by.key_id})
        return 0
    target = arguments.output or path
    bundle = bundles.read(bundles.pack(by.signed(loader.read(path).files)))
    write(target, bundle.archive)
    tell(arguments, {"output": str(target), **summary(bundle), "algorithm": by.algorithm, "key_id": by.key_id})
    return 0
