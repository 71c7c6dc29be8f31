"""Children that decide again what is on record, one for each core: the engine holds the interpreter's lock.

A policy that crashes or never ends costs its child and not the command: the leaf that it was about is told, and the
work goes on behind it.
"""

from __future__ import annotations

import os
import threading
import time
from argparse import ArgumentParser, Namespace
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gateway.cli import places
from gateway.cli.policy.again import Job
from gateway.core.errors import EvidenceFault, PolicyFault
from gateway.core.evidence.record import LeafType
from gateway.core.types import Document
from gateway.pdp import child
from gateway.store import engines
from gateway.store.reader import Reader
from gateway.store.stamps import timestamp

RANGE = 128
"""Leaves that a child decides between two answers."""
SHARE = 512
"""Leaves below which another child is not worth its start."""
EACH_S = 30.0
"""Within which a range must be decided: on an idle core one takes 0.1 s."""
CALIBRATION_S = 2.0
"""After which it is said how long the rest will take."""
WORTH_TELLING_S = 3.0
LEAVE_S = 2.0
"""How long an interrupted command waits for its children, of which one may be stuck; each has its own limit."""

Target = Callable[[bytes], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Range:
    """What of the log is decided again."""

    first: int
    last: int
    """The leaf after the last."""

    @property
    def leaves(self) -> int:
        """How many leaves there are in it."""
        return max(0, self.last - self.first)


def add_scope(verb: ArgumentParser) -> None:
    """Let the command be told which store to read, and which part of it."""
    places.add_store(verb)
    verb.add_argument("--keys", type=Path, metavar="DIR", help="keys directory; default: the configuration's")
    scope = verb.add_argument_group("which exchanges (default: all)")
    scope.add_argument("--session", metavar="ID", help="of one session")
    scope.add_argument("--exchange", metavar="ID", help="one exchange")
    scope.add_argument("--principal", metavar="WHO", help="of one principal: its subject, or its pseudonym's beginning")
    scope.add_argument("--upstream", metavar="NAME", help="with one upstream")
    scope.add_argument("--since", metavar="TIME", help="from this time on, as 2026-01-31 or 2026-01-31T08:00:00Z")
    scope.add_argument("--until", metavar="TIME", help="before this time")
    scope.add_argument("--first", type=int, metavar="N", help="from this leaf on")
    scope.add_argument("--last", type=int, metavar="N", help="up to this leaf")
    verb.add_argument("-j", "--jobs", type=int, metavar="N", help="processes; default: one for each core")


def job(arguments: Namespace) -> tuple[Job, Range]:
    """The work that is asked for, not yet divided, and the range of leaves it is about.

    Raises EvidenceFault when there is no such session or exchange, PolicyFault for an option that means nothing.
    """
    store, keys = places.store(arguments), places.keys(arguments)
    with Reader.open(store) as reader:
        scope = _range(reader, arguments)
        activated = list(_activated(reader))
    whole = Job(
        store=engines.pack(store),
        keys=str(keys.absolute()),
        ranges=[],
        session=arguments.session,
        exchange=arguments.exchange,
        since=_time(arguments.since),
        until=_time(arguments.until),
        principal=arguments.principal,
        upstream=arguments.upstream,
        activated=activated,
    )
    return whole, scope


def _range(reader: Reader, arguments: Namespace) -> Range:
    first, last = max(0, arguments.first or 0), reader.size()
    if arguments.last is not None:
        last = min(last, arguments.last + 1)
    for column in ("session", "exchange"):
        wanted = getattr(arguments, column)
        if wanted is not None:
            query = f"SELECT min(idx), max(idx) FROM leaf WHERE {column} = ?"
            lowest, highest = reader.connection.execute(query, (wanted,)).fetchone()
            if lowest is None:
                raise EvidenceFault(
                    f"There is no {column} {wanted} in this store. `phigate sessions list` shows what there is."
                )
            first, last = max(first, lowest), min(last, highest + 1)
    return Range(first, last)


def _activated(reader: Reader) -> Iterator[tuple[int, str, str, str]]:
    query = "SELECT idx FROM leaf WHERE type = ? AND session IS NULL ORDER BY idx"
    for (index,) in reader.connection.execute(query, (LeafType.BUNDLE_ACTIVATED.value,)).fetchall():
        members = reader.leaf(index).members
        revision, digest, engine = (members.get(name) for name in ("revision", "bundle", "engine"))
        if isinstance(revision, str) and isinstance(digest, str):
            yield index, revision, digest, engine if isinstance(engine, str) else ""


def _time(given: str | None) -> str | None:
    """A time as leaves carry it, to be compared as text. One without a zone is in UTC."""
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given)
        return timestamp(moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise PolicyFault(f"{given!r} is no time. Write 2026-01-31, or 2026-01-31T08:00:00Z.") from None


def cores(arguments: Namespace) -> int:
    """How many processes may work. Raises PolicyFault when that was given as none."""
    given: int | None = arguments.jobs
    if given is not None and given < 1:
        raise PolicyFault("--jobs is at least 1.")
    if given is not None:
        return given
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work(target: Target, whole: Job, scope: Range, *, processes: int, console: Console) -> Iterator[Document]:
    """What the children answer, as it comes; with a bar and the time it will take, on a terminal.

    An answer is `{"leaves", "decisions", "found"}` for a range, or `{"stopped": leaf, "why"}` for a leaf whose decision
    ended its child. Raises PolicyFault when a child could not begin.
    """
    ranges = [(at, min(at + RANGE, scope.last)) for at in range(scope.first, scope.last, RANGE)]
    count = max(1, min(processes, -(-scope.leaves // SHARE)))
    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.description}"))
    clocks = (TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn())
    with Progress(*columns, *clocks, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("starting", total=scope.leaves)
        pace = _Pace(scope.leaves)
        for answer in _answers(target, [replace(whole, ranges=ranges[start::count]) for start in range(count)]):
            pace.add(_count(answer, "leaves"), _count(answer, "decisions"))
            progress.update(task, completed=pace.leaves, description=f"{pace.rate:,.0f} decisions/s")
            if pace.calibrated():
                console.print(_estimate(scope.leaves, count, pace.remaining), highlight=False)
            yield answer


@dataclass(slots=True)
class _Pace:
    """How fast the work goes, measured from the first answer on: before that, children start."""

    total: int
    leaves: int = 0
    decisions: int = 0
    _since: float = 0.0
    _first: tuple[int, int] = (0, 0)
    _told: bool = False

    def add(self, leaves: int, decisions: int) -> None:
        """Count what was done."""
        self.leaves += leaves
        self.decisions += decisions
        if not self._since and leaves:
            self._since, self._first = time.monotonic(), (self.leaves, self.decisions)

    @property
    def _seconds(self) -> float:
        return max(1e-6, time.monotonic() - self._since) if self._since else 0.0

    @property
    def rate(self) -> float:
        """Decisions a second."""
        return (self.decisions - self._first[1]) / self._seconds if self._seconds else 0.0

    @property
    def remaining(self) -> float:
        """Seconds until all is done, at this pace."""
        done = self.leaves - self._first[0]
        return (self.total - self.leaves) * self._seconds / done if done else 0.0

    def calibrated(self) -> bool:
        """True once: when the pace is known and the rest is worth telling."""
        if self._told or self._seconds < CALIBRATION_S:
            return False
        self._told = True
        return self.remaining > WORTH_TELLING_S


def _estimate(leaves: int, processes: int, seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    spell = f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{leaves:,} leaves on {processes} process{'es' if processes > 1 else ''}: about {spell} to go."


def _count(answer: Document, name: str) -> int:
    value = answer.get(name)
    return value if isinstance(value, int) else 0


_Told = SimpleQueue["Document | Exception | None"]


def _answers(target: Target, jobs: list[Job]) -> Iterator[Document]:
    """Every answer of the children that do these jobs, one thread waiting for each."""
    told, stop = _Told(), threading.Event()
    threads = [threading.Thread(target=_attend, args=(target, each, told, stop), daemon=True) for each in jobs]
    for thread in threads:
        thread.start()
    try:
        waiting = len(threads)
        while waiting:
            answer = told.get()
            if isinstance(answer, Exception):
                raise answer
            if answer is None:
                waiting -= 1
            else:
                yield answer
    finally:
        stop.set()
        for thread in threads:
            thread.join(LEAVE_S)


def _attend(target: Target, job: Job, told: _Told, stop: threading.Event) -> None:
    """One child after the other, until the job is done."""
    todo = deque(job.ranges)
    try:
        while todo and not stop.is_set():
            try:
                _listen(target, replace(job, ranges=list(todo)), told, stop, todo)
            except child.Stopped:
                first, last = todo.popleft()
                _carefully(target, job, first, last, told, stop)
    except Exception as error:  # Raised by whoever reads the queue: in this thread nobody would hear of it.
        told.put(error)
    told.put(None)


def _listen(target: Target, job: Job, told: _Told, stop: threading.Event, todo: deque[tuple[int, int]]) -> None:
    """Pass on what a child answers, and take from `todo` what it has done. Raises Stopped when it ends before that."""
    ready = False
    with closing(_stream(target, job)) as answers:
        try:
            for answer in answers:
                if stop.is_set():
                    return
                if ready:
                    told.put(orjson.loads(answer))
                    todo.popleft()
                ready = True
        except child.Stopped as stopped:
            if not ready:
                raise PolicyFault(f"Nothing could be decided again: {stopped.detail}") from None
            raise


def _carefully(target: Target, job: Job, first: int, last: int, told: _Told, stop: threading.Event) -> None:
    """Do a range that ended its child, leaf by leaf: those that do it are told, and passed over."""
    while first < last and not stop.is_set():
        at = first
        with closing(_stream(target, _one_by_one(job, first, last))) as answers:
            try:
                for answer in answers:
                    document = orjson.loads(answer)
                    at = document.get("at", at)
                    if "found" in document:
                        told.put(document)
                return
            except child.Stopped as stopped:
                told.put({"leaves": at + 1 - first, "decisions": 1, "stopped": at, "why": stopped.detail})
                first = at + 1


def _one_by_one(job: Job, first: int, last: int) -> Job:
    return replace(job, ranges=[(leaf, leaf + 1) for leaf in range(first, last)], careful=True)


def _stream(target: Target, job: Job) -> Generator[bytes, None, None]:
    yield from child.stream(target, job.format(), each_s=EACH_S)
