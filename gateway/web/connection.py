"""One HTTP/1.1 connection, lean: the app runs in the connection's own task and an ordinary response is one send.

Takes the place of hypercorn's connection handler (why: docs/decisions/0005-lean-connection.md); a client that opens
with HTTP/2's preface is handed to hypercorn's. Parsing and framing are in http1.py; here are the socket, the deadlines
and ASGI's `receive` and `send`. Reads and writes go to the non-blocking descriptor itself: trio only waits.
"""

from __future__ import annotations

import logging
import math
import os
import time
from dataclasses import dataclass
from functools import lru_cache
from wsgiref.handlers import format_date_time

import trio
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveEvent,
    ASGISendEvent,
    ConnectionState,
    HTTPScope,
    LifespanState,
)

from gateway import lateness
from gateway.process import places
from gateway.web.http1 import Request, Requests, Response, refusal

logger = logging.getLogger(__name__)

READ_BYTES = 64 * 1024
"""One read; also how far a client may write ahead of its answers before we stop reading."""
LINGER_S = 2.0
LINGER_BYTES = 1024 * 1024
"""After a last word we read on for a while: closing on unread bytes would reset the connection and lose that word."""
FIRST_S = 1.0
"""How long a new connection may take to send something once the server goes down."""
PREFACE = b"PRI * HTTP/2.0"
HUNG_UP = "phigate.hung_up"
"""The ASGI extension whose `ask` tells an app, without waiting, whether its client has hung up."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Deadlines in seconds and sizes in bytes of the HTTP server."""

    drain_delay_s: float = 0.0
    """How long everybody is still served after the shutdown began: until the ingress has seen that we are not ready."""
    drain_s: float = 50.0
    """How long exchanges in flight may go on after the shutdown began. A held call lasts 45 s."""
    keep_alive_s: float = 620.0
    """Idle connections outlive the ingress' own limit (nginx and AWS 60 s, Google 600 s): no 502 races."""
    head_s: float = 10.0
    """From a request's first byte to the end of its headers: a slow-loris client gets no more."""
    body_s: float = 30.0
    """From when the app first waits for the body to the body's end."""
    send_s: float = 30.0
    """A client that takes no byte of its response for this long has gone."""
    max_head: int = 32 * 1024
    """Request line and headers; nginx' large_client_header_buffers are 4 x 8 KiB. A token with many groups fits."""
    max_body: int = 4 * 1024 * 1024
    """Request body as received; the endpoint may allow less."""


class Gone(Exception):
    """The client hung up, stalled or was refused: nothing more can be sent to it."""


@lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    return b"date: " + format_date_time(second).encode()


def date_line() -> bytes:
    """The Date header of a response that leaves now (RFC 9110 §6.6.1)."""
    return _date(int(time.time()))


class Connection:
    """One client connection from accept to close."""

    def __init__(
        self, app: ASGIFramework, settings: ServerSettings, state: LifespanState, stream: trio.SocketStream
    ) -> None:
        self.app = app
        self.settings = settings
        self.state = state
        self.requests = Requests(settings.max_head, settings.max_body)
        self.stash = bytearray()
        """Bytes that arrived while a request was being answered: the next requests."""
        self.parting = False
        """The next response is the last one here, and says so; until it is asked for, the connection stays open."""
        self.draining = False
        """Nothing is served that has not begun to arrive."""
        self.client = _address(stream.socket.getpeername())
        self.server = _address(stream.socket.getsockname())
        self._stream = stream
        self._fd = stream.socket.fileno()
        self._patience = trio.CancelScope()
        self._lateness = lateness.here()
        self.due = math.inf
        """When the client has taken too long; infinity while it waits for us."""
        self._reading = False
        self._idle = False
        self._used = False
        """It has served a request."""
        self._opening: bytes | None = b""
        """What the connection began with, until it is clear that it is not HTTP/2's preface."""
        self._preface = b""

    async def run(self) -> bytes:
        """Serve until either side is done, then close. A client that spoke HTTP/2 stays open: its first bytes are
        returned for somebody who speaks it. Otherwise returns nothing."""
        self._lateness.add(self)
        self._expect(FIRST_S if self.draining else self.settings.keep_alive_s)
        try:
            with self._patience:
                await self._serve()
        except Gone:
            pass
        finally:
            self._lateness.discard(self)
            if not self._preface:
                self._stream.socket.close()
        return self._preface

    def part(self) -> None:
        """End after the next response. Closing an idle connection could meet a request that is on its way to it."""
        self.parting = True

    def drain(self) -> None:
        """Serve nothing that has not begun to arrive, and close after the request that is being served. The first
        request of a new connection is as good as on its way."""
        self.parting = self.draining = True
        if self._idle and self._used:
            self.wake()
        elif not self._used:
            self._expect(min(self.due - trio.current_time(), FIRST_S))

    def late(self) -> None:
        """See `lateness.Waiting`."""
        self._patience.cancel()

    def _expect(self, seconds: float) -> None:
        """The client has so long for what comes next."""
        self._lateness.expect(self, trio.current_time() + seconds)

    def wake(self) -> None:
        """End the wait for the client's next bytes, if anyone waits."""
        if self._reading:
            trio.lowlevel.notify_closing(self._fd)

    async def read(self) -> bytes:
        """The client's next bytes; none if woken before there were any. Raises Gone at their end."""
        self._reading = True
        try:
            await trio.lowlevel.wait_readable(self._fd)
        except trio.ClosedResourceError:
            pass  # wake(); what arrived until now still counts.
        finally:
            self._reading = False
        return self._taken()

    def look(self) -> None:
        """Take in, without waiting, what the client has sent since. Raises Gone if its end has come."""
        while len(self.stash) < READ_BYTES and (data := self._taken()):
            self.stash += data

    def _taken(self) -> bytes:
        """The client's next bytes, if there are any. Raises Gone at their end."""
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise Gone from error
        if not data:
            raise Gone
        return data

    async def write(self, data: bytes) -> None:
        """Send it all, at the client's pace. Raises Gone, also when the client takes nothing for `send_s`."""
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:
                with trio.move_on_after(self.settings.send_s) as patience:
                    await trio.lowlevel.wait_writable(self._fd)
                if patience.cancelled_caught:
                    raise Gone from None
            except OSError as error:
                raise Gone from error

    async def _serve(self) -> None:
        requests = self.requests
        going = True
        while going:
            if requests.ready and (requests.ready[0].complete or requests.refused is None):
                self.due = math.inf
                self._used = True
                going = await Cycle(self, requests.ready.popleft()).run()
                self._expect(self.settings.keep_alive_s)
            elif requests.refused is not None:
                await self.refuse(requests.refused)
                going = False
            else:
                going = await self._next_bytes()

    async def _next_bytes(self) -> bool:
        """Feed the parser; False when there is nothing more to wait for."""
        if self.stash:
            data = bytes(self.stash)
            self.stash.clear()
            await trio.lowlevel.checkpoint()  # A client that pipelines must not keep the others waiting.
        elif self.draining and self._used and not self.requests.started:
            return False
        else:
            self._idle = not self.requests.started
            data = await self.read()
            self._idle = False
        if not data:
            return True
        fresh = not self.requests.started and not self._opening
        if self._opening is not None:
            data = self._open_with(self._opening + data)
        self.requests.feed(data)
        if fresh and not self.requests.ready:
            self._expect(self.settings.head_s)
        return not self._preface

    def _open_with(self, data: bytes) -> bytes:
        """The connection began with `data`: what of it is HTTP/1.1, as far as that is known yet."""
        if not PREFACE.startswith(data[: len(PREFACE)]):
            self._opening = None
            return data
        self._opening = data
        if len(data) >= len(PREFACE):
            self._preface = data
        return b""

    async def refuse(self, status: int) -> None:
        """The last word on this connection. Raises Gone."""
        await self.write(refusal(status, date_line()))
        await self.linger()

    async def linger(self) -> None:
        """Let the client take what was sent before the connection closes, reading and dropping what it still sends."""
        with trio.move_on_after(LINGER_S):
            self._stream.socket.shutdown(trio.socket.SHUT_WR)
            left = LINGER_BYTES
            while left > 0:
                left -= len(await self.read())
        raise Gone


class Cycle:
    """One request and its response, as the app sees them through ASGI."""

    __slots__ = ("_body_deadline", "_connection", "_delivered", "_gone", "_over", "_refused", "_request", "_response")

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._request = request
        self._response: Response | None = None
        self._delivered = False
        self._gone = False
        self._refused = False
        self._over: trio.Event | None = None
        self._body_deadline = 0.0

    async def run(self) -> bool:
        """Run the app on the request; whether the connection may serve another. Raises Gone."""
        sound = await self._run_app()
        connection, response = self._connection, self._response
        if self._refused:
            await connection.linger()
        if self._gone:
            raise Gone
        if response is None or not response.begun:
            await connection.refuse(500)
        elif not response.ended:
            raise Gone  # Closing is the only way to tell the client that this was not all.
        elif not response.keep_alive:
            await connection.linger()
        return sound

    async def _run_app(self) -> bool:
        """Whether the app came to its end by itself."""
        try:
            await self._connection.app(self._scope(), self.receive, self.send)
        except Exception as error:  # The app's bug ends this request, unanswered or cut short, and no other.
            report(error)
            return False
        except BaseExceptionGroup as group:
            cancelled, faults = group.split(trio.Cancelled)
            if faults is not None:
                report(faults)
            if cancelled is not None:
                raise cancelled from None
            return False
        return True

    def _scope(self) -> HTTPScope:
        connection, request = self._connection, self._request
        path, raw_path, query = request.path()
        return {
            "type": "http",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "http_version": request.version,
            "method": request.method,
            "scheme": "http",
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": request.headers,
            "client": connection.client,
            "server": connection.server,
            "state": ConnectionState(connection.state.copy()),
            "extensions": {HUNG_UP: {"ask": self.hung_up}},
        }

    async def receive(self) -> ASGIReceiveEvent:
        """ASGI `receive`: the body as it arrives, then nothing until the client hangs up or the response ended."""
        request = self._request
        while not self._gone and not (self._response is not None and self._response.ended):
            if request.chunks or (request.complete and not self._delivered):
                self._delivered = request.complete
                return {"type": "http.request", "body": request.take(), "more_body": not request.complete}
            try:
                await (self._watch() if request.complete else self._read_body())
            except Gone:
                self._gone = True
        return {"type": "http.disconnect"}

    def hung_up(self) -> bool:
        """Whether the client has hung up, as far as can be seen now. Never waits."""
        if self._request.complete and not self._gone:
            try:
                self._connection.look()
            except Gone:
                self._gone = True
        return self._gone

    async def _read_body(self) -> None:
        """Wait for more of the body. Raises Gone, after a word to the client if the body cannot be accepted."""
        connection = self._connection
        if not self._body_deadline:
            self._body_deadline = trio.current_time() + connection.settings.body_s
            if self._request.expects_continue() and self._response is None:
                await connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        with trio.move_on_at(self._body_deadline) as patience:
            connection.requests.feed(await connection.read())  # Cancelled, it has taken no byte.
        status = 408 if patience.cancelled_caught else connection.requests.refused
        if status is not None and not self._request.complete:
            if self._response is None or not self._response.begun:
                self._refused = True
                await connection.write(refusal(status, date_line()))
            raise Gone

    async def _watch(self) -> None:
        """Wait until the client hangs up. Raises Gone when it does; what it sends meanwhile is kept."""
        connection = self._connection
        if len(connection.stash) < READ_BYTES:
            connection.stash += await connection.read()
        else:
            self._over = trio.Event()
            await self._over.wait()

    async def send(self, message: ASGISendEvent) -> None:
        """ASGI `send`. A client that has gone is not an error: the app learns of it from `receive`."""
        response = self._response
        if message["type"] == "http.response.start" and response is None:
            self._response = Response(self._request, message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body" and response is not None and not response.ended:
            more = message.get("more_body", False)
            await self._send_body(response, bytes(message.get("body", b"")), more=more)
        else:
            raise RuntimeError(f"the app sent {message['type']} out of turn")

    async def _send_body(self, response: Response, body: bytes, *, more: bool) -> None:
        connection = self._connection
        may_stay = self._request.keep_alive and self._request.complete and not connection.parting
        data = response.format(body, date_line(), more=more, keep_alive=may_stay)
        if self._gone:
            return
        try:
            await connection.write(data)
        except Gone:
            self._gone = True
        if more:
            await trio.lowlevel.checkpoint()  # A stream must not keep the others waiting.
        elif self._over is not None:
            self._over.set()
        else:
            connection.wake()


def report(error: BaseException) -> None:
    """Log where an error was raised and of what type; never its text, which may quote a body."""
    for place in places(error):
        logger.error("request failed: %s", place)


def _address(name: object) -> tuple[str, int] | None:
    """Host and port of a socket name; a Unix socket has none."""
    return (name[0], name[1]) if isinstance(name, tuple) else None
