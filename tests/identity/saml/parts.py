"""A service provider of our own, and one that trusts identity providers whose metadata a test has."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import httpx2
import trio

from gateway.identity.saml.metadata import Source
from gateway.identity.saml.pysaml import Pysaml, our_key
from gateway.identity.saml.service import ServiceProvider
from gateway.identity.saml.settings import IdpConfig, SamlConfig
from tests.saml_idp import ENTITY, GROUPS, pair

URL = "https://gate.example"
US = f"{URL}/saml/metadata"
CONSUMER = f"{URL}/saml/acs"
TOKEN_URL = f"{URL}/oauth/token"


@cache
def pysaml() -> Pysaml:
    return Pysaml(Path(shutil.which("xmlsec1") or "xmlsec1"))


def idp(metadata: Path | str, **changes: object) -> IdpConfig:
    """An identity provider whose metadata is in a file or at a URL."""
    usual = IdpConfig(
        name="work",
        title="Work",
        entity_id=ENTITY,
        metadata_file=metadata if isinstance(metadata, Path) else None,
        metadata_url=metadata if isinstance(metadata, str) else None,
        metadata_certificate=None,
        groups_attribute=GROUPS,
        subject_attribute=None,
        principal_issuer=ENTITY,
        lifetime_s=3600,
    )
    return replace(usual, **changes)


def config(*idps: IdpConfig) -> SamlConfig:
    own = pair("gateway")
    return SamlConfig(
        entity_id=US,
        key=own.key.encode(),
        certificate=own.certificate.encode(),
        xmlsec1=Path(shutil.which("xmlsec1") or "xmlsec1"),
        clock_skew_s=30,
        refresh_s=600,
        stale_s=3600,
        timeout_s=5,
        identity_providers=idps,
    )


class Once:
    """What was used once, by all processes that share this."""

    def __init__(self) -> None:
        self.used: set[str] = set()

    async def __call__(self, key: str) -> bool:
        fresh = key not in self.used
        self.used.add(key)
        return fresh


def provider(
    *idps: IdpConfig, once: Once | None = None, offset: Mapping[str, float] | None = None, seal: bytes = b"s" * 32
) -> ServiceProvider:
    """A service provider; `offset`: by how many seconds (`s`) its clock is ahead."""
    settings = config(*idps)
    ahead = offset or {}

    def now() -> float:
        return time.time() + ahead.get("s", 0.0)

    async def check(document, certificate):
        await trio.to_thread.run_sync(partial(pysaml().check_metadata, document, certificate))

    http = httpx2.AsyncClient()
    sources = [Source(each, settings, http, check, now) for each in idps]
    own = our_key(settings.key, settings.certificate)
    return ServiceProvider(settings, pysaml(), own, sources, public_url=URL, seal=seal, once=once or Once(), now=now)
