"""TCP and TLS as this client needs them: reading and writing in turns, with no task switch that is not a wait.

Trio's own streams pass through the scheduler at each call, and its TLS does not say whether it holds bytes that nobody
has read. Both matter here: most requests fit the socket's buffer, and a kept connection on which something waits
unread must not be used again, or it would be taken for the next answer.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")

_READ_BYTES = 64 * 1024


class Tcp:
    """One TCP connection. Raises OSError, or trio.ClosedResourceError where it is closed under a wait."""

    __slots__ = ("_socket",)

    def __init__(self, stream: trio.SocketStream) -> None:
        self._socket = socket.socket(fileno=stream.socket.detach())
        self._socket.setblocking(False)

    async def send_all(self, data: bytes) -> None:
        """Send all of `data`; what fits the socket's buffer leaves at once."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._socket)

    async def receive(self) -> bytes:
        """Some bytes; empty when the other side has ended the connection."""
        while True:
            if self._socket.fileno() < 0:
                raise trio.ClosedResourceError("the connection was closed while nobody waited on it")
            await trio.lowlevel.wait_readable(self._socket)
            if (data := self.take()) is not None:
                return data

    def take(self) -> bytes | None:
        """What `receive` would give, if that has come."""
        try:
            return self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return None

    @property
    def holds(self) -> bool:
        """Whether something that was read of the socket is there for `take`."""
        return False

    def fileno(self) -> int:
        """The descriptor on which something comes; negative once closed."""
        return self._socket.fileno()

    @property
    def quiet(self) -> bool:
        """Whether nothing has arrived that nobody has read: no bytes, and no end."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def interrupt(self) -> None:
        """Tell whoever waits on the connection that it is closed. It is of no more use then."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)

    def close(self) -> None:
        """Close the connection. Whoever waits on it is told so."""
        self.interrupt()
        self._socket.close()


class Tls:
    """TLS over one TCP connection. Raises ssl.SSLError, beside what `Tcp` raises."""

    __slots__ = ("_received", "_tcp", "_tls", "_to_send")

    def __init__(self, tcp: Tcp, context: ssl.SSLContext, host: str) -> None:
        self._tcp = tcp
        self._received = ssl.MemoryBIO()
        self._to_send = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send, server_hostname=host)

    async def handshake(self) -> None:
        """Agree on keys and check the certificate and its name."""
        await self._perform(self._tls.do_handshake)

    async def send_all(self, data: bytes) -> None:
        """Send all of `data`."""
        if data:
            await self._perform(lambda: self._tls.write(data))

    async def receive(self) -> bytes:
        """Some bytes; empty when the other side has properly ended the connection."""
        try:
            return await self._perform(lambda: self._tls.read(_READ_BYTES))
        except ssl.SSLZeroReturnError:
            return b""

    def take(self) -> bytes | None:
        """What `receive` would give, if that has come."""
        while True:
            try:
                return self._tls.read(_READ_BYTES)
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLWantReadError:
                data = self._tcp.take()
            if data is None:
                return None
            self._arrived(data)

    @property
    def holds(self) -> bool:
        """See `Tcp`."""
        return bool(self._received.pending or self._tls.pending())

    def fileno(self) -> int:
        """See `Tcp`."""
        return self._tcp.fileno()

    @property
    def quiet(self) -> bool:
        """Whether nothing has arrived that nobody has read."""
        return not self.holds and self._tcp.quiet

    def interrupt(self) -> None:
        """See `Tcp`."""
        self._tcp.interrupt()

    def close(self) -> None:
        """Close the connection. Whoever waits on it is told so."""
        self._tcp.close()

    async def _perform(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush()
                self._arrived(await self._tcp.receive())
            else:
                await self._flush()
                return result

    def _arrived(self, data: bytes) -> None:
        if data:
            self._received.write(data)
        else:
            self._received.write_eof()  # The next step raises SSLEOFError: cut off, not ended.

    async def _flush(self) -> None:
        if self._to_send.pending:
            await self._tcp.send_all(self._to_send.read())
