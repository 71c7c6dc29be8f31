"""What the writer is given to do, one job for each caller that waits, and what it then knows of a group of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import trio

from gateway.core.evidence.record import Record
from gateway.core.types import ExchangeId
from gateway.store.engine import Connection, Engine
from gateway.store.sealing import Sealed
from gateway.store.transaction import Transaction

Connect = Callable[[Engine], Connection]


def connected(engine: Engine) -> Connection:
    """A connection as the engine makes it."""
    return engine.connect()


@dataclass(eq=False, slots=True)
class Job:
    """One thing to do in the writer thread: exactly one of `record`, `work` and `read`."""

    record: Record | None = None
    """Append this; by far the most jobs do. It is sealed before the write lock is taken."""
    work: Callable[[Transaction], object] | None = None
    read: Callable[[Connection], object] | None = None
    """Reads only, and runs outside any transaction."""
    heals: bool = False
    """Is tried although the log has failed, and ends the failure when it is durable."""
    task: trio.lowlevel.Task | None = None
    """Who waits for it."""
    result: object = None
    error: Exception | None = None
    sealed: Sealed | None = None
    touched: frozenset[ExchangeId] = frozenset()


class Kept(NamedTuple):
    """What is so once a group's commit came to be."""

    size: int
    digest: bytes | None
    """The hash of the last leaf below `size`, if the group wrote it."""
    signed: bool
    ended: frozenset[ExchangeId]
    healed: bool


class Commit(NamedTuple):
    """A transaction that is durable, for whoever looks on."""

    jobs: int
    seconds: float
    """That the engine took for it."""
    leaves: int
    """In the log, after it."""
    signed: bool
