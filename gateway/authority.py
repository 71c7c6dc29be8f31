"""Puts our own authority together: its key, the grants that the configuration asks for, and what checks them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from functools import partial

from gateway.config import Config
from gateway.core.errors import ConfigFault
from gateway.core.evidence.record import LeafType, Record
from gateway.core.types import Document, Principal
from gateway.identity.authority.authority import TOKEN_PATH, Authority
from gateway.identity.authority.grants import Grant
from gateway.identity.authority.id_jag import IdJag
from gateway.identity.authority.settings import AuthorityConfig
from gateway.identity.authority.signer import Signer
from gateway.identity.issuers import Issuers
from gateway.identity.saml.grant import Asserted, SamlBearer
from gateway.identity.tokens import Verified
from gateway.store.keys import Keys
from gateway.store.mail import Mail
from gateway.store.sequencer import EvidenceLog


def signer(config: Config, keys: Keys) -> Signer | None:
    """What signs our own access tokens; None where we are no authority. Raises ConfigFault when its key is missing."""
    if config.authority is None:
        return None
    if keys.authority is None:
        raise ConfigFault(
            f"{config.evidence.keys} holds no authority.key, which signs the tokens of [authority]. "
            f"Make it: phigate keys prepare -c {config.file}"
        )
    return Signer(config.gateway.public_url, keys.authority)


def servers(config: Config, name: str) -> list[str]:
    """The authorization servers of an upstream or aggregate: the issuers and, where we are one, ourselves.

    Clients that log a person in, and those that bring an assertion, often read the first alone.
    """
    issuers = [each.url for each in config.issuers]
    if config.authority is None:
        return issuers
    own = config.gateway.public_url
    return [own, *issuers] if name in config.authority.first_at else [*issuers, own]


def opened(
    config: Config,
    own: Signer | None,
    keys: Keys,
    log: EvidenceLog,
    issuers: Issuers,
    doors: Iterable[str],
    mail: Mail,
    asserted: Asserted | None,
) -> Authority | None:
    """The authority, None where the configuration has none.

    `doors` are the upstreams and aggregates as they are; `asserted` checks SAML assertions, where SAML is configured.
    """
    if config.authority is None or own is None:
        return None

    async def record(members: Document) -> None:
        await log.append(Record(LeafType.TOKEN_ISSUED, members))

    def upstream(resource: str) -> str | None:
        return next((name for name in doors if config.resource(name) == resource), None)

    return Authority(
        config.authority,
        own,
        _grants(config.authority, own, issuers, asserted),
        upstream=upstream,
        actor=keys.actor,
        record=record,
        spend=mail.once,
        now=time.time,
    )


def revoked(issuers: Issuers, who: Principal, since: float) -> bool:
    """Whether what was said of somebody then (seconds since 1970), elsewhere than in a token, was revoked."""
    return issuers.revokes(Verified(who, math.inf, since, ""))


def _grants(settings: AuthorityConfig, own: Signer, issuers: Issuers, asserted: Asserted | None) -> list[Grant]:
    """The grants that are configured."""
    grants: list[Grant] = []
    if asserted is not None:
        revokes = partial(revoked, issuers)
        grants.append(SamlBearer(asserted, token_url=own.url + TOKEN_PATH, revokes=revokes, now=time.time))
    if settings.id_jag_issuers:
        asked = settings.id_jag_issuers
        grants.append(IdJag(asked, url=own.url, trusted=issuers, now=time.time))
    return grants
