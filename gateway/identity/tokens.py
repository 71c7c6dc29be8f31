"""What a bearer token says, and whether it may be believed. Pure: keys, rules and the time are arguments.

Two steps, because which key to use depends on the token: `read` takes it apart and believes nothing; `verify` checks
the signature first and then every claim (RFC 7519 §7.2, RFC 8725, RFC 9068 §4). Both raise Unauthenticated with a
constant sentence and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.core.types import Document, Json, Principal
from gateway.identity import groups, jws
from gateway.identity.jws import MAX_TOKEN_CHARACTERS, Jws
from gateway.identity.keys import Key
from gateway.identity.reasons import Reason, refused
from gateway.identity.settings import IssuerConfig

MAX_CHAIN = 8
"""Deepest delegation (RFC 8693 §4.1 nested `act`)."""

_AUTHORIZATION = re.compile(r"bearer +(\S+)", re.IGNORECASE | re.ASCII)
_ACCESS_TOKEN = "at+jwt"
"""RFC 9068 §2.1."""
_ID_TOKEN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash", "s_hash"})


@dataclass(frozen=True, slots=True)
class Verified:
    """A principal, and until when the token vouches for it (seconds since 1970, clock skew included)."""

    principal: Principal
    until: float


def read(authorization: str) -> Jws:
    """Take the `Authorization` header apart (RFC 6750 §2.1), strictly and without belief."""
    if len(authorization) > MAX_TOKEN_CHARACTERS:
        raise refused(Reason.OVERSIZE)
    match = _AUTHORIZATION.fullmatch(authorization)
    if match is None:
        raise refused(Reason.MALFORMED)
    token = jws.read(match[1])
    if token.type not in (_ACCESS_TOKEN, "jwt"):
        raise refused(Reason.WRONG_TYPE)  # Any other kind of JWT than a plain one says so (RFC 8725 §3.11).
    return token


def verify(token: Jws, key: Key, issuer: IssuerConfig, *, resource: str, now: float) -> Verified:
    """Check everything about a token of `issuer` that is sent to `resource` at `now` (seconds since 1970)."""
    jws.check_signature(token, key, issuer.algorithms)
    if token.issuer != issuer.url:
        raise refused(Reason.UNKNOWN_ISSUER)
    claims = token.claims
    _check_kind(token)
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if (issuer.audience or resource) not in audiences:
        raise refused(Reason.WRONG_AUDIENCE)
    until = jws.check_times(claims, skew=issuer.clock_skew_s, now=now)
    return Verified(principal(claims, issuer), until)


def principal(claims: Document, issuer: IssuerConfig) -> Principal:
    """Who the claims are about. They must have been checked: this believes them."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise refused(Reason.NO_SUBJECT)
    return Principal(
        issuer=issuer.url,
        subject=subject,
        groups=groups.extract(claims, issuer.groups_claim),
        client=_client(claims, issuer.client_claim),
        acr=_text(claims.get("acr")),
        amr=groups.extract(claims, ("amr",)),
        chain=_chain(claims),
    )


def _check_kind(token: Jws) -> None:
    """Only bearer access tokens. Many providers leave theirs unmarked; ID tokens then show by their claims."""
    claims = token.claims
    marked = token.type == _ACCESS_TOKEN
    if not marked and (_ID_TOKEN_CLAIMS & claims.keys() or claims.get("typ", "Bearer") != "Bearer"):
        raise refused(Reason.WRONG_TYPE)  # Keycloak writes `typ` into the claims: Bearer, ID, Refresh, Logout.
    if "cnf" in claims:
        raise refused(Reason.PROOF_REQUIRED)  # RFC 9449 §6, RFC 8705 §3: to a thief a bound token is no bearer token.


def _client(claims: Document, claim: str | None) -> str:
    """Who the human lets act: RFC 9068 §2.2 `client_id`; `azp` at providers that predate it."""
    if claim is not None:
        return _text(claims.get(claim))
    return _text(claims.get("client_id")) or _text(claims.get("azp"))


def _chain(claims: Document) -> tuple[str, ...]:
    """The nested `act` claims, outermost first. One that cannot be read would hide who acts, so it is refused."""
    chain: list[str] = []
    inner = claims.get("act")
    while inner is not None:
        actor = inner.get("sub") if isinstance(inner, dict) else None
        if not isinstance(actor, str) or len(chain) == MAX_CHAIN:
            raise refused(Reason.MALFORMED)
        chain.append(actor)
        inner = inner.get("act") if isinstance(inner, dict) else None
    return tuple(chain)


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
