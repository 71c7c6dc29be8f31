"""What the doctor finds: a state, what it means, and what mends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum


class Status(Enum):
    """In order of concern."""

    OK = "OK"
    WARN = "WARN"
    """It serves, and something will hurt later or is not as it should be."""
    FAIL = "FAIL"
    """It cannot serve, or not everybody."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. Made by `ok`, `warn` and `fail`."""

    status: Status
    text: str
    fix: str = ""
    """The command or setting that mends it; never empty unless it is in order."""


Check = Callable[[], Awaitable[Sequence[Finding]]]
"""Looks at one part and changes nothing of it. It may be cancelled at any time."""


def ok(text: str) -> Finding:
    """It is in order."""
    return Finding(Status.OK, text)


def warn(text: str, *, fix: str) -> Finding:
    """It serves, but."""
    return Finding(Status.WARN, text, fix)


def fail(text: str, *, fix: str) -> Finding:
    """It does not serve."""
    return Finding(Status.FAIL, text, fix)


def worst(findings: Sequence[Finding]) -> Status:
    """The state of all of them together."""
    states = {finding.status for finding in findings}
    return next((status for status in (Status.FAIL, Status.WARN) if status in states), Status.OK)
