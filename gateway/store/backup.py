"""Copies of the evidence store: one made while gateways serve, and a log that goes on from one.

A backup is itself an evidence store: one file, as of one moment, with its leaves, bodies, checkpoints and policies.
Keys are no part of it. What was acknowledged after it is lost when the log goes on from it, and the log says so.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.core.errors import ConfigFault, EvidenceFault
from gateway.core.evidence.record import LeafType, Record
from gateway.core.policy import approval
from gateway.core.policy.approval import State
from gateway.core.types import ApprovalId, Document, LeafIndex
from gateway.store import approval_log, sqlite
from gateway.store.engine import Connection
from gateway.store.sequencer import EvidenceLog, Transaction

PAGES = 4096
"""16 MB are copied between two reports of progress."""

_WITHOUT_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EMLINK})
"""What file systems say that know no second name for a file: backups go to Windows shares and memory cards too."""

_LOGINS = ("login %", "saml %")
"""Notes of people who are signed in, or just about to be (`web/login.py`, `web/login_pages.py`)."""

Progress = Callable[[int, int], None]
"""Told how many pages are copied, and of how many."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What is known of the leaves that came after the backup."""

    had: int
    """Leaves of the backup."""
    kept: int | None
    """Leaves under the checkpoint that was kept elsewhere; None when there is none."""

    @property
    def leaves(self) -> int | None:
        """How many are known to be lost; None when nobody can say."""
        return None if self.kept is None else max(0, self.kept - self.had)


def _unseen(done: int, total: int) -> None:
    """See Progress."""


def write(store: Path, target: Path, progress: Progress = _unseen) -> None:
    """Copy the store into the new file `target`, which only its owner can read; durable and whole, or not there.

    Gateways go on writing meanwhile: the copy is as of one moment. The write-ahead log grows for as long as it takes.
    Raises ConfigFault when `target` exists or cannot be written, EvidenceFault when the store cannot be read.
    """
    with _new_file(target) as aside, closing(sqlite.read_only(store)) as source, sqlite.faults("copying it"):
        source.execute("SELECT size FROM head").fetchone()  # From here on this is the moment that is copied.
        with closing(sqlite3.connect(aside, isolation_level=None)) as copy:
            source.backup(copy, pages=PAGES, progress=lambda _, left, total: progress(total - left, total))
            copy.execute("PRAGMA journal_mode=DELETE")  # One file, which readers leave as it is.


def place(backup: Path, store: Path) -> None:
    """Put a copy of `backup` where a gateway looks for its store. Raises ConfigFault when anything of one is there."""
    there = [each for each in (store, *_companions(store)) if each.exists()]
    if there:
        raise ConfigFault(
            f"{there[0]} is there, and evidence is never overwritten. Stop the gateway and move aside everything that "
            f"begins with {store}: it may hold leaves that the backup has not."
        )
    write(backup, store)


async def go_on(log: EvidenceLog, loss: Loss, actor: str, reason: str) -> tuple[LeafIndex, int]:
    """Put on record that `log` goes on from a backup; the leaf that says so, and how many approvals it ended.

    Questions and grants that were live in the backup end: a grant may have been used since, and must not be again. So
    do logins: somebody may have signed out since, or have been shut out. Raises EvidenceFault.
    """

    def job(transaction: Transaction) -> tuple[LeafIndex, int]:
        ended = [_end(transaction, name) for name in _live(transaction.connection)]
        transaction.connection.execute("DELETE FROM note WHERE key LIKE ? OR key LIKE ?", _LOGINS)
        members: Document = {"actor": actor, "leaves": loss.had, "approvals": len(ended)}
        if loss.kept is not None:
            members |= {"kept": loss.kept, "lost": loss.leaves}
        bodies = {"reason": reason.encode()}
        return transaction.append(Record(LeafType.EVIDENCE_RESTORED, members, bodies=bodies)), len(ended)

    return await log.transact(job)


def _live(connection: Connection) -> list[ApprovalId]:
    states = (State.PENDING.value, State.GRANTED.value)
    query = "SELECT id FROM approval WHERE state IN (?, ?) ORDER BY leaf"
    return [ApprovalId(row[0]) for row in connection.execute(query, states).fetchall()]


def _end(transaction: Transaction, name: ApprovalId) -> ApprovalId:
    held = approval_log.current(transaction, name)
    if held is None:
        raise EvidenceFault(f"Approval {name} is not in the store any more. Run: phigate evidence verify")
    if held.state in (State.PENDING, State.GRANTED):  # Its time may have run out by now.
        approval_log.cancel(transaction, held, why=approval.RESTORED)
    return name


def _companions(store: Path) -> tuple[Path, ...]:
    return tuple(store.with_name(store.name + suffix) for suffix in ("-wal", "-shm"))


@contextmanager
def _new_file(target: Path) -> Iterator[Path]:
    """A file beside `target` to be filled, which becomes `target` at the end of the block if nothing was raised."""
    aside = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        if target.exists():
            raise FileExistsError
        os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield aside
        _sync(aside)
        _name(aside, target)
        _sync(target.parent)
    except FileExistsError:
        raise ConfigFault(f"{target} exists, and evidence is never overwritten. Choose another name.") from None
    except OSError as error:
        raise ConfigFault(f"{target} cannot be written: {error.strerror}.") from None
    finally:
        for each in (aside, *_companions(aside), aside.with_name(aside.name + "-journal")):
            each.unlink(missing_ok=True)


def _name(aside: Path, target: Path) -> None:
    """Give a file its name. Raises FileExistsError when somebody else was first."""
    try:
        os.link(aside, target)  # Unlike rename, fails then.
    except OSError as error:
        if error.errno not in _WITHOUT_LINKS:
            raise
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        aside.replace(target)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
