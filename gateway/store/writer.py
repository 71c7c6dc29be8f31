"""What writes the log: one transaction, and one fsync, for all the jobs that have gathered.

A thread does it; but while the disk is quick and nobody else is writing, appends are made at once by whoever brings
them (`now`), which spares two changes of thread each. Never both: `_turn` is held by the one that writes.

It knows nothing of trio: it takes jobs from a queue and hands each finished group to `deliver`. Failure has one
consequence, here: every job of the group gets EvidenceFault, the connection is dropped, and nothing but a job that
`heals` is tried until one of those has committed, on a fresh connection and after the log was checked again. Whether
the failed group was kept is unknown, so exchanges in it that turn out to be open are ended as unknown. A connection
that broke is no failure yet: the group is done once more on a fresh one, unless the log has it already.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import TypeVar

from gateway.core.errors import EvidenceFault, GatewayError, InternalFault
from gateway.core.evidence.record import Record
from gateway.core.types import ExchangeId, SessionId
from gateway.store import startup
from gateway.store.engine import Buried, Connection, Engine
from gateway.store.job import Commit, Connect, Job, Kept
from gateway.store.keys import Keys
from gateway.store.sealing import Sealed, Sealer
from gateway.store.stamps import uuid7
from gateway.store.transaction import Memory, Transaction

T = TypeVar("T")

GROUP_LIMIT = 256
"""A transaction with so many jobs takes no more: enough to share an fsync, few enough that the first need not wait for
long. Jobs that were brought together are done together."""
CHECKPOINT_S = 1.0
"""A log that grew is signed within this time."""
QUICK_S = 0.002
"""A disk that commits within this time, as of late, may be waited for on the event loop."""
SETTLED_LEAVES = 256
"""Written since the last time, they are put where they stay; about 4 to 8 MB."""
_NEVER = float("-inf")


class Writer:
    """What it takes to write, of whichever thread's `_turn` it is. What has a public name is shared without that."""

    def __init__(
        self,
        engine: Engine,
        keys: Keys,
        *,
        now: Callable[[], datetime],
        connect: Connect,
        deliver: Callable[[list[Job]], None],
        committed: Callable[[Commit], None],
    ) -> None:
        self.id = uuid7(now())
        self.queue: SimpleQueue[list[Job] | None] = SimpleQueue()
        self.orphans: set[ExchangeId] = set()
        """Exchanges whose callers were told that nothing is on record; they are ended where something is."""
        self.failed: str | None = None
        self.busy_since: float | None = None
        self.unsigned_since: float | None = None
        """Since when leaves of this writer wait to be signed, on the monotonic clock."""
        self._engine, self._keys, self._now, self._connect, self._deliver = engine, keys, now, connect, deliver
        self._tell = committed
        self._sealer = Sealer(keys.origin, engine.kms(keys.kms), self.id)
        self._connection: Connection | None = None
        self._memory = Memory()
        self._checked = False
        self._size, self._newest = 0, b""
        """Of the log when this writer committed last; the hash is that of the last leaf."""
        self._unsettled = 0
        """Leaves that were written since the engine last put them where they stay."""
        self._signed_at = _NEVER
        self._unsigned = False
        self._turn = threading.Lock()
        self._commit_s = 0.0
        """How long a commit takes of late."""
        self._listed = False
        """Whether this writer is on the list of those that live."""
        self._beaten_at = _NEVER
        self._committing: Kept | None = None
        """What the log has if the commit that was begun last came to be."""

    def now(self, jobs: list[Job]) -> bool:
        """Do a group of appends in the caller's thread; False when the writer thread has to: it is not done then."""
        if self.failed is not None or self._commit_s > QUICK_S or not self._turn.acquire(blocking=False):
            return False
        try:
            connection = self._connection
            return connection is not None and self._checked and self._at_once(connection, jobs)
        finally:
            self._turn.release()

    def _at_once(self, connection: Connection, jobs: list[Job]) -> bool:
        unsigned, unsettled = self._unsigned, self._unsettled
        try:
            ready = [job for job in jobs if self._prepare(job)]
            if self.failed is not None:
                raise EvidenceFault(self.failed)
            if not self._engine.begin_now(connection):
                return False
            self._group(connection, ready)
        except Exception as error:  # As in `_work`: what was kept is unknown, so all of it counts as not durable.
            self._fail(jobs, error)
        if (self._unsigned and not unsigned) or self._unsettled >= SETTLED_LEAVES > unsettled:
            self.nudge()  # The thread sleeps, and has to see to it that this is signed, or put away.
        return True

    def nudge(self) -> None:
        """Have the thread see what there is to do."""
        self.queue.put([Job(read=_nothing)])

    def run(self) -> None:
        """Work until None is taken from the queue."""
        stopping = False
        while not stopping:
            jobs, stopping = self._gather()
            self.busy_since = time.monotonic()
            with self._turn:
                self._beat()
                self._work(jobs)
            self.busy_since = None
            if jobs:
                self._deliver(jobs)
            if self._unsettled >= SETTLED_LEAVES:
                self._settle()
        self._disconnect()
        self._engine.leave()

    def _settle(self) -> None:
        """Have the engine put away what was committed: first beside those who write on the event loop, which is most of
        it; then what they have added, in our turn, so that nothing is left and its log can begin anew."""
        self.busy_since = time.monotonic()
        self._engine.settle()
        with self._turn:
            self._engine.settle()
            self._unsettled = 0
        self.busy_since = None

    def _gather(self) -> tuple[list[Job], bool]:
        """Wait for a job, or until a checkpoint is due; take all that have gathered. True: no more will come."""
        jobs: list[Job] = []
        try:
            more = self.queue.get(timeout=self._patience())
            while more is not None:
                jobs += more
                if len(jobs) >= GROUP_LIMIT:
                    return jobs, False
                more = self.queue.get_nowait()
        except Empty:
            return jobs, False
        return jobs, True

    def _patience(self) -> float | None:
        """Seconds until there is something to do without being asked; None: never."""
        if self.failed is not None:
            return None
        waits = [self._signing_due()] if self._unsigned or self.orphans else []
        if self._engine.beat_s is not None and self._listed:
            waits.append(self._beaten_at + self._engine.beat_s - time.monotonic())
        return max(0.0, min(waits)) if waits else None

    def _signing_due(self) -> float:
        return self._signed_at + CHECKPOINT_S - time.monotonic()

    def _beat(self) -> None:
        """Say that this writer lives, if it is time to."""
        beat_s = self._engine.beat_s
        if beat_s is None or not self._listed or self.failed is not None:
            return
        now = time.monotonic()
        if now - self._beaten_at >= beat_s:
            try:
                self._steadily(lambda connection: self._engine.beat(connection, self.id))
                self._beaten_at = now
            except Exception as error:  # A writer that cannot say that it lives is taken for dead: it stops at once.
                self._fail([], error)

    def _work(self, jobs: list[Job]) -> None:
        """Do a group of jobs: afterwards each has its result, durable, or its error."""
        writing = [job for job in jobs if self._prepare(job)]
        if not writing and not ((self._unsigned or self.orphans) and self.failed is None and self._signing_due() <= 0):
            return
        try:
            try:
                self._turn_at_log(writing)
            except self._engine.errors as error:
                if not self._engine.broken(error):
                    raise
                self._disconnect()
                self._once_more(writing, error)
        except Exception as error:
            # Whatever failed leaves open what of the group was kept, so all of it counts as not durable: fail closed.
            self._fail(writing, error)

    def _turn_at_log(self, jobs: list[Job]) -> None:
        self._committing = None
        connection = self._open()
        self._engine.begin(connection, self.id)
        self._group(connection, jobs)

    def _once_more(self, jobs: list[Job], error: Exception) -> None:
        """The connection broke under this group: do it again, under the same leaf ids, unless it was kept.

        Whether it was is certain once the write lock is ours: the broken transaction held it until it had its end. Then
        its last leaf has its place in the log, or another has. Raises `error` where no leaf tells it, and something was
        done that cannot be done twice.
        """
        kept = self._committing
        if kept is not None and kept.digest is None and any(job.work is not None and not job.heals for job in jobs):
            raise error
        if kept is not None and kept.digest is not None:
            connection = self._open()
            self._engine.begin(connection, self.id)
            row = connection.execute("SELECT hash FROM leaf WHERE idx = ?", (kept.size - 1,)).fetchone()
            connection.execute("ROLLBACK")
            if row is not None and row[0] == kept.digest:
                self._committed(kept)
                self._checked = False  # That was the other connection.
                return
        for job in jobs:
            job.result = job.error = None
            job.touched = frozenset()
        self._turn_at_log(jobs)

    def _steadily(self, attempt: Callable[[Connection], T]) -> T:
        """The result of what may be done twice: again on a fresh connection where this one broke."""
        try:
            connection = self._open()
            return self._engine.patiently(lambda: attempt(connection))
        except self._engine.errors as error:
            if not self._engine.broken(error):
                raise
            self._disconnect()
            return attempt(self._open())

    def _prepare(self, job: Job) -> bool:
        """Do what needs no lock: reads, and sealing. False when the job is finished with that.

        Again is no change: a group that cannot be done at once comes prepared.
        """
        if job.error is not None:
            return False
        try:
            if self.failed is not None and not job.heals:
                raise EvidenceFault(self.failed)
            if job.read is not None:
                job.result = self._steadily(job.read)
                return False
            if job.record is not None and job.sealed is None:
                job.sealed = self._seal(job.record)
        except self._engine.errors as error:
            self._fail([job], error)
            return False
        except Exception as error:  # Told to the job's caller, who takes it for "not on record".
            self._refuse(job, error)
            return False
        return True

    def _seal(self, record: Record) -> Sealed:
        connection, at = self._connection, self._now()
        if connection is not None and self._sealer.at_hand(record):
            return self._sealer.seal(connection, record, at)
        return self._steadily(lambda connection: self._sealer.seal(connection, record, at))

    def _group(self, connection: Connection, jobs: list[Job]) -> None:
        """Do the jobs in the transaction that has begun, and commit it."""
        transaction = Transaction(connection, self._sealer, self.id, self._now(), self._memory)
        self._check(transaction)
        for job in jobs:
            self._perform(transaction, job)
        healing = any(job.heals and job.error is None for job in jobs)
        due = healing or time.monotonic() - self._signed_at >= CHECKPOINT_S
        ended = self._end_orphans(transaction) if due else frozenset()
        if due:
            transaction.publish(self._keys.signer)
        transaction.finish(head=self._engine.mixed)
        self._committing = Kept(transaction.size, transaction.newest, due, ended, healing)
        began = time.monotonic()
        connection.execute("COMMIT")  # Commit point: what the jobs wrote is durable after this line.
        took = time.monotonic() - began
        self._commit_s += (took - self._commit_s) / 10
        self._committed(self._committing)
        self._tell(Commit(len(jobs), took, transaction.size, signed=due))

    def _committed(self, kept: Kept) -> None:
        self._checked = True
        self._unsettled += kept.size - self._size
        self._size, self._newest = kept.size, kept.digest or self._memory.newest
        self._unsigned = not kept.signed
        self.orphans -= kept.ended
        if kept.signed:
            self._signed_at = time.monotonic()
        self.unsigned_since = None if kept.signed else self.unsigned_since or time.monotonic()
        if kept.healed:
            self.failed = None

    def _check(self, transaction: Transaction) -> None:
        if transaction.size < self._size:
            raise EvidenceFault(
                f"The evidence log has shrunk from {self._size} leaves to {transaction.size}: it was rolled back or "
                "replaced while in use. Stop the gateway and restore the newest copy."
            )
        if not self._checked:
            startup.check_log(transaction, self._keys.signer.verifier, (self._size, self._newest))
            self._sealer.make_writer_key(transaction.connection, transaction.at)

    def _perform(self, transaction: Transaction, job: Job) -> None:
        """Run one job. The database's errors go up and fail the group; others fail the job, which leaves nothing."""
        transaction.touched.clear()
        if job.sealed is not None and not job.sealed.record.projected:
            try:
                job.result = transaction.place(job.sealed)
            except (GatewayError, ValueError) as error:  # Raised before anything was written: see `Transaction.place`.
                self._refuse(job, error)
            return
        connection, before = transaction.connection, (transaction.size, transaction.frontier, transaction.newest)
        connection.execute("SAVEPOINT job")
        try:
            job.result = transaction.place(job.sealed) if job.sealed else job.work and job.work(transaction)
            transaction.flush()
            job.touched = frozenset(transaction.touched)
        except Exception as error:  # Told to the job's caller.
            job.touched = frozenset(transaction.touched)
            if isinstance(error, self._engine.errors) and not self._engine.refused(error):
                raise
            self._refuse(job, error)
            connection.execute("ROLLBACK TO job")
            transaction.forget(*before)
        connection.execute("RELEASE job")

    def _end_orphans(self, transaction: Transaction) -> frozenset[ExchangeId]:
        orphans = frozenset(self.orphans)
        for exchange in sorted(orphans):
            query = "SELECT session, intent FROM open_exchange WHERE exchange = ? AND writer = ?"
            row = transaction.connection.execute(query, (exchange, self.id)).fetchone()
            if row is not None:
                transaction.unknown(exchange, None if row[0] is None else SessionId(row[0]), row[1], "not_recorded")
        return orphans

    def _refuse(self, job: Job, error: Exception) -> None:
        """Give one job its error, in our words."""
        if isinstance(error, GatewayError):
            job.error = error
        elif isinstance(error, self._engine.errors):
            job.error = self._engine.fault("changing something, which its own rules refuse", error)
        else:
            # The text of a foreign error may hold anything; its type is enough to find it by.
            job.error = InternalFault(f"A record could not be written ({type(error).__name__}).")
        self._orphan(job)

    def _fail(self, jobs: list[Job], error: Exception) -> None:
        """The group failed: nobody is told that anything was kept, and the log stops until it is healed."""
        if isinstance(error, EvidenceFault):
            fault = error
        elif isinstance(error, self._engine.errors):
            fault = self._engine.fault("writing", error)
        else:
            fault = EvidenceFault(f"The evidence log failed by a fault of its own ({type(error).__name__}).")
        self.failed = fault.detail
        for job in jobs:
            job.error = job.error or EvidenceFault(fault.detail)
            self._orphan(job)
        self._disconnect()
        if isinstance(error, Buried):
            # All that was open under the old name has its end, by whoever took that name off the list.
            self.id, self._listed = uuid7(self._now()), False
            self._sealer.writer = self.id

    def _orphan(self, job: Job) -> None:
        if job.record is not None and job.record.exchange is not None:
            self.orphans.add(job.record.exchange)
        self.orphans |= job.touched

    def _open(self) -> Connection:
        if self._connection is None:
            # Kept at once, so that `_disconnect` closes it, and its locks with it, if the store is not fit for use.
            self._connection, self._checked = self._connect(self._engine), False
            self._engine.create_or_check(self._connection, self._keys.origin)
            if not self._listed:
                self._engine.enlist(self._connection, self.id)
                self._listed, self._beaten_at = True, time.monotonic()
        return self._connection

    def _disconnect(self) -> None:
        """Drop the connection, which rolls back what is open on it; a fresh one sees what was kept."""
        connection, self._connection, self._memory = self._connection, None, Memory()
        if connection is not None:
            with contextlib.suppress(self._engine.errors):  # It is not used again, and its failure has been told.
                connection.close()


def _nothing(_: Connection) -> None:
    """Taking it from the queue is all that is wanted."""
