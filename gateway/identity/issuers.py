"""Who sends this request? The one question that the rest of the gateway asks of identity.

A token that was verified is remembered, by its SHA-256 and the resource it was sent to, until it expires or its issuer
publishes other keys: checking it again would prove nothing new. Tokens themselves are not kept.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from urllib.parse import unquote_to_bytes

import trio

from gateway.core.errors import IdentityUnavailable
from gateway.core.types import Principal
from gateway.identity import oidc, tokens
from gateway.identity.jws import MAX_TOKEN_CHARACTERS, Jws
from gateway.identity.keys import Key, KeySet
from gateway.identity.provider import Fetch, Provider
from gateway.identity.reasons import Reason, refused
from gateway.identity.settings import IssuerConfig

REMEMBERED_TOKENS = 10_000
"""About 1 KB each."""

_TOKEN_PARAMETER = re.compile(rb"(?:^|[&;])access_token(?:=|&|;|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Remembered:
    principal: Principal
    until: float
    provider: Provider
    keys: KeySet = field(repr=False)


class Issuers:
    """Every issuer that is trusted."""

    def __init__(
        self,
        issuers: Iterable[IssuerConfig],
        fetch: Fetch,
        *,
        now: Callable[[], float] = time.time,
        remember: int = REMEMBERED_TOKENS,
    ) -> None:
        """`now` is seconds since 1970; `fetch` asks a provider for its keys."""
        self._providers = {issuer.url: Provider(issuer, fetch) for issuer in issuers}
        self._now = now
        self._limit = remember
        self._remembered: OrderedDict[tuple[bytes, str], _Remembered] = OrderedDict()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, issuers: Iterable[IssuerConfig], *, now: Callable[[], float] = time.time
    ) -> AsyncIterator[Issuers]:
        """The issuers, asked over HTTP. Nothing is fetched before it is needed or `probe` is called."""
        async with oidc.client() as http:
            yield cls(issuers, partial(oidc.fetch, http), now=now)

    def provider(self, url: str) -> Provider:
        """The issuer at `url`, which must be one of them."""
        return self._providers[url]

    async def identify(self, authorization: str | None, *, resource: str, query: bytes = b"") -> Principal:
        """The principal of a request to `resource` with this `Authorization` header and raw query string.

        Raises Unauthenticated, and IdentityUnavailable when the issuer's keys cannot be had.
        """
        if query and _TOKEN_PARAMETER.search(unquote_to_bytes(query)):
            raise refused(Reason.IN_URL)
        if authorization is None:
            raise refused(Reason.MISSING)
        if len(authorization) > MAX_TOKEN_CHARACTERS:
            raise refused(Reason.OVERSIZE)
        name = (sha256(authorization.encode("utf-8", "surrogatepass")).digest(), resource)
        known = self._remembered.get(name)
        if known is not None:
            # Only while these very keys are published; a key that its issuer has withdrawn vouches for nobody.
            if known.keys is known.provider.fresh and self._now() < known.until:
                self._remembered.move_to_end(name)
                return known.principal
            del self._remembered[name]
        found = await self._verify(tokens.read(authorization), resource)
        self._remembered[name] = found
        while len(self._remembered) > self._limit:
            self._remembered.popitem(last=False)
        return found.principal

    async def probe(self) -> str | None:
        """Why nobody can be identified now; None when some issuer's keys are at hand. Fetches what is due."""
        faults: list[str] = []

        async def one(provider: Provider) -> None:
            try:
                await provider.keys()
            except IdentityUnavailable as fault:
                faults.append(fault.detail)

        async with trio.open_nursery() as nursery:
            for provider in self._providers.values():
                nursery.start_soon(one, provider)
        return "; ".join(sorted(faults)) if len(faults) == len(self._providers) else None

    async def _verify(self, token: Jws, resource: str) -> _Remembered:
        provider = self._providers.get(token.issuer)
        if provider is None:
            raise refused(Reason.UNKNOWN_ISSUER)
        if token.algorithm not in provider.issuer.algorithms:
            raise refused(Reason.ALG_REFUSED)
        keys, key = await _key(provider, token)
        verified = tokens.verify(token, key, provider.issuer, resource=resource, now=self._now())
        return _Remembered(verified.principal, verified.until, provider, keys)


async def _key(provider: Provider, token: Jws) -> tuple[KeySet, Key]:
    """The key that must have signed the token, after another look at the provider when it is not known."""
    keys = await provider.keys()
    known, key = keys.find(token.kid, token.algorithm)
    if not known:
        keys = await provider.keys_beyond(keys)
        known, key = keys.find(token.kid, token.algorithm)
    if key is None:
        raise refused(Reason.ALG_REFUSED if known else Reason.UNKNOWN_KEY)
    return keys, key
