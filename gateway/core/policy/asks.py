"""What an upstream's message wants of the client, and through it of the user: requests, and pages to open.

There are three ways to want it: a request of its own, `inputRequests` in a modern result (MCP 2026-07-28), and an error
that names URLs (MCP 2025-11-25, URLElicitationRequiredError). A task brings the latter two along, in its own members or
around the result or error that it ended with, in answers and in notifications (tasks extension, `DetailedTask`). Policy
is told the methods, and of a URL only its origin: the rest may say anything of anybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, Success
from gateway.core.types import Document, Json

ELICIT = "elicitation/create"
MALFORMED = "(malformed)"
"""Stands for a method or an origin that cannot be told; no policy opens it by accident."""
_TELLING = frozenset({"inputRequests", "code", "data", "result", "error", "task"})
"""Members that are looked into: what has none of them wants nothing."""


def of(message: Message) -> Document:
    """What a message wants: `{"asks": methods, "opens": origins}`, both sorted. `asks`: the methods that a result, an
    error or a notification wants the client to answer first; a request asks by itself, and has none. `opens`: the
    origins of the pages that the user is to open (`https://host`)."""
    if isinstance(message, Request):
        return {"opens": _origins([message.params] if message.method == ELICIT else [])}
    parts = list(_parts(message))
    if not parts:
        return {"asks": [], "opens": []}
    told: set[str] = set()
    for part in parts:
        named = (item.get("method") if isinstance(item, dict) else None for item in _inputs(part))
        told |= {method if isinstance(method, str) else MALFORMED for method in named}
        if part.get("code") == mcp.URL_ELICITATION_REQUIRED or _pages(part) is not None:
            told.add(ELICIT)
    return {"asks": [*sorted(told)], "opens": _origins([asking for part in parts for asking in _asking(part)])}


def wants_nothing(params: Document) -> bool:
    """Whether a result or a notification plainly wants nothing of the client: it has no member that could say so."""
    return params.keys().isdisjoint(_TELLING)


def _origins(asked: list[Json]) -> list[Json]:
    urls = (item["url"] if isinstance(item, dict) else None for item in asked if _opens(item))
    return [*sorted({_origin(url) for url in urls})]


def _parts(message: Message) -> Iterator[Document]:
    """What may want something: a result, an error or a notification's params, and what a task in them ended with."""
    match message:
        case Success(result=dict(whole)) | Notification(params=whole):
            if wants_nothing(whole):
                return
        case Failure(code=code, data=data):
            whole = {"code": code, "data": data}
        case _:
            return
    yield whole
    # Legacy tasks stand in a member of their own, modern ones in the answer itself (2025-11-25, Tasks; SEP-2663).
    for holder in (whole, whole.get("task")):
        for name in ("result", "error", "task"):
            part = holder.get(name) if isinstance(holder, dict) else None
            if isinstance(part, dict):
                yield part


def _asking(part: Document) -> Iterator[Json]:
    yield from (item.get("params") for item in _inputs(part) if isinstance(item, dict))
    yield from _pages(part) or []


def _opens(item: Json) -> bool:
    return "url" in item if isinstance(item, dict) else item == MALFORMED


def _pages(error: Document) -> list[Json] | None:
    """What an error asks the user to open; None where it does not."""
    data = error.get("data")
    if not isinstance(data, dict) or "elicitations" not in data:
        return None
    named = data["elicitations"]
    return named if isinstance(named, list) else [MALFORMED]


def _inputs(part: Document) -> list[Json]:
    asked = part.get("inputRequests") or {}
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
