"""One HTTP/1.1 connection, lean: the app runs in the connection's own task and an ordinary response is one send.

Takes the place of hypercorn's connection handler (why: docs/decisions/0005-lean-connection.md); a client that opens
with HTTP/2's preface is handed to hypercorn's. Parsing and framing are in http1.py, what the app sees of a request in
cycle.py; here are the socket and the deadlines. Reads and writes go to the non-blocking descriptor itself: trio only
waits.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import trio
from hypercorn.typing import ASGIFramework, LifespanState

from gateway import lateness
from gateway.web.cycle import Cycle, Gone, date_line
from gateway.web.http1 import Requests, refusal

READ_BYTES = 64 * 1024
"""One read; also how far a client may write ahead of its answers before we stop reading."""
LINGER_S = 2.0
LINGER_BYTES = 1024 * 1024
"""After a last word we read on for a while: closing on unread bytes would reset the connection and lose that word."""
FIRST_S = 1.0
"""How long a new connection may take to send something once the server goes down."""
PREFACE = b"PRI * HTTP/2.0"


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

    @property
    def full(self) -> bool:
        """Whether the client has written ahead of its answers as far as it may."""
        return len(self.stash) >= READ_BYTES

    def look(self) -> None:
        """Take in, without waiting, what the client has sent since. Raises Gone if its end has come."""
        while not self.full and (data := self._taken()):
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


def _address(name: object) -> tuple[str, int] | None:
    """Host and port of a socket name; a Unix socket has none."""
    return (name[0], name[1]) if isinstance(name, tuple) else None
