"""What a page of an allowed web origin may do and read (Fetch standard, CORS protocol).

Only origins in the configuration get here: everybody else's pages are refused before. Nothing here needs cookies, so
none are allowed; a page sends its token itself, and must be able to read the challenge that says where to get one.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.web.client import Headers, Send

_ASKED = b"access-control-request-headers"
_HEADERS = re.compile(
    r"accept|authorization|content-type|last-event-id|mcp-[a-z0-9-]{1,64}|traceparent|tracestate|baggage", re.ASCII
)
"""Request headers that a page may set: MCP's own, and what the gateway reads beside them."""
_READABLE = b"mcp-session-id, retry-after, www-authenticate"
_PREFLIGHT_S = b"600"


def origin(headers: Headers, allowed: frozenset[str]) -> bytes | None:
    """The web origin that a request comes from, if it is allowed and stands there once."""
    found = [value for name, value in headers if name == b"origin"]
    return found[0] if len(found) == 1 and found[0].decode("latin-1").lower() in allowed else None


def marked(send: Send, origin: bytes) -> Send:
    """Sends responses that a page of `origin` may read."""
    mark: Headers = [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _READABLE),
        (b"vary", b"origin"),
    ]

    async def sent(event: dict[str, Any]) -> None:
        if event["type"] == "http.response.start":
            event = {**event, "headers": [*event["headers"], *mark]}
        await send(event)

    return sent


def is_preflight(method: str, headers: Headers) -> bool:
    """Whether a browser asks what it may send, before it does."""
    return method == "OPTIONS" and any(name == b"access-control-request-method" for name, _ in headers)


async def answer(send: Send, headers: Headers) -> None:
    """Say what it may send: of the headers that it names those that are known here."""
    asked = b",".join(value for name, value in headers if name == _ASKED).decode("latin-1").lower()
    known = [name for name in (part.strip() for part in asked.split(",")) if _HEADERS.fullmatch(name)]
    told: Headers = [
        (b"access-control-allow-methods", b"DELETE, GET, POST"),
        (b"access-control-allow-headers", ", ".join(known[:64]).encode()),
        (b"access-control-max-age", _PREFLIGHT_S),
        (b"content-length", b"0"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": told})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
