"""Everything the gateway answers over HTTP: `/mcp/` goes to the raw endpoint, all else to Quart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
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
    ) -> None:
        """`probes`: what readiness asks; `details`: what it shows; `metadata`: RFC 9728 documents by upstream;
        `pages`: everything else; `peers`: which ingresses are believed.
        """
        self.draining = False
        self._endpoint = endpoint
        self._peers = peers
        self._quart = QuartTrio(__name__, static_folder=None)
        self._quart.register_blueprint(health.blueprint({**probes, "draining": self._drain_probe}, details))
        self._quart.register_blueprint(wellknown.blueprint(metadata))
        for each in pages:
            self._quart.register_blueprint(each)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """ASGI 3: `http` and `lifespan` scopes."""
        if scope["type"] == "http":
            try:
                scope = self._peers.meet(scope)
            except ClientFault as fault:
                logger.error("a trusted proxy sent what cannot be read: %s", fault.detail)
                await HttpClient(send).finish(replies.client_fault(fault, None))
                return
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            await self._endpoint(scope, receive, send)
        else:
            await self._quart(cast(Any, scope), cast(Any, receive), cast(Any, send))

    async def _drain_probe(self) -> str | None:
        return "the gateway is going down" if self.draining else None
