"""HTTP/1.1 without a socket: bytes become requests, an app's response becomes bytes (RFC 9112).

llhttp parses, in its strict mode: it refuses conflicting or repeated lengths, folded headers, bare CR or LF, NUL and
broken chunks. What it leaves to its caller is refused here: sizes, Host, codings, versions, targets. A refusal ends the
connection, because after it nobody knows where the next request starts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import unquote

import httptools

Headers = list[tuple[bytes, bytes]]

MAX_HEADERS = 128
"""Header fields of one request; twice what the chattiest ingress adds to the chattiest client."""

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
_OURS = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"date", b"server"))
"""Response headers that belong to the connection: an app's are dropped."""


@dataclass(slots=True, eq=False)
class Request:
    """One request; its head is whole, its body grows while it arrives."""

    method: str
    target: bytes = field(repr=False)
    version: str
    headers: Headers = field(repr=False)
    """Names in lower case, values without surrounding blanks."""
    keep_alive: bool
    chunks: list[bytes] = field(default_factory=list, repr=False)
    """Body bytes that arrived and were not taken yet."""
    size: int = 0
    complete: bool = False

    def take(self) -> bytes:
        """The body bytes that arrived since the last call."""
        body = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self.chunks.clear()
        return body

    def expects_continue(self) -> bool:
        """Whether the client waits for `100 Continue` before it sends its body (RFC 9110 §10.1.1)."""
        return self.version == "1.1" and any(n == b"expect" and v.lower() == b"100-continue" for n, v in self.headers)

    def path(self) -> tuple[str, bytes, bytes]:
        """The target as ASGI wants it: decoded path, raw path, query string."""
        raw, _, query = self.target.partition(b"?")
        path = raw.decode("ascii")
        return unquote(path) if "%" in path else path, raw, query


class Refused(Exception):
    """The request cannot be served and its connection must end; `status` says why."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Requests:
    """What one connection's bytes say: `feed` them, then take requests from `ready` in order.

    `refused` is the HTTP status that ends the connection once `ready` is empty; nothing fed later counts.
    """

    def __init__(self, max_head: int, max_body: int) -> None:
        self.ready: deque[Request] = deque()
        self.refused: int | None = None
        self._max_head = max_head
        self._max_body = max_body
        self._fed = 0
        self._target = b""
        self._headers: Headers = []
        self._open: Request | None = None
        self._parser = httptools.HttpRequestParser(self)

    @property
    def started(self) -> bool:
        """Bytes of a request arrived that is not whole yet."""
        return self._fed > 0

    def feed(self, data: bytes) -> None:
        """Take in bytes as they came from the client. Never raises."""
        if self.refused is not None:
            return
        self._fed += len(data)
        try:
            while data:
                data = self._execute(data)
            self._check_sizes()
        except Refused as refusal:
            self.refused = refusal.status
        except httptools.HttpParserCallbackError as error:
            self.refused = error.__context__.status if isinstance(error.__context__, Refused) else 400
        except httptools.HttpParserError:
            self.refused = 400

    def _execute(self, data: bytes) -> bytes:
        """Parse; what is left when the client asked for another protocol is returned to be parsed as HTTP/1.1."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._decline_upgrade() + data[upgrade.args[0] :]
        return b""

    def _decline_upgrade(self) -> bytes:
        """The same head without its wish to change protocol, which a server may ignore (RFC 9110 §7.8).

        llhttp stops reading HTTP after an upgrade, so only a head without the wish tells it where the body ends.
        """
        request = self.ready.pop()
        if request.method == "CONNECT":
            raise Refused(501)
        self._parser = httptools.HttpRequestParser(self)
        kept = [(n, v) for n, v in request.headers if n not in (b"upgrade", b"connection", b"http2-settings")]
        lines = b"".join(b"%s: %s\r\n" % header for header in kept)
        return b"%s %s HTTP/%s\r\n%s\r\n" % (request.method.encode(), request.target, request.version.encode(), lines)

    def _check_sizes(self) -> None:
        if self._open is None:
            if self._fed > self._max_head:
                raise Refused(431)
        elif self._fed > self._max_head + 2 * self._max_body:
            raise Refused(413)  # A body that is mostly chunk framing.

    # What llhttp calls while it parses.

    def on_url(self, data: bytes) -> None:
        """A piece of the request target."""
        self._target += data

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field, or one trailer field: those are dropped, as RFC 9110 §6.5.1 allows."""
        if self._open is None:
            self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """The head is whole: check what llhttp does not, and let the request be served while its body arrives."""
        headers, target = self._headers, self._target
        self._headers, self._target = [], b""
        if len(target) + sum([len(n) + len(v) + 4 for n, v in headers]) > self._max_head or len(headers) > MAX_HEADERS:
            raise Refused(431)
        parser = self._parser
        method, version = parser.get_method().decode(), parser.get_http_version()
        _check_framing(version, headers, self._max_body)
        target = _origin_form(method, target, headers)
        self._open = Request(method, target, version, headers, parser.should_keep_alive())
        self.ready.append(self._open)

    def on_body(self, data: bytes) -> None:
        """A piece of the body, without its chunk framing."""
        request = self._open
        if request is not None:
            request.size += len(data)
            if request.size > self._max_body:
                raise Refused(413)
            request.chunks.append(data)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._open is not None:
            self._open.complete = True
        self._open = None
        self._fed = 0


def _check_framing(version: str, headers: Headers, max_body: int) -> None:
    """Host, length and coding (RFC 9112 §3.2, §6.1, §6.3), or Refused."""
    hosts = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
        elif name == b"content-length" and int(value) > max_body:
            raise Refused(413)
        elif name == b"transfer-encoding" and (value.lower() != b"chunked" or version != "1.1"):
            raise Refused(400 if version != "1.1" else 501)
    if version not in ("1.1", "1.0"):
        raise Refused(505)
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise Refused(400)


def _origin_form(method: str, target: bytes, headers: Headers) -> bytes:
    """The target as path and query (RFC 9112 §3.2). An absolute one must name the authority that Host names."""
    if target[:1] == b"/" and b"#" not in target:
        return target
    if method == "CONNECT" or (target == b"*" and method == "OPTIONS"):
        return target
    scheme, _, rest = target.partition(b"://")
    authority, slash, path = rest.partition(b"/")
    host = next((value for name, value in headers if name == b"host"), b"")
    if scheme.lower() not in (b"http", b"https") or authority.lower() != host.lower() or b"#" in target:
        raise Refused(400)
    return slash + path if slash else b"/"


class Response:
    """One response on its way out: each piece of the app's body becomes the bytes to send for it.

    The head leaves together with the first piece, so that an ordinary response is one send.
    """

    __slots__ = ("_bodiless", "_chunked", "_lines", "_remaining", "_status", "_version", "begun", "ended", "keep_alive")

    def __init__(self, request: Request, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raises ValueError for a header that would break the framing (response splitting) or a length that is none."""
        self._version, self._status = request.version, status
        self._bodiless = request.method == "HEAD" or status in (204, 304)
        self._lines: list[bytes] = []
        self._remaining: int | None = None
        self._chunked = False
        self.begun = False
        self.ended = False
        self.keep_alive = False
        """Whether the connection may serve another request after this response; known once it has begun."""
        for name, value in headers:
            self._add(bytes(name).lower(), bytes(value))

    def _add(self, name: bytes, value: bytes) -> None:
        line = b"%s: %s" % (name, value)
        if b"\n" in line or b"\r" in line or b"\0" in line:
            raise ValueError("a response header holds a line break or NUL")
        if name == b"content-length":
            if self._remaining is not None or not value.isdigit():
                raise ValueError("a response has more than one content-length, or one that is no number")
            self._remaining = int(value)
        if name not in _OURS:
            self._lines.append(line)

    def format(self, body: bytes, date: bytes, *, more: bool, keep_alive: bool) -> bytes:
        """The bytes to send for the next piece of body.

        `date` is the line of the Date header; `keep_alive`, whether the connection may stay open: asked of the first
        piece only. Raises ValueError when the body is longer than its content-length.
        """
        if self._remaining is not None and len(body) > self._remaining and not self._bodiless:
            raise ValueError("a response body is longer than its content-length")
        head = b"" if self.begun else self._head(body, date, more=more, keep_alive=keep_alive)
        self.ended = not more
        if self._bodiless:
            return head
        if self._chunked:
            piece = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
            return head + piece + (b"" if more else b"0\r\n\r\n")
        if self._remaining is not None:
            self._remaining -= len(body)
            if self.ended and self._remaining:
                self.keep_alive = False  # Only closing tells a client that still waits for the rest.
        return head + body

    def _head(self, body: bytes, date: bytes, *, more: bool, keep_alive: bool) -> bytes:
        self.begun = True
        self.keep_alive = keep_alive
        lines = self._lines
        if self._remaining is None and self._status not in (204, 304):
            if not more:
                self._remaining = len(body)
                lines.append(b"content-length: %d" % len(body))
            elif self._version == "1.1":
                self._chunked = True
                lines.append(b"transfer-encoding: chunked")
            else:
                self.keep_alive = False  # HTTP/1.0 has no chunks: the end of the connection ends the body.
        lines.append(date)
        if not self.keep_alive:
            lines.append(b"connection: close")
        elif self._version == "1.0":
            lines.append(b"connection: keep-alive")
        start = _STATUS_LINES.get(self._status) or b"HTTP/1.1 %d \r\n" % self._status
        return b"%s%s\r\n\r\n" % (start, b"\r\n".join(lines))


def refusal(status: int, date: bytes) -> bytes:
    """A whole response without a body that ends its connection."""
    return _STATUS_LINES[status] + b"content-length: 0\r\n" + date + b"\r\nconnection: close\r\n\r\n"
