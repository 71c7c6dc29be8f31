"""Signs the authority's tokens, and reads back whom they are about. RFC 9068 throughout.

A token says who vouched for its subject (`sub_id`, RFC 9493 §3.2.3), and its principal is that subject at that issuer,
not at us. Otherwise somebody could be two: one who asks by an assertion, and one who approves by the provider's token.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field, replace
from hashlib import sha256

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.core.types import Document, Json, Principal
from gateway.identity import keys
from gateway.identity.keys import KeySet
from gateway.identity.settings import IssuerConfig

ALGORITHM = "EdDSA"
"""RFC 8037 §3.1, with Ed25519."""
SKEW_S = 30.0
"""Replicas issue and accept; their clocks differ."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What a token is to say, beside who issued it."""

    principal: Principal = field(repr=False)
    resource: str
    scope: str
    id: str
    at: int
    """Seconds since 1970."""
    lifetime_s: int


class Signer:
    """One key, shared by every process and replica that answers to one URL."""

    def __init__(self, url: str, seed: bytes) -> None:
        """`url` is the issuer identifier (RFC 8414 §2); `seed` is 32 bytes of Ed25519 private key."""
        self.url = url
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        jwk = {"crv": "Ed25519", "kty": "OKP", "x": _b64(raw)}
        # RFC 7638 §3.1: the thumbprint is over these members, in this order, without white space.
        self._kid = _b64(sha256(json.dumps(jwk, separators=(",", ":")).encode()).digest())
        self.jwks: Document = {"keys": [{**jwk, "kid": self._kid, "use": "sig", "alg": ALGORITHM}]}

    @property
    def issuer(self) -> IssuerConfig:
        """This authority, as an issuer among those whose tokens are accepted."""
        return IssuerConfig(
            url=self.url,
            audience=None,
            algorithms=(ALGORITHM,),
            groups_claim=(("groups",),),
            client_claim=None,
            clock_skew_s=SKEW_S,
            jwks_max_age_s=86_400,
            jwks_stale_s=0,
            jwks_refetch_s=86_400,
            timeout_s=1,
        )

    async def published(self, _: IssuerConfig) -> tuple[bytes, KeySet]:
        """Its keys (`provider.Fetch`), without a request to ourselves."""
        return json.dumps(self.jwks).encode(), keys.decode(self.jwks)

    def sign(self, issued: Issued) -> str:
        """The token."""
        who = issued.principal
        claims: Document = {
            "iss": self.url,
            "sub": _subject(who),
            "sub_id": {"format": "iss_sub", "iss": who.issuer, "sub": who.subject},
            "aud": issued.resource,
            "client_id": who.client,
            "iat": issued.at,
            "exp": issued.at + issued.lifetime_s,
            "jti": issued.id,
            "groups": list(who.groups),
            "amr": list(who.amr),
        }
        if who.agent:
            claims["agent"] = True
        if who.acr:
            claims["acr"] = who.acr
        if issued.scope:
            claims["scope"] = issued.scope
        if who.chain:
            claims["act"] = _act(who.chain)
        return jwt.encode(claims, self._key, ALGORITHM, headers={"typ": "at+jwt", "kid": self._kid})


def person(claims: Document, principal: Principal) -> Principal:
    """Whom a token of ours, which was verified, is about."""
    about = claims.get("sub_id")
    if not isinstance(about, dict):
        return principal
    agent = claims.get("agent") is True
    return replace(principal, issuer=str(about.get("iss")), subject=str(about.get("sub")), agent=agent)


def _subject(who: Principal) -> str:
    """A subject that is nobody else's at this issuer (RFC 7519 §4.1.2): two providers may call two people alike."""
    return _b64(sha256(f"{len(who.issuer)}:{who.issuer}{who.subject}".encode()).digest())


def _act(chain: tuple[str, ...]) -> Json:
    """The actors, the current one outermost (RFC 8693 §4.1)."""
    inner: Document = {}
    for actor in reversed(chain):
        inner = {"sub": actor, "act": inner} if inner else {"sub": actor}
    return inner


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
