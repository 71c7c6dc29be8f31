"""How people come in to the pages: puts the configured ways to sign in together, for `service.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from gateway.config import Config
from gateway.core.evidence.record import LeafType, Record
from gateway.core.types import Principal
from gateway.identity import oidc
from gateway.identity.code_flow import CodeFlow
from gateway.identity.issuers import Issuers
from gateway.process import now
from gateway.store.keys import Keys
from gateway.store.mail import Mail
from gateway.store.sequencer import EvidenceLog
from gateway.web.login_pages import Entrance


@asynccontextmanager
async def open_entrance(
    config: Config, issuers: Issuers, log: EvidenceLog, keys: Keys, mail: Mail
) -> AsyncIterator[Entrance]:
    """The ways to sign in. Nothing is fetched before somebody takes one."""
    async with oidc.client() as http:
        ways = {
            each.name: CodeFlow(
                each,
                issuers.provider(each.issuer),
                http,
                redirect_uri=f"{config.gateway.public_url}/login/callback/{each.name}",
                now=lambda: now().timestamp(),
            )
            for each in config.logins
        }
        yield Entrance(mail, partial(_record, log, keys), ways)


async def _record(log: EvidenceLog, keys: Keys, who: Principal, kind: str) -> None:
    await log.append(Record(LeafType.LOGIN_SUCCEEDED, {"actor": keys.actor(who), "by": kind}))
