"""A token of the gateway's own, by client credentials (RFC 6749 §4.4): the same for every caller."""

from __future__ import annotations

from gateway.core.types import SessionId
from gateway.upstream.credentials.cache import Cache, Fetched
from gateway.upstream.credentials.endpoint import Endpoint

_ONE = b""


class Own:
    """See `Source`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._cache = Cache()

    async def authorization(self, _: SessionId) -> str:
        """See `Source`."""
        return f"Bearer {await self._cache.get(_ONE, self._fetch)}"

    def rejected(self, authorization: str) -> None:
        """See `Source`."""
        self._cache.forget(authorization.removeprefix("Bearer "))

    async def _fetch(self) -> Fetched:
        return await self._endpoint.fetch({"grant_type": "client_credentials"})
