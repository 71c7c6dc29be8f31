"""`/.well-known/oauth-protected-resource/mcp/<upstream>`: where a client learns who issues tokens for an upstream.

Public by design (RFC 9728): it holds nothing but URLs that every client is told anyway.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from quart import Blueprint, Response

from gateway.core.types import Document
from gateway.identity.challenge import WELL_KNOWN

_HEADERS = {
    "cache-control": "public, max-age=300",
    "access-control-allow-origin": "*",  # Clients that run in a browser read it before they have any right.
    "x-content-type-options": "nosniff",
}


def blueprint(documents: Mapping[str, Document]) -> Blueprint:
    """Serves the metadata document (`challenge.metadata`) of each upstream, by its name."""
    routes = Blueprint("wellknown", __name__)
    bodies = {name: orjson.dumps(document) for name, document in documents.items()}

    @routes.get(f"{WELL_KNOWN}/mcp/<upstream>")
    async def metadata(upstream: str) -> Response:
        body = bodies.get(upstream)
        if body is None:
            return Response(b'{"error":"not_found"}', 404, content_type="application/json")
        return Response(body, 200, _HEADERS, content_type="application/json")

    return routes
