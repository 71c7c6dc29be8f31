"""`phigate bundle build`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.bundle.shared import add_signing, signer, summary, tell, write
from gateway.cli.policy.shared import verb
from gateway.core.policy import bundle as bundles
from gateway.pdp import admission, loader

if TYPE_CHECKING:
    from gateway.cli.policy.shared import Verbs


def add(verbs: Verbs) -> None:
    """Register the verb."""
    parser = verb(verbs, "build", _build, "make a bundle of policy sources")
    parser.description = _build.__doc__
    parser.add_argument("path", type=Path, nargs="?", default=Path("policies"), help="the sources (default: policies)")
    parser.add_argument("-o", "--output", type=Path, default=Path("bundle.tar.gz"), help="default: bundle.tar.gz")
    parser.add_argument("-r", "--revision", default="", help="default: made from the content")
    add_signing(parser, required=False)


def _build(arguments: argparse.Namespace) -> int:
    """Make a bundle of the sources in PATH. The same sources make the same bytes; it is written once admitted."""
    by = signer(arguments)
    files = bundles.parts(loader.sources(arguments.path), revision=arguments.revision)
    bundle = bundles.read(bundles.pack(by.signed(files) if by is not None else files))
    admission.admit(bundle)
    write(arguments.output, bundle.archive)
    tell(arguments, {"output": str(arguments.output), **summary(bundle)})
    return 0
