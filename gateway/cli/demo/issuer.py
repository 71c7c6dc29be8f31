"""The demo's identity provider: mints tokens for invented people, to anyone on this machine who asks.

That would be a backdoor anywhere else, so it can be reached from nowhere else: only `phigate demo` starts it, as a
process of its own, on loopback, with a key that lives in that process's memory and dies with it. `phigate serve` has no
path to this file (an import contract says so) and refuses issuers without TLS unless it too listens on loopback.
"""

from __future__ import annotations

import argparse
import time
import uuid
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from quart import ResponseReturnValue, request
from quart_trio import QuartTrio

from gateway.cli.demo.loopback import Loopback

LIFETIME_S = 3600
AUDIENCE = "urn:phigate:demo"
_ALGORITHM = "ES256"
_TYPE = "at+jwt"
"""RFC 9068 §2.1."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody the demo knows: `subject` acts through `client` and belongs to `groups`."""

    subject: str
    client: str
    groups: tuple[str, ...]
    about: str


IDENTITIES = {
    "agent": Identity("dana.whitfield", "care-agent", ("analysts",), "an AI agent working for Dana, an analyst"),
    "officer": Identity("morgan.reyes", "phigate-cli", ("privacy-officers",), "Morgan, a privacy officer"),
}


class Issuer:
    """One key, and what can be said with it. `url` is the `iss` of every token."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._key_id = uuid.uuid4().hex

    def mint(self, identity: Identity, *, now: int, lifetime_s: int = LIFETIME_S) -> str:
        """An access token (RFC 9068), issued at `now` (Unix seconds). With a negative lifetime it has expired."""
        issued = min(now, now + lifetime_s - 1)
        claims = {
            "iss": self._url,
            "aud": AUDIENCE,
            "sub": identity.subject,
            "client_id": identity.client,
            "groups": list(identity.groups),
            "iat": issued,
            "exp": now + lifetime_s,
            "jti": uuid.uuid4().hex,
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"kid": self._key_id, "typ": _TYPE})

    def discovery(self) -> dict[str, Any]:
        """OpenID Connect Discovery 1.0 §3, as far as a resource server reads it."""
        return {
            "issuer": self._url,
            "jwks_uri": f"{self._url}/jwks",
            "token_endpoint": f"{self._url}/token",
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [_ALGORITHM],
        }

    def keys(self) -> dict[str, Any]:
        """The public key as a JWK set (RFC 7517 §5)."""
        key = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**key, "kid": self._key_id, "use": "sig", "alg": _ALGORITHM}]}


def application(issuer: Issuer) -> QuartTrio:
    """The provider as a web application."""
    app = QuartTrio(__name__)

    @app.get("/.well-known/openid-configuration")
    async def discovery() -> ResponseReturnValue:
        return issuer.discovery()

    @app.get("/jwks")
    async def keys() -> ResponseReturnValue:
        return issuer.keys()

    @app.post("/token")
    async def token() -> ResponseReturnValue:
        """A token for the identity named `who`, as text; `lifetime_s` seconds long, negative for an expired one."""
        form = await request.form
        who = form.get("who", "")
        lifetime_s = form.get("lifetime_s", str(LIFETIME_S))
        if who not in IDENTITIES or not lifetime_s.removeprefix("-").isdecimal():
            return f"who must be one of {', '.join(IDENTITIES)}, and lifetime_s a whole number\n", 400
        minted = issuer.mint(IDENTITIES[who], now=int(time.time()), lifetime_s=int(lifetime_s))
        return minted, {"content-type": "text/plain", "cache-control": "no-store"}

    return app


def main() -> None:
    """Serve the provider on loopback until told to stop."""
    arguments = argparse.ArgumentParser(prog="issuer", description=__doc__)
    arguments.add_argument("--port", type=int, default=0, help="0: any free port")
    loopback = Loopback(arguments.parse_args().port)
    loopback.serve(application(Issuer(loopback.url)))


if __name__ == "__main__":
    main()
