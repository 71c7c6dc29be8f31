"""What every signed assertion must have, a client's and an identity provider's alike (RFC 7523 §3): to be for us, to be
young, and to have an id under which it is used once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import sha256

from gateway.core.types import Document, Json
from gateway.identity import jws

Spend = Callable[[str], Awaitable[bool]]
"""Whether the key is new to every process that serves from this store; from then on it is not. Raises EvidenceFault."""

LONGEST_S = 3600.0
"""How far off an expiry may be. Less than ids of used assertions are remembered (`store.mail.NOTED_S`)."""
MAX_ID = 256


def fresh(claims: Document, *, skew: float, now: float) -> bool:
    """Whether it is valid now (else Unauthenticated), says since when, and will soon not be any more."""
    until = jws.check_times(claims, skew=skew, now=now)
    return "iat" in claims and until <= now + LONGEST_S + skew


def is_for(audience: Json, *names: str) -> bool:
    """Whether one of `names` is the only audience: an assertion for several could be replayed by one at another."""
    if isinstance(audience, list):
        return len(audience) == 1 and audience[0] in names
    return audience in names


def id_of(claims: Document) -> str | None:
    """Its id (RFC 7519 §4.1.7), None when it has none that can be kept."""
    found = claims.get("jti")
    return found if isinstance(found, str) and 0 < len(found) <= MAX_ID else None


def spent_key(kind: str, issuer: str, ident: str) -> str:
    """Under what it is remembered that an assertion was used: ids are unique for each issuer."""
    text = f"{kind}:{len(issuer)}:{issuer}{ident}"
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
