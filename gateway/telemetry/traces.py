"""Which exchanges are traced, and the way of finished traces to their exporter: a queue that never makes a call wait.

An exchange that is traced notes its steps; when it has ended they are handed over as one. A thread of its own makes
spans of them and sends them (`otlp.py`). What does not fit the queue is dropped and counted.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from gateway.core import records
from gateway.core.call import Call
from gateway.core.records import Status
from gateway.telemetry import context, families
from gateway.telemetry.book import Book
from gateway.telemetry.context import Context
from gateway.telemetry.watch import Arrival

QUEUE_MOST = 2_048
"""Finished exchanges that wait for their export."""
BATCH = 64
STEPS_MOST = 100
"""Steps of one exchange that become spans: a stream may have any number."""
LEAVE_S = 2.0
"""For what is in the queue when the gateway ends."""
_FINE = (Status.REPLIED, Status.ACCEPTED, Status.ENDED, Status.PENDING, Status.KEPT, Status.JOINED, Status.RESUMED)
FINE = frozenset(status.value for status in _FINE)
"""Outcomes that are no error of anybody's."""

logger = logging.getLogger("phigate.traces")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an exchange. Times are on `time.perf_counter`."""

    name: str
    began: float
    ended: float
    told: dict[str, str] = field(default_factory=dict)
    fault: str = ""
    context: Context | None = None
    """Of a step that others have seen: what was sent upstream names it as its parent."""


@dataclass(slots=True)
class Trace:
    """An exchange that is traced."""

    context: Context
    parent: Context | None
    """What the caller said in `_meta`, or else in the HTTP header."""
    linked: Context | None
    """What the HTTP header said, where `_meta` said something else."""
    forwarded: Context
    began: float
    told: dict[str, str]
    steps: list[Step] = field(default_factory=list)
    ended: float = 0.0
    outcome: str = ""


Export = Callable[[Sequence[Trace]], int | None]
"""Sends traces: how many spans those were, or None when they could not be sent. Runs in the exporter's thread."""


class Tracer:
    """Decides what is traced, and queues it. Made by `open`."""

    def __init__(self, book: Book, ratio: float, export: Export) -> None:
        self._book = book
        self._ratio = ratio
        self._export = export
        self._queue: queue.Queue[Trace | None] = queue.Queue(QUEUE_MOST)
        self._working = True

    @classmethod
    @contextmanager
    def open(cls, book: Book, ratio: float, export: Export) -> Iterator[Tracer]:
        """A tracer whose thread runs while the block does, and no longer than LEAVE_S after it."""
        self = cls(book, ratio, export)
        thread = threading.Thread(target=self._run, name="traces", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            with contextlib.suppress(queue.Full):  # It hangs in an export, and is left there.
                self._queue.put_nowait(None)
            thread.join(LEAVE_S)

    def begins(self, call: Call, arrival: Arrival) -> Trace | None:
        """The trace of an exchange that is traced: its caller's, if that is, or one that begins here."""
        ambient = context.parse(arrival.traceparent)
        said = context.said(call.message)
        parent = said or ambient
        own = context.root(self._ratio) if parent is None else context.child(parent)
        if not own.sampled:
            return None
        told = {
            "mcp.method.name": records.method_of(call.message),
            "phigate.upstream": call.upstream.name,
            "phigate.era": call.era.value,
            "phigate.exchange": call.exchange,
        }
        linked = ambient if said is not None else None
        return Trace(own, parent, linked, context.child(own), arrival.at, told)

    def ends(self, trace: Trace, at: float, outcome: str) -> None:
        """The exchange is over. Never waits."""
        trace.ended, trace.outcome = at, outcome
        del trace.steps[STEPS_MOST:]
        try:
            self._queue.put_nowait(trace)
        except queue.Full:
            self._book.count(families.SPANS, "dropped", by=1 + len(trace.steps))

    def _run(self) -> None:
        going = True
        while going:
            batch, going = self._batch()
            if batch:
                self._send(batch)

    def _batch(self) -> tuple[list[Trace], bool]:
        """What has gathered; False with the last of it."""
        batch: list[Trace] = []
        trace = self._queue.get()
        while trace is not None:
            batch.append(trace)
            if len(batch) == BATCH or self._queue.empty():
                return batch, True
            trace = self._queue.get()
        return batch, False

    def _send(self, batch: list[Trace]) -> None:
        try:
            sent = self._export(batch)
        except Exception as error:  # Of the exporter's library: traces are lost by it, and nothing else.
            sent = None
            logger.debug("an export failed: %s", type(error).__name__)
        if sent is None:
            self._book.count(families.SPANS, "failed", by=sum(1 + len(trace.steps) for trace in batch))
        else:
            self._book.count(families.SPANS, "exported", by=sent)
        self._tell(works=sent is not None)

    def _tell(self, *, works: bool) -> None:
        if works is not self._working:
            self._working = works
            logger.warning("traces are exported again" if works else "traces cannot be exported, and are dropped")
