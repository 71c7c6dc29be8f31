"""HTTP/1.1 as a client: connections kept alive in a pool, responses read by llhttp, all of it bounded.

A request is never sent twice. A kept connection is used again only if nothing, not even its end, has arrived on it
since; if it then dies all the same, the caller is told, because the upstream may have acted on the request.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import httptools
import trio

from gateway import lateness
from gateway.core.errors import UpstreamFault
from gateway.upstream import inflow
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

    def due(self) -> float:
        """When a wait that begins now is late."""
        return min(trio.current_time() + self.idle_s, self.until)

    def scope(self) -> trio.CancelScope:
        """A scope for one wait."""
        return trio.CancelScope(deadline=self.due())


class Connection:
    """One connection, and the response on it as far as it has been read.

    It is its parser's protocol. The next request on it begins with `renew`.
    """

    __slots__ = ("_body", "_fault", "_inflow", "_interim", "_late", "_lateness", "_parser", "_pool", "_quiet", "_room",
                 "_surplus", "_wire", "clock", "due", "ended", "headers", "keepalive", "status")  # fmt: skip

    def __init__(self, pool: Pool, wire: Tcp | Tls, clock: Clock) -> None:
        self._pool = pool
        self._wire = wire
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._late = False
        self.due = math.inf
        self._lateness = lateness.here()
        self._lateness.add(self)
        self._inflow = inflow.here()
        self._room = 0
        self._fault: UpstreamFault | None = None
        """What went wrong while nobody read, and is not told yet."""
        self.renew(clock)

    def renew(self, clock: Clock) -> None:
        """Forget the last response, of which nothing is left unread."""
        self.clock = clock
        self.status = 0
        """The HTTP status, once `begin` has returned."""
        self.headers: dict[bytes, bytes] = {}
        """By lower-case name."""
        self.ended = False
        """Whether the response has been read to its end."""
        self.keepalive = False
        """Whether the upstream takes another request on this connection."""
        self._body: list[bytes] = []
        self._surplus = False
        """Something came after the end of the response: the connection cannot be trusted for another."""
        self._interim = False
        self._quiet = 0

    def header(self, name: bytes) -> bytes:
        """A response header by its lower-case name; empty if there is none."""
        return self.headers.get(name, b"")

    async def send(self, data: bytes) -> None:
        """Send the whole request."""
        self._expect()
        try:
            await self._wire.send_all(data)
        except _GONE:
            if self._late:
                raise UpstreamFault("it took too long to read the request", kind="timeout") from None
            raise UpstreamFault("it closed the connection before it had read the request", kind="closed") from None
        finally:
            self.due = math.inf

    async def begin(self) -> None:
        """Read until the status and headers of the response are there."""
        while not self.status:
            await self._read()

    async def read(self) -> bytes:
        """The next bytes of the body; empty at its end. Raises UpstreamFault if it ends before it is whole."""
        while not self._body and not self.ended:
            await self._read()
        body, self._body = self._body, []
        return body[0] if len(body) == 1 else b"".join(body)

    async def gather(self, most: int, hurries: Callable[[bytes], bool], until: float) -> bytes:
        """What comes of the body until `until` on trio's clock, until that is about `most` bytes, one of its pieces
        hurries, or it ends or breaks, which the next `read` tells."""
        self._room = most
        if not self._gathered(hurries):
            gathered = partial(self._gathered, hurries)
            await self._inflow.wait(self._wire.fileno(), gathered, min(until, self.clock.until))
        if trio.current_time() >= self.clock.until:
            self._fault = self._overdue()
        body, self._body = self._body, []
        return b"".join(body)

    def _gathered(self, hurries: Callable[[bytes], bool]) -> bool:
        """Take in what has come; whether that is enough."""
        try:
            while not self.ended and self._fault is None:
                data, known = self._wire.take(), len(self._body)
                if data is None:
                    return False
                self._taken(data)
                self._room -= len(data)
                if self._room <= 0 or any(map(hurries, self._body[known:])):
                    return True
                if not self._wire.holds:
                    return self.ended
        except _GONE:
            self._fault = _broken()
        except UpstreamFault as fault:
            self._fault = fault
        return True

    def release(self) -> None:
        """Keep the connection for another request if this one left it clean; close it otherwise."""
        if self.ended and self.keepalive and not self._surplus:
            self._pool.keep(self)
        else:
            self._pool.drop(self)

    @property
    def quiet(self) -> bool:
        """Whether nothing has arrived on the connection that nobody has read."""
        return self._wire.quiet

    def close(self) -> None:
        """Close the connection. Whoever waits on it is told that it is closed."""
        self._inflow.wake(self._wire.fileno())
        self._wire.close()

    def let_go(self) -> None:
        """Close a connection that nobody uses."""
        self._parser = None  # Breaks the cycle between the parser and its protocol.
        self._lateness.discard(self)
        self._wire.close()

    def late(self) -> None:
        """See `lateness.Waiting`."""
        self._late = True
        self._wire.interrupt()

    def _expect(self) -> None:
        """What is waited for now is late after a while."""
        self._late = False
        self._lateness.expect(self, self.clock.due())

    async def _read(self) -> None:
        """Feed the parser once. Raises UpstreamFault when that brings nothing for too long, or an end too soon."""
        if self._fault is not None:
            raise self._fault
        self._expect()
        try:
            data = await self._wire.receive()
        except _GONE:
            if not self._late:
                raise _broken() from None
            raise self._overdue() from None
        finally:
            self.due = math.inf
        self._taken(data)

    def _overdue(self) -> UpstreamFault:
        what = "stopped sending before its answer was whole" if self.status else "did not answer in time"
        return UpstreamFault(f"it {what}", kind="timeout")

    def _taken(self, data: bytes) -> None:
        if data:
            self._feed(data)
        else:
            self._at_eof()

    def _feed(self, data: bytes) -> None:
        known = self.status
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.ended:
                raise UpstreamFault("its answer is not HTTP/1.1", kind="malformed") from None
            self._surplus = True
        # Headers, interim responses, trailers and chunk extensions could all be sent for ever.
        self._quiet = 0 if self._body or self.ended or self.status != known else self._quiet + len(data)
        if self._quiet > self._pool.bounds.max_header_bytes:
            raise UpstreamFault("its answer's headers are too large", kind="oversize")

    def _at_eof(self) -> None:
        framed = b"content-length" in self.headers or b"transfer-encoding" in self.headers
        if not self.status or framed:
            raise UpstreamFault("it closed the connection before its answer was whole", kind="closed")
        self.ended = True  # RFC 9112 §6.3: a response without a length ends where its connection does.
        self.keepalive = False

    # What llhttp calls while it parses.

    def on_message_begin(self) -> None:
        """A response begins; one is all that was asked for."""
        self._surplus = self.ended

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header field; trailers are dropped."""
        if not self.status:
            key = name.lower()
            held = self.headers.get(key)
            self.headers[key] = value if held is None else held + b", " + value  # RFC 9110 §5.2

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if self.ended or self._parser is None:
            return
        status: int = self._parser.get_status_code()
        if 100 <= status < 200:  # RFC 9110 §15.2: interim responses come before the one that counts.
            self._interim = True
            self.headers.clear()
            return
        self.status = status
        self.keepalive = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """A piece of the body, without its chunk framing."""
        if not self.ended:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """The response, or an interim one, is whole."""
        if self._interim:
            self._interim = False
        else:
            self.ended = True


class Pool:
    """The connections to one origin."""

    def __init__(self, origin: Origin, deadlines: Deadlines, bounds: Bounds) -> None:
        self._origin = origin
        self._deadlines = deadlines
        self.bounds = bounds
        self._idle: list[tuple[float, Connection]] = []
        self._open: set[Connection] = set()
        self._connecting = 0
        self._closed = False

    async def connection(self, clock: Clock) -> Connection:
        """A connection to send one request on: a kept one that is certainly still open, else a new one."""
        while self._idle:
            since, connection = self._idle.pop()
            if trio.current_time() - since < self.bounds.keepalive_s and connection.quiet:
                connection.renew(clock)
                return connection
            self.drop(connection)
        if self._closed:
            raise UpstreamFault("the gateway is shutting down", kind="unreachable")
        if len(self._open) + self._connecting >= self.bounds.max_connections:
            raise UpstreamFault("all connections to it are in use; try again shortly", kind="unreachable")
        self._connecting += 1
        try:
            wire = await self._connect(trio.current_time() + self._deadlines.connect_s)
        finally:
            self._connecting -= 1
        connection = Connection(self, wire, clock)
        self._open.add(connection)
        return connection

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

    def keep(self, connection: Connection) -> None:
        """Take back a connection whose last response was read to its end."""
        if self._closed or len(self._idle) >= _KEPT_IDLE:
            self.drop(connection)
        else:
            self._idle.append((trio.current_time(), connection))

    def drop(self, connection: Connection) -> None:
        """Close a connection that nobody uses any more."""
        self._open.discard(connection)
        connection.let_go()

    def close(self) -> None:
        """Close every connection; whoever uses one is told so, and lets go of it."""
        self._closed = True
        while self._idle:
            self.drop(self._idle.pop()[1])
        for connection in self._open:
            connection.close()


def _broken() -> UpstreamFault:
    return UpstreamFault("it broke the connection before its answer was whole", kind="closed")


def _why_not(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its TLS certificate was not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return "TLS could not be agreed with it"
    return "no connection could be made; check that it runs and that its URL is right"
