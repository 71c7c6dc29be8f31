"""Refused tokens, counted: 45 CFR 164.308(a)(5)(ii)(C) wants log-in attempts monitored.

Anybody can send refused tokens as fast as they like, so they are counted and put on record once a second for each
upstream, reason and address; the log grows by time, not by how hard somebody tries, nor from how many addresses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from quart import has_request_context, request

from gateway.identity import peer
from gateway.identity.reasons import Reason

MOST_PEERS = 32
"""Addresses told apart in a second; the others are counted together, under none."""


def _untold(_: str) -> None:
    """Nobody else wants to know."""


class FailedLogins:
    """Counts what was refused since it was last taken."""

    every_s = 1.0

    def __init__(self, tell: Callable[[str], None] = _untold) -> None:
        """`tell` is told every reason at once."""
        self._tell = tell
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._peers: set[str] = set()

    def note(self, reason: str, upstream: str, address: str = "") -> None:
        """One request from `address` was refused; empty when nobody knows from where.

        No token at all is how every client first finds out where to get one: no attempt.
        """
        self._tell(reason)
        if reason == Reason.MISSING.value:
            return
        if address not in self._peers and len(self._peers) >= MOST_PEERS:
            address = ""
        self._peers.add(address)
        self._counts[reason, upstream, address] += 1

    def note_page(self, reason: str, place: str) -> None:
        """The same for the request that Quart serves now."""
        self.note(reason, place, peer.of(cast(dict[str, Any], request.scope)).address if has_request_context() else "")

    def take(self) -> list[tuple[str, str, str, int]]:
        """Reason, upstream, address and count of what was noted since the last time, which is forgotten here."""
        taken = [(*what, count) for what, count in sorted(self._counts.items())]
        self._counts.clear()
        self._peers.clear()
        return taken
