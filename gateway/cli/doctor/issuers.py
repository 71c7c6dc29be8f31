"""An identity provider, asked as the gateway asks it: metadata, keys, their algorithms, its clock and certificate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx2

from gateway.cli.doctor import certificate
from gateway.cli.doctor.finding import Finding, Status, fail, ok, warn, worst
from gateway.core.errors import IdentityUnavailable
from gateway.identity import oidc
from gateway.identity.keys import KeySet
from gateway.identity.settings import IssuerConfig

APART_S = 2.0
"""HTTP dates have whole seconds, and the answer took some time."""


async def check(issuer: IssuerConfig) -> list[Finding]:
    """Everything about one `[[issuer]]`."""
    secured = await certificate.check(issuer.url, timeout_s=issuer.timeout_s)
    if worst(secured) is Status.FAIL:
        return secured
    async with _dated() as (http, dates):
        try:
            _, keys = await oidc.fetch(http, issuer)
        except IdentityUnavailable as fault:
            return [*secured, fail(f"{_sentence(fault.detail)}", fix=_way(issuer))]
    return [*secured, _serves(issuer, keys), *_clock(issuer, dates)]


@asynccontextmanager
async def _dated() -> AsyncIterator[tuple[httpx2.AsyncClient, list[float]]]:
    """The client for providers, and by how many seconds our clock is ahead of what each answer said."""
    ahead: list[float] = []

    async def note(response: httpx2.Response) -> None:
        try:
            told = parsedate_to_datetime(response.headers["date"])
            ahead.append((datetime.now(UTC) - told).total_seconds())
        except (KeyError, ValueError, TypeError):
            pass  # RFC 9110 §6.6.1: a server without a clock sends none.

    async with oidc.client() as http:
        http.event_hooks["response"] = [note]
        yield http, ahead


def _serves(issuer: IssuerConfig, keys: KeySet) -> Finding:
    served = sorted({name for key in keys.keys for name in key.algorithms} & set(issuer.algorithms))
    if served:
        return ok(f"{len(keys.keys)} keys, for {', '.join(served)}")
    offered = sorted({name for key in keys.keys for name in key.algorithms})
    wanted = ", ".join(issuer.algorithms)
    if not offered:
        return fail("It publishes no key that signatures may be checked with.", fix="give it an RSA or EC signing key")
    text = f"Its keys serve {', '.join(offered)}, and only {wanted} are accepted: every token is refused."
    return fail(text, fix=f"algorithms = {offered!r} in [[issuer]] {issuer.url}, if these are what it signs with")


def _clock(issuer: IssuerConfig, ahead: list[float]) -> list[Finding]:
    if not ahead:
        return [ok("its answers carry no Date, so its clock was not compared")]
    apart = min(ahead, key=abs)
    text = f"This machine's clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} the provider's"
    fix = "set both clocks by a time service: timedatectl set-ntp true"
    if abs(apart) > issuer.clock_skew_s:
        word = "too old" if apart > 0 else "not yet valid"
        return [fail(f"{text}, beyond clock_skew_s ({issuer.clock_skew_s:g}): fresh tokens are {word}.", fix=fix)]
    if abs(apart) > APART_S:
        return [warn(f"{text}.", fix=fix)]
    return [ok("its clock and this machine's agree")]


def _way(issuer: IssuerConfig) -> str:
    parts = urlsplit(issuer.url)
    path = parts.path.rstrip("/")
    return f"from this machine: curl -i {parts.scheme}://{parts.netloc}{path}/.well-known/openid-configuration"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
