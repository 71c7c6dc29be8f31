"""HTTP/1.1 as a client: connections kept alive in a pool, responses read by llhttp, all of it bounded.

A request is never sent twice. A kept connection is used again only if nothing, not even its end, has arrived on it
since; if it then dies all the same, the caller is told, because the upstream may have acted on the request.
"""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass

import httptools
import trio

from gateway.core.errors import UpstreamFault
from gateway.upstream.base import Bounds, Deadlines
from gateway.upstream.tcp import Tcp, Tls

_KEPT_IDLE = 64
_GONE = (trio.ClosedResourceError, OSError)
"""How a connection says that it is of no more use; TLS errors are OSErrors."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go. `tls` is None for plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None


@dataclass(slots=True)
class Clock:
    """When an answer is late: `idle_s` after the last byte, and `until` (trio's clock) whatever comes."""

    idle_s: float
    until: float = math.inf

    def scope(self) -> trio.CancelScope:
        """A scope for one wait."""
        return trio.CancelScope(deadline=min(trio.current_time() + self.idle_s, self.until))


class _Head:
    """The parser's callbacks: status and headers of one response, and the body bytes not yet taken."""

    __slots__ = ("body", "complete", "headers", "interim", "keepalive", "parser", "status", "surplus")

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body: list[bytes] = []
        self.complete = False
        self.surplus = False
        """Something came after the end of the response: the connection cannot be trusted for another."""
        self.keepalive = False
        self.interim = False
        self.parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        self.surplus = self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:
            key = name.lower()
            held = self.headers.get(key)
            self.headers[key] = value if held is None else held + b", " + value  # RFC 9110 §5.2

    def on_headers_complete(self) -> None:
        if self.complete or self.parser is None:
            return
        status: int = self.parser.get_status_code()
        if 100 <= status < 200:  # RFC 9110 §15.2: interim responses come before the one that counts.
            self.interim = True
            self.headers.clear()
            return
        self.status = status
        self.keepalive = self.parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self.body.append(data)

    def on_message_complete(self) -> None:
        if self.interim:
            self.interim = False
        else:
            self.complete = True


class Exchange:
    """One request on one connection, and its response as far as it has been read."""

    def __init__(self, pool: Pool, wire: Tcp | Tls, clock: Clock) -> None:
        self.clock = clock
        self._pool = pool
        self._wire = wire
        self._head = _Head()
        self._quiet = 0

    @property
    def status(self) -> int:
        """The HTTP status, once `begin` has returned."""
        return self._head.status

    def header(self, name: bytes) -> bytes:
        """A response header by its lower-case name; empty if there is none."""
        return self._head.headers.get(name, b"")

    async def send(self, data: bytes) -> None:
        """Send the whole request."""
        try:
            rest = data[self._wire.send_now(data) :] if isinstance(self._wire, Tcp) else data
            if not rest:
                return
            with self.clock.scope() as scope:
                await self._wire.send_all(rest)
        except _GONE:
            raise UpstreamFault("it closed the connection before it had read the request", kind="closed") from None
        if scope.cancelled_caught:
            raise UpstreamFault("it took too long to read the request", kind="timeout")

    async def begin(self) -> None:
        """Read until the status and headers of the response are there."""
        while not self._head.status:
            await self._read()

    async def read(self) -> bytes:
        """The next bytes of the body; empty at its end. Raises UpstreamFault if it ends before it is whole."""
        head = self._head
        while not head.body and not head.complete:
            await self._read()
        data = head.body[0] if len(head.body) == 1 else b"".join(head.body)
        head.body.clear()
        return data

    @property
    def ended(self) -> bool:
        """Whether the response has been read to its end."""
        return self._head.complete

    def release(self) -> None:
        """Keep the connection for another request if this one left it clean; close it otherwise."""
        head, self._head.parser = self._head, None  # Breaks the cycle between the parser and its callbacks.
        if head.complete and head.keepalive and not head.surplus:
            self._pool.keep(self._wire)
        else:
            self._pool.drop(self._wire)

    async def _read(self) -> None:
        """Feed the parser once. Raises UpstreamFault when that brings nothing for too long, or an end too soon."""
        head = self._head
        data = b""
        try:
            with self.clock.scope() as scope:
                data = await self._wire.receive()
        except _GONE:
            raise UpstreamFault("it broke the connection before its answer was whole", kind="closed") from None
        if scope.cancelled_caught:
            what = "stopped sending before its answer was whole" if head.status else "did not answer in time"
            raise UpstreamFault(f"it {what}", kind="timeout")
        if not data:
            self._at_eof()
            return
        known = head.status
        assert head.parser is not None
        try:
            head.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not head.complete:
                raise UpstreamFault("its answer is not HTTP/1.1", kind="malformed") from None
            head.surplus = True
        # Headers, interim responses, trailers and chunk extensions could all be sent for ever.
        self._quiet = 0 if head.body or head.complete or head.status != known else self._quiet + len(data)
        if self._quiet > self._pool.bounds.max_header_bytes:
            raise UpstreamFault("its answer's headers are too large", kind="oversize")

    def _at_eof(self) -> None:
        head = self._head
        framed = b"content-length" in head.headers or b"transfer-encoding" in head.headers
        if not head.status or framed:
            raise UpstreamFault("it closed the connection before its answer was whole", kind="closed")
        head.complete = True  # RFC 9112 §6.3: a response without a length ends where its connection does.
        head.keepalive = False


class Pool:
    """The connections to one origin."""

    def __init__(self, origin: Origin, deadlines: Deadlines, bounds: Bounds) -> None:
        self._origin = origin
        self._deadlines = deadlines
        self.bounds = bounds
        self._idle: list[tuple[float, Tcp | Tls]] = []
        self._open: set[Tcp | Tls] = set()
        self._connecting = 0
        self._closed = False

    async def exchange(self, clock: Clock) -> Exchange:
        """A connection to send one request on: a kept one that is certainly still open, else a new one."""
        now = trio.current_time()
        while self._idle:
            since, wire = self._idle.pop()
            if now - since < self.bounds.keepalive_s and wire.quiet:
                return Exchange(self, wire, clock)
            self.drop(wire)
        if self._closed:
            raise UpstreamFault("the gateway is shutting down", kind="unreachable")
        if len(self._open) + self._connecting >= self.bounds.max_connections:
            raise UpstreamFault("all connections to it are in use; try again shortly", kind="unreachable")
        self._connecting += 1
        try:
            wire = await self._connect(now + self._deadlines.connect_s)
        finally:
            self._connecting -= 1
        self._open.add(wire)
        return Exchange(self, wire, clock)

    async def _connect(self, deadline: float) -> Tcp | Tls:
        origin, tcp = self._origin, None
        try:
            with trio.CancelScope(deadline=deadline):
                tcp = Tcp(await trio.open_tcp_stream(origin.host, origin.port))
                if origin.tls is None:
                    return tcp
                tls = Tls(tcp, origin.tls, origin.host)
                await tls.handshake()
                return tls
            late = f"it took longer than {self._deadlines.connect_s:g} s to accept a connection"
            raise UpstreamFault(late, kind="unreachable")
        except BaseException as error:  # Failed, late or cancelled: a half-made connection must not be left open.
            if tcp is not None:
                tcp.close()
            if isinstance(error, OSError):
                raise UpstreamFault(_why_not(error), kind="unreachable") from None
            raise

    def keep(self, wire: Tcp | Tls) -> None:
        """Take back a connection whose last response was read to its end."""
        if self._closed or len(self._idle) >= _KEPT_IDLE:
            self.drop(wire)
        else:
            self._idle.append((trio.current_time(), wire))

    def drop(self, wire: Tcp | Tls) -> None:
        """Close a connection. Whoever waits on it is told that it is closed."""
        self._open.discard(wire)
        wire.close()

    def close(self) -> None:
        """Close every connection, also those in use."""
        self._closed = True
        self._idle.clear()
        for wire in tuple(self._open):
            self.drop(wire)


def _why_not(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its TLS certificate was not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return "TLS could not be agreed with it"
    return "no connection could be made; check that it runs and that its URL is right"
