"""Sockets whose readers wait for a time, not for what comes: one task takes that in for all of them.

A stream that waits for its turn need not know of each event, and to wake its task for each costs more than all that is
done with the event there. What comes is taken in all the same, because it may be what ends the wait.
"""

from __future__ import annotations

import math
import selectors
from collections.abc import Callable

import trio


class Inflow:
    """Those who wait."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._asleep: dict[int, tuple[float, trio.lowlevel.Task]] = {}
        """Until when each waits, by descriptor."""
        self._next = math.inf
        self._sleep = trio.CancelScope()

    async def wait(self, fd: int, take: Callable[[], bool], until: float) -> None:
        """Let `take`, which neither waits nor raises, take in what comes on the socket `fd`: until it says that this is
        enough, or `until` on trio's clock, or somebody says `wake`."""
        self._asleep[fd] = until, trio.lowlevel.current_task()
        self._selector.register(fd, selectors.EVENT_READ, take)
        if until < self._next:
            self._next = self._sleep.deadline = until
        await trio.lowlevel.wait_task_rescheduled(lambda _: self._forget(fd))

    def wake(self, fd: int) -> None:
        """Let whoever waits for `fd` go on, before it is closed. Nothing happens where nobody does."""
        if fd in self._asleep:
            _, task = self._asleep[fd]
            self._forget(fd)
            trio.lowlevel.reschedule(task)

    async def read(self) -> None:
        """Take in what comes. Runs for ever."""
        with self._selector:
            while True:
                await trio.lowlevel.wait_readable(self._selector.fileno())
                for key, _ in self._selector.select(0):
                    if key.data():
                        self.wake(key.fd)

    async def ring(self) -> None:
        """Wake whose time is up, all at once and without a clock for each. Runs for ever."""
        while True:
            with trio.CancelScope(deadline=self._next) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            for fd in [fd for fd, (until, _) in self._asleep.items() if until <= now]:
                self.wake(fd)
            self._next = min((until for until, _ in self._asleep.values()), default=math.inf)

    def _forget(self, fd: int) -> trio.lowlevel.Abort:
        del self._asleep[fd]
        self._selector.unregister(fd)
        return trio.lowlevel.Abort.SUCCEEDED


_of_this_run: trio.lowlevel.RunVar[Inflow] = trio.lowlevel.RunVar("inflow")


def here() -> Inflow:
    """That of this event loop, which runs while the loop does."""
    try:
        return _of_this_run.get()
    except LookupError:
        inflow = Inflow()
        _of_this_run.set(inflow)
        trio.lowlevel.spawn_system_task(inflow.read)
        trio.lowlevel.spawn_system_task(inflow.ring)
        return inflow
