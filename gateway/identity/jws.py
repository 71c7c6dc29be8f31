"""A signed JWT in its compact form: taken apart strictly, then its signature and its times checked. Pure.

Access tokens, assertions of clients and assertions about people are all read here; what their claims must say is with
those who ask for them. Every function raises Unauthenticated with a constant sentence and nothing else: the cause would
quote the token. Headers that tell where to find a key (`jku`, `jwk`, `x5u`, `x5c`) are never used.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

from jwt.algorithms import Algorithm, get_default_algorithms
from jwt.exceptions import InvalidKeyError

from gateway.core.types import Document, Json
from gateway.identity.keys import Key
from gateway.identity.reasons import Reason, refused

MAX_TOKEN_CHARACTERS = 16_384
"""Ingresses refuse headers above 8 to 16 KiB too (nginx `large_client_header_buffers`: 8 KiB)."""
MAX_TIME = 1e12
"""Seconds since 1970 that no token means: the year 33658."""

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)", re.ASCII)
_ALGORITHMS: dict[str, Algorithm] = get_default_algorithms()


@dataclass(frozen=True, slots=True)
class Jws:
    """A JWT taken apart. Nothing in it is believed yet."""

    issuer: str
    algorithm: str
    kid: str | None
    type: str
    """Its header's `typ`, lower case and without `application/` (RFC 7515 §4.1.9); `jwt` when it has none."""
    claims: Document = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def read(compact: str) -> Jws:
    """Take a JWT apart (RFC 7515 §5.2), strictly and without belief."""
    if len(compact) > MAX_TOKEN_CHARACTERS:
        raise refused(Reason.OVERSIZE)
    match = _COMPACT.fullmatch(compact)
    if match is None:
        raise refused(Reason.MALFORMED)
    header, claims = _object(match[1]), _object(match[2])
    algorithm, kid, issuer = header.get("alg"), header.get("kid"), claims.get("iss")
    if not isinstance(algorithm, str) or not isinstance(kid, str | None):
        raise refused(Reason.MALFORMED)
    if "crit" in header or "b64" in header:
        raise refused(Reason.CRIT_REFUSED)
    if not isinstance(issuer, str):
        raise refused(Reason.MALFORMED)
    return Jws(
        issuer=issuer,
        algorithm=algorithm,
        kid=kid,
        type=_type(header.get("typ", "JWT")),
        claims=claims,
        signed=f"{match[1]}.{match[2]}".encode(),
        signature=_bytes(match[3]),
    )


def check_signature(token: Jws, key: Key, algorithms: Container[str]) -> None:
    """Whether `key` signed it with one of `algorithms`, whatever it says of itself (RFC 8725 §3.1: confusion)."""
    if token.algorithm not in algorithms or token.algorithm not in key.algorithms:
        raise refused(Reason.ALG_REFUSED)
    try:
        good = _ALGORITHMS[token.algorithm].verify(token.signed, key.public, token.signature)
    except InvalidKeyError:
        good = False
    if not good:
        raise refused(Reason.BAD_SIGNATURE)


def check_times(claims: Document, *, skew: float, now: float) -> float:
    """Check `exp`, `nbf` and `iat` (seconds since 1970); the moment from which it is no longer accepted."""
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


def _type(typ: Json) -> str:
    return typ.lower().removeprefix("application/") if isinstance(typ, str) else ""


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
