"""What the verbs of `phigate bundle` share: options named as `opa` names them, summaries, files written whole."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rich.console import Console

from gateway.cli.policy import shared
from gateway.core.errors import PolicyFault
from gateway.core.policy import signature
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.signature import Verification
from gateway.core.types import Document
from gateway.pdp import signing
from gateway.pdp.signing import Signer


def add_signing(verb: argparse.ArgumentParser, *, required: bool) -> None:
    """The options of a signer."""
    key = "private key (PEM file), or for HS256 and its like the secret or a file with it"
    verb.add_argument("--signing-key", metavar="KEY", required=required, help=key)
    verb.add_argument(
        "--signing-alg",
        metavar="ALG",
        default=signature.DEFAULT_ALGORITHM,
        help=f"default: {signature.DEFAULT_ALGORITHM}",
    )
    verb.add_argument("--signing-key-id", metavar="ID", default="", help="what verifiers call the key (kid)")
    verb.add_argument("--claims-file", type=Path, metavar="FILE", help="JSON of further claims: scope, iss, …")


def signer(arguments: argparse.Namespace) -> Signer | None:
    """What `add_signing` was told; None without a key. Raises PolicyFault."""
    if arguments.signing_key is None:
        return None
    return signing.signer(
        arguments.signing_key, arguments.signing_alg, key_id=arguments.signing_key_id, claims=arguments.claims_file
    )


def add_verification(verb: argparse.ArgumentParser) -> None:
    """The options of a verifier."""
    key = "public key or certificate (PEM file), or for HS256 and its like the secret or a file with it"
    verb.add_argument("--verification-key", metavar="KEY", help=key)
    verb.add_argument(
        "--verification-key-id",
        metavar="ID",
        default=signature.DEFAULT_KEY_ID,
        help="name of the key (default: default)",
    )
    verb.add_argument(
        "--signing-alg",
        metavar="ALG",
        default=signature.DEFAULT_ALGORITHM,
        help=f"default: {signature.DEFAULT_ALGORITHM}",
    )
    verb.add_argument("--scope", default="", help="the scope that the signature must have")
    verb.add_argument(
        "--exclude-files-verify", metavar="PATTERN", action="append", default=[], help="files that need no signature"
    )


def verification(arguments: argparse.Namespace) -> Verification | None:
    """What `add_verification` was told; None without a key. Raises PolicyFault."""
    if arguments.verification_key is None:
        return None
    return signing.verification(
        arguments.verification_key,
        arguments.signing_alg,
        key_id=arguments.verification_key_id,
        scope=arguments.scope,
        exclude=tuple(arguments.exclude_files_verify),
    )


def summary(bundle: Bundle) -> Document:
    """A bundle in a few words."""
    return {
        "name": bundle.name,
        "revision": bundle.manifest.revision,
        "sha256": bundle.digest,
        "bytes": len(bundle.archive),
        "roots": [*bundle.manifest.roots],
        "signed": bundle.is_signed,
    }


def write(target: Path, content: bytes) -> None:
    """Write a file whole or not at all. Raises PolicyFault.

    Beside the target and renamed over it, so that a gateway that watches it never reads half a bundle. A link stays.
    """
    real = Path(os.path.realpath(target))
    draft = real.with_name(f".{real.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        draft.replace(real)
    except OSError as fault:
        draft.unlink(missing_ok=True)
        raise PolicyFault(f"{target} cannot be written: {fault.strerror}.") from None


def tell(arguments: argparse.Namespace, report: Document) -> None:
    """Print a report as JSON or, one member a line, for people."""
    if arguments.format == "json":
        shared.print_json(report)
        return
    for key, value in report.items():
        if not isinstance(value, list):
            say(f"{key}: {value}")
            continue
        say(f"{key}:" if value else f"{key}: none")
        for item in value:
            say(f"  {item}")


def say(text: str) -> None:
    """A line for people, as it is: what a bundle holds is shown, never taken for markup."""
    Console(soft_wrap=True).print(text, markup=False, highlight=False)
