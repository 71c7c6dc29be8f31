"""What the evidence store asks of a database: the seam between the log and SQLite or PostgreSQL.

Statements are portable SQL with `?` for each value. A connection begins nothing by itself: outside BEGIN … COMMIT each
statement stands alone. Errors are the engine's own (`Engine.errors`) until `fault` tells them in our words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from gateway.core.errors import EvidenceFault
from gateway.store.kms import Kms

T = TypeVar("T")


class Cursor(Protocol):
    """The rows that a statement found, or how many it changed."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """One conversation with the database; used by one thread at a time."""

    @property
    def in_transaction(self) -> bool: ...

    def execute(self, statement: str, values: Sequence[Any] = ..., /) -> Cursor: ...

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]], /) -> Cursor: ...

    def close(self) -> None: ...


class Engine(Protocol):
    """A store in a database, as one process uses it; it knows where that is and how to speak with it."""

    @property
    def errors(self) -> type[Exception]:
        """What its connections raise."""

    @property
    def beat_s(self) -> float | None:
        """How often a writer has to say that it lives; None: the operating system tells."""

    @property
    def mixed(self) -> bool:
        """Whether an older release may be writing to the store too: those go by the table `head`."""

    def kms(self, kms: Kms) -> Kms:
        """The key service as whoever writes here may use it."""

    def connect(self) -> Connection:
        """A connection that writes, durable on commit. Raises one of `errors`, or EvidenceFault."""

    def read_only(self) -> Connection:
        """A connection that cannot write, with one snapshot begun. Raises EvidenceFault when there is no store."""

    def create_or_check(self, connection: Connection, origin: str) -> None:
        """Refuse what is no store of ours, one that a newer phigate wrote, or another log's; make or bring up to date
        what may be. Raises EvidenceFault."""

    def migrate(self, connection: Connection, origin: str) -> int | None:
        """Make the tables of a new store or bring those of an older one up to date, in one transaction; returns the
        version that there was, None for a new store. Several may do so at once. Raises EvidenceFault."""

    def version(self, connection: Connection) -> int | None:
        """The version of the store's schema; None where there is no store."""

    def begin(self, connection: Connection, writer: str) -> None:
        """Begin a transaction that holds the log's write lock, having waited for it no longer than a bound.

        Raises Buried when this writer was taken for dead, one of `errors` when the time is over.
        """

    def begin_now(self, connection: Connection) -> bool:
        """As `begin` if it needs no waiting at all, not even for a network; False, and nothing begun, otherwise."""

    def patiently(self, attempt: Callable[[], T]) -> T:
        """The result of what needs no write lock, asked again while another connection is in the way."""

    def broken(self, error: Exception) -> bool:
        """Whether the connection is of no use any more, and a fresh one may do."""

    def refused(self, error: Exception) -> bool:
        """Whether the database refused one change by its rules, and is well itself."""

    def fault(self, doing: str, error: Exception) -> EvidenceFault:
        """The EvidenceFault for one of `errors`, with what to do about it; values are never in its text."""

    def faults(self, doing: str) -> AbstractContextManager[None]:
        """Translate `errors` in the block into EvidenceFault."""

    def enlist(self, connection: Connection, writer: str) -> None:
        """Put a writer on the list of those that live. Raises EvidenceFault."""

    def beat(self, connection: Connection, writer: str) -> None:
        """Say that this writer lives. Raises Buried when it was taken for dead."""

    def suspects(self, connection: Connection, writer: str) -> set[str]:
        """The writers, other than this one, that may have died and left something open."""

    def dead(self, connection: Connection, writer: str) -> AbstractContextManager[bool]:
        """Whether a writer is dead; in the transaction of `connection`, and it stays so while the block runs."""

    def retire(self, connection: Connection, writer: str) -> None:
        """Take off the list a writer that has left nothing open, in the transaction of `connection`."""

    def sweep(self, writer: str) -> None:
        """Forget writers that are dead and have nothing open; this one lives. Called when their burial is durable."""

    def settle(self) -> None:
        """Put what was committed where it stays, as far as that goes without holding up those who write."""

    def leave(self) -> None:
        """This process writes no more."""


class Buried(EvidenceFault):
    """This writer was silent for so long that another one ended its exchanges: it goes on under another name."""


def altered(detail: str) -> EvidenceFault:
    """The EvidenceFault for a store that is not as we left it."""
    return EvidenceFault(
        f"This evidence store was altered or damaged: {detail}. Nothing is added to it. Keep it as it is, run "
        "`phigate evidence verify` on a copy, and restore or start a new store."
    )
