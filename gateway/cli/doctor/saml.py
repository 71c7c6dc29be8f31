"""A SAML identity provider: whether its metadata can be had and believed, and for how long."""

from __future__ import annotations

import importlib
import math
import time
from datetime import UTC, datetime

import httpx2
import trio

from gateway.cli.doctor import certificate
from gateway.cli.doctor.finding import Finding, Status, fail, ok, warn, worst
from gateway.core.errors import IdentityUnavailable
from gateway.identity import oidc
from gateway.identity.saml.document import Document
from gateway.identity.saml.metadata import Check, Metadata, Source
from gateway.identity.saml.settings import IdpConfig, SamlConfig

SOON_S = 7 * 86_400.0


async def check(config: SamlConfig, idp: IdpConfig) -> list[Finding]:
    """Everything about one `[[saml.idp]]`. Nobody is signed in."""
    secured = await certificate.check(idp.metadata_url or "", timeout_s=config.timeout_s)
    if worst(secured) is Status.FAIL:
        return secured
    try:
        async with oidc.client() as http:
            found = await _metadata(config, idp, http)
    except IdentityUnavailable as fault:
        where = idp.metadata_file or f"curl -i {idp.metadata_url}"
        return [*secured, fail(f"{fault.detail[:1].upper()}{fault.detail[1:]}.", fix=f"look at it: {where}")]
    except ImportError:
        return [fail("SAML needs a library that is not installed.", fix="pip install 'phigate[saml]'")]
    return [*secured, _lifetime(idp, found)]


async def _metadata(config: SamlConfig, idp: IdpConfig, http: httpx2.AsyncClient) -> Metadata:
    return await Source(idp, config, http, _signature(config), time.time).current()


def _signature(config: SamlConfig) -> Check:
    """By which signed metadata is checked. pysaml2 is an extra, and takes a second to load: only where it is needed."""

    async def check(document: Document, by: bytes) -> None:
        pysaml = await trio.to_thread.run_sync(importlib.import_module, "gateway.identity.saml.pysaml")
        await trio.to_thread.run_sync(pysaml.Pysaml(config.xmlsec1).check_metadata, document, by)

    return check


def _lifetime(idp: IdpConfig, found: Metadata) -> Finding:
    keys = f"{len(found.certificates)} signing certificate{'s' * (len(found.certificates) != 1)}"
    if found.until == math.inf:
        return ok(f"its metadata is believed: {keys}, and no end is stated")
    until = datetime.fromtimestamp(found.until, UTC)
    if found.until - time.time() < SOON_S:
        text = f"The metadata of {idp.name} is valid until {until:%Y-%m-%d %H:%M} UTC: after that nobody can sign in."
        fix = "get it anew from the identity provider"
        return warn(text, fix=fix if idp.metadata_file is not None else f"{fix}, which should have renewed it by now")
    return ok(f"its metadata is believed: {keys}, valid until {until:%Y-%m-%d}")
