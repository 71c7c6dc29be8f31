"""Many callers that wait for rows to change, and one of them at a time who looks.

A row can be changed by any process, so somebody has to look; that all waiting callers look would be a query each. Here
the first one looks for everybody, and whoever leaves hands the duty on. There is no background task to own or to fail
unseen: what goes wrong while looking is raised in every caller that waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

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
        self._places: set[_Place] = set()
        self._looking = False
        self._nudged = trio.Event()

    def nudge(self) -> None:
        """Something was changed in this process: look at once."""
        self._nudged.set()

    async def moved(self, name: ApprovalId) -> None:
        """Return when the approval has moved on. Raises EvidenceFault when nobody can look. Safe to cancel."""
        place = _Place(name)
        self._places.add(place)
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
            self._places.discard(place)
            self._hand_on()

    async def _look_for_all(self, place: _Place) -> None:
        """Look until this caller's own approval has moved on, then hand the duty to another."""
        self._looking = True
        try:
            while not place.moved:
                await self._once()
                if not place.moved:
                    with trio.move_on_after(POLL_S):
                        await self._nudged.wait()
                    self._nudged = trio.Event()
        except EvidenceFault as fault:
            for each in self._places:
                each.fault = fault
                each.called.set()
        finally:
            self._looking = False

    def _hand_on(self) -> None:
        """See to it that somebody looks, if anybody waits: done by each that leaves, because an heir may leave too."""
        heir = next((each for each in self._places if not each.called.is_set()), None)
        if heir is not None and not self._looking:
            heir.called.set()

    async def _once(self) -> None:
        names = frozenset(place.name for place in self._places)
        found = await self._look(names)
        for place in self._places:
            if place.name in found and not place.moved:
                place.moved = True
                place.called.set()
