"""The evidence log of one process: many callers, one writer thread, one fsync for all that wait together.

Callers hand jobs to the thread and wait. The thread takes all that have gathered, runs them in one SQLite transaction,
each in a savepoint of its own so that a job which fails takes none along, commits, and only then wakes the callers.
Other processes do the same on the same file; whoever holds the write lock reads the head and extends it.

When the store fails, every waiting caller gets EvidenceFault and the log takes nothing more until `probe` has made a
heartbeat durable. Whether the failed group was kept is then unknown; exchanges in it that turn out to be open are
ended as unknown, because their callers were told that nothing is on record.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar, cast

import trio

from gateway.core.errors import EvidenceFault, GatewayError, InternalFault
from gateway.core.evidence.record import LeafType, Record
from gateway.core.types import Document, ExchangeId, LeafIndex, SessionId, Tool
from gateway.store import sessions, sqlite, startup, tools, writers
from gateway.store.keys import Keys
from gateway.store.sealing import Sealed, Sealer
from gateway.store.transaction import Transaction, uuid7

__all__ = ["EvidenceLog", "Transaction"]

T = TypeVar("T")
Connect = Callable[[Path], sqlite3.Connection]

GROUP_LIMIT = 256
"""Most jobs in one transaction: enough to share an fsync, few enough that the first need not wait for long."""
CHECKPOINT_S = 1.0
"""A log that grew is signed within this time."""
STALL_S = 10.0
"""A group that takes longer than this makes the log not ready: the disk hangs."""


@dataclass(eq=False, slots=True)
class _Job:
    """One thing to do in the writer thread. `record` alone is the common case and is sealed before the lock is taken."""

    record: Record | None = None
    work: Callable[[Transaction], object] | None = None
    read: Callable[[sqlite3.Connection], object] | None = None
    """Reads only, and runs outside any transaction."""
    heals: bool = False
    done: trio.Event = field(default_factory=trio.Event)
    result: object = None
    error: BaseException | None = None
    sealed: Sealed | None = None


class EvidenceLog:
    """The log as the gateway uses it. Made by `open`; all methods belong to the trio thread that opened it."""

    def __init__(self, path: Path, keys: Keys, now: Callable[[], datetime], connect: Connect) -> None:
        self.path = path
        self.keys = keys
        self.writer = uuid7(now())
        """Names this process's part of the log, in `open_exchange` and in its lock file."""
        self._now = now
        self._connect = connect
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._token = trio.lowlevel.current_trio_token()
        self._sessions = sessions.Remembered()
        self._tools = tools.Remembered()
        self._sealer = Sealer(keys.origin, keys.kms, self.writer)
        self._failed: str | None = None
        self._busy_since: float | None = None
        self._seen = 0
        self._signed_at = float("-inf")
        self._unsigned = False
        self._orphans: set[ExchangeId] = set()
        self._connection: sqlite3.Connection | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, keys: Keys, *, now: Callable[[], datetime], connect: Connect = sqlite.connect
    ) -> AsyncIterator[EvidenceLog]:
        """The log in the file at `path`, made if it is not there; checked, and cleared of dead writers' exchanges.

        `now` is called in the writer thread. Raises EvidenceFault when the store cannot be used. On leaving, what was
        accepted is made durable, what is still open is ended as unknown, and a checkpoint is signed.
        """
        log = cls(path, keys, now, connect)
        thread = threading.Thread(target=log._run, name="evidence", daemon=True)
        lock = await trio.to_thread.run_sync(writers.enlist, path, log.writer)
        thread.start()
        try:
            await log._submit(_Job(work=log._begin, heals=True))
            await log.recover()
            yield log
        finally:
            with trio.CancelScope(shield=True):
                try:
                    await log._submit(_Job(work=log._finish, heals=True))
                except EvidenceFault:
                    # What stayed open is ended by whichever process starts next: the lock goes, its file stays.
                    os.close(lock)
                else:
                    writers.discharge(path, log.writer, lock)
                finally:
                    log._queue.put(None)
                    await trio.to_thread.run_sync(thread.join)

    @property
    def fault(self) -> str | None:
        """Why the log takes nothing at the moment; None when it works."""
        if self._failed is not None:
            return self._failed
        since = self._busy_since
        if since is not None and time.monotonic() - since > STALL_S:
            return f"The evidence store has not answered for more than {STALL_S:.0f} s. Nothing is served until it does."
        return None

    async def append(self, record: Record) -> LeafIndex:
        """Return once `record` is durable, with its place in the log. Cancellation waits for the commit.

        Raises EvidenceFault when it may not be durable, InternalFault when it breaks the log's rules.
        """
        return cast(LeafIndex, await self._submit(_Job(record=record), record.exchange))

    async def transact(self, job: Callable[[Transaction], T]) -> T:
        """Run `job` in the writer thread, within a savepoint of the group's transaction; return once it is durable.

        What `job` raises is raised here, and then nothing of it was kept. Raises EvidenceFault like `append`.
        """
        return cast(T, await self._submit(_Job(work=job)))

    async def probe(self) -> None:
        """Make a heartbeat durable, and with that take up work again after a fault. Raises EvidenceFault while it lasts."""
        await self._submit(_Job(work=_heartbeat, heals=True))

    async def recover(self) -> int:
        """End the open exchanges of writers that have died as `exchange.unknown`; returns how many there were."""
        ended = await self.transact(lambda transaction: writers.bury(transaction, self.path, self.writer))
        await trio.to_thread.run_sync(writers.sweep_locks, self.path, self.writer)
        return ended

    def abandon(self, exchange: ExchangeId) -> None:
        """The exchange has ended without an outcome on record: end it as unknown as soon as the store can."""
        self._orphans.add(exchange)
        self._queue.put(_Job(read=_nothing))

    async def session(self, key: str, *, members: Document, idle_s: float) -> SessionId:
        """The live session under `key`, or a new one whose `session.open` leaf, with `members`, is durable."""
        hidden = self.keys.session_key(key)
        known = self._sessions.get(hidden, idle_s)
        if known is None:
            known = await self.transact(lambda transaction: sessions.find_or_open(transaction, hidden, members, idle_s))
            self._sessions.put(hidden, known)
        return known

    async def close_session(self, session: SessionId, *, why: str) -> None:
        """End a session, if it has not ended. `why` is a word from a closed set: it goes into the leaf."""
        self._sessions.forget(session)
        await self.transact(lambda transaction: transaction.close_session(session, why))

    async def close_idle(self, idle_s: float) -> int:
        """End the sessions that have been idle for `idle_s` seconds; returns how many."""
        closed = await self.transact(lambda transaction: sessions.close_idle(transaction, idle_s))
        for session in closed:
            self._sessions.forget(session)
        return len(closed)

    async def learn(self, upstream: str, definitions: Iterable[Document]) -> None:
        """Remember tool definitions that an upstream has just listed; those without a name are passed over."""
        found = [tool for tool in map(tools.of, definitions) if tool is not None]
        changed = [tool for tool in found if self._tools.get(upstream, tool.name) != tool]
        if changed:
            await self.transact(lambda transaction: tools.write(transaction, upstream, changed))
            for tool in changed:
                self._tools.put(upstream, tool)

    async def tool(self, upstream: str, name: str) -> Tool | None:
        """The tool as its upstream last listed it, None when it never did."""
        known = self._tools.get(upstream, name)
        if known is None:
            found = await self._submit(_Job(read=lambda connection: tools.read(connection, upstream, name)))
            known = cast("Tool | None", found)
            if known is not None:
                self._tools.put(upstream, known)
        return known

    async def _submit(self, job: _Job, exchange: ExchangeId | None = None) -> object:
        fault = self.fault
        if fault is not None and not job.heals:
            if exchange is not None:
                self._orphans.add(exchange)
            raise EvidenceFault(fault)
        self._queue.put(job)
        with trio.CancelScope(shield=True):  # A commit is never abandoned: the caller must learn what became of it.
            await job.done.wait()
        if job.error is not None:
            raise job.error
        return job.result

    # Below here everything runs in the writer thread.

    def _run(self) -> None:
        while True:
            jobs, stopping = self._gather()
            if jobs or self._due():
                self._busy_since = time.monotonic()
                self._work(jobs)
                self._busy_since = None
            if jobs:
                self._token.run_sync_soon(_wake, jobs)
            if stopping:
                if self._connection is not None:
                    self._connection.close()
                return

    def _gather(self) -> tuple[list[_Job], bool]:
        """Wait for a job, or until a checkpoint is due; take all that have gathered. True: no more will come."""
        jobs: list[_Job] = []
        waiting = self._unsigned or bool(self._orphans)
        timeout = max(0.0, self._signed_at + CHECKPOINT_S - time.monotonic()) if waiting else None
        try:
            job = self._queue.get(timeout=None if self._failed else timeout)
            while job is not None:
                jobs.append(job)
                if len(jobs) == GROUP_LIMIT:
                    return jobs, False
                job = self._queue.get_nowait()
        except Empty:
            return jobs, False
        return jobs, True

    def _due(self) -> bool:
        overdue = time.monotonic() - self._signed_at >= CHECKPOINT_S
        return self._failed is None and overdue and (self._unsigned or bool(self._orphans))

    def _work(self, jobs: list[_Job]) -> None:
        """Do a group of jobs: afterwards each has its result, durable, or its error."""
        writing = [job for job in jobs if self._prepare(job)]
        if not writing and not self._due():
            return
        try:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            self._group(connection, writing)
            connection.execute("COMMIT")  # Commit point: what the jobs wrote is durable after this line.
        except Exception as error:
            # Any failure here leaves open what of the group was kept, so all of it counts as not durable: fail closed.
            self._fail(writing, error)
        else:
            if any(job.heals for job in writing if job.error is None):
                self._failed = None

    def _prepare(self, job: _Job) -> bool:
        """Do what needs no lock: reads, and sealing. False when the job is finished with that."""
        try:
            if self._failed is not None and not job.heals:
                raise EvidenceFault(self._failed)
            if job.read is not None:
                job.result = job.read(self._open())
                return False
            if job.record is not None:
                job.sealed = self._sealer.seal(self._open(), job.record, uuid7(self._now()))
        except Exception as error:  # Delivered to the job's caller, who takes it for "not recorded".
            self._refuse(job, error)
            return False
        return True

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = self._connect(self.path)
            sqlite.create_or_check(connection, self.keys.origin)
            self._connection = connection
        return self._connection

    def _group(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        transaction = Transaction(connection, self._sealer, self.writer, self._now())
        if transaction.size < self._seen:
            raise EvidenceFault(
                f"The evidence log has shrunk from {self._seen} leaves to {transaction.size}: it was rolled back or "
                "replaced while in use. Stop the gateway and restore the newest copy."
            )
        for job in jobs:
            self._perform(transaction, job)
        healing = any(job.heals for job in jobs)
        ended = self._end_orphans(transaction) if healing or self._due() else set()
        if healing or time.monotonic() - self._signed_at >= CHECKPOINT_S:
            transaction.publish(self.keys.signer)
            self._signed_at, signed = time.monotonic(), True
        else:
            signed = False
        transaction.finish()
        self._unsigned = not signed
        self._seen = transaction.size
        self._orphans -= ended

    def _perform(self, transaction: Transaction, job: _Job) -> None:
        """Run one job in its savepoint. SQLite's own errors go up and fail the group, all others fail the job."""
        connection, size, frontier = transaction.connection, transaction.size, transaction.frontier
        transaction.touched.clear()
        connection.execute("SAVEPOINT job")
        try:
            if job.sealed is not None:
                job.result = transaction.place(job.sealed)
            elif job.work is not None:
                job.result = job.work(transaction)
        except Exception as error:  # The job's caller gets it; nothing of the job is kept.
            if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
                raise
            self._refuse(job, error)
            self._orphans |= transaction.touched
            connection.execute("ROLLBACK TO job")
            transaction.size, transaction.frontier = size, frontier
        connection.execute("RELEASE job")

    def _refuse(self, job: _Job, error: Exception) -> None:
        """Give one job its error, in our words."""
        match error:
            case GatewayError():
                job.error = error
            case sqlite3.IntegrityError():
                job.error = EvidenceFault(f"The evidence store refused a change by its own rules: {error}.")
            case sqlite3.Error():
                job.error = sqlite.fault("reading", error)
                self._failed = self._failed or str(job.error)
            case _:
                # The text of a foreign error may hold anything; its type is enough to find it by.
                job.error = InternalFault(f"A record could not be written ({type(error).__name__}).")
        if job.record is not None and job.record.exchange is not None:
            self._orphans.add(job.record.exchange)

    def _fail(self, jobs: list[_Job], error: Exception) -> None:
        """The group failed: nobody is told that anything was kept, and the log stops until it is probed."""
        found = error if isinstance(error, EvidenceFault) else sqlite.fault("writing", error)
        self._failed = str(found)
        for job in jobs:
            job.error = job.error or found
            if job.record is not None and job.record.exchange is not None:
                self._orphans.add(job.record.exchange)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()  # Rolls back what is open. A fresh connection sees what the failed one left behind.

    def _end_orphans(self, transaction: Transaction) -> set[ExchangeId]:
        """End the exchanges whose callers were told that nothing is on record, where something is."""
        orphans = set(self._orphans)
        for exchange in sorted(orphans):
            query = "SELECT session, intent FROM open_exchange WHERE exchange = ?"
            row = transaction.connection.execute(query, (exchange,)).fetchone()
            if row is not None:
                transaction.unknown(exchange, None if row[0] is None else SessionId(row[0]), row[1], "not_recorded")
        return orphans

    def _begin(self, transaction: Transaction) -> None:
        startup.check_log(transaction.connection, self.keys.signer.verifier)
        self._sealer.new_key(transaction.connection, self.writer, transaction.at)

    def _finish(self, transaction: Transaction) -> None:
        writers.end_all(transaction, self.writer, "writer_closed")


def _heartbeat(transaction: Transaction) -> None:
    transaction.append(Record(LeafType.HEARTBEAT, {}))


def _nothing(_: sqlite3.Connection) -> None:
    """Wakes the writer thread."""


def _wake(jobs: list[_Job]) -> None:
    for job in jobs:
        job.done.set()
