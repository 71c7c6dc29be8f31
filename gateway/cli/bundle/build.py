"""`phigate bundle build`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.bundle.shared import add_signing, signer, summary, tell, write
from gateway.cli.policy import test_files
from gateway.cli.policy.shared import verb
from gateway.core.errors import PolicyFault
from gateway.core.policy import bundle as bundles
from gateway.pdp import admission, loader, suite_worker
from gateway.pdp.suite_worker import Plan

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
    """Make a bundle of the sources in PATH. The same sources make the same bytes.

    It is written once a gateway would admit it, and the cases beside the sources pass.
    """
    by = signer(arguments)
    files = bundles.parts(loader.sources(arguments.path), revision=arguments.revision)
    bundle = bundles.read(bundles.pack(by.signed(files) if by is not None else files))
    admission.admit(bundle)
    _refuse_failing(arguments.path)
    write(arguments.output, bundle.archive)
    tell(arguments, {"output": str(arguments.output), **summary(bundle)})
    return 0


def _refuse_failing(sources: Path) -> None:
    """Raise PolicyFault when a YAML case fails: cases are no part of a bundle, so that admission cannot run them."""
    tested = test_files.read([sources], [])
    if not tested.cases:
        return
    found = suite_worker.faults(Plan(tested.sources, tested.data, tested.cases, only=suite_worker.CASES))
    if found:
        more = [f"… and {len(found) - admission.FAULTS_TOLD} more"] if len(found) > admission.FAULTS_TOLD else []
        raise PolicyFault("\n".join(["The bundle is not written:", *found[: admission.FAULTS_TOLD], *more]))
