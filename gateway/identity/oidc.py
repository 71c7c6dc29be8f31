"""Fetches an issuer's keys: discovery, then the JWK set, each within one deadline and a size that keys never reach.

What the issuer answers is checked before it is believed: its metadata must name the very issuer we asked (RFC 8414
§3.3), its keys must come over https, redirects are not followed. Whatever goes wrong is IdentityUnavailable.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx2
import orjson
import trio

from gateway.core.errors import IdentityUnavailable
from gateway.core.types import Document
from gateway.identity import keys
from gateway.identity.keys import KeySet
from gateway.identity.settings import IssuerConfig

MAX_DOCUMENT_BYTES = 256 * 1024
"""Entra ID's whole key set is about 20 KB."""
JSON = {"accept": "application/json", "accept-encoding": "identity"}
"""Headers of a request for JSON that is not compressed."""


@asynccontextmanager
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """The HTTP client for providers: the system's certificate authorities, nothing from the environment."""
    context = ssl.create_default_context()
    async with httpx2.AsyncClient(verify=context, trust_env=False, timeout=None, follow_redirects=False) as http:
        yield http


async def fetch(http: httpx2.AsyncClient, issuer: IssuerConfig) -> tuple[bytes, KeySet]:
    """The issuer's published key set, as bytes and decoded. Raises IdentityUnavailable.

    Shielded: others wait for the same keys, so a caller that hangs up must not end the attempt. `timeout_s` does.
    """
    try:
        with trio.fail_after(issuer.timeout_s, shield=True):
            metadata = await discover(http, issuer)
            data = await _get(http, issuer, _jwks_uri(issuer, metadata))
    except trio.TooSlowError:
        raise _unavailable(issuer, f"did not answer within {issuer.timeout_s:g} s") from None
    except httpx2.InvalidURL:
        raise _unavailable(issuer, "named a URL that is none") from None
    except httpx2.HTTPError as error:
        raise _unavailable(issuer, f"could not be reached ({type(error).__name__})") from error
    if data is None:
        raise _unavailable(issuer, "does not serve its jwks_uri (redirects are not followed)")
    try:
        return data, keys.decode(orjson.loads(data))
    except ValueError:
        raise _unavailable(issuer, "published what is not a JWK set") from None


async def discover(http: httpx2.AsyncClient, issuer: IssuerConfig) -> Document:
    """The issuer's metadata: OpenID Connect Discovery §4, else RFC 8414 §3.1, which puts the well-known part first."""
    parts = urlsplit(issuer.url)
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    for url in (
        f"{origin}{path}/.well-known/openid-configuration",
        f"{origin}/.well-known/oauth-authorization-server{path}",
    ):
        data = await _get(http, issuer, url)
        if data is None:
            continue
        try:
            metadata = orjson.loads(data)
        except ValueError:
            raise _unavailable(issuer, "published metadata that is not JSON") from None
        # An issuer that calls itself something else could be impersonating, or be impersonated (RFC 8414 §3.3).
        if not isinstance(metadata, dict) or metadata.get("issuer") != issuer.url:
            raise _unavailable(issuer, "calls itself by another name in its metadata; set url to that name exactly")
        return metadata
    raise _unavailable(issuer, "has no metadata at either well-known address (redirects are not followed)")


def _jwks_uri(issuer: IssuerConfig, metadata: Document) -> str:
    """Where the keys are: anywhere over https (Google's are on another host); over http only where the issuer is."""
    uri = metadata.get("jwks_uri")
    try:
        parts = urlsplit(uri if isinstance(uri, str) else "")
        own = urlsplit(issuer.url)
    except ValueError:
        raise _unavailable(issuer, "named a jwks_uri that is no URL") from None
    secure = parts.scheme == "https" or (parts.scheme, parts.netloc) == (own.scheme, own.netloc)
    if not secure or not parts.hostname or "@" in parts.netloc:
        raise _unavailable(issuer, "has no jwks_uri over https in its metadata")
    return str(uri)


async def _get(http: httpx2.AsyncClient, issuer: IssuerConfig, url: str) -> bytes | None:
    """The body at `url`, bounded; None when the answer is another status than 200."""
    async with http.stream("GET", url, headers=JSON) as response:
        if response.status_code != 200:
            return None
        data = await body(response)
        if data is None:
            raise _unavailable(issuer, f"sent more than {MAX_DOCUMENT_BYTES} bytes")
        return data


async def body(response: httpx2.Response) -> bytes | None:
    """The whole body of a streamed answer, None as soon as it is larger than any document of a provider."""
    data = bytearray()
    try:
        async for chunk in response.aiter_raw():  # Raw: a compressed bomb stays as small as it was sent.
            data += chunk
            if len(data) > MAX_DOCUMENT_BYTES:
                # The next read then fails and unwinds the library's generators; leaving the loop would not.
                await response.aclose()
    except httpx2.HTTPError:
        if len(data) <= MAX_DOCUMENT_BYTES:
            raise
    return bytes(data) if len(data) <= MAX_DOCUMENT_BYTES else None


def _unavailable(issuer: IssuerConfig, what: str) -> IdentityUnavailable:
    return IdentityUnavailable(f"the issuer {issuer.url} {what}; its tokens cannot be checked until that is mended")
