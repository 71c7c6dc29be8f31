"""An identity provider's metadata: its keys and where people sign in, from a file or an https URL.

Kept like the keys of an OIDC issuer: used for `refresh_s`, and for `stale_s` more when it cannot be had anew; never
beyond the `validUntil` that it states. After that nobody is believed. Where a certificate is configured, metadata
counts only if it is signed with that, whoever served it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element

import httpx2
import trio

from gateway.core.errors import IdentityUnavailable, Unauthenticated
from gateway.identity.saml import document
from gateway.identity.saml.document import DSIG, MAX_METADATA_BYTES, METADATA, SAMLP, Document
from gateway.identity.saml.settings import IdpConfig, SamlConfig

RETRY_S = 10.0
"""Least time between two attempts after one that failed, and between two that unknown keys cause."""
MAX_CERTIFICATES = 8
_REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What we need to know of an identity provider."""

    sso_url: str
    """Where a browser takes a login request."""
    certificates: tuple[str, ...] = field(repr=False)
    """Base64 of DER."""
    until: float
    """Seconds since 1970; infinite when it does not say."""


def decode(found: Document, entity_id: str) -> Metadata:
    """The identity provider of this entity id (SAML metadata §2.3.2, §2.4.3). Raises ValueError with what is wrong."""
    root = found.root
    nested = root.findall(f"{{{METADATA}}}EntityDescriptor") if root.tag == f"{{{METADATA}}}EntitiesDescriptor" else []
    named = [each for each in [root, *nested] if each.get("entityID") == entity_id]
    if len(named) != 1:
        raise ValueError("does not describe the configured entity_id; set entity_id to what the metadata says")
    roles = [
        each
        for each in named[0].findall(f"{{{METADATA}}}IDPSSODescriptor")
        if SAMLP in (each.get("protocolSupportEnumeration") or "").split()
    ]
    if len(roles) != 1:
        raise ValueError("does not describe a SAML 2.0 identity provider")
    services = roles[0].findall(f"{{{METADATA}}}SingleSignOnService")
    urls = [each.get("Location") or "" for each in services if each.get("Binding") == _REDIRECT]
    if not urls or not _is_safe(urls[0]):
        raise ValueError("has no single sign-on service over https for the redirect binding")
    certificates = tuple(_certificates(roles[0]))
    if not 0 < len(certificates) <= MAX_CERTIFICATES:
        raise ValueError(f"has no signing certificate, or more than {MAX_CERTIFICATES}")
    return Metadata(urls[0], certificates, min(_until(each) for each in (root, named[0], roles[0])))


def _certificates(role: Element) -> list[str]:
    keys = [each for each in role.findall(f"{{{METADATA}}}KeyDescriptor") if each.get("use", "signing") == "signing"]
    path = f"{{{DSIG}}}KeyInfo/{{{DSIG}}}X509Data/{{{DSIG}}}X509Certificate"
    found = ["".join((each.text or "").split()) for key in keys for each in key.findall(path)]
    return list(dict.fromkeys(each for each in found if each))


def _until(element: Element) -> float:
    stated = element.get("validUntil")
    if stated is None:
        return math.inf
    try:
        return datetime.fromisoformat(stated).timestamp() if stated.endswith("Z") else -math.inf
    except ValueError:
        return -math.inf


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    return bool(parts.hostname) and "@" not in parts.netloc and (parts.scheme == "https" or local)


Check = Callable[[Document, bytes], Awaitable[None]]
"""That a certificate (PEM) signed metadata; raises Unauthenticated."""


class Source:
    """The metadata of one identity provider, over time."""

    def __init__(
        self,
        idp: IdpConfig,
        config: SamlConfig,
        http: httpx2.AsyncClient,
        check: Check,
        now: Callable[[], float],
    ) -> None:
        """`now` is seconds since 1970, which `validUntil` is held against."""
        self.idp = idp
        self._config = config
        self._http = http
        self._check = check
        self._now = now
        self._lock = trio.Lock()
        self._found: Metadata | None = None
        self._fault = ""
        self._tried_at = self._look_at = self._dead_at = -math.inf

    async def current(self) -> Metadata:
        """The metadata to go by now. Raises IdentityUnavailable when there is none that may be believed."""
        async with self._lock:
            if trio.current_time() >= self._look_at:
                await self._look()
        if self._found is None or trio.current_time() >= self._dead_at:
            raise IdentityUnavailable(self._fault)
        if self._now() >= self._found.until:
            raise self._unavailable("is older than its validUntil allows")
        return self._found

    async def beyond(self, seen: Metadata) -> Metadata:
        """The metadata after another look, because something is signed with a key that `seen` lacks; `seen` when it is
        too early for that, or nothing has changed.
        """
        async with self._lock:
            if self._found is seen and trio.current_time() >= self._tried_at + RETRY_S:
                await self._look()
            return self._found or seen

    async def _look(self) -> None:
        self._tried_at = trio.current_time()
        try:
            with trio.fail_after(self._config.timeout_s):
                data = await self._read()
                found = await self._decoded(data)
        except trio.TooSlowError:
            self._failed(f"could not be had within {self._config.timeout_s:g} s")
        except (OSError, httpx2.HTTPError, httpx2.InvalidURL) as error:
            self._failed(f"could not be had ({type(error).__name__})")
        except Unauthenticated as fault:
            self._failed(f"cannot be used ({fault.reason})")
        except ValueError as wrong:
            self._failed(str(wrong))
        else:
            # What has not changed stays the same object, by which others tell that.
            self._found, self._fault = self._found if found == self._found else found, ""
            self._look_at = trio.current_time() + self._config.refresh_s
            self._dead_at = self._look_at + self._config.stale_s

    async def _read(self) -> bytes:
        if self.idp.metadata_file is not None:
            async with await trio.open_file(self.idp.metadata_file, "rb") as file:
                return bytes(await file.read(MAX_METADATA_BYTES + 1))
        data = bytearray()
        headers = {"accept-encoding": "identity"}  # A compressed bomb stays as small as it was sent.
        async with self._http.stream("GET", self.idp.metadata_url or "", headers=headers) as response:
            if response.status_code != 200:
                raise ValueError(f"was answered with the status {response.status_code}")
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > MAX_METADATA_BYTES:
                    await response.aclose()
        return bytes(data)

    async def _decoded(self, data: bytes) -> Metadata:
        read = document.read_metadata(data)
        if self.idp.metadata_certificate is not None:
            if document.signature_of(read.root) is None:
                raise ValueError("is not signed, and a metadata_certificate is configured")
            await self._check(read, self.idp.metadata_certificate)
        return decode(read, self.idp.entity_id)

    def _failed(self, what: str) -> None:
        self._fault = self._unavailable(what).detail
        self._look_at = trio.current_time() + RETRY_S
        logger.warning("identity: %s", self._fault)

    def _unavailable(self, what: str) -> IdentityUnavailable:
        text = (
            f"the metadata of the identity provider {self.idp.name} {what}; nobody can sign in there until it is mended"
        )
        return IdentityUnavailable(text)
