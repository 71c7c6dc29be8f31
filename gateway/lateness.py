"""Deadlines that move with every message and hardly ever come: plain numbers, which one task looks at.

A cancel scope costs as much as the wait that it ends, and nearly every wait ends by itself. So whoever waits says in
`due` when that is late, and the task sleeps until the earliest time that it was told of. What was put off meanwhile it
finds when it looks; what cannot be late before that costs nothing.
"""

from __future__ import annotations

import math
from typing import Protocol

import trio

REST_S = 0.2
"""Between two looks: how late we may notice that somebody is late, so that many of them share a look."""


class Waiting(Protocol):
    """Something whose time may be up."""

    due: float
    """When it is late, on trio's clock; infinity while nothing is waited for. Only `Lateness.expect` brings it nearer,
    anybody may put it off."""

    def late(self) -> None:
        """Its time is up. Told again and again until `due` has moved; returns at once and never raises."""


class Lateness:
    """Those who wait, and when to look at them next."""

    def __init__(self) -> None:
        self._waiting: set[Waiting] = set()
        self._next = math.inf
        self._sleep = trio.CancelScope()

    def add(self, one: Waiting) -> None:
        """From here on it is told when it is late."""
        self._waiting.add(one)

    def discard(self, one: Waiting) -> None:
        """It waits for nothing any more."""
        self._waiting.discard(one)

    def expect(self, one: Waiting, due: float) -> None:
        """What it waits for is late from `due` on."""
        one.due = due
        if due < self._next:
            self._next = self._sleep.deadline = due

    async def run(self) -> None:
        """Look whenever somebody may be late. Runs for ever."""
        while True:
            with trio.CancelScope(deadline=self._next) as self._sleep:
                await trio.sleep_forever()
            self._look()

    def _look(self) -> None:
        now = trio.current_time()
        for one in tuple(self._waiting):
            if one.due <= now:
                one.late()
        self._next = max(min((one.due for one in self._waiting), default=math.inf), now + REST_S)


_of_this_run: trio.lowlevel.RunVar[Lateness] = trio.lowlevel.RunVar("lateness")


def here() -> Lateness:
    """That of this event loop, which runs while the loop does."""
    try:
        return _of_this_run.get()
    except LookupError:
        lateness = Lateness()
        _of_this_run.set(lateness)
        trio.lowlevel.spawn_system_task(lateness.run)
        return lateness
