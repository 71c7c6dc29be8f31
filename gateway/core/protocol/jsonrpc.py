"""JSON-RPC 2.0 messages as MCP uses them.

Four shapes and no more: a message that is none of them never gets past `parse`. What two readers could understand
differently (duplicate keys, integers beyond 64 bits, lone surrogates) is refused, so that policy, evidence and the
other side all see the same message. No error repeats anything of what was read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import overload

import orjson

from gateway.core import written
from gateway.core.errors import ClientFault, InternalFault, UpstreamFault
from gateway.core.types import Digest, Document, Json

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
CODES = range(-32768, 32768)
"""Error codes that reach a client. §5.1 reserves the lower end; nine digits could be anybody's number."""

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

DEPTH_CEILING = 128  # orjson formats at most 254 levels; ours leaves room for what a reply is wrapped in.


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a message may be: bytes as received, and levels of arrays and objects."""

    max_bytes: int = 4 * 1024 * 1024  # as the TypeScript SDK's server and MCP Inspector
    max_depth: int = 64

    def __post_init__(self) -> None:
        if not (self.max_bytes > 0 and 1 <= self.max_depth <= DEPTH_CEILING):
            raise ValueError(f"max_bytes must be positive and max_depth between 1 and {DEPTH_CEILING}")


UPSTREAM_LIMITS = Limits(max_bytes=64 * 1024 * 1024, max_depth=DEPTH_CEILING)


class _Unfit(Exception):
    """The bytes are no message of ours; carries the JSON-RPC code and a sentence that repeats nothing of them."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why


def parse(data: bytes, limits: Limits) -> Message:
    """The one message that a client sent.

    Raises ClientFault with the JSON-RPC code and HTTP status to answer with: 413 for too many bytes, 400 otherwise.
    """
    if len(data) > limits.max_bytes:
        raise ClientFault(
            f"The message is larger than the {limits.max_bytes} bytes this gateway accepts. Send less at a time.",
            code=INVALID_REQUEST,
            status=413,
        )
    try:
        document = _decode(data, limits.max_depth)
        if not document.keys() <= _MEMBERS:
            raise _Unfit(INVALID_REQUEST, "The message has members that JSON-RPC 2.0 does not define. Remove them.")
        return _shape(document)
    except _Unfit as unfit:
        raise ClientFault(unfit.why, code=unfit.code) from None


def parse_upstream(data: bytes, limits: Limits = UPSTREAM_LIMITS) -> Message:
    """The one message that an upstream sent. Members that JSON-RPC does not define are left out.

    Raises UpstreamFault: `oversize`, or `malformed` when it is not a message or could not be passed on unaltered.
    """
    if len(data) > limits.max_bytes:
        raise UpstreamFault(f"it sent a message larger than {limits.max_bytes} bytes", kind="oversize")
    try:
        return _shape(_decode(data, limits.max_depth))
    except _Unfit as unfit:
        raise UpstreamFault(f"it sent what is not an MCP message. {unfit.why}", kind="malformed") from None


def format(message: Message) -> bytes:
    """The message's bytes: UTF-8 JSON without whitespace, members in the order of JSON-RPC's own examples."""
    return orjson.dumps(_document(message))


def body(message: Message) -> Json:
    """What of the message may hold PHI: the result, the error as an object, or the params."""
    match message:
        case Success(result=result):
            return result
        case Failure(code=code, message=text, data=None):
            return {"code": code, "message": text}
        case Failure(code=code, message=text, data=data):
            return {"code": code, "message": text, "data": data}
        case Request(params=params) | Notification(params=params):
            return params


@overload
def with_body(message: Response, value: Json) -> Response: ...
@overload
def with_body(message: Message, value: Json) -> Message: ...
def with_body(message: Message, value: Json) -> Message:
    """The same message around another body.

    Total, because it runs after masking: a part that is no longer of its type is left out, never put back. An error's
    code cannot be masked, so one outside `CODES` becomes INTERNAL_ERROR.
    """
    if value is body(message):
        return message
    parts = value if isinstance(value, dict) else {}
    match message:
        case Success(id=ident):
            return Success(ident, value)
        case Failure(id=ident):
            code, text = parts.get("code"), parts.get("message")
            return Failure(
                ident,
                code if type(code) is int and code in CODES else INTERNAL_ERROR,
                text if isinstance(text, str) else "",
                parts.get("data"),
            )
        case Request(id=ident, method=method):
            return Request(ident, method, parts)
        case Notification(method=method):
            return Notification(method, parts)


def digest(message: Message) -> Digest:
    """SHA-256 of the message's formatted bytes."""
    return Digest(hashlib.sha256(format(message)).hexdigest())


def readdress(document: Json, ident: RequestId) -> Response:
    """A recorded response, given under another request's id. Raises InternalFault if no response was recorded."""
    if isinstance(document, dict):
        try:
            message = _shape({**document, "id": ident})
        except _Unfit:
            message = None
        if isinstance(message, Success | Failure):
            return message
    raise InternalFault("what was kept for a retry is not a JSON-RPC response")


_MEMBERS = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})


def _document(message: Message) -> Document:
    match message:
        case Request(id=ident, method=method, params=params):
            document: Document = {"jsonrpc": "2.0", "id": ident, "method": method}
            return {**document, "params": params} if params else document
        case Notification(method=method, params=params):
            document = {"jsonrpc": "2.0", "method": method}
            return {**document, "params": params} if params else document
        case Success(id=ident, result=result):
            return {"jsonrpc": "2.0", "id": ident, "result": result}
        case Failure(id=ident):
            return {"jsonrpc": "2.0", "id": ident, "error": body(message)}


def _decode(data: bytes, max_depth: int) -> Document:
    """The JSON object that `data` is, exactly: nothing in it was dropped, rounded or merged."""
    try:
        value: Json = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        # `from None`: the decoder's error holds the whole document.
        raise _Unfit(*_why(data, str(error))) from None
    if _deeper(value, data, max_depth):
        raise _Unfit(INVALID_REQUEST, f"The message is nested deeper than {max_depth} levels.")
    if orjson.dumps(value) != data and not written.holds_all(value, len(written.MEMBER_BYTES.findall(data))):
        # Most senders write compact JSON, which the round trip has then proven free of duplicate keys and of numbers
        # that do not fit; of most others counting proves it. What is left is read again, slowly, to find out.
        json.loads(data, object_pairs_hook=_no_duplicates, parse_int=_fits, parse_float=len)
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        raise _Unfit(
            INVALID_REQUEST,
            "JSON-RPC batches are not supported (MCP dropped them in 2025-06-18). Send each message by itself.",
        )
    raise _Unfit(INVALID_REQUEST, "The message is not a JSON object.")


def _why(data: bytes, error: str) -> tuple[int, str]:
    if data.startswith(b"\xef\xbb\xbf"):
        return PARSE_ERROR, "The message begins with a byte order mark (RFC 8259 §8.1). Send UTF-8 without one."
    if "depth" in error:
        return INVALID_REQUEST, "The message is nested too deeply."
    if "UTF-8" in error:
        return PARSE_ERROR, "The message is not UTF-8 (RFC 8259 §8.1)."
    if "surrogate" in error:
        return PARSE_ERROR, "The message has a lone surrogate, which is no character (RFC 8259 §8.2)."
    if "infinity" in error:
        return INVALID_REQUEST, "The message has a number too large to represent."
    return PARSE_ERROR, "The message is not JSON."


def _deeper(value: Json, data: bytes, limit: int) -> bool:
    """Whether `value` has more than `limit` levels of arrays and objects."""
    if data.count(b"{") + data.count(b"[") <= limit:
        return False
    level: list[Json] = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        level = [
            item
            for parent in level
            for item in (parent.values() if type(parent) is dict else parent)  # type: ignore[union-attr] # only containers are kept
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return False
    return True


def _no_duplicates(pairs: list[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _Unfit(INVALID_REQUEST, "The message has the same key twice in one object (RFC 8259 §4).")


def _fits(text: str) -> None:
    # The length first: int() of thousands of digits is slow, and beyond 4,300 an error of its own.
    if len(text) > 20 or not -(2**63) <= int(text) < 2**64:
        raise _Unfit(INVALID_REQUEST, "The message has an integer beyond 64 bits. Send it as a string.")


def _shape(document: Document) -> Message:
    """Which of the four shapes the object has (JSON-RPC 2.0 §4, §5; MCP, Overview: Messages)."""
    if document.get("jsonrpc") != "2.0":
        raise _Unfit(INVALID_REQUEST, 'The message does not say "jsonrpc": "2.0".')
    if "method" in document:
        if "result" in document or "error" in document:
            raise _Unfit(INVALID_REQUEST, "The message is both a request and a response.")
        return _call(document)
    if "params" in document:
        raise _Unfit(INVALID_REQUEST, "The message has params and no method.")
    match "result" in document, "error" in document:
        case True, False:
            return Success(_id(document), _result(document))
        case False, True:
            return _failure(document)
        case True, True:
            raise _Unfit(INVALID_REQUEST, "The message has both a result and an error.")
        case _:
            raise _Unfit(INVALID_REQUEST, "The message is neither a request, a notification nor a response.")


def _call(document: Document) -> Request | Notification:
    method = document["method"]
    params = document.get("params", _NONE)
    if not isinstance(method, str) or not method:
        raise _Unfit(INVALID_REQUEST, "The method is not a non-empty string.")
    if not isinstance(params, dict):
        raise _Unfit(INVALID_REQUEST, "The params are not an object (MCP, Overview: Messages).")
    return Request(_id(document), method, params) if "id" in document else Notification(method, params)


_NONE: Document = {}


def _id(document: Document) -> RequestId:
    ident = document.get("id")
    if type(ident) is str or type(ident) is int:
        return ident
    raise _Unfit(INVALID_REQUEST, "The id is not a string or an integer (MCP, Overview: Requests).")


def _result(document: Document) -> Document:
    result = document["result"]
    if not isinstance(result, dict):
        raise _Unfit(INVALID_REQUEST, "The result is not an object (MCP, Overview: Responses).")
    return result


def _failure(document: Document) -> Failure:
    ident = None if document.get("id") is None else _id(document)
    error = document["error"]
    if isinstance(error, dict):
        code, text = error.get("code"), error.get("message")
        if type(code) is int and isinstance(text, str):
            return Failure(ident, code, text, error.get("data"))
    raise _Unfit(INVALID_REQUEST, "The error has no integer code and string message (JSON-RPC 2.0 §5.1).")
