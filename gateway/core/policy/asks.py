"""What an upstream's message wants of the client, and through it of the user: requests, and pages to open.

There are three ways to want it: a request of its own, `inputRequests` in a modern result (MCP 2026-07-28), and an error
that names URLs (MCP 2025-11-25, URLElicitationRequiredError). Policy is told the methods, and of a URL only its origin:
the rest may say anything of anybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, Success
from gateway.core.types import Json

ELICIT = "elicitation/create"
MALFORMED = "(malformed)"
"""Stands for a method or an origin that cannot be told; no policy opens it by accident."""


def methods(message: Message) -> list[Json]:
    """The methods that a result or an error wants the client to answer first, sorted."""
    match message:
        case Success(result=result):
            named = (item.get("method") if isinstance(item, dict) else None for item in _inputs(result))
            return [*sorted({method if isinstance(method, str) else MALFORMED for method in named})]
        case Failure(code=code, data=data):
            elicits = code == mcp.URL_ELICITATION_REQUIRED or (isinstance(data, dict) and "elicitations" in data)
            return [ELICIT] if elicits else []
        case Request() | Notification():
            return []


def origins(message: Message) -> list[Json]:
    """The origins of the pages that the user is to open (`https://host`), sorted."""
    match message:
        case Success(result=result):
            asked: Iterable[Json] = (item.get("params") for item in _inputs(result) if isinstance(item, dict))
        case Failure(data={"elicitations": elicitations}):
            if not isinstance(elicitations, list):
                return [MALFORMED]
            asked = elicitations
        case Request(method=method, params=params) if method == ELICIT:
            asked = [params]
        case _:
            return []
    urls = (item["url"] for item in asked if isinstance(item, dict) and "url" in item)
    return [*sorted({_origin(url) for url in urls})]


def _inputs(result: Json) -> list[Json]:
    asked = (result.get("inputRequests") or {}) if isinstance(result, dict) else {}
    return [*asked.values()] if isinstance(asked, dict) else [asked]


def _origin(url: Json) -> str:
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or "\\" in url or "@" in url:
        return MALFORMED
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return MALFORMED
    if not parts.scheme or not parts.hostname:
        return MALFORMED
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if port in (None, usual) else f":{port}")
