"""Keeps one issuer's keys: fetched when first needed, used until their age asks for a look, outliving short outages.

Bounds, all from the configuration: keys are used for `jwks_max_age_s`; when the provider then cannot be asked they
serve for `jwks_stale_s` more, and after that nobody is believed. Failures and unknown key ids cause a fetch at most
every `jwks_refetch_s`, whatever strangers send. There is never more than one fetch at a time.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable

import trio

from gateway.core.errors import IdentityUnavailable
from gateway.identity.keys import KeySet
from gateway.identity.settings import IssuerConfig

logger = logging.getLogger(__name__)

Fetch = Callable[[IssuerConfig], Awaitable[tuple[bytes, KeySet]]]
"""Asks the provider; raises IdentityUnavailable, and is not cancelled half-way."""


class Provider:
    """The keys of one issuer, over time (seconds of trio's clock)."""

    def __init__(self, issuer: IssuerConfig, fetch: Fetch) -> None:
        self.issuer = issuer
        self.fault: str | None = None
        """Why the last attempt to fetch failed."""
        self._fetch = fetch
        self._lock = trio.Lock()
        self._keys: KeySet | None = None
        self._source = b""
        self._tried_at = -math.inf
        self._check_at = -math.inf
        self._dead_at = -math.inf
        self._had_at: float | None = None

    @property
    def age_s(self) -> float | None:
        """How old the keys are; None when there never were any."""
        return None if self._had_at is None else trio.current_time() - self._had_at

    @property
    def fresh(self) -> KeySet | None:
        """The keys, unless it is time to ask for them: what a remembered token is held against."""
        now = trio.current_time()
        return self._keys if now < self._check_at and now < self._dead_at else None

    async def keys(self) -> KeySet:
        """The keys to check tokens with now. Raises IdentityUnavailable when they are unknown or too old."""
        if trio.current_time() < self._check_at or (self._lock.locked() and self._alive()):
            return self._believed()  # While somebody else asks, keys that are alive serve.
        async with self._lock:
            if trio.current_time() >= self._check_at:
                await self._refresh()
        return self._believed()

    async def keys_beyond(self, seen: KeySet) -> KeySet:
        """The keys after another look, because a token names one that `seen` lacks; `seen` when it is too early.

        Raises IdentityUnavailable when the provider cannot be asked: the key may well be its newest.
        """
        async with self._lock:
            due = trio.current_time() >= self._tried_at + self.issuer.jwks_refetch_s
            if self._keys is seen and due:
                await self._refresh()
        if self.fault is not None:
            raise IdentityUnavailable(self.fault)
        return self._believed()

    def _alive(self) -> bool:
        return trio.current_time() < self._dead_at

    def _believed(self) -> KeySet:
        if self._keys is None or not self._alive():
            raise IdentityUnavailable(self.fault or f"the keys of {self.issuer.url} are too old to be believed")
        return self._keys

    async def _refresh(self) -> None:
        self._tried_at = trio.current_time()
        try:
            source, keys = await self._fetch(self.issuer)
        except IdentityUnavailable as fault:
            self.fault = fault.detail
            self._check_at = trio.current_time() + self.issuer.jwks_refetch_s
            logger.warning("identity: %s", fault.detail)
            return
        if self._keys is None or source != self._source:
            self._keys, self._source = keys, source
            logger.info("identity: %d keys of %s", len(keys.keys), self.issuer.url)
        self.fault = None
        self._had_at = trio.current_time()
        self._check_at = trio.current_time() + self.issuer.jwks_max_age_s
        self._dead_at = self._check_at + self.issuer.jwks_stale_s
