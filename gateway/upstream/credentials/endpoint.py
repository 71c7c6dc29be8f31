"""Asks a token endpoint (RFC 6749 §3.2), and believes nothing of its answer that could end up in a header or a log."""

from __future__ import annotations

import re
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import quote

import httpx2
import jwt
import orjson
import trio
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.core.errors import UpstreamFault
from gateway.core.types import Json
from gateway.upstream.credentials.cache import Fetched
from gateway.upstream.credentials.settings import EndpointSettings

UNAVAILABLE = "credentials_unavailable"
"""The kind of the fault: nothing was sent to the upstream."""
ASSERTION_S = 60
DEFAULT_S = 60.0
"""How long a token is used that does not say how long it is good."""
LONGEST_S = 86_400.0

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_MAX_BYTES = 64 * 1024
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,16384}")
"""RFC 6750 §2.1."""
_ERRORS = frozenset(
    {
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
        "invalid_scope", "invalid_target", "temporarily_unavailable", "interaction_required",
    }
)  # fmt: skip
"""What an endpoint may say that is told on (RFC 6749 §5.2, RFC 8707 §2): any other word could hold anything."""


def unavailable(why: str) -> UpstreamFault:
    """The fault to raise. `why` holds nothing of a token or of an answer."""
    return UpstreamFault(f"the gateway has no credentials for it: {why}", kind=UNAVAILABLE)


def algorithm(pem: str) -> str:
    """What a private key signs with. Raises ValueError for a key that is none of ours."""
    match load_pem_private_key(pem.encode(), password=None):
        case RSAPrivateKey() as key if key.key_size >= 2048:
            return "RS256"
        case EllipticCurvePrivateKey() as key if key.curve.name == "secp256r1":
            return "ES256"
        case Ed25519PrivateKey():
            return "EdDSA"
    raise ValueError("not an RSA key of at least 2,048 bits, nor P-256, nor Ed25519")


@asynccontextmanager
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """The HTTP client for token endpoints: the system's certificate authorities, nothing from the environment."""
    context = ssl.create_default_context()
    async with httpx2.AsyncClient(verify=context, trust_env=False, timeout=None, follow_redirects=False) as http:
        yield http


class Endpoint:
    """One token endpoint, at which the gateway is a client."""

    def __init__(self, http: httpx2.AsyncClient, settings: EndpointSettings) -> None:
        self._http = http
        self.settings = settings

    async def fetch(self, form: Mapping[str, str]) -> Fetched:
        """What it answers to these parameters. Raises UpstreamFault.

        Shielded: others wait for the same token. `timeout_s` ends it.
        """
        settings = self.settings
        about = {"scope": settings.scope, "resource": settings.resource, "audience": settings.audience}
        whole = {**form, **{name: value for name, value in about.items() if value}, **self._proof()}
        try:
            with trio.fail_after(settings.timeout_s, shield=True):
                status, data = await self._post(whole)
        except trio.TooSlowError:
            raise unavailable(f"the token endpoint did not answer within {settings.timeout_s:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise unavailable(f"the token endpoint could not be reached ({type(error).__name__})") from None
        return _read(status, data)

    def _proof(self) -> dict[str, str]:
        settings = self.settings
        if settings.key is None:
            return {}
        now = int(time.time())
        claims = {
            "iss": settings.client_id,
            "sub": settings.client_id,
            "aud": settings.assertion_audience,
            "jti": str(uuid.uuid4()),
            "iat": now,
            "exp": now + ASSERTION_S,
        }
        headers = {"kid": settings.key_id} if settings.key_id else {}
        signed = jwt.encode(claims, settings.key, algorithm(settings.key), headers=headers)
        return {
            "client_id": settings.client_id,
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": signed,
        }

    async def _post(self, form: Mapping[str, str]) -> tuple[int, bytes]:
        settings = self.settings
        # RFC 6749 §2.3.1: each is form-encoded before they are joined.
        secret = settings.secret
        auth = None if secret is None else (quote(settings.client_id, safe=""), quote(secret, safe=""))
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        data = bytearray()
        async with self._http.stream("POST", settings.url, data=dict(form), headers=headers, auth=auth) as response:
            try:
                async for chunk in response.aiter_raw():
                    data += chunk
                    if len(data) > _MAX_BYTES:
                        # The next read then fails and unwinds the library's generators; leaving the loop would not.
                        await response.aclose()
            except httpx2.HTTPError:
                if len(data) <= _MAX_BYTES:
                    raise
            if len(data) > _MAX_BYTES:
                raise unavailable(f"the token endpoint sent more than {_MAX_BYTES} bytes")
            return response.status_code, bytes(data)


def _read(status: int, data: bytes) -> Fetched:
    try:
        found: Json = orjson.loads(data)
    except ValueError:
        found = None
    answer = found if isinstance(found, dict) else {}
    if status != 200:
        error = answer.get("error")
        told = f" ({error})" if isinstance(error, str) and error in _ERRORS else ""
        raise unavailable(f"the token endpoint refused with HTTP status {status}{told}")
    token, kind, lifetime = answer.get("access_token"), answer.get("token_type"), answer.get("expires_in", DEFAULT_S)
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise unavailable("the token endpoint answered without a usable access_token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise unavailable("the token endpoint issued what is no bearer token")
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not lifetime > 0:
        raise unavailable("the token endpoint issued a token that has expired")
    return Fetched(token, min(float(lifetime), LONGEST_S))
