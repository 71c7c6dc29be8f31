"""What a bearer token says, and whether it may be believed. Pure: keys, rules and the time are arguments.

Two steps, because which key to use depends on the token: `read` takes it apart and believes nothing; `verify` checks
the signature first and then every claim (RFC 7519 §7.2, RFC 8725, RFC 9068 §4). Both raise Unauthenticated with a
constant sentence and nothing else. Headers that tell where to find a key (`jku`, `jwk`, `x5u`, `x5c`) are never used.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from typing import Any

from jwt.algorithms import Algorithm, get_default_algorithms
from jwt.exceptions import InvalidKeyError

from gateway.core.types import Document, Json, Principal
from gateway.identity import groups
from gateway.identity.keys import Key
from gateway.identity.reasons import Reason, refused
from gateway.identity.settings import IssuerConfig

MAX_TOKEN_CHARACTERS = 16_384
"""Ingresses refuse headers above 8 to 16 KiB too (nginx `large_client_header_buffers`: 8 KiB)."""
MAX_CHAIN = 8
"""Deepest delegation (RFC 8693 §4.1 nested `act`)."""
MAX_TIME = 1e12
"""Seconds since 1970 that no token means: the year 33658."""

_AUTHORIZATION = re.compile(r"bearer +([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)", re.IGNORECASE | re.ASCII)
_ACCESS_TOKEN_TYPES = frozenset({"at+jwt", "application/at+jwt"})
_ID_TOKEN_CLAIMS = frozenset({"nonce", "at_hash", "c_hash", "s_hash"})
_ALGORITHMS: dict[str, Algorithm] = get_default_algorithms()


@dataclass(frozen=True, slots=True)
class Token:
    """A token taken apart. Nothing in it is believed yet."""

    issuer: str
    algorithm: str
    kid: str | None
    marked: bool
    """Its header says that it is an access token (RFC 9068 §2.1)."""
    claims: Document = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Verified:
    """A principal, and until when the token vouches for it (seconds since 1970, clock skew included)."""

    principal: Principal
    until: float


def read(authorization: str) -> Token:
    """Take the `Authorization` header apart (RFC 6750 §2.1, RFC 7515 §5.2), strictly and without belief."""
    if len(authorization) > MAX_TOKEN_CHARACTERS:
        raise refused(Reason.OVERSIZE)
    match = _AUTHORIZATION.fullmatch(authorization)
    if match is None:
        raise refused(Reason.MALFORMED)
    header, claims = _object(match[1]), _object(match[2])
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or not isinstance(kid, str | None):
        raise refused(Reason.MALFORMED)
    if "crit" in header or "b64" in header:
        raise refused(Reason.CRIT_REFUSED)
    issuer = claims.get("iss")
    if not isinstance(issuer, str):
        raise refused(Reason.MALFORMED)
    return Token(
        issuer=issuer,
        algorithm=algorithm,
        kid=kid,
        marked=_is_marked(header.get("typ", "JWT")),
        claims=claims,
        signed=f"{match[1]}.{match[2]}".encode(),
        signature=_bytes(match[3]),
    )


def verify(token: Token, key: Key, issuer: IssuerConfig, *, resource: str, now: float) -> Verified:
    """Check everything about a token of `issuer` that is sent to `resource` at `now` (seconds since 1970)."""
    check_signature(token, key, issuer)
    if token.issuer != issuer.url:
        raise refused(Reason.UNKNOWN_ISSUER)
    claims = token.claims
    _check_kind(token)
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if (issuer.audience or resource) not in audiences:
        raise refused(Reason.WRONG_AUDIENCE)
    until = check_times(claims, skew=issuer.clock_skew_s, now=now)
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


def check_signature(token: Token, key: Key, issuer: IssuerConfig) -> None:
    """That this key of the issuer signed the token, with an algorithm that suits both."""
    # The algorithm must suit the issuer and the key, whatever the token says (RFC 8725 §3.1: algorithm confusion).
    if token.algorithm not in issuer.algorithms or token.algorithm not in key.algorithms:
        raise refused(Reason.ALG_REFUSED)
    algorithm = _ALGORITHMS[token.algorithm]
    try:
        good = algorithm.verify(token.signed, key.public, token.signature)
    except InvalidKeyError:
        good = False
    if not good:
        raise refused(Reason.BAD_SIGNATURE)


def _check_kind(token: Token) -> None:
    """Only bearer access tokens. Many providers leave theirs unmarked; ID tokens then show by their claims."""
    claims = token.claims
    if not token.marked and (_ID_TOKEN_CLAIMS & claims.keys() or claims.get("typ", "Bearer") != "Bearer"):
        raise refused(Reason.WRONG_TYPE)  # Keycloak writes `typ` into the claims: Bearer, ID, Refresh, Logout.
    if "cnf" in claims:
        raise refused(Reason.PROOF_REQUIRED)  # RFC 9449 §6, RFC 8705 §3: to a thief a bound token is no bearer token.


def check_times(claims: Document, *, skew: float, now: float) -> float:
    """Check `exp`, `nbf` and `iat`; the moment from which the token is no longer accepted."""
    times = {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
    for value in times.values():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_TIME:
            raise refused(Reason.MALFORMED)
    exp = times.get("exp")
    if not isinstance(exp, int | float):
        raise refused(Reason.MALFORMED)
    if now >= exp + skew:
        raise refused(Reason.EXPIRED)
    for name in ("nbf", "iat"):
        value = times.get(name)
        if isinstance(value, int | float) and value > now + skew:
            raise refused(Reason.NOT_YET_VALID)
    return exp + skew


def _is_marked(typ: Json) -> bool:
    """Does the header mark an access token? Any other kind of JWT than a plain one is refused (RFC 8725 §3.11)."""
    kind = typ.lower() if isinstance(typ, str) else ""
    if kind not in _ACCESS_TOKEN_TYPES and kind not in ("jwt", "application/jwt"):
        raise refused(Reason.WRONG_TYPE)
    return kind in _ACCESS_TOKEN_TYPES


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


def _object(part: str) -> Document:
    """A JSON object in base64url. A name that stands twice could mean two things to two readers (RFC 7519 §4)."""
    try:
        value = json.loads(_bytes(part).decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise refused(Reason.MALFORMED) from None  # The cause would quote the token.
    if not isinstance(value, dict):
        raise refused(Reason.MALFORMED)
    return value


def _once(pairs: list[tuple[str, Any]]) -> Document:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate name")
    return members


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


def _bytes(part: str) -> bytes:
    """Bytes of base64url without padding (RFC 7515 §2)."""
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise refused(Reason.MALFORMED) from None
