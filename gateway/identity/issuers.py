"""Who sends this request? The one question that the rest of the gateway asks of identity.

A token that was verified is remembered, by its SHA-256 and the resource it was sent to, until it expires, its issuer
publishes other keys or something is revoked: checking it again would prove nothing new. Tokens themselves are not kept.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Container, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from urllib.parse import unquote_to_bytes

import trio

from gateway.core.errors import IdentityUnavailable
from gateway.core.types import Document, Principal
from gateway.identity import groups, jws, oidc, tokens
from gateway.identity.authority import signer
from gateway.identity.authority.signer import Signer
from gateway.identity.directory import Directory, LookUp
from gateway.identity.jws import MAX_TOKEN_CHARACTERS, Jws
from gateway.identity.keys import Key, KeySet
from gateway.identity.provider import Fetch, Provider
from gateway.identity.reasons import Reason, refused
from gateway.identity.revoked import Revoked
from gateway.identity.settings import IssuerConfig
from gateway.identity.tokens import Verified

REMEMBERED_TOKENS = 10_000
"""About 1 KB each."""

_TOKEN_PARAMETER = re.compile(rb"(?:^|[&;])access_token(?:=|&|;|$)", re.IGNORECASE)


def refuse_in_url(query: bytes) -> None:
    """Raises Unauthenticated when a raw query string holds a token (RFC 6750 §2.3)."""
    if query and _TOKEN_PARAMETER.search(unquote_to_bytes(query)):
        raise refused(Reason.IN_URL)


@dataclass(frozen=True, slots=True)
class _Remembered:
    token: Verified
    provider: Provider
    keys: KeySet = field(repr=False)


class Issuers:
    """Every issuer that is trusted."""

    def __init__(
        self,
        issuers: Iterable[IssuerConfig],
        fetch: Fetch,
        *,
        own: Signer | None = None,
        look_ups: Mapping[str, LookUp] | None = None,
        now: Callable[[], float] = time.time,
        remember: int = REMEMBERED_TOKENS,
    ) -> None:
        """`fetch` asks a provider for its keys; `own` is our authority, if we are one; `look_ups` have the groups that
        tokens of an issuer, by its URL, leave out; `now` is seconds since 1970.
        """
        self._look_ups = look_ups or {}
        self._revoked = Revoked()
        self._providers = {issuer.url: Provider(issuer, fetch) for issuer in issuers}
        self._asked = tuple(self._providers.values())
        self._own = Provider(own.issuer, own.published) if own is not None else None
        if self._own is not None:
            self._providers[self._own.issuer.url] = self._own
        self._now = now
        self._limit = remember
        self._remembered: OrderedDict[tuple[bytes, str, str | None], _Remembered] = OrderedDict()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, issuers: Iterable[IssuerConfig], *, own: Signer | None = None, now: Callable[[], float] = time.time
    ) -> AsyncIterator[Issuers]:
        """The issuers, asked over HTTP. Nothing is fetched before it is needed or `probe` is called."""
        known = tuple(issuers)
        async with oidc.client() as http:
            look_ups = {each.url: Directory(each.graph, http).groups for each in known if each.graph is not None}
            yield cls(known, partial(oidc.fetch, http), own=own, look_ups=look_ups, now=now)

    def provider(self, url: str) -> Provider:
        """The issuer at `url`, which must be one of them."""
        return self._providers[url]

    def revokes(self, verified: Verified) -> bool:
        """Whether what was verified elsewhere is revoked."""
        return self._revoked.holds(verified, signed_by=verified.principal.issuer, skew_s=0)

    def revoke(self, revoked: Revoked) -> None:
        """From here on these are what was revoked, also for the tokens that are remembered."""
        self._revoked = revoked
        self._remembered.clear()

    async def principal(self, claims: Document, issuer: str) -> Principal:
        """Who these claims of an issuer are about, with the groups that they leave to be looked up. They must have been
        checked. Raises Unauthenticated, and IdentityUnavailable when groups cannot be had.
        """
        found, groups_of = tokens.partial(claims, self._providers[issuer].issuer)
        return (await self._look_up(found, groups_of))[0] if groups_of else found

    async def identify(
        self,
        authorization: str | None,
        *,
        resource: str,
        query: bytes = b"",
        scopes: Sequence[str] = (),
        thumbprint: str | None = None,
    ) -> Principal:
        """The principal of a request to `resource` with this `Authorization` header and raw query string.

        The token must hold all of `scopes`, and if it is bound to a certificate, that must be the one of `thumbprint`
        (RFC 8705 §3.1). Raises Unauthenticated, and IdentityUnavailable when the issuer's keys, or
        groups that the token leaves out, cannot be had.
        """
        refuse_in_url(query)
        if authorization is None:
            raise refused(Reason.MISSING)
        if len(authorization) > MAX_TOKEN_CHARACTERS:
            raise refused(Reason.OVERSIZE)
        name = (sha256(authorization.encode("utf-8", "surrogatepass")).digest(), resource, thumbprint)
        known = self._remembered.get(name)
        if known is not None:
            # Only while these very keys are published; a key that its issuer has withdrawn vouches for nobody.
            if known.keys is known.provider.fresh and self._now() < known.token.until:
                self._remembered.move_to_end(name)
                return _with_scopes(known, scopes)
            del self._remembered[name]
        found = await self._verify(tokens.read(authorization), resource, thumbprint)
        self._remembered[name] = found
        while len(self._remembered) > self._limit:
            self._remembered.popitem(last=False)
        return _with_scopes(found, scopes)

    def ages(self) -> Mapping[str, float | None]:
        """How old the keys of each issuer are, in seconds; None when there never were any."""
        return {url: provider.age_s for url, provider in self._providers.items()}

    def failing(self) -> frozenset[str]:
        """The issuers whose keys could not be had when they were last asked for."""
        return frozenset(url for url, provider in self._providers.items() if provider.fault is not None)

    async def probe(self) -> str | None:
        """Why nobody can be identified now; None when some issuer's keys are at hand, or no issuer is configured.

        Fetches what is due.
        """
        faults: list[str] = []

        async def one(provider: Provider) -> None:
            try:
                await provider.keys()
            except IdentityUnavailable as fault:
                faults.append(fault.detail)

        async with trio.open_nursery() as nursery:
            for provider in self._asked:
                nursery.start_soon(one, provider)
        return "; ".join(sorted(faults)) if faults and len(faults) == len(self._asked) else None

    async def vouched(self, token: Jws, among: Container[str]) -> IssuerConfig:
        """The issuer that signed a token of whatever type, which must be one of `among`; no claim was looked at.

        Raises Unauthenticated, and IdentityUnavailable when the issuer's keys cannot be had.
        """
        if token.issuer not in among:
            raise refused(Reason.UNKNOWN_ISSUER)
        provider = self._provider(token)
        _, key = await key_of(provider, token)
        jws.check_signature(token, key, provider.issuer.algorithms)
        return provider.issuer

    async def asserted(self, claims: Document, issuer: IssuerConfig) -> Principal:
        """Who an assertion of an issuer is about, unless that was revoked. Its claims must have been checked.

        Raises like `principal`.
        """
        found = await self.principal(claims, issuer.url)
        if self._is_revoked(tokens.asserted(claims, found), issuer):
            raise refused(Reason.REVOKED)
        return found

    def _is_revoked(self, verified: Verified, issuer: IssuerConfig) -> bool:
        return self._revoked.holds(verified, signed_by=issuer.url, skew_s=issuer.clock_skew_s)

    def _provider(self, token: Jws) -> Provider:
        provider = self._providers.get(token.issuer)
        if provider is None:
            raise refused(Reason.UNKNOWN_ISSUER)
        if token.algorithm not in provider.issuer.algorithms:
            raise refused(Reason.ALG_REFUSED)
        return provider

    async def _verify(self, token: Jws, resource: str, thumbprint: str | None) -> _Remembered:
        provider = self._provider(token)
        keys, key = await key_of(provider, token)
        verified = tokens.verify(token, key, provider.issuer, resource=resource, now=self._now(), thumbprint=thumbprint)
        if provider is self._own:
            verified = replace(verified, principal=signer.person(token.claims, verified.principal))
        if verified.groups_of:
            found, valid_s = await self._look_up(verified.principal, verified.groups_of)
            verified = replace(verified, principal=found, until=min(verified.until, self._now() + valid_s))
        if self._is_revoked(verified, provider.issuer):
            raise refused(Reason.REVOKED)
        return _Remembered(verified, provider, keys)

    async def _look_up(self, found: Principal, groups_of: str) -> tuple[Principal, float]:
        """The same with the groups that its token left out, and for how many seconds they count."""
        look_up = self._look_ups.get(found.issuer)
        if look_up is None:
            raise refused(Reason.GROUPS_ELSEWHERE)
        theirs, valid_s = await look_up(groups_of)
        return replace(found, groups=groups.checked((*theirs, *found.groups))), valid_s


async def key_of(provider: Provider, token: Jws) -> tuple[KeySet, Key]:
    """The key that must have signed the token, after another look at the provider when it is not known."""
    keys = await provider.keys()
    known, key = keys.find(token.kid, token.algorithm)
    if not known:
        keys = await provider.keys_beyond(keys)
        known, key = keys.find(token.kid, token.algorithm)
    if key is None:
        raise refused(Reason.ALG_REFUSED if known else Reason.UNKNOWN_KEY)
    return keys, key


def _with_scopes(known: _Remembered, scopes: Sequence[str]) -> Principal:
    """The principal, if its token holds all of `scopes` (RFC 6750 §3.1)."""
    if not scopes:
        return known.token.principal
    short = known.provider.issuer.short_scopes
    # Entra ID leaves out of the token what stands before a scope's name in the request: the API, which is its audience.
    if any((scope.rpartition("/")[2] if short else scope) not in known.token.scopes for scope in scopes):
        raise refused(Reason.INSUFFICIENT_SCOPE)
    return known.token.principal
