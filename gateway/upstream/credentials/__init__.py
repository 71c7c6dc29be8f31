"""What the gateway shows to an HTTP upstream: a token of its own, or one that stands for the caller.

Headers that never change are `HttpSettings.headers`; here is what must be fetched, one file for each kind. The caller's
own token is for the gateway: only `passthrough.py` ever sends it on, where the configuration says so in as many words.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from gateway.core.types import SessionId
from gateway.upstream.credentials import endpoint
from gateway.upstream.credentials.exchanged import Exchanged
from gateway.upstream.credentials.own import Own
from gateway.upstream.credentials.passthrough import Passthrough
from gateway.upstream.credentials.settings import Kind, Settings


class Source(Protocol):
    """Where the `Authorization` header of requests to one upstream comes from."""

    async def authorization(self, session: SessionId) -> str:
        """The header for a request of this session. Raises UpstreamFault `credentials_unavailable`."""

    def rejected(self, authorization: str) -> None:
        """The upstream did not accept this one (401): it is not used again."""


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Source]:
    """The source that `settings` describe. Nothing is fetched before it is needed."""
    if settings.endpoint is None:
        yield Passthrough(settings.audience)
        return
    async with endpoint.client() as http:
        asked = endpoint.Endpoint(http, settings.endpoint)
        yield Own(asked) if settings.kind is Kind.CLIENT_CREDENTIALS else Exchanged(asked)
