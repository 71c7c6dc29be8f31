"""MCP's protocol versions, and everything that differs between them, as a table and the rules that read it.

Modern versions carry version and capabilities in every request and mirror some of it in HTTP headers; legacy ones begin
with `initialize`. Header and body are both from outside: where they disagree the message is refused, so that an ingress
that routes on headers and a policy that reads bodies never see two different calls.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.core.errors import ClientFault
from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    Failure,
    Message,
    Notification,
    Request,
    Response,
    Success,
)
from gateway.core.types import Document, Era, Json

HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022


@dataclass(frozen=True, slots=True)
class Version:
    """One revision of MCP."""

    name: str
    era: Era
    streamable_http: bool = True
    """Whether the revision defines Streamable HTTP. 2024-11-05 does not, but a stdio upstream may have chosen it, and
    then its clients name it here like any other."""


VERSIONS = {
    version.name: version
    for version in (
        Version("2024-11-05", Era.LEGACY, streamable_http=False),
        Version("2025-03-26", Era.LEGACY),
        Version("2025-06-18", Era.LEGACY),
        Version("2025-11-25", Era.LEGACY),
        Version("2026-07-28", Era.MODERN),
    )
}
SUPPORTED = tuple(version.name for version in VERSIONS.values() if version.streamable_http)
"""What clients may speak to the gateway, oldest first."""
MODERN = tuple(name for name in SUPPORTED if VERSIONS[name].era is Era.MODERN)
"""What a message may say of itself, and `server/discover` lists; the others are agreed on by `initialize`."""
LATEST_LEGACY = "2025-11-25"
LATEST_MODERN = "2026-07-28"
UNNAMED = "2025-03-26"
"""The version of a request that names none (2025-11-25, Protocol Version Header)."""

_STATUS = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 400,
    METHOD_NOT_FOUND: 404,
    HEADER_MISMATCH: 400,
    MISSING_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
}
"""2026-07-28, Streamable HTTP: the HTTP status of each JSON-RPC error that has one; legacy ones travel with 200."""

Headers = Iterable[tuple[bytes, bytes]]
"""As ASGI has them: names in lower case, one pair for each header line."""


def http_status(era: Era, response: Response) -> int:
    """The HTTP status under which `response` travels when it is not part of an event stream."""
    match response:
        case Success():
            return 200
        case Failure(id=None, code=code):
            return _STATUS.get(code, 400)  # It answers no request, so there was none.
        case Failure(code=code):
            return _STATUS.get(code, 200) if era is Era.MODERN else 200


def complete(era: Era, result: Document) -> Document:
    """A result of the gateway's own, marked final where the era marks results (2026-07-28, ResultType)."""
    return {"resultType": "complete", **result} if era is Era.MODERN else result


def identify(headers: Headers, message: Message) -> tuple[Era, str]:
    """The era and protocol version that a client's HTTP message is written in.

    Raises ClientFault 400: -32600 for a request without an id or a notification with one, -32020 where headers and body
    disagree or one is missing, -32601 for a method of the other era, -32022 for a version that is not spoken here
    (`data` lists those that are), -32602 where a modern request lacks its `_meta`.
    """
    _check_kind(message)
    named = _routing(headers)
    header, method = named.get(b"mcp-protocol-version"), named.get(b"mcp-method")
    if method is not None and isinstance(message, Request | Notification) and method != message.method:
        raise mismatch("Mcp-Method", "another method than the body")
    stated = mcp.meta(message).get(mcp.PROTOCOL_VERSION)
    if stated is None:
        if isinstance(message, Request) and message.method == mcp.INITIALIZE:
            return Era.LEGACY, _offered(message)
        era, version = _by_header(header, message)
    else:
        era, version = Era.MODERN, _by_body(header, stated)
    if era is Era.MODERN:
        _check_modern(named, message)
    elif isinstance(message, Request) and message.method in mcp.MODERN_ONLY:
        raise ClientFault(f"MCP {version} has no {message.method}.", code=METHOD_NOT_FOUND, status=200)
    return era, version


def mismatch(header: str, how: str) -> ClientFault:
    """The error for a header that does not say what the body says (2026-07-28, Server Validation)."""
    return ClientFault(f"Header mismatch: the {header} header has {how}.", code=HEADER_MISMATCH)


def unsupported(requested: str, supported: tuple[str, ...] = SUPPORTED) -> ClientFault:
    """The error for a version that the gateway does not speak, or not in that form of message."""
    data: Document = {"supported": list[Json](supported), "requested": requested}
    return ClientFault("Unsupported protocol version", code=UNSUPPORTED_VERSION, data=data)


def _check_kind(message: Message) -> None:
    """A method is a request or a notification, in every revision. What policy and evidence know of a call hangs on it:
    a `tools/call` without an id would have no facts, and some upstreams run it all the same."""
    if isinstance(message, Notification) and message.method in mcp.REQUESTS:
        raise ClientFault("This method is a request: send it with an id.", code=INVALID_REQUEST)
    if isinstance(message, Request) and message.method in mcp.NOTIFICATIONS:
        raise ClientFault("This method is a notification: send it without an id.", code=INVALID_REQUEST)


def _routing(headers: Headers) -> dict[bytes, str]:
    """The headers that mirror the body. Two of one kind are refused: readers would differ in which one counts."""
    named: dict[bytes, str] = {}
    for key, value in headers:
        if key in (b"mcp-protocol-version", b"mcp-method", b"mcp-name"):
            if key in named:
                raise mismatch(key.decode(), "more than one value")
            named[key] = value.decode("latin-1").strip(" \t")
    return named


def _offered(message: Request) -> str:
    """The version that an `initialize` offers, or the latest legacy one: the upstream answers what it will speak."""
    offered = message.params.get("protocolVersion")
    known = VERSIONS.get(offered) if isinstance(offered, str) else None
    return known.name if known is not None and known.era is Era.LEGACY else LATEST_LEGACY


def _by_header(header: str | None, message: Message) -> tuple[Era, str]:
    """The version of a body that states none."""
    if header is None:
        return Era.LEGACY, UNNAMED
    known = VERSIONS.get(header)
    if known is None:
        raise unsupported(header)
    if known.era is Era.MODERN and isinstance(message, Request):
        raise ClientFault(
            f"The request says MCP {header} in its header, but params._meta lacks {mcp.PROTOCOL_VERSION} "
            f"and {mcp.CLIENT_CAPABILITIES}.",
            code=INVALID_PARAMS,
        )
    return known.era, header


def _by_body(header: str | None, stated: Json) -> str:
    if not isinstance(stated, str):
        raise ClientFault(f"params._meta[{mcp.PROTOCOL_VERSION!r}] is not a string.", code=INVALID_PARAMS)
    if header is None:
        raise mismatch("MCP-Protocol-Version", "no value")
    if header != stated:
        raise mismatch("MCP-Protocol-Version", "another version than the body")
    known = VERSIONS.get(stated)
    if known is None or known.era is not Era.MODERN:
        raise unsupported(stated, MODERN)
    return stated


def _check_modern(named: dict[bytes, str], message: Message) -> None:
    """What a modern message must have besides a version (2026-07-28: Request Metadata; Per-request protocol fields)."""
    if isinstance(message, Success | Failure):
        raise ClientFault("Clients send no responses in this protocol version.", code=INVALID_REQUEST)
    if isinstance(message, Notification):
        return  # The revision defines no client notifications over HTTP, and no headers for them.
    if b"mcp-method" not in named:
        raise mismatch("Mcp-Method", "no value")
    if message.method in mcp.LEGACY_ONLY:  # 2026-07-28, Streamable HTTP: 404 and "Method not found".
        raise ClientFault(f"MCP {LATEST_MODERN} has no {message.method}.", code=METHOD_NOT_FOUND, status=404)
    if not isinstance(mcp.meta(message).get(mcp.CLIENT_CAPABILITIES), dict):
        raise ClientFault(f"params._meta lacks {mcp.CLIENT_CAPABILITIES}.", code=INVALID_PARAMS)
    if message.method not in mcp.NAMED:
        return
    header, name = named.get(b"mcp-name"), mcp.name(message)
    if (None if header is None else decode_header(header)) != name:
        raise mismatch("Mcp-Name", "no value" if header is None else "another name than the body")


def decode_header(value: str) -> str | None:
    """The value that a mirrored header carries; None where its Base64 is broken (2026-07-28, Value Encoding)."""
    if not (value.startswith("=?base64?") and value.endswith("?=")):
        return value if value.isascii() and value.replace("\t", " ").isprintable() else None
    text = value[len("=?base64?") : -len("?=")]
    try:
        plain = base64.b64decode(text, validate=True)
        return plain.decode() if base64.b64encode(plain).decode() == text else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def encode_header(value: str) -> str:
    """`value` as the value of a mirrored header; the inverse of `decode_header`."""
    plain = value.isascii() and value.isprintable() and value == value.strip(" ")
    if plain and not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="
