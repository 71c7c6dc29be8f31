"""What one message counts against the budgets of whoever got it: numbers, and keyed digests of patients."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.types import Document

BUCKETS = 24
"""A window moves on in so many steps: what was used counts for at least the window, and at most 1/24 longer."""
SHORTEST_S = 60
LONGEST_S = 366 * 86_400
WINDOWS_MOST = 8

_DURATION = re.compile(r"P(?=[\dT])(?:(\d{1,3})D)?(?:T(?=\d)(?:(\d{1,4})H)?(?:(\d{1,5})M)?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time that ends now, as policy names it: an ISO 8601 duration of days, hours and minutes."""

    name: str
    seconds: int

    @property
    def bucket(self) -> int:
        """Seconds that are counted together."""
        return self.seconds // BUCKETS


@dataclass(frozen=True, slots=True)
class Used:
    """What is added to the counts of `who`, in each window."""

    who: str
    """The keyed pseudonym of the principal."""
    windows: tuple[Window, ...]
    calls: int
    rows: int = 0
    phi_fields: int = 0
    patients: frozenset[bytes] = field(default=frozenset(), repr=False)
    """Keyed digests of the patients' identifiers."""
    uncounted: int = 0
    """Patients beyond those whose digests are kept: each counts as another one, also when it is not."""


def windows(data: Document) -> tuple[Window, ...]:
    """The windows that a bundle's base data asks counts for, `gateway.settings.guards.budgets`, shortest first.

    Raises ValueError for budgets that cannot be counted: a limit that nobody counts up to would limit nothing.
    """
    held: object = data
    for key in ("gateway", "settings", "guards", "budgets"):
        held = held.get(key) if isinstance(held, Mapping) else None
    if held is None:
        return ()
    if not isinstance(held, Mapping) or not all(isinstance(limits, Mapping) for limits in held.values()):
        raise ValueError("settings.guards.budgets is an object: role -> window -> limits")
    found = {window(name) for limits in held.values() if isinstance(limits, Mapping) for name in limits}
    if len(found) > WINDOWS_MOST:
        raise ValueError(f"settings.guards.budgets has {len(found)} different windows, and {WINDOWS_MOST} are the most")
    return tuple(sorted(found, key=lambda each: (each.seconds, each.name)))


def window(name: object) -> Window:
    """The window of this name, as `PT1H`, `PT8H30M`, `P1D`. Raises ValueError when it is none that can be counted."""
    match = _DURATION.fullmatch(name) if isinstance(name, str) else None
    days, hours, minutes = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    seconds = days * 86_400 + hours * 3_600 + minutes * 60
    if not isinstance(name, str) or not SHORTEST_S <= seconds <= LONGEST_S:
        raise ValueError("a window of budgets is an ISO 8601 duration from PT1M to P366D, as PT1H or P1D")
    return Window(name, seconds)
