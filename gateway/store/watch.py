"""Many callers that wait for rows to change, and one of them at a time who looks.

A row can be changed by any process, so somebody has to look; that all waiting callers look would be a query each. Here
the first one looks for everybody, and whoever leaves hands the duty on. There is no background task to own or to fail
unseen: what goes wrong while looking is raised in every caller that waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain

import trio

from gateway.core.errors import EvidenceFault
from gateway.core.types import ApprovalId

POLL_S = 0.25
"""How late another process's change may be seen. A person at the other end does not notice a quarter of a second."""


@dataclass(eq=False, slots=True)
class _Place:
    """One caller that waits. `called` is set when it has an answer, or has the duty to look."""

    name: ApprovalId
    called: trio.Event = field(default_factory=trio.Event)
    moved: bool = False
    fault: EvidenceFault | None = None


class Watch:
    """Waits for approvals to move on. Belongs to one trio thread."""

    def __init__(self, look: Callable[[frozenset[ApprovalId]], Awaitable[frozenset[ApprovalId]]]) -> None:
        """`look` says which of the given approvals have moved on; it raises EvidenceFault when it cannot tell."""
        self._look = look
        self._places: dict[ApprovalId, set[_Place]] = {}
        self._looking = False
        self._nudged = trio.Event()
        self._changed: set[ApprovalId] = set()
        """Approvals that this process changed and nobody has looked at since."""

    def nudge(self, name: ApprovalId) -> None:
        """The approval was changed in this process: look at it at once."""
        self._changed.add(name)
        self._nudged.set()

    async def moved(self, name: ApprovalId) -> None:
        """Return when the approval has moved on. Raises EvidenceFault when nobody can look. Safe to cancel."""
        place = _Place(name)
        self._places.setdefault(name, set()).add(place)
        try:
            while not place.moved:
                if self._looking:
                    await place.called.wait()
                    place.called = trio.Event()
                else:
                    await self._look_for_all(place)
                if place.fault is not None:
                    raise EvidenceFault(place.fault.detail)
        finally:
            self._leave(place)

    async def _look_for_all(self, place: _Place) -> None:
        """Look until this caller's own approval has moved on, then hand the duty to another."""
        self._looking = True
        due = trio.current_time()
        try:
            while not place.moved:
                names = frozenset(self._changed & self._places.keys())
                self._changed.clear()
                if trio.current_time() >= due:
                    names, due = frozenset(self._places), trio.current_time() + POLL_S
                await self._once(names)
                if not place.moved:
                    with trio.move_on_at(due):
                        await self._nudged.wait()
                    self._nudged = trio.Event()
        except EvidenceFault as fault:
            for each in self._everybody():
                each.fault = fault
                each.called.set()
        finally:
            self._looking = False

    def _leave(self, place: _Place) -> None:
        """See to it that somebody looks, if anybody waits: done by each that leaves, because an heir may leave too."""
        self._places[place.name].discard(place)
        if not self._places[place.name]:
            del self._places[place.name]
        if not self._looking:
            heir = next((each for each in self._everybody() if not each.called.is_set()), None)
            if heir is not None:
                heir.called.set()

    def _everybody(self) -> Iterator[_Place]:
        return chain.from_iterable(self._places.values())

    async def _once(self, names: frozenset[ApprovalId]) -> None:
        if not names:
            return
        for name in await self._look(names):
            for place in self._places.get(name, ()):
                if not place.moved:
                    place.moved = True
                    place.called.set()
