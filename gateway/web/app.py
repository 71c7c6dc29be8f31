"""Everything the gateway answers over HTTP: `/mcp/` goes to the raw endpoint, all else to Quart."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from quart import Blueprint
from quart_trio import QuartTrio

from gateway.core import replies
from gateway.core.errors import ClientFault
from gateway.core.types import Document
from gateway.identity.peer import Peers
from gateway.web import health, wellknown
from gateway.web.client import HttpClient, Receive, Send
from gateway.web.endpoint import PREFIX, Endpoint
from gateway.web.health import Detail, Probe

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answered:
    """One HTTP request that was answered."""

    method: str
    path: str
    status: int
    """0: the client went before there was an answer."""
    seconds: float


def _unnoted(_: Answered) -> None:
    """Nobody takes it down."""


class App:
    """The ASGI application of one worker."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        probes: Mapping[str, Probe],
        details: Mapping[str, Detail],
        metadata: Callable[[str], Document | None],
        pages: Iterable[Blueprint],
        peers: Peers,
        answered: Callable[[Answered], None] = _unnoted,
    ) -> None:
        """`probes`: what readiness asks; `details`: what it shows; `metadata`: RFC 9728 documents by upstream;
        `pages`: everything else; `peers`: which ingresses are believed; `answered` is told each answer.
        """
        self.draining = False
        self._answered = answered
        self._endpoint = endpoint
        self._peers = peers
        self._quart = QuartTrio(__name__, static_folder=None)
        self._quart.register_blueprint(health.blueprint({**probes, "draining": self._drain_probe}, details))
        self._quart.register_blueprint(wellknown.blueprint(metadata))
        for each in pages:
            self._quart.register_blueprint(each)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """ASGI 3: `http` and `lifespan` scopes."""
        if scope["type"] != "http":
            await self._quart(cast(Any, scope), cast(Any, receive), cast(Any, send))
            return
        began, status = time.perf_counter(), 0

        async def noting(event: dict[str, Any]) -> None:
            nonlocal status
            status = event.get("status", status)
            await send(event)

        try:
            await self._serve(scope, receive, noting)
        finally:
            self._answered(Answered(scope["method"], scope["path"], status, time.perf_counter() - began))

    async def _serve(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        try:
            scope = self._peers.meet(scope)
        except ClientFault as fault:
            logger.error("a trusted proxy sent what cannot be read: %s", fault.detail)
            await HttpClient(send).finish(replies.client_fault(fault, None))
            return
        if scope["path"].startswith(PREFIX):
            await self._endpoint(scope, receive, send)
        else:
            await self._quart(cast(Any, scope), cast(Any, receive), cast(Any, send))

    async def _drain_probe(self) -> str | None:
        return "the gateway is going down" if self.draining else None
