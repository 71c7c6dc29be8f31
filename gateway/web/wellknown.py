"""`/.well-known/oauth-protected-resource/mcp/<upstream>`: where a client learns who issues tokens for an upstream.

Public by design (RFC 9728): it holds nothing but URLs that every client is told anyway.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson
from quart import Blueprint, Response

from gateway.core.types import Document
from gateway.identity.challenge import WELL_KNOWN

_HEADERS = {
    "cache-control": "public, max-age=300",
    "access-control-allow-origin": "*",  # Clients that run in a browser read it before they have any right.
    "x-content-type-options": "nosniff",
}

_PREFLIGHT = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET",
    "access-control-allow-headers": "mcp-protocol-version",  # Clients say their version with every request.
    "access-control-max-age": "600",
}


def blueprint(document: Callable[[str], Document | None]) -> Blueprint:
    """Serves the metadata document (`challenge.metadata`) of each upstream, by its name, as they are now."""
    routes = Blueprint("wellknown", __name__)

    @routes.route(f"{WELL_KNOWN}/mcp/<upstream>", methods=["OPTIONS"])
    async def preflight(upstream: str) -> Response:  # noqa: ARG001 - it is the same for all
        return Response(b"", 204, _PREFLIGHT)

    @routes.get(f"{WELL_KNOWN}/mcp/<upstream>", provide_automatic_options=False)
    async def metadata(upstream: str) -> Response:
        found = document(upstream)
        if found is None:
            return Response(b'{"error":"not_found"}', 404, content_type="application/json")
        return Response(orjson.dumps(found), 200, _HEADERS, content_type="application/json")

    return routes
