"""A reverse proxy that copies bytes, on the server stack and the HTTP client that phigate itself is built on.

What a stream costs here is what sockets, HTTP framing and the event loop cost; what phigate costs beyond
that is looking at each event. `python -m benchmarks.copier PORT UPSTREAM`.
"""

from __future__ import annotations

import socket
import sys
from typing import Any
from urllib.parse import urlsplit

import trio

from gateway.upstream.base import Bounds, Deadlines
from gateway.upstream.http1 import Clock, Origin, Pool
from gateway.web.server import ServerSettings, serve
from gateway.worker import settle_garbage

_FRAMING = frozenset({b"host", b"connection", b"content-length", b"transfer-encoding"})
"""Headers of one connection, which each side writes for itself."""


class Copier:
    """The proxy, as an ASGI application."""

    def __init__(self, upstream: str) -> None:
        url = urlsplit(upstream)
        self._host, self._port = url.hostname or "", url.port or 80
        self._pool: Pool | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI 3."""
        if scope["type"] == "lifespan":
            while True:
                kind = (await receive())["type"]
                await send({"type": kind + ".complete"})
                if kind == "lifespan.shutdown":
                    return
        body = b""
        more = True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
        await self._copy(scope, body, send)

    async def _copy(self, scope: Any, body: bytes, send: Any) -> None:
        pool = self._pool = self._pool or Pool(Origin(self._host, self._port, None), Deadlines(), Bounds())
        kept = [(name, value) for name, value in scope["headers"] if name not in _FRAMING]
        kept += [(b"host", b"%s:%d" % (self._host.encode(), self._port)), (b"content-length", b"%d" % len(body))]
        head = b"".join(b"%s: %s\r\n" % header for header in kept)
        connection = await pool.connection(Clock(60.0))
        try:
            await connection.send(
                b"%s %s HTTP/1.1\r\n%s\r\n%s" % (scope["method"].encode(), scope["raw_path"], head, body)
            )
            await connection.begin()
            names = (b"content-type", b"mcp-session-id", b"content-length")
            headers = [(name, value) for name in names if (value := connection.header(name))]
            await send({"type": "http.response.start", "status": connection.status, "headers": headers})
            while data := await connection.read():
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            connection.release()


async def main(port: int, upstream: str) -> None:
    """Serve until cancelled."""
    sock = socket.create_server(("127.0.0.1", port), backlog=1024)
    settle_garbage()
    app: Any = Copier(upstream)
    await serve(app, [sock], settings=ServerSettings(), shutdown=trio.sleep_forever, started=lambda: None)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), sys.argv[2])
