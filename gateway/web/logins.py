"""Refused tokens, counted: 45 CFR 164.308(a)(5)(ii)(C) wants log-in attempts monitored.

Anybody can send refused tokens as fast as they like, so they are counted and put on record once a second for each
upstream and reason; the log grows by time, not by how hard somebody tries.
"""

from __future__ import annotations

from collections import Counter

from gateway.identity.reasons import Reason


class FailedLogins:
    """Counts what was refused since it was last taken."""

    every_s = 1.0

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def note(self, reason: str, upstream: str) -> None:
        """One request was refused. No token at all is how every client first finds out where to get one: no attempt."""
        if reason != Reason.MISSING.value:
            self._counts[reason, upstream] += 1

    def take(self) -> list[tuple[str, str, int]]:
        """Reason, upstream and count of what was noted since the last time, which is forgotten here."""
        taken = [(reason, upstream, count) for (reason, upstream), count in sorted(self._counts.items())]
        self._counts.clear()
        return taken
