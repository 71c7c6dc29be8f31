"""Which client asks: proved by a shared secret (RFC 6749 §2.3.1) or, better, by a key of its own (RFC 7523 §2.2).

Whatever is wrong with the proof, the client is told the same: an unknown client cannot be told from a wrong secret.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable
from hashlib import sha256
from urllib.parse import unquote_plus

import orjson

from gateway.core.errors import Unauthenticated
from gateway.identity import jws, keys
from gateway.identity.authority import assertion
from gateway.identity.authority.assertion import Spend
from gateway.identity.authority.grants import Code, Form, refusal
from gateway.identity.authority.settings import ClientConfig

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
METHODS = ("private_key_jwt", "client_secret_basic", "client_secret_post")
ALGORITHMS = ("ES256", "EdDSA", "PS256", "RS256")
"""What clients may sign with."""
SKEW_S = 30.0
_TYPES = frozenset({"jwt", "client-authentication+jwt"})

_REFUSED = refusal(Code.INVALID_CLIENT, "the client is not known here, or did not prove who it is").detail


class Clients:
    """Every client that is configured."""

    def __init__(
        self, clients: Iterable[ClientConfig], *, audiences: tuple[str, ...], spend: Spend, now: Callable[[], float]
    ) -> None:
        """`audiences`: what a client may call us in an assertion; `now`: seconds since 1970."""
        self._clients = {client.id: client for client in clients}
        self._keys = {
            client.id: keys.decode(orjson.loads(client.jwks)) for client in self._clients.values() if client.jwks
        }
        self._audiences = audiences
        self._spend = spend
        self._now = now

    async def authenticate(self, form: Form, authorization: str | None) -> ClientConfig:
        """The client that a token request comes from. Raises GrantRefused, and EvidenceFault."""
        ways = (authorization is not None, "client_secret" in form, "client_assertion" in form)
        if sum(ways) > 1:
            raise refusal(Code.INVALID_REQUEST, "the client proves who it is in more than one way")
        if authorization is not None:
            found = self._by_secret(*_basic(authorization))
        elif "client_assertion" in form:
            found = await self._by_key(form)
        else:
            found = self._by_secret(form.get("client_id", ""), form.get("client_secret", ""))
        if form.get("client_id", found.id) != found.id:
            raise refusal(Code.INVALID_CLIENT, _REFUSED)
        return found

    def _by_secret(self, ident: str, secret: str) -> ClientConfig:
        found = self._clients.get(ident)
        known = found.secret if found is not None else None
        # Digests, so that neither the time nor its absence tells how much of a secret was right.
        same = hmac.compare_digest(_digest(known or ""), _digest(secret))
        if found is None or not known or not same:
            raise refusal(Code.INVALID_CLIENT, _REFUSED)
        return found

    async def _by_key(self, form: Form) -> ClientConfig:
        if form.get("client_assertion_type") != JWT_BEARER:
            raise refusal(Code.INVALID_REQUEST, f"client_assertion_type must be {JWT_BEARER}")
        try:
            found, ident = self._signed(form["client_assertion"])
        except Unauthenticated:
            raise refusal(Code.INVALID_CLIENT, _REFUSED) from None
        if not await self._spend(assertion.spent_key("client", found.id, ident)):
            raise refusal(
                Code.INVALID_CLIENT, "the client's assertion was used before; sign a new one for each request"
            )
        return found

    def _signed(self, text: str) -> tuple[ClientConfig, str]:
        """The client that signed an assertion, and the assertion's id. Raises Unauthenticated, or GrantRefused."""
        token = jws.read(text)
        found, known = self._clients.get(token.issuer), self._keys.get(token.issuer)
        if found is None or known is None or token.type not in _TYPES:
            raise refusal(Code.INVALID_CLIENT, _REFUSED)
        _, key = known.find(token.kid, token.algorithm)
        if key is None:
            raise refusal(Code.INVALID_CLIENT, _REFUSED)
        jws.check_signature(token, key, ALGORITHMS)
        claims, ident = token.claims, assertion.id_of(token.claims)
        if claims.get("sub") != found.id or not assertion.is_for(claims.get("aud"), *self._audiences):
            raise refusal(Code.INVALID_CLIENT, _REFUSED)
        if ident is None or not assertion.fresh(claims, skew=SKEW_S, now=self._now()):
            raise refusal(Code.INVALID_CLIENT, _REFUSED)
        return found, ident


def _basic(authorization: str) -> tuple[str, str]:
    """Client id and secret of a Basic header, each form-encoded before (RFC 6749 §2.3.1); empty where it is none."""
    scheme, _, rest = authorization.partition(" ")
    try:
        text = base64.b64decode(rest.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return "", ""
    ident, colon, secret = text.partition(":")
    return (unquote_plus(ident), unquote_plus(secret)) if scheme.lower() == "basic" and colon else ("", "")


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()
