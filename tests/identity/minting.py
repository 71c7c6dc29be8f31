"""Issues tokens for the identity tests: keys of every accepted kind, right tokens, and every way to get one wrong."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from gateway.core.errors import IdentityUnavailable
from gateway.identity import keys
from gateway.identity.keys import KeySet
from gateway.identity.settings import IssuerConfig

ISSUER = "https://idp.example"
RESOURCE = "https://gateway.example/mcp/ehr"
NOW = 1_800_000_000.0

CONFIG = IssuerConfig(
    url=ISSUER,
    audience=None,
    algorithms=("RS256", "PS256", "ES256", "EdDSA"),
    groups_claim=(("groups",),),
    client_claim=None,
    clock_skew_s=30,
    jwks_max_age_s=600,
    jwks_stale_s=3600,
    jwks_refetch_s=10,
    timeout_s=5,
)


@dataclass(frozen=True)
class SigningKey:
    """A private key with the JWK of its public half."""

    kid: str
    algorithm: str
    private: Any

    def jwk(self, **changes: Any) -> dict[str, Any]:
        public = get_default_algorithms()[self.algorithm].to_jwk(self.private.public_key(), as_dict=True)
        return {**public, "kid": self.kid, "use": "sig", **changes}


@cache
def signing_key(algorithm: str, kid: str = "key-1") -> SigningKey:
    """One key of each kind and id for the whole run: RSA keys are slow to make."""
    private: Any
    match algorithm[:2]:
        case "RS" | "PS":
            private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "ES":
            curve = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}[algorithm]
            private = ec.generate_private_key(curve())
        case _:
            private = ed25519.Ed25519PrivateKey.generate()
    return SigningKey(kid, algorithm, private)


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token; a change to None leaves that claim out."""
    good = {
        "iss": ISSUER,
        "aud": RESOURCE,
        "sub": "alice",
        "client_id": "agent",
        "iat": NOW - 10,
        "exp": NOW + 300,
        "groups": ["clinicians"],
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def mint(key: SigningKey, payload: dict[str, Any] | None = None, **header: Any) -> str:
    """An `Authorization` header with a token signed by `key`; a header member set to None is left out."""
    wanted = {"typ": "at+jwt", "kid": key.kid, **header}
    token = jwt.encode(
        claims() if payload is None else payload,
        key.private,
        algorithm=key.algorithm,
        headers=wanted,
    )
    return f"Bearer {token}"


def b64(data: bytes | dict[str, Any] | str) -> str:
    """base64url without padding, of JSON if it is not bytes or text already."""
    raw = json.dumps(data).encode() if isinstance(data, dict) else data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sign(key: SigningKey, header: str | dict[str, Any], payload: str | dict[str, Any]) -> str:
    """A token over exactly these header and payload texts, with a signature that is right."""
    signed = f"{b64(header)}.{b64(payload)}"
    signature = get_default_algorithms()[key.algorithm].sign(signed.encode(), key.private)
    return f"Bearer {signed}.{b64(signature)}"


class Published:
    """Stands for the provider: implements `provider.Fetch` over keys that the test publishes."""

    def __init__(self, *published: dict[str, Any]) -> None:
        self.jwks: list[dict[str, Any]] = list(published)
        self.fetches = 0
        self.down = False

    async def __call__(self, issuer: IssuerConfig) -> tuple[bytes, KeySet]:
        self.fetches += 1
        if self.down:
            raise IdentityUnavailable(f"the issuer {issuer.url} is down")
        document: Any = {"keys": self.jwks}
        return json.dumps(document).encode(), keys.decode(document)
