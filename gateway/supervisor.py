"""The parent of the workers: starts them on shared sockets, replaces the dead, kills the stuck, stops them all.

A policy evaluation cannot be interrupted from inside its process: the engine holds the GIL. So every worker proves from
its event loop that it is alive, over a socket pair called its lifeline, and one that falls silent is killed from here.
The lifeline works the other way too: when the supervisor is gone, its workers stop. Knows nothing of MCP or evidence.
"""

from __future__ import annotations

import ctypes
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import trio

from gateway import orphans

logger = logging.getLogger("phigate")

BEAT_S = 0.25
"""Between two heartbeats of a worker."""
START_S = 120.0
"""A worker that has not beaten by then will not: admission of a large bundle and recovery of a long log come first."""
BACKOFF_S = (0.1, 10.0)
"""Before the first and before every later restart of a worker that keeps dying; doubled in between."""
STABLE_S = 60.0
"""A worker that lived for so long starts its backoff anew."""
GRACE_S = 5.0
"""After the drain, for a worker to close its stores before it is killed."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class WorkerFds:
    """Descriptors that a worker inherits, to be named on its command line."""

    sockets: tuple[int, ...]
    """Listening sockets, shared by all workers; `adopt` makes sockets of them."""
    lifeline: int
    """For `supervised`."""
    place: int
    """Which of the workers it is, from 0; the one that replaces it gets the same."""


class Lives(Protocol):
    """Is told how workers fare. Returns at once and never raises."""

    def serves(self, place: int) -> None:
        """The worker in a place has begun to serve."""

    def ended(self, place: int, cause: str) -> None:
        """It is gone: `stopped` as it was told, `ended` by itself, or `stuck` and killed."""

    def drains(self) -> None:
        """The workers have been told to stop."""


class _Unseen:
    def serves(self, _place: int) -> None:
        pass

    def ended(self, _place: int, _cause: str) -> None:
        pass

    def drains(self) -> None:
        pass


UNSEEN: Lives = _Unseen()
"""Nobody wants to know."""


@dataclass(slots=True)
class _Worker:
    """One place for a worker and who holds it now."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    lifeline: socket.socket | None = None
    started: float = 0.0
    beaten: float | None = None
    deaths: int = 0
    start_at: float = 0.0


def adopt(descriptors: Sequence[int]) -> list[socket.socket]:
    """In a worker: the listening sockets that it inherited. Its own children do not inherit them again."""
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    for sock in sockets:
        sock.set_inheritable(False)
    return sockets


@asynccontextmanager
async def supervised(lifeline: int) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """In a worker: beats while the block runs and closes the lifeline after it.

    Yields `shutdown`, which returns once SIGTERM or SIGINT arrives or the supervisor is gone.
    """
    _die_with_parent()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # It is passed on to whoever has beaten, and may have no use for it.
    os.set_inheritable(lifeline, False)
    os.set_blocking(lifeline, False)
    stop = trio.Event()
    try:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_beat, lifeline, stop)
                nursery.start_soon(_obey, signals, stop)
                yield stop.wait
                nursery.cancel_scope.cancel()
    finally:
        os.close(lifeline)


async def _beat(lifeline: int, stop: trio.Event) -> None:
    while True:
        try:
            os.write(lifeline, b".")
        except BlockingIOError:
            pass  # The supervisor is busy and has many of our beats still to read.
        except OSError:
            stop.set()
            return
        await trio.sleep(BEAT_S)


async def _obey(signals: AsyncIterator[int], stop: trio.Event) -> None:
    async for _ in signals:
        stop.set()


def _die_with_parent() -> None:
    """Linux kills this process with its supervisor, even when too stuck to notice. Elsewhere the lifeline tells."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def supervise(
    argv_for_worker: Callable[[WorkerFds], list[str]],
    *,
    sockets: Sequence[socket.socket],
    workers: int,
    heartbeat_s: float,
    drain_s: float,
    on_worker_death: Callable[[], None],
    lives: Lives = UNSEEN,
    inherited: Sequence[int] = (),
) -> int:
    """Keep `workers` processes serving `sockets`, which listen, until SIGTERM or SIGINT; then drain them.

    Runs in the main thread of a process that starts no others, and closes the sockets. What a worker leaves behind is
    ended with it. A worker that dies is replaced, with backoff; one silent for `heartbeat_s` is killed first.
    `on_worker_death()` is called after each unexpected death, before the replacement starts. `inherited` are
    descriptors that workers get beside those of `WorkerFds`. A second signal ends the drain at once. Returns the exit
    code: 0 all workers stopped by themselves; 1 some had to be killed; or a worker's own code when it ended before any
    had served: later ones would end the same way.
    """
    supervisor = _Supervisor(
        argv_for_worker, tuple(sockets), tuple(inherited), workers, heartbeat_s, drain_s, on_worker_death, lives
    )
    orphans.adopt()
    with _signals(supervisor.signalled, supervisor.pass_on), supervisor.selector:
        try:
            return supervisor.run()
        finally:
            supervisor.kill_all()


@dataclass(slots=True)
class _Supervisor:
    argv_for_worker: Callable[[WorkerFds], list[str]]
    sockets: tuple[socket.socket, ...]
    inherited: tuple[int, ...]
    count: int
    heartbeat_s: float
    drain_s: float
    on_worker_death: Callable[[], None]
    lives: Lives
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    places: list[_Worker] = field(default_factory=list)
    signals: int = 0
    """How many times we were told to stop."""
    deadline: float | None = None
    """When what still drains is killed; None before the drain."""
    served: bool = False
    """Some worker has beaten."""
    code: int = 0

    def signalled(self) -> None:
        """We are told to stop; called from the signal handler."""
        self.signals += 1

    def pass_on(self) -> None:
        """SIGHUP: the workers look at their configuration. One that has not begun to serve has yet to read it."""
        for place in self.places:
            if place.process is not None and place.beaten is not None:
                place.process.send_signal(signal.SIGHUP)

    def run(self) -> int:
        """Watch over the workers until all are gone, or out of time."""
        self.places = [_Worker(number) for number in range(self.count)]
        while True:
            # Beats are read before anybody is judged: we may have been away ourselves.
            self._listen()
            if self.signals and self.deadline is None:
                self._stop()
            for place in self.places:
                if self._tend(place):
                    break
            running = [place.process.pid for place in self.places if place.process]
            orphans.end(running)
            if self.deadline is not None and not running:
                logger.info("stopped")
                return self.code
            if self.deadline is not None and (self.signals > 1 or time.monotonic() > self.deadline):
                return self.code or 1

    def _tend(self, place: _Worker) -> bool:
        """Start, replace or kill the worker in one place; True when that may have taken long."""
        now, stopping = time.monotonic(), self.deadline is not None
        if place.process is None:
            if not stopping and now >= place.start_at:
                self._start(place)
            return False
        if place.process.poll() is None:
            patience = place.started + START_S if place.beaten is None else place.beaten + self.heartbeat_s
            if stopping or now <= patience:
                return False
            logger.error("worker %d is stuck: no heartbeat for %g s; killing it", place.process.pid, self.heartbeat_s)
            place.process.kill()
            place.process.wait()
            self._bury(place, place.process, "stuck")
        else:
            self._bury(place, place.process, "ended" if self.deadline is None else "stopped")
        return True

    def _start(self, place: _Worker) -> None:
        ours, theirs = socket.socketpair()
        fds = WorkerFds(tuple(sock.fileno() for sock in self.sockets), theirs.fileno(), place.number)
        # A process group of its own: Ctrl-C in a terminal reaches the supervisor alone, which then drains its workers.
        place.process = subprocess.Popen(
            self.argv_for_worker(fds),
            stdin=subprocess.DEVNULL,
            pass_fds=(*fds.sockets, fds.lifeline, *self.inherited),
            process_group=0,
        )
        theirs.close()
        ours.setblocking(False)
        self.selector.register(ours, selectors.EVENT_READ, place)
        place.lifeline, place.started, place.beaten = ours, time.monotonic(), None
        logger.info("worker %d started", place.process.pid)

    def _listen(self) -> None:
        """Take in heartbeats; returns at the first of them, at a signal or after a moment."""
        for key, _ in self.selector.select(BEAT_S):
            place: _Worker = key.data
            try:
                alive = bool(place.lifeline and place.lifeline.recv(4096))
            except OSError:
                alive = False
            if alive:
                if place.beaten is None:
                    self.lives.serves(place.number)
                place.beaten = time.monotonic()
                self.served = True
            else:
                self._cut(place)

    def _cut(self, place: _Worker) -> None:
        if place.lifeline is not None:
            self.selector.unregister(place.lifeline)
            place.lifeline.close()
            place.lifeline = None

    def _bury(self, place: _Worker, process: subprocess.Popen[bytes], cause: str) -> None:
        """A worker has ended: clean up after it, and plan its replacement."""
        self._cut(place)
        self.lives.ended(place.number, cause)
        place.process = None
        if self.deadline is not None:
            # SIGTERM is how a worker ends that we stopped before it served.
            self.code = self.code or int(process.returncode not in (0, -signal.SIGTERM))
            return
        logger.error("worker %d ended: %s", process.pid, _cause(process.returncode))
        if not self.served and process.returncode > 0:
            self.code = process.returncode
            self._stop()
            return
        now = time.monotonic()
        place.deaths = 1 if now - place.started > STABLE_S else place.deaths + 1
        place.start_at = now + min(BACKOFF_S[0] * 2 ** (place.deaths - 1), BACKOFF_S[1])
        try:
            self.on_worker_death()
        except Exception as error:  # The next worker recovers again at its start, and does not serve if it cannot.
            logger.error("cleaning up after worker %d failed: %s", process.pid, type(error).__name__)

    def _stop(self) -> None:
        """Begin the drain. Nobody new may queue on sockets that nobody will accept from."""
        logger.info("stopping: what runs has %g s to end; a second signal ends it now", self.drain_s)
        for sock in self.sockets:
            sock.close()
        self.deadline = time.monotonic() + self.drain_s + GRACE_S
        self.lives.drains()
        for place in self.places:
            if place.process is not None:
                place.process.terminate()

    def kill_all(self) -> None:
        """No worker is left after this."""
        for place in self.places:
            if place.process is not None:
                place.process.kill()
                place.process.wait()
            self._cut(place)
        orphans.end(())


def _cause(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


@contextmanager
def _signals(stop: Callable[[], None], reload: Callable[[], None]) -> Iterator[None]:
    """While the block runs SIGTERM and SIGINT call `stop`, and SIGHUP `reload`."""
    handlers = {
        signal.SIGTERM: lambda *_: stop(),
        signal.SIGINT: lambda *_: stop(),
        signal.SIGHUP: lambda *_: reload(),
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
