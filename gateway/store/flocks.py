"""Which processes are writing to a log in a file: each holds an exclusive flock on a file of its own beside it.

The kernel lets go of it whenever the process ends, however it ends: a lock that can be taken belongs to a writer that
is no more.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.core.errors import EvidenceFault


def directory_of(database: Path) -> Path:
    """Where the lock files of this log's writers are."""
    return database.with_name(database.name + ".writers")


def enlist(database: Path, writer: str) -> int:
    """Take this writer's lock; the descriptor holds it until it is closed. Raises EvidenceFault."""
    directory = directory_of(database)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            path = directory / writer
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
            os.close(descriptor)  # Between open and lock another process took us for dead and removed the file.
    except OSError as error:
        raise EvidenceFault(f"The writer's lock beside {database} cannot be made: {error.strerror}.") from error


def retire(database: Path, writer: str) -> None:
    """Take a writer that has left nothing open off the list; its descriptor is closed afterwards."""
    (directory_of(database) / writer).unlink(missing_ok=True)


def sweep(database: Path, self: str) -> None:
    """Remove the lock files of dead writers that have left nothing open. Called after their burial is durable."""
    for path in directory_of(database).glob("*"):
        if path.name != self:
            with taken(database, path.name) as dead:
                if dead:
                    path.unlink(missing_ok=True)


@contextmanager
def taken(database: Path, writer: str) -> Iterator[bool]:
    """Hold a writer's lock for the block if it can be had; a lock whose file is gone can always be had."""
    try:
        descriptor = os.open(directory_of(database) / writer, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
