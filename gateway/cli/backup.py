"""`phigate evidence backup | restore | drill`: copies of the log, going on from one, and showing that one would."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio
from rich.console import Console
from rich.progress import Progress

from gateway.cli import operator, places, screen, verdict
from gateway.core.evidence import verify
from gateway.core.evidence.checkpoint import Checkpoint
from gateway.core.evidence.note import Verifier
from gateway.core.evidence.verify import Report
from gateway.store import backup, keys
from gateway.store.backup import Loss
from gateway.store.engines import Store
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the three verbs."""
    text = (
        "Copy the evidence into one new file, while gateways serve, and verify the copy. Beside it goes "
        "FILE.checkpoint: keep that elsewhere. Keys are not in it: `phigate keys backup`. Exit code 1: the evidence "
        "does not verify."
    )
    command = verbs.add_parser("backup", help="copy the log while gateways serve", description=text)
    command.add_argument("file", type=Path, metavar="FILE", help="new file, or a directory to make one in")
    places.add_store(command)
    _add_keys(command)
    command.set_defaults(run=_backup)

    text = (
        "Put a verified backup where the store was, and let the log go on from it. What was acknowledged after the "
        "backup is lost; the log says so in a leaf. Without FILE the store is taken as it is there: one in PostgreSQL, "
        "say, that pg_restore has put back. Exit code 1: refused, and nothing was changed."
    )
    command = verbs.add_parser("restore", help="let the log go on from a backup", description=text)
    command.add_argument("file", nargs="?", type=Path, metavar="FILE", help="from `evidence backup`")
    command.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="the newest checkpoint that you kept elsewhere: tells the loss"
    )
    command.add_argument(
        "--accept-loss", action="store_true", help="restore although leaves are lost, or nobody can say how many"
    )
    command.add_argument("--reason", required=True, metavar="TEXT", help="why; goes on record, sealed")
    places.add_store(command)
    _add_keys(command)
    command.set_defaults(run=_restore)

    text = (
        "Show that a backup and the keys are enough: restore it in a directory of its own, verify it, open every body, "
        "decide everything again. Nothing that serves is touched. Exit code 1: they are not."
    )
    command = verbs.add_parser("drill", help="show that a backup can be gone on from", description=text)
    command.add_argument("file", type=Path, metavar="FILE", help="from `evidence backup`")
    command.add_argument(
        "--place", type=Path, metavar="DIR", help="where there is room for it; default: a temporary one"
    )
    places.add_config(command)
    _add_keys(command)
    command.set_defaults(run=_drill)


def _add_keys(command: argparse.ArgumentParser) -> None:
    command.add_argument("--keys", type=Path, metavar="DIR", help="keys directory; default: the configuration's")


def _backup(arguments: argparse.Namespace) -> int:
    target: Path = arguments.file
    if target.is_dir():
        target = target / f"evidence-{operator.now():%Y%m%dT%H%M%SZ}.db"
    verifier = keys.load_verifier(places.keys(arguments))
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("Copying", total=None)

        def copied(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        backup.write(places.file(arguments), target, copied)
    report = _verified(target, verifier)
    with Reader.open(target) as reader:
        signed = reader.checkpoint()[1]
    beside = target.with_name(target.name + ".checkpoint")
    beside.write_text(signed, "utf-8")
    print(f"{target}  {report.size} leaves, {target.stat().st_size} bytes")
    print(f"{beside}  keep it elsewhere: it tells later whether the log still extends this one")
    if not report.passed:
        print("phigate: The evidence does not verify; the copy is as it is. Keep both.", file=sys.stderr)
    return 0 if report.passed else 1


def _restore(arguments: argparse.Namespace) -> int:
    loaded = keys.load(places.keys(arguments))
    verifier = loaded.signer.verifier
    kept = None if arguments.checkpoint is None else verdict.anchor(arguments.checkpoint, verifier)
    backed_up: Store = places.store(arguments) if arguments.file is None else arguments.file
    with Reader.open(backed_up) as reader:
        had = reader.size()
    loss = Loss(had, None if kept is None else kept.size)
    if loss.leaves != 0 and not arguments.accept_loss:
        print(f"phigate: {_lost(loss)} Nothing was restored. {_ways(loss)}", file=sys.stderr)
        return 1
    report = _verified(backed_up, verifier, None if loss.leaves else kept)
    if not report.passed:
        print("phigate: This backup is not as it was written. Nothing was restored from it.", file=sys.stderr)
        return 1
    store = places.store(arguments)
    if arguments.file is not None:
        backup.place(arguments.file, places.file(arguments))
    actor = loaded.actor(operator.principal())

    async def go_on() -> tuple[int, int]:
        async with EvidenceLog.open(store, loaded, now=operator.now) as log:
            return await backup.go_on(log, loss, actor, arguments.reason)

    leaf, ended = trio.run(go_on)
    print(f"{store}  {had} leaves restored. {_lost(loss)}")
    print(f"Leaf {leaf} says so. {leaf - had - ended} exchanges ended as unknown, {ended} approvals were cancelled.")
    return 0


def _lost(loss: Loss) -> str:
    match loss.leaves:
        case None:
            return f"The backup has {loss.had} leaves; without a checkpoint nobody can say how many came after."
        case 0:
            return "The backup reaches as far as the checkpoint that was kept, so nothing that it covers is lost."
        case lost:
            return f"{lost} LEAVES ARE LOST: the log had {loss.kept} and the backup has {loss.had}."


def _ways(loss: Loss) -> str:
    if loss.leaves is None:
        return "Give the newest one that you kept with --checkpoint, or say --accept-loss."
    return "Look for a newer backup, or for the store itself; if there is none, say --accept-loss."


def _drill(arguments: argparse.Namespace) -> int:
    """The very commands that a real restore needs, one after the other, each with the time it took."""
    directory, began = places.keys(arguments), time.monotonic()
    with tempfile.TemporaryDirectory(dir=arguments.place, prefix="phigate-drill-") as temporary:
        place = ["--store", str(Path(temporary) / "evidence.db"), "--keys", str(directory)]
        kept = Path(temporary) / "checkpoint"
        with Reader.open(arguments.file) as reader:
            kept.write_text(reader.checkpoint()[1], "utf-8")
        for words in (
            ["evidence", "restore", str(arguments.file), *place, "--accept-loss", "--reason", "drill"],
            ["evidence", "verify", *place, "--checkpoint", str(kept)],
            ["policy", "replay", *place],
        ):
            since = time.monotonic()
            print(f"$ phigate {' '.join(words[:2])}", flush=True)
            code = subprocess.run([sys.executable, "-m", "gateway", *words], check=False).returncode
            print(f"  {time.monotonic() - since:.1f} s\n", flush=True)
            if code != 0:
                print(f"phigate: The drill failed at `phigate {' '.join(words[:2])}`.", file=sys.stderr)
                return 1
    print(f"The drill passed in {time.monotonic() - began:.1f} s: this backup and these keys are enough.")
    return 0


def _verified(store: Store, verifier: Verifier, anchor: Checkpoint | None = None) -> Report:
    """What is to be said of the log in `store`; what failed is told at once."""
    console = Console(stderr=True)
    with Reader.open(store) as reader, verdict.progress(console, reader.size()) as advance:
        report = verify.verify(reader, [verifier], anchor=anchor, progress=advance)
    if not report.passed:
        verdict.show(screen.console(), report, origin=verifier.name)
    return report
