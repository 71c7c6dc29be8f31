"""`phigate evidence`: what an auditor runs. None of it needs the gateway, and `verify` needs no secret."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import orjson
from rich.console import Console

from gateway.cli import backup, places, screen, verdict
from gateway.core.errors import ConfigFault
from gateway.core.evidence import proof, verify
from gateway.core.evidence.verify import Report
from gateway.core.types import LeafIndex
from gateway.store import keys
from gateway.store.reader import Reader


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `phigate evidence` and its verbs."""
    noun = commands.add_parser("evidence", help="verify the evidence log, copy it, print proofs")
    verbs = noun.add_subparsers(title="verbs", metavar="VERB", required=True)

    text = "Check everything that the log claims. Exit code 0: nothing failed; 1: something did; 2: could not be read."
    command = verbs.add_parser("verify", help="check the whole log", description=text)
    places.add_store(command)
    _add_key(command)
    command.add_argument("--checkpoint", type=Path, metavar="FILE", help="a checkpoint that you kept: must be a prefix")
    places.add_format(command)
    command.set_defaults(run=_verify)

    command = verbs.add_parser("checkpoint", help="print the newest signed checkpoint, to be kept elsewhere")
    places.add_store(command)
    command.set_defaults(run=_checkpoint)

    command = verbs.add_parser("leaf", help="print one leaf, byte for byte as it was hashed")
    command.add_argument("index", type=int, metavar="INDEX", help="the leaf's place in the log, from 0")
    places.add_store(command)
    command.set_defaults(run=_leaf)

    command = verbs.add_parser("proof", help="print the C2SP tlog-proof that a leaf is in the signed log")
    command.add_argument("index", type=int, metavar="INDEX", help="the leaf's place in the log, from 0")
    places.add_store(command)
    command.set_defaults(run=_proof)

    backup.add(verbs)

    text = "Check a tlog-proof against the leaf it is about, without the log."
    command = verbs.add_parser("verify-proof", help="check a proof without the log", description=text)
    command.add_argument("proof", type=Path, metavar="PROOF", help="file from `evidence proof`")
    command.add_argument("leaf", type=Path, metavar="LEAF", help="file from `evidence leaf`")
    places.add_config(command)
    _add_key(command)
    command.set_defaults(run=_verify_proof)


def _add_key(command: argparse.ArgumentParser) -> None:
    text = "the log's vkey file, or the keys directory (then bodies are opened too); default: the configuration's"
    command.add_argument("--key", "--keys", dest="keys", type=Path, metavar="PATH", help=text)


def _verify(arguments: argparse.Namespace) -> int:
    path, key = places.store(arguments), places.keys(arguments)
    verifier = keys.load_verifier(key)
    secrets = keys.load(key) if key.is_dir() else None
    anchor = None if arguments.checkpoint is None else verdict.anchor(arguments.checkpoint, verifier)
    console = Console(stderr=True)
    with Reader.open(path, secrets) as reader, verdict.progress(console, reader.size()) as advance:
        unseal = None if secrets is None else reader.body
        report = verify.verify(reader, [verifier], anchor=anchor, unseal=unseal, progress=advance)
    if arguments.format == "json":
        sys.stdout.write(orjson.dumps(_document(report), option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        verdict.show(screen.console(), report, origin=verifier.name)
    return 0 if report.passed else 1


def _document(report: Report) -> dict[str, object]:
    return {
        "passed": report.passed,
        "size": report.size,
        "checks": [
            {
                "check": result.check.name.lower(),
                "meaning": result.check.value,
                "status": result.status.value,
                "note": result.note,
                "findings": [{"leaf": finding.leaf, "detail": finding.detail} for finding in result.findings],
            }
            for result in report.results
        ],
    }


def _checkpoint(arguments: argparse.Namespace) -> int:
    with Reader.open(places.store(arguments)) as reader:
        sys.stdout.write(reader.checkpoint()[1])
    return 0


def _leaf(arguments: argparse.Namespace) -> int:
    with Reader.open(places.store(arguments)) as reader:
        sys.stdout.buffer.write(reader.leaf(LeafIndex(arguments.index)).entry)
    return 0


def _proof(arguments: argparse.Namespace) -> int:
    with Reader.open(places.store(arguments)) as reader:
        sys.stdout.write(proof.format(reader.proof(LeafIndex(arguments.index))))
    return 0


def _verify_proof(arguments: argparse.Namespace) -> int:
    verifier = keys.load_verifier(places.keys(arguments))
    entry = _read(arguments.leaf)
    try:
        parsed = proof.parse(_read(arguments.proof).decode())
        found = proof.verify(parsed, entry, [verifier])
    except ValueError as error:
        sys.stdout.write(f"FAIL  {error}\n")
        return 1
    sys.stdout.write(
        f"PASS  this is leaf {parsed.index} of {found.origin}, under its checkpoint for {found.size} leaves\n"
    )
    return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigFault(f"{path} cannot be read: {error.strerror}.") from None
