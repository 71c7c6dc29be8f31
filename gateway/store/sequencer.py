"""The evidence log of one process, as the rest of the gateway uses it.

Callers wait while the writer (`writer.py`) makes their records durable in groups. Waiting is shielded from
cancellation: a commit is never abandoned, because the caller must learn what became of it. Other processes do the same
on the same file; whoever holds the write lock reads the head and extends it, so indices have no gaps.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import TypeVar, cast

import trio

from gateway.core.commands import Recalled
from gateway.core.errors import EvidenceFault, SessionEnded
from gateway.core.evidence.record import LeafType, Record
from gateway.core.resuming import Lost
from gateway.core.types import Document, ExchangeId, LeafIndex, SessionId, Tool
from gateway.store import engines, retelling, sessions, tools, writers
from gateway.store.engine import Connection, Engine
from gateway.store.engines import Store
from gateway.store.job import Commit, Connect, Job, connected
from gateway.store.keys import Keys
from gateway.store.stamps import timestamp
from gateway.store.transaction import Transaction
from gateway.store.writer import Writer

__all__ = ["EvidenceLog", "Transaction"]

T = TypeVar("T")

logger = logging.getLogger("phigate.tools")

RECALL_S = 0.25
"""How late a client that came back for a running call hears what another process brings."""
STALL_S = 10.0
"""A group that takes longer than this makes the log not ready: the disk hangs."""


def _unseen(_: Commit) -> None:
    """Nobody looks on."""


class EvidenceLog:
    """The log as the gateway uses it. Made by `open`; its methods belong to the trio thread that opened it."""

    def __init__(self, store: Store, engine: Engine, keys: Keys, writer: Writer, now: Callable[[], datetime]) -> None:
        self.store = store
        self.keys = keys
        self.now = now
        """The log's clock."""
        self._engine = engine
        self._writer = writer
        self._sessions = sessions.Remembered()
        self._tools = tools.Remembered()
        self._closed = False
        self._gathered: list[Job] = []
        """Appends of this turn of the event loop; whoever brought the first sees to them all."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        store: Store,
        keys: Keys,
        *,
        now: Callable[[], datetime],
        connect: Connect = connected,
        committed: Callable[[Commit], None] = _unseen,
    ) -> AsyncIterator[EvidenceLog]:
        """The log in a store, made if it is not there and may be; checked, and cleared of dead writers' exchanges.

        `now` is called in the writer thread; `committed` in whichever committed, one at a time. Raises EvidenceFault
        when the store cannot be used. On leaving, what was accepted is made durable, what is still open is ended as
        unknown, and a checkpoint is signed.
        """
        engine = engines.of(store)
        deliver = _waker(trio.lowlevel.current_trio_token())
        writer = Writer(engine, keys, now=now, connect=connect, deliver=deliver, committed=committed)
        log = cls(store, engine, keys, writer, now)
        thread = threading.Thread(target=writer.run, name="evidence", daemon=True)
        thread.start()
        try:
            await log._submit(Job(work=_nothing, heals=True))
            try:
                await log.recover()
                yield log
            finally:
                await log._leave()
        finally:
            # A writer whose last words failed stays on the list: whoever starts next ends what it left open.
            writer.queue.put(None)
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(thread.join)

    @property
    def fault(self) -> str | None:
        """Why the log takes nothing at the moment; None when it works."""
        if self._closed:
            return "The evidence log is closed: the gateway is stopping."
        since = self._writer.busy_since
        if self._writer.failed is None and since is not None and time.monotonic() - since > STALL_S:
            return f"The evidence store has not answered for {STALL_S:.0f} s. Nothing is served until it does."
        return self._writer.failed

    @property
    def unsigned_s(self) -> float:
        """How long leaves that were written here have waited for a signed checkpoint; 0 when none do."""
        since = self._writer.unsigned_since
        return 0.0 if since is None else time.monotonic() - since

    async def append(self, record: Record) -> LeafIndex:
        """Return once `record` is durable, with its place in the log. Cancellation waits for the commit.

        Raises EvidenceFault when it may not be durable, SessionEnded when another process has closed the session that
        an exchange would begin in, InternalFault when the record breaks the log's rules.
        """
        job = Job(record=record)
        await self._append(job)
        if job.error is not None:
            if isinstance(job.error, SessionEnded) and record.session is not None:
                self._sessions.forget(record.session)
            raise job.error
        return cast(LeafIndex, job.result)

    async def append_all(self, records: Sequence[Record]) -> None:
        """Return once all of `records`, which neither begin nor end an exchange, are durable: one wait for all of them.

        Raises like `append`; then none of them is kept, unless the store failed and nobody knows.
        """
        if len(records) == 1:
            job = Job(record=records[0])
        else:  # In a savepoint of their own: what the log refuses of them takes the others along.
            job = Job(work=lambda transaction: [transaction.append(record) for record in records])
        await self._append(job)
        if job.error is not None:
            raise job.error

    async def transact(self, job: Callable[[Transaction], T]) -> T:
        """Run `job` in the writer thread, within a savepoint of the group's transaction; return once it is durable.

        A GatewayError from `job` is raised here (any other error as InternalFault), and then nothing of it was kept.
        Raises EvidenceFault like `append`.
        """
        return cast(T, await self._submit(Job(work=job)))

    async def read(self, job: Callable[[Connection], T]) -> T:
        """Run `job`, which only reads, in the writer thread and outside any transaction: no lock, no fsync."""
        return cast(T, await self._submit(Job(read=job)))

    async def probe(self) -> None:
        """Make a heartbeat durable and take up work again after a fault. Raises EvidenceFault while that lasts."""
        await self._submit(Job(work=_heartbeat, heals=True))

    async def recover(self) -> int:
        """End the open exchanges of writers that have died as `exchange.unknown`; returns how many there were."""
        suspects = await self.read(lambda connection: self._engine.suspects(connection, self._writer.id))
        ended = 0
        if suspects:
            ended = await self.transact(lambda transaction: writers.bury(transaction, self._engine, self._writer.id))
        await trio.to_thread.run_sync(self._engine.sweep, self._writer.id)
        return ended

    def abandon(self, exchange: ExchangeId) -> None:
        """This exchange ended here without an outcome: it is ended as unknown as soon as the store can, if it is open.

        For whoever runs exchanges, when one was left by an exception. Never waits and never raises.
        """
        self._writer.orphans.add(exchange)
        self._writer.nudge()

    async def session(self, key: str, *, members: Document, idle_s: float) -> SessionId:
        """The live session under `key`, or a new one whose `session.open` leaf, with `members`, is durable."""
        hidden = self.keys.session_key(key)
        known = self._sessions.get(hidden, idle_s)
        if known is None:
            known = await self.transact(lambda transaction: sessions.find_or_open(transaction, hidden, members, idle_s))
            self._sessions.put(hidden, known)
        return known

    async def touch(self, session: SessionId, *, idle_s: float) -> None:
        """Something was heard of a session: it is not idle. Raises SessionEnded when it has ended."""
        since = timestamp(self.now() - timedelta(seconds=idle_s / 4))
        if not await self.read(lambda connection: sessions.fresh(connection, session, since)):
            await self.transact(lambda transaction: sessions.touch(transaction, session))

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

    async def lost(self, session: SessionId, exchange: ExchangeId) -> Lost | None:
        """The exchange of this session whose client comes back for what it lost of it; None where there is none."""
        return await self.transact(lambda transaction: retelling.lost(transaction, session, exchange))

    async def recall(self, session: SessionId, exchange: ExchangeId, said: int, *, waits: bool) -> Recalled:
        """What the exchange sent its client, whichever process runs it, after `said` messages. With `waits` not before
        there is something, or its end. Safe to cancel."""
        seen = -1
        while True:
            length = await self.read(lambda connection: retelling.length(connection, session, exchange))
            if length != seen:
                seen = length
                found = await self.transact(lambda transaction: retelling.told(transaction, session, exchange, said))
                if found.messages or found.ended or not waits:
                    return found
            await trio.sleep(RECALL_S)

    async def learn(self, upstream: str, definitions: Iterable[Document]) -> frozenset[str]:
        """Remember tool definitions that an upstream has just listed; those without a name are passed over.

        Returns the names of those that are not defined as they were accepted.
        """
        found = [tool for tool in map(tools.of, definitions) if tool is not None]
        before = {tool.name: self._tools.get(upstream, tool.name) for tool in found}
        unknown = [tool for tool in found if (known := before[tool.name]) is None or known.pin != tool.pin]
        told = [known for known in before.values() if known is not None and known.changed]
        if unknown:
            written = await self.transact(lambda transaction: tools.write(transaction, upstream, unknown))
            for tool in written:
                self._tools.put(upstream, tool)
            changed = [tool for tool in written if tool.changed]
            if changed:  # Names are not for the log: the upstream chose them.
                logger.warning("upstream %s changed %d of its tools: `phigate tools list`", upstream, len(changed))
            again = {tool.name for tool in written}
            told = [tool for tool in told if tool.name not in again] + [tool for tool in written if tool.changed]
        return frozenset(tool.name for tool in told)

    async def tool(self, upstream: str, name: str) -> Tool | None:
        """The tool as its upstream last listed it, None when it never did."""
        known = self._tools.get(upstream, name)
        if known is None:
            found = await self._submit(Job(read=lambda connection: tools.read(connection, upstream, name)))
            known = cast("Tool | None", found)
            if known is not None:
                self._tools.put(upstream, known)
        return known

    async def _submit(self, job: Job) -> object:
        """The result of `job`, which is the thread's."""
        fault = self.fault
        if fault is not None and (self._closed or not job.heals):
            raise EvidenceFault(fault)
        await self._wait(job, [job])
        if job.error is not None:
            raise job.error
        return job.result

    async def _append(self, job: Job) -> None:
        """Have `job`, which appends, done in its turn; afterwards it has its result or its error."""
        fault = self.fault
        if fault is not None:
            if job.record is not None and job.record.exchange is not None:
                self._writer.orphans.add(job.record.exchange)
            raise EvidenceFault(fault)
        if self._gathered:
            self._gathered.append(job)
            await self._wait(job, [])
            return
        self._gathered = group = [job]
        await trio.lowlevel.cancel_shielded_checkpoint()  # What others append in this turn goes along.
        self._gathered = []
        if self._writer.now(group):
            _wake(group)
        else:
            await self._wait(job, group)

    async def _wait(self, job: Job, jobs: list[Job]) -> None:
        """Leave `jobs` to the thread, and wait until `job` is done."""
        job.task = trio.lowlevel.current_task()
        if jobs:
            self._writer.queue.put(jobs)
        await trio.lowlevel.wait_task_rescheduled(_not_cancelled)

    async def _leave(self) -> None:
        """The last group: end what is still open, sign, and take this writer off the list."""

        def last(transaction: Transaction) -> None:
            writers.end_all(transaction, self._writer.id, "writer_closed")
            self._engine.retire(transaction.connection, self._writer.id)

        with contextlib.suppress(EvidenceFault):  # It stays on the list, and `recover` elsewhere does it instead.
            await self._submit(Job(work=last, heals=True))
        self._closed = True


def _waker(token: trio.lowlevel.TrioToken) -> Callable[[list[Job]], None]:
    """How the writer thread wakes the callers of a group: one message to the event loop for all of them."""

    def deliver(jobs: list[Job]) -> None:
        with contextlib.suppress(trio.RunFinishedError):  # Nobody is left to be told.
            token.run_sync_soon(_wake, jobs)

    return deliver


def _wake(jobs: list[Job]) -> None:
    """Let the callers of a finished group go on."""
    for job in jobs:
        if job.task is not None:
            trio.lowlevel.reschedule(job.task)


def _not_cancelled(_: object) -> trio.lowlevel.Abort:
    """A commit is not abandoned: cancellation is seen when its caller has learned what became of it."""
    return trio.lowlevel.Abort.FAILED


def _heartbeat(transaction: Transaction) -> None:
    transaction.append(Record(LeafType.HEARTBEAT, {}))


def _nothing(_: Transaction) -> None:
    """Opening is itself the work: the store is made, checked and signed."""
