"""The composition root: everything a worker process serves with, built once from the configuration.

`open_gateway` puts the parts together and owns the tasks that keep them going; nothing else in the gateway knows more
than its neighbours. What fails here at start fails the start: there is no half a gateway.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio
from quart import Blueprint

from gateway import authority
from gateway.config import Config
from gateway.config.evidence import EvidenceConfig
from gateway.config.ingress import IngressConfig
from gateway.config.policy import PolicyConfig
from gateway.core.commands import Decided
from gateway.core.errors import ConfigFault, EvidenceFault
from gateway.core.evidence.record import LeafType, Record
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.decision import Entrypoint
from gateway.core.protocol.jsonrpc import Limits
from gateway.core.types import ApprovalId, Digest, Document, ExchangeId
from gateway.doors import Doors
from gateway.driver import timestamp
from gateway.entrance import open_entrance
from gateway.identity import challenge
from gateway.identity.authority.authority import Authority
from gateway.identity.callers import Callers
from gateway.identity.issuers import Issuers
from gateway.identity.peer import Peers
from gateway.identity.revoked import Revoked
from gateway.pdp import admission, replay, server
from gateway.pdp.admission import Admit
from gateway.pdp.loader import ActivePolicy, Local, Source
from gateway.pdp.shadow import Shadow
from gateway.process import now
from gateway.sampling import Sampler
from gateway.store import keys as keystore
from gateway.store import kms, tools
from gateway.store.approvals import Approvals
from gateway.store.keys import Keys
from gateway.store.mail import Mail
from gateway.store.revocations import LOOK_S, Revocations
from gateway.store.sequencer import EvidenceLog, Transaction
from gateway.store.stamps import uuid7
from gateway.store.standing import Standing
from gateway.telemetry import opening
from gateway.telemetry.exchanges import Telemetry
from gateway.telemetry.readings import Reader
from gateway.telemetry.settings import Place
from gateway.upstream.base import Upstream
from gateway.web import approvals as pages
from gateway.web import oauth
from gateway.web.access import Access
from gateway.web.app import App
from gateway.web.counter import Counter
from gateway.web.desk import Desk
from gateway.web.endpoint import Endpoint
from gateway.web.errands import Errands
from gateway.web.health import Detail, Probe
from gateway.web.logins import FailedLogins
from gateway.web.sealer import Sealer
from gateway.world import World

PROBE_S = 1.0
"""How often a failed evidence store is tried again."""
BURY_S = 5.0
"""How often processes are looked for that died and left exchanges open."""
SWEEP_S = 30.0
"""How often idle sessions and counts that no budget needs any more are looked for."""

ALONE = Place(0)
"""A gateway without a supervisor."""

logger = logging.getLogger("phigate")


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that is ready to serve. `app` is the ASGI application."""

    app: App
    endpoint: Endpoint
    log: EvidenceLog
    look_again: Callable[[], None]
    """The configuration file may say something else of upstreams now."""


@asynccontextmanager
async def open_gateway(config: Config, place: Place = ALONE, admit: Admit = admission.admit) -> AsyncIterator[Gateway]:
    """A gateway with its evidence log open, its policy active and its tasks running.

    `place`: which of its supervisor's workers this is; `admit`: whether a bundle may decide. Raises the GatewayError
    that says why it cannot start. On leaving, all upstream connections and processes are gone and the log is signed.
    """
    keys = keystore.load(config.evidence.keys)
    async with AsyncExitStack() as stack:
        telemetry = await stack.enter_async_context(opening.opened(config.telemetry, place))
        opened = EvidenceLog.open(config.evidence.store, keys, now=now, committed=telemetry.committed)
        log = await stack.enter_async_context(opened)
        await _configured(log, _digest(config.file.read_bytes()))
        policy = await _policy(config.policy, log, admit, stack, telemetry)
        own = authority.signer(config, keys)
        issuers = await stack.enter_async_context(Issuers.open(config.issuers, own=own))
        revocations = await _revocations(log, keys, issuers)
        standing = Standing(log, lambda: policy.current.windows)
        approvals = Approvals(log, partial(_decide, policy), url=partial(_review_url, config), stamp=standing.stamp)
        beside = _shadow(config.policy, log, admit)
        if beside is not None:
            telemetry.note = beside.note
        mail = Mail(log)
        world = _world(config, keys, log, policy, approvals, standing, telemetry)
        doors = await stack.enter_async_context(Doors.open(config, world, partial(_configured, log), log, mail))
        logins = FailedLogins(telemetry.unauthenticated)
        errands = Errands()
        endpoint = Endpoint(_desk(config, keys, log, issuers, doors, mail, logins, errands))
        stack.enter_context(endpoint.open())
        entrance = await stack.enter_async_context(open_entrance(config, issuers, log, keys, mail))
        counter = _counter(config, keys, log, policy, approvals, issuers, logins)
        asserted = None if entrance.saml is None else entrance.saml.asserted
        tokens = authority.opened(config, own, keys, log, issuers, doors, mail, asserted)
        app = App(
            endpoint,
            probes=_probes(log, policy, issuers, revocations),
            metadata=partial(_metadata, config, doors),
            pages=[pages.blueprint(counter, entrance), *_token_pages(tokens, logins)],
            peers=_peers(config.gateway.ingress),
            details=_details(policy, doors, telemetry, beside),
            answered=Access(doors, telemetry.answered, log=config.gateway.access_log).note,
        )
        reader = Reader(telemetry.book, place.number)
        sampler = Sampler(reader, log, policy, issuers, doors, approvals, beside, _key_months(config.evidence))
        async with trio.open_nursery() as nursery:
            for task in (policy.watch, errands.run, doors.watch, mail.run, sampler.run, endpoint.clients.look_after):
                nursery.start_soon(task)
            nursery.start_soon(_keep, PROBE_S, partial(_heal, log))
            nursery.start_soon(_keep, LOOK_S, revocations.look)
            nursery.start_soon(_keep, BURY_S, log.recover)
            for sweep in (partial(log.close_idle, config.evidence.session_idle_s), standing.sweep, mail.sweep):
                nursery.start_soon(_keep, SWEEP_S, sweep)
            nursery.start_soon(_keep, logins.every_s, partial(_record_logins, log, logins, keys))
            if beside is not None:
                nursery.start_soon(beside.run)
            yield Gateway(app, endpoint, log, doors.look_again)
            if beside is not None:
                await beside.finish()
            await _record_logins(log, logins, keys)
            nursery.cancel_scope.cancel()


async def _policy(
    config: PolicyConfig, log: EvidenceLog, admit: Admit, stack: AsyncExitStack, telemetry: Telemetry
) -> ActivePolicy:
    """The policy in force, from its source or, while that is away, from the archive. Raises PolicyFault."""
    url = ""
    if config.server is not None:
        url = config.server.url
        http = await stack.enter_async_context(server.client())
        source: Source = server.BundleServer(config.server, http, config.verification)
    elif config.bundle is not None:
        source = Local(config.bundle, verification=config.verification, every_s=config.reload_s)
    else:
        raise ConfigFault("policy: neither bundle nor url is set.")
    policy = ActivePolicy(
        source,
        on_activate=partial(_activated, log, url, telemetry),
        archived=partial(_archived, log, url) if url else None,
        admit=admit,
        deadline_s=config.deadline_s,
        now=now,
    )
    stack.callback(policy.close)
    await policy.start()
    return policy


async def _revocations(log: EvidenceLog, keys: Keys, issuers: Issuers) -> Revocations:
    """What was revoked is in force before the first request. Raises EvidenceFault."""
    revocations = Revocations(log, lambda known: issuers.revoke(Revoked(known, keys.actor, keys.token)))
    await revocations.look()
    return revocations


def _counter(
    config: Config,
    keys: Keys,
    log: EvidenceLog,
    policy: ActivePolicy,
    approvals: Approvals,
    issuers: Issuers,
    logins: FailedLogins,
) -> Counter:
    return Counter(
        approvals=approvals,
        decide=partial(_decide, policy),
        identify=issuers.identify,
        failed_login=logins.note_page,
        public_url=config.gateway.public_url,
        key=keys.session_seal,
        now=now,
        changed=partial(log.read, tools.changed),
    )


def _shadow(config: PolicyConfig, log: EvidenceLog, admit: Admit) -> Shadow | None:
    """The candidate that runs beside the policy in force, if there is one."""
    if config.shadow is None:
        return None
    source = Local(config.shadow, verification=config.verification, every_s=config.reload_s)

    async def record(members: Document) -> None:
        await log.append(Record(LeafType.POLICY_SHADOW, members))

    return Shadow(source, record, admit=admit)


def _key_months(config: EvidenceConfig) -> Callable[[], int] | None:
    """Counts the months for which replicas, which make none, have wrapping keys."""
    if isinstance(config.store, Path):
        return None
    return lambda: kms.months_left(config.keys, now())


def _details(policy: ActivePolicy, doors: Doors, telemetry: Telemetry, beside: Shadow | None) -> dict[str, Detail]:
    return {
        "policy": lambda: policy.status.public(),
        "configuration": doors.status,
        "upstreams": lambda: {name: how for name, how in telemetry.upstreams.items() if name in doors},
        **({} if beside is None else {"shadow": lambda: beside.status}),
    }


def _probes(log: EvidenceLog, policy: ActivePolicy, issuers: Issuers, revocations: Revocations) -> dict[str, Probe]:
    async def evidence() -> str | None:
        return log.fault

    async def bundle() -> str | None:
        policy.current  # noqa: B018 - raises when nothing decides; a newer bundle that was refused is no reason to stop
        return None

    async def identity() -> str | None:
        return revocations.fault or await issuers.probe()

    return {"evidence": evidence, "policy": bundle, "identity": identity}


def _world(
    config: Config,
    keys: Keys,
    log: EvidenceLog,
    policy: ActivePolicy,
    approvals: Approvals,
    standing: Standing,
    telemetry: Telemetry,
) -> Callable[[Upstream], World]:
    """What exchanges with an upstream are performed with: all but the upstream is the same for everyone."""
    sealer = Sealer(keys.session_seal, now)

    def world(upstream: Upstream) -> World:
        return World(
            pdp=lambda: policy.current,
            evidence=log,
            approvals=approvals,
            upstream=upstream,
            now=now,
            mask_key=keys.mask_token,
            seal_request=sealer.request,
            unseal_response=sealer.own_response,
            seal=sealer.seal,
            standing=standing,
            hold_s=config.gateway.hold_s,
            observer=telemetry,
        )

    return world


def _desk(
    config: Config,
    keys: Keys,
    log: EvidenceLog,
    issuers: Issuers,
    doors: Doors,
    mail: Mail,
    logins: FailedLogins,
    errands: Errands,
) -> Desk:
    return Desk(
        doors=doors,
        identify=Callers(issuers, config.gateway.ingress.mtls).identify,
        challenge=challenge.challenge,
        failed_login=logins.note,
        actor=keys.actor,
        sessions=log,
        sealer=Sealer(keys.session_seal, now),
        errands=errands,
        mail=mail,
        new_exchange=lambda: ExchangeId(uuid7(now())),
        limits=Limits(config.gateway.max_request_bytes, config.gateway.max_depth),
        hosts=config.gateway.allowed_hosts,
        origins=config.gateway.allowed_origins,
        keepalive_s=config.gateway.keepalive_s,
        session_idle_s=config.evidence.session_idle_s,
        max_in_flight=config.gateway.max_in_flight,
    )


def _token_pages(tokens: Authority | None, logins: FailedLogins) -> list[Blueprint]:
    return [] if tokens is None else [oauth.blueprint(tokens, logins.note_page)]


def _peers(ingress: IngressConfig) -> Peers:
    certificates = ingress.mtls.header.value if ingress.mtls is not None else None
    return Peers(ingress.trusted_proxies, ingress.forwarded_header, certificates)


def _metadata(config: Config, doors: Doors, name: str) -> Document | None:
    """The RFC 9728 document of an upstream or aggregate that is there now."""
    door = doors.get(name)
    return challenge.metadata(door.resource, authority.servers(config, name), door.scopes) if door else None


def _decide(policy: ActivePolicy, entrypoint: Entrypoint, document: Document) -> Decided:
    return policy.current.decide(entrypoint, document, at=timestamp(now()))


def _review_url(config: Config, approval: ApprovalId) -> str:
    return f"{config.gateway.public_url}/approvals/{approval}"


async def _activated(log: EvidenceLog, url: str, telemetry: Telemetry, bundle: Bundle) -> None:
    """Archive a bundle and put its activation on record, before it decides anything."""
    await log.transact(lambda transaction: transaction.archive_bundle(bundle.digest, bundle.archive))
    members: Document = {"bundle": bundle.digest, "revision": bundle.manifest.revision, "engine": replay.engine()}
    await _put_on_record(log, LeafType.BUNDLE_ACTIVATED, {**members, "source": url} if url else members)
    telemetry.activated(bundle, now())


async def _archived(log: EvidenceLog, url: str) -> bytes | None:
    """The bundle that was activated last, if it came from `url`."""
    found: list[bytes | None] = []

    def job(transaction: Transaction) -> None:
        members = transaction.newest_members(LeafType.BUNDLE_ACTIVATED) or {}
        if members.get("source") == url:
            found.append(transaction.archived_bundle(Digest(str(members["bundle"]))))

    await log.transact(job)
    return found[-1] if found else None


async def _configured(log: EvidenceLog, digest: str) -> None:
    """Put on record which configuration file is in force."""
    await _put_on_record(log, LeafType.CONFIG_CHANGED, {"config": digest})


async def _put_on_record(log: EvidenceLog, kind: LeafType, members: Document) -> None:
    """Append a leaf of what is in force, unless the newest leaf of its kind says the same: several workers start."""

    def job(transaction: Transaction) -> None:
        if transaction.newest_members(kind) != members:
            transaction.append(Record(kind, members))

    await log.transact(job)


async def _keep(every_s: float, task: Callable[[], Awaitable[object]]) -> None:
    """Do `task` for ever. A store that fails is the log's state, told by readiness; the next round tries again."""
    while True:
        await trio.sleep(every_s)
        try:
            await task()
        except EvidenceFault as fault:
            logger.error("evidence: %s", fault.detail)


async def _heal(log: EvidenceLog) -> None:
    if log.fault is not None:
        await log.probe()


async def _record_logins(log: EvidenceLog, logins: FailedLogins, keys: Keys) -> None:
    for reason, upstream, address, count in logins.take():
        members: Document = {"reason": reason, "upstream": upstream, "count": count}
        if address:
            members["peer"] = keys.peer(address)
        await log.append(Record(LeafType.LOGIN_FAILED, members))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
