"""A relay between the gateway and an upstream that remembers every byte which the gateway sent: what went upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import trio


class Relay:
    """`url` is where the upstream is reached through it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sent = bytearray()

    @property
    def authorizations(self) -> list[str]:
        """The `Authorization` header of each request, in order; empty for a request without one."""
        found = []
        for head in bytes(self.sent).split(b" HTTP/1.1\r\n")[1:]:
            lines = head.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
            named = [line.partition(": ")[2] for line in lines if line.lower().startswith("authorization: ")]
            found.append(named[0] if named else "")
        return found


@asynccontextmanager
async def relaying(upstream: str) -> AsyncIterator[Relay]:
    """The relay to the upstream at this URL, while the block runs."""
    parts = urlsplit(upstream)

    async def pump(source: trio.SocketStream, sink: trio.SocketStream, note: bytearray | None) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                if note is not None:
                    note += data
                await sink.send_all(data)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await sink.send_eof()

    async def serve(stream: trio.SocketStream) -> None:
        there = await trio.open_tcp_stream(str(parts.hostname), int(parts.port or 80))
        async with stream, there, trio.open_nursery() as both:
            both.start_soon(pump, stream, there, relay.sent)
            both.start_soon(pump, there, stream, None)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        relay = Relay(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}{parts.path}")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield relay
        nursery.cancel_scope.cancel()
