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
from gateway.identity.agents import is_agent
from gateway.identity.jws import MAX_TOKEN_CHARACTERS, Jws
from gateway.identity.keys import Key
from gateway.identity.reasons import Reason, refused
from gateway.identity.settings import IssuerConfig

MAX_CHAIN = 8
"""Deepest delegation (RFC 8693 §4.1 nested `act`)."""

_AUTHORIZATION = re.compile(r"bearer +(\S+)", re.IGNORECASE | re.ASCII)
_ACCESS_TOKEN = "at+jwt"
"""RFC 9068 §2.1."""
_LOOKED_UP = "groups"
"""The claim that Entra ID leaves out when it is too long."""
_OBJECT_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_OTHER_KINDS = frozenset({"nonce", "at_hash", "c_hash", "s_hash", "events"})
"""Claims of ID tokens, and of logout and other event tokens (RFC 8417 §2.2), whose type many providers leave unsaid."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A principal, and until when the token vouches for it (seconds since 1970, clock skew included)."""

    principal: Principal
    until: float
    issued: float | None
    """When it was issued; None when it does not say."""
    name: str
    """Its `jti`, which Entra ID calls `uti`; empty when it has none."""
    scopes: frozenset[str] = frozenset()
    groups_of: str = ""
    """The directory object whose groups must be looked up before this is believed; empty: they are known."""


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


def verify(
    token: Jws, key: Key, issuer: IssuerConfig, *, resource: str, now: float, thumbprint: str | None = None
) -> Verified:
    """Check everything about a token of `issuer` that is sent to `resource` at `now` (seconds since 1970).

    `thumbprint`: of the client certificate of the connection it came over (RFC 8705 §3.1), if that had one.
    """
    jws.check_signature(token, key, issuer.algorithms)
    if token.issuer != issuer.url:
        raise refused(Reason.UNKNOWN_ISSUER)
    claims = token.claims
    _check_kind(token, issuer)
    _check_binding(claims, thumbprint)
    _check_audience(claims.get("aud"), issuer.audience or resource, issuer.other_audiences)
    until = jws.check_times(claims, skew=issuer.clock_skew_s, now=now)
    issued = _issued(claims, issuer, now=now)
    found, groups_of = partial(claims, issuer)
    return Verified(found, until, issued, _name(claims), _scopes(claims), groups_of)


def principal(claims: Document, issuer: IssuerConfig) -> Principal:
    """Who the claims are about. They must have been checked: this believes them."""
    found, groups_of = partial(claims, issuer)
    if groups_of:
        raise refused(Reason.GROUPS_ELSEWHERE)
    return found


def asserted(claims: Document, found: Principal) -> Verified:
    """What revocation asks of a token, of an assertion that was checked: it stands for one."""
    issued, until = claims.get("iat"), claims.get("exp")
    return Verified(
        found,
        float(until) if isinstance(until, int | float) else 0.0,
        float(issued) if isinstance(issued, int | float) else None,
        _name(claims),
    )


def partial(claims: Document, issuer: IssuerConfig) -> tuple[Principal, str]:
    """The same, with whose groups must be added to it before it is believed; empty: nothing is missing."""
    elsewhere = groups.elsewhere(claims, issuer.groups_claim)
    groups_of = _text(claims.get("oid")) if elsewhere else ""
    if elsewhere and (issuer.graph is None or elsewhere != {_LOOKED_UP} or not _OBJECT_ID.fullmatch(groups_of)):
        raise refused(Reason.GROUPS_ELSEWHERE)
    here = [path for path in issuer.groups_claim if path[0] not in elsewhere]
    return _principal(claims, issuer, groups.read(claims, here, issuer.max_groups)), groups_of


def _principal(claims: Document, issuer: IssuerConfig, found: tuple[str, ...]) -> Principal:
    subject = claims.get(issuer.subject_claim)
    if not isinstance(subject, str) or not subject:
        raise refused(Reason.NO_SUBJECT)
    return Principal(
        issuer=issuer.url,
        subject=subject,
        groups=found,
        client=_client(claims, issuer.client_claim),
        acr=_text(claims.get("acr")),
        amr=tuple(groups.texts(claims.get("amr")) or ()),
        chain=_chain(claims),
        agent=issuer.only_agents or is_agent(claims),
    )


def _check_kind(token: Jws, issuer: IssuerConfig) -> None:
    """Only bearer access tokens. Many providers leave theirs unmarked; others then show by their claims."""
    claims = token.claims
    marked = token.type == _ACCESS_TOKEN
    if not marked and (_OTHER_KINDS & claims.keys() or claims.get("typ", "Bearer") != "Bearer"):
        raise refused(Reason.WRONG_TYPE)  # Keycloak writes `typ` into the claims: Bearer, ID, Refresh, Logout.
    if issuer.require_at_jwt and not marked:
        raise refused(Reason.NOT_AT_JWT)


def _check_binding(claims: Document, thumbprint: str | None) -> None:
    """A token that is bound to a certificate needs that one; any other binding is nothing that we could check.

    RFC 8705 §3, RFC 9449 §6: to a thief a bound token is no bearer token.
    """
    if "cnf" not in claims:
        return
    match claims["cnf"]:
        case {"x5t#S256": str(bound), **others} if not others and thumbprint is not None:
            if bound != thumbprint:
                raise refused(Reason.WRONG_CERTIFICATE)
        case _:
            raise refused(Reason.PROOF_REQUIRED)


def _check_audience(audience: Json, wanted: str, others: frozenset[str] | None) -> None:
    """`aud` must hold exactly what is wanted (RFC 7519 §4.1.3, RFC 8707 §2), and beside it only what is allowed."""
    audiences = audience if isinstance(audience, list) else [audience]
    if wanted not in audiences:
        raise refused(Reason.WRONG_AUDIENCE, wanted)
    if not all(isinstance(each, str) for each in audiences):
        raise refused(Reason.MALFORMED)
    if others is not None and any(each != wanted and each not in others for each in audiences):
        raise refused(Reason.OTHER_AUDIENCE, wanted)


def _issued(claims: Document, issuer: IssuerConfig, *, now: float) -> float | None:
    """When the token was issued, if it says so; it must not live too long. Its times must have been checked."""
    exp, iat = claims["exp"], claims.get("iat")
    issued = float(iat) if isinstance(iat, int | float) else None
    # One that does not say when it was issued has lived already: it is valid for longer than from now on.
    if isinstance(exp, int | float) and exp - (now if issued is None else issued) > issuer.max_lifetime_s:
        raise refused(Reason.TOO_LONG_LIVED)
    return issued


def _name(claims: Document) -> str:
    return _text(claims.get("jti")) or _text(claims.get("uti"))


def _scopes(claims: Document) -> frozenset[str]:
    """RFC 9068 §2.2.3 `scope`, words in one text; Okta's `scp` is an array of them, Entra ID's a text."""
    found: set[str] = set()
    for value in (claims.get("scope"), claims.get("scp")):
        for words in value if isinstance(value, list) else [value]:
            found.update(_text(words).split(" "))
    return frozenset(found - {""})


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
