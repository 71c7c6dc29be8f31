"""`phigate evidence`: what an auditor runs. None of it needs the gateway, and `verify` needs no secret."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from gateway.cli import places
from gateway.core.errors import ConfigFault, EvidenceFault
from gateway.core.evidence import checkpoint, proof, verify
from gateway.core.evidence.checkpoint import Checkpoint
from gateway.core.evidence.note import Verifier
from gateway.core.evidence.verify import Report, Result, Status
from gateway.core.types import LeafIndex
from gateway.store import keys
from gateway.store.reader import Reader

_SHOWN = 10
"""Findings of one check that are listed; the rest are counted. `--format json` lists all."""
_STYLE = {Status.PASS: "bold green", Status.FAIL: "bold red", Status.NOT_CHECKED: "bold yellow"}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `phigate evidence` and its verbs."""
    noun = commands.add_parser("evidence", help="verify the evidence log, print checkpoints and proofs")
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
    anchor = None if arguments.checkpoint is None else _anchor(arguments.checkpoint, verifier)
    console = Console(stderr=True)
    with Reader.open(path, secrets) as reader, _progress(console, reader.size()) as advance:
        unseal = None if secrets is None else reader.body
        report = verify.verify(reader, [verifier], anchor=anchor, unseal=unseal, progress=advance)
    if arguments.format == "json":
        sys.stdout.write(orjson.dumps(_document(report), option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        show(Console(soft_wrap=True), report, origin=verifier.name)
    return 0 if report.passed else 1


def show(console: Console, report: Report, *, origin: str) -> None:
    """Print the report for a person: one line for each check, what failed and where, and what that means."""
    console.print(Text.assemble(("Evidence log ", "bold"), (origin, "bold cyan"), f" · {report.size} leaves\n"))
    grid = Table.grid(padding=(0, 2))
    for result in report.results:
        grid.add_row(*_row(result))
    console.print(grid)
    console.print()
    if report.passed:
        skipped = sum(result.status is Status.NOT_CHECKED for result in report.results)
        rest = f" What was not checked ({skipped}) is listed above." if skipped else ""
        console.print(Text(f"Nothing was altered, removed or reordered.{rest}", style="green"))
        return
    text = (
        "This evidence is not as it was written. Keep the file as it is; compare it with your copies and checkpoints."
    )
    console.print(Text(text, style="bold red"))


def _row(result: Result) -> tuple[Text, Text]:
    text = Text.assemble(result.check.value, (f"  ({result.note})", "dim"))
    for finding in result.findings[:_SHOWN]:
        where = "the log" if finding.leaf is None else f"leaf {finding.leaf}"
        text.append(f"\n  {where}: ", style="bold red")
        text.append(places.plain(finding.detail))
    if len(result.findings) > _SHOWN:
        text.append(f"\n  and {len(result.findings) - _SHOWN} more", style="red")
    return Text(result.status.value, style=_STYLE[result.status]), text


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


@contextmanager
def _progress(console: Console, size: int) -> Iterator[Callable[[int], None]]:
    """Show how far verification has come, on terminals only and gone when it is done."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Verifying", total=size)

        def advance(index: int) -> None:
            if index % 256 == 0:
                progress.update(task, completed=index)

        yield advance


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


def _anchor(path: Path, verifier: Verifier) -> Checkpoint:
    try:
        return checkpoint.verify(_read(path).decode(), [verifier])
    except ValueError as error:
        raise EvidenceFault(f"{path} is no checkpoint of this log: {error}.") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigFault(f"{path} cannot be read: {error.strerror}.") from None
