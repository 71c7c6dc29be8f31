"""How people come in to the pages: puts the configured ways to sign in together, for `service.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import httpx2
import trio

from gateway import authority
from gateway.config import Config
from gateway.core.errors import ConfigFault
from gateway.core.evidence.record import LeafType, Record
from gateway.core.types import Document as Claims
from gateway.core.types import Principal
from gateway.identity import oidc, tokens
from gateway.identity.code_flow import CodeFlow, CodeFlowConfig
from gateway.identity.issuers import Issuers
from gateway.identity.saml.document import Document
from gateway.identity.saml.metadata import Source
from gateway.identity.saml.settings import SamlConfig
from gateway.process import now
from gateway.store.keys import Keys
from gateway.store.mail import Mail
from gateway.store.sequencer import EvidenceLog
from gateway.web.login_pages import Entrance

if TYPE_CHECKING:
    from gateway.identity.saml.service import ServiceProvider


@asynccontextmanager
async def open_entrance(
    config: Config, issuers: Issuers, log: EvidenceLog, keys: Keys, mail: Mail
) -> AsyncIterator[Entrance]:
    """The ways to sign in. Nothing is fetched before somebody takes one."""
    async with oidc.client() as http:
        codes = {
            each.name: CodeFlow(
                each,
                issuers.provider(each.issuer),
                http,
                redirect_uri=f"{config.gateway.public_url}/login/callback/{each.name}",
                principal=_principal(issuers, each),
                now=_now,
            )
            for each in config.logins
        }
        saml = None if config.saml is None else await _saml(config, config.saml, keys, mail, http)
        yield Entrance(mail, partial(_record, log, keys), partial(authority.revoked, issuers), codes, saml)


def _principal(issuers: Issuers, login: CodeFlowConfig) -> Callable[[Claims], Awaitable[Principal]]:
    """Who claims of the login's issuer are about; with groups from elsewhere only where access tokens have them."""
    if login.groups_claim is None:
        return partial(issuers.principal, issuer=login.issuer)
    own = replace(issuers.provider(login.issuer).issuer, groups_claim=login.groups_claim)

    async def principal(claims: Claims) -> Principal:
        return tokens.principal(claims, own)

    return principal


async def _saml(
    config: Config, settings: SamlConfig, keys: Keys, mail: Mail, http: httpx2.AsyncClient
) -> ServiceProvider:
    """The SAML service provider. pysaml2 is an extra, and takes a second to load: only where it is configured."""
    try:
        from gateway.identity.saml.pysaml import Pysaml, our_key
        from gateway.identity.saml.service import ServiceProvider
    except ImportError:
        raise ConfigFault("[saml] needs a library that is not installed. pip install 'phigate[saml]'") from None
    pysaml = Pysaml(settings.xmlsec1)

    async def check(document: Document, certificate: bytes) -> None:
        await trio.to_thread.run_sync(pysaml.check_metadata, document, certificate)

    return ServiceProvider(
        settings,
        pysaml,
        our_key(settings.key, settings.certificate),
        [Source(each, settings, http, check, _now) for each in settings.identity_providers],
        public_url=config.gateway.public_url,
        seal=keys.session_seal,
        once=mail.once,
        now=_now,
    )


def _now() -> float:
    return now().timestamp()


async def _record(log: EvidenceLog, keys: Keys, who: Principal, kind: str) -> None:
    await log.append(Record(LeafType.LOGIN_SUCCEEDED, {"actor": keys.actor(who), "by": kind}))
