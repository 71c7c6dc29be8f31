"""What the endpoint works with: put together once by `service.py`, the same for every request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from gateway.core.errors import Unauthenticated
from gateway.core.protocol.aggregate import Names
from gateway.core.protocol.jsonrpc import Limits, Message
from gateway.core.resuming import Lost
from gateway.core.types import Document, ExchangeId, Principal, SessionId, Tool, UpstreamRef
from gateway.upstream.mail import Mail
from gateway.web.errands import Errands
from gateway.web.sealer import Sealer
from gateway.world import Evidence, World


class Sessions(Protocol):
    """The sessions of the evidence log, and the tools it has seen listed."""

    async def session(self, key: str, *, members: Document, idle_s: float) -> SessionId: ...

    async def touch(self, session: SessionId, *, idle_s: float) -> None: ...

    async def close_session(self, session: SessionId, *, why: str) -> None: ...

    async def lost(self, session: SessionId, exchange: ExchangeId) -> Lost | None: ...

    async def tool(self, upstream: str, name: str) -> Tool | None: ...


class Identify(Protocol):
    """Who sends a request: see `identity.issuers.Issuers.identify`."""

    async def __call__(
        self,
        authorization: str | None,
        *,
        resource: str,
        query: bytes,
        scopes: Sequence[str],
        certificate: bytes | None,
    ) -> Principal: ...


@dataclass(frozen=True, slots=True)
class Door:
    """One upstream as clients reach it."""

    ref: UpstreamRef
    resource: str
    """What a token must be for (RFC 8707), and what the challenge names (RFC 9728)."""
    world: World
    facts: Callable[[Message], Document]
    greets: bool = False
    """Whether a session's greeting must be kept: to introduce it to another process of a stdio upstream, or in each
    request to a modern one."""
    scopes: tuple[str, ...] = ()
    """What a token must hold to be used here."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One address behind which several upstreams are."""

    ref: UpstreamRef
    """Its name, which is no upstream's."""
    resource: str
    names: Names
    evidence: Evidence
    nursery: trio.Nursery
    """Where an exchange ends whose answer nobody waits for any more."""
    wait_s: float = 20.0
    """How long the others wait for an upstream that does not answer."""
    scopes: tuple[str, ...] = ()
    """What a token must hold: all that any of them requires."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What the endpoint works with, whichever door is used."""

    doors: Mapping[str, Door | Aggregate]
    """By name; a reload of the configuration changes what it holds."""
    identify: Identify
    challenge: Callable[[Unauthenticated, str, Sequence[str]], tuple[int, str]]
    """HTTP status and WWW-Authenticate of a refusal at a resource that requires scopes."""
    failed_login: Callable[[str, str, str], None]
    """Notes a refused token: reason, upstream and the address that it came from."""
    actor: Callable[[Principal], str]
    sessions: Sessions
    sealer: Sealer
    errands: Errands
    mail: Mail
    """Reaches the other processes that serve."""
    new_exchange: Callable[[], ExchangeId]
    limits: Limits
    hosts: frozenset[str]
    origins: frozenset[str]
    keepalive_s: float = 15.0
    session_idle_s: float = 1800.0
    max_in_flight: int = 512
    """Requests of one principal that a process serves at a time."""
