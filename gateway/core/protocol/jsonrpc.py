"""JSON-RPC 2.0 messages as MCP uses them.

Four shapes and no more: a message that is none of them never gets past `parse`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.types import Document, Json

RequestId = str | int


@dataclass(frozen=True, slots=True)
class Request:
    """Asks for a result (JSON-RPC 2.0 §4)."""

    id: RequestId
    method: str
    params: Document = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Notification:
    """Asks for nothing (§4.1)."""

    method: str
    params: Document = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Success:
    """Answers a request with its result (§5)."""

    id: RequestId
    result: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """Answers a request with an error (§5.1). `id` is None where the request's could not be read."""

    id: RequestId | None
    code: int
    message: str = field(repr=False)
    data: Json = field(default=None, repr=False)


Response = Success | Failure
Message = Request | Notification | Success | Failure
