"""Tokens while they are good: fetched once however many wait, bounded in number, in memory only.

A failure is remembered for a moment too, so that a storm of calls does not become a storm at the token endpoint, and
those who waited for one answer do not wait for another each.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from gateway.core.errors import UpstreamFault

MOST = 4096
"""Tokens of one upstream, about 2 KB each."""
EARLY_S = 30.0
"""How long before its end a token is not used any more; of a short-lived one, a quarter of its life."""
RETRY_S = 1.0
YOUNG_S = 5.0
"""A token that is refused while it is younger would be refused again if it were fetched anew."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A token, and for how many seconds it is good from now on."""

    token: str = field(repr=False)
    lifetime_s: float


Fetch = Callable[[], Awaitable[Fetched]]
"""Raises UpstreamFault."""


@dataclass(eq=False, slots=True)
class _Entry:
    token: str = field(default="", repr=False)
    since: float = -math.inf
    until: float = -math.inf
    fault: UpstreamFault | None = None
    """Why there is no token, for RETRY_S from `since`."""
    lock: trio.Lock = field(default_factory=trio.Lock)


class Cache:
    """Tokens by key. Times are trio's clock."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    async def get(self, key: bytes, fetch: Fetch) -> str:
        """The token of this key, fetched if there is none that is good. Raises UpstreamFault."""
        entry = self._entries.setdefault(key, _Entry())
        self._entries.move_to_end(key)
        while len(self._entries) > self._most:
            self._entries.popitem(last=False)
        if trio.current_time() >= entry.until:
            async with entry.lock:
                if trio.current_time() >= entry.until:
                    await _renew(entry, fetch)
        return entry.token

    def known(self, key: bytes) -> str | None:
        """The token of this key while it is good."""
        entry = self._entries.get(key)
        return entry.token if entry is not None and trio.current_time() < entry.until else None

    def forget(self, token: str) -> None:
        """This token was refused: another one is fetched when it is needed again."""
        now = trio.current_time()
        for entry in self._entries.values():
            if entry.token == token and now >= entry.since + YOUNG_S:
                entry.until = -math.inf


async def _renew(entry: _Entry, fetch: Fetch) -> None:
    if entry.fault is not None and trio.current_time() < entry.since + RETRY_S:
        raise UpstreamFault(entry.fault.detail, kind=entry.fault.kind)
    try:
        fetched = await fetch()
    except UpstreamFault as fault:
        entry.since, entry.fault = trio.current_time(), fault
        raise
    now = trio.current_time()
    entry.token, entry.since, entry.fault = fetched.token, now, None
    entry.until = now + fetched.lifetime_s - min(EARLY_S, fetched.lifetime_s / 4)
