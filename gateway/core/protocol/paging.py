"""Cursors: where a long listing goes on. Only the upstream can read them, and its clients bring them back.

What a cursor says of the upstream's inside is nobody else's business, and one that somebody made up is an input of the
upstream's that policy knows nothing of. So clients get them sealed, each good for the principal that it was given to,
at one upstream and for one method (MCP 2025-11-25 and 2026-07-28, Pagination: opaque, and -32602 for an invalid one).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import orjson

from gateway.core.protocol.jsonrpc import Message, Request, Response, Success
from gateway.core.types import Document, Json

PAGED = frozenset({"prompts/list", "resources/list", "resources/templates/list", "tasks/list", "tools/list"})
"""Requests whose answers may go on (Pagination: Operations Supporting Pagination; 2025-11-25, Tasks)."""
NEXT, CURSOR = "nextCursor", "cursor"
LIVES_S = 3600
"""How long a cursor is good. Whoever comes later begins anew, as clients do when an upstream has forgotten theirs."""


def purpose(actor: str, upstream: str, request: Request) -> str:
    """What the cursors of `request` are sealed for: nobody else's, nowhere else, for nothing else."""
    return f"cursor {hashlib.sha256(orjson.dumps([actor, upstream, request.method])).hexdigest()}"


def brought(message: Message) -> Json:
    """The cursor that a client brings back; None when it begins, or pages nothing."""
    return message.params.get(CURSOR) if isinstance(message, Request) and message.method in PAGED else None


def resumed(message: Request, opened: Document) -> Request | None:
    """The request as the upstream knows it, by what was sealed as its cursor; None when that was no cursor."""
    cursor = opened.get(CURSOR)
    return replace(message, params={**message.params, CURSOR: cursor}) if isinstance(cursor, str) else None


def apart(request: Message, response: Response) -> tuple[Response, Document | None]:
    """A page without its cursor, and the document to seal in its place; None when there is none."""
    paged = isinstance(request, Request) and request.method in PAGED
    if not paged or not isinstance(response, Success) or not isinstance(response.result, dict):
        return response, None
    cursor = response.result.get(NEXT)
    if not isinstance(cursor, str):
        return response, None
    rest = {key: value for key, value in response.result.items() if key != NEXT}
    return replace(response, result=rest), {CURSOR: cursor}


def together(value: Json, sealed: str) -> Json:
    """A page with its sealed cursor. One of which masks left no object stays without."""
    return {**value, NEXT: sealed} if isinstance(value, dict) else value
