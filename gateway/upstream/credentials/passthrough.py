"""The caller's own token, sent on: only where the configuration says so, and only a token that is for the upstream too.

MCP forbids it otherwise (2025-11-25, Authorization: Token Handling): an upstream that takes tokens which are not for it
takes anybody's. `audience` is the upstream's own, so that the provider has said itself that the token is for it.
"""

from __future__ import annotations

import base64

import orjson

from gateway.core.types import Json, SessionId
from gateway.upstream.credentials import caller
from gateway.upstream.credentials.endpoint import unavailable


class Passthrough:
    """See `Source`."""

    def __init__(self, audience: str) -> None:
        self._audience = audience

    async def authorization(self, _: SessionId) -> str:
        """See `Source`."""
        token = caller.token()
        if token is None:
            raise unavailable("nobody's access token is at hand that could be passed on")
        if self._audience not in _audiences(token):
            raise unavailable("the caller's access token is not for this upstream, so it is not passed on")
        return f"Bearer {token}"

    def rejected(self, authorization: str) -> None:
        """See `Source`. It is the caller's, who is told."""


def _audiences(token: str) -> list[Json]:
    """The `aud` of a JWT that was verified when it came in."""
    try:
        part = token.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        audience = claims["aud"]
    except (IndexError, KeyError, TypeError, ValueError):
        return []
    return audience if isinstance(audience, list) else [audience]
