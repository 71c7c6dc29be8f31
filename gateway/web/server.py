"""Serve one ASGI app on sockets that are already listening, in hypercorn's trio worker, until told to drain.

Hypercorn keeps the lifespan protocol, HTTP/2 and the configuration; who binds the sockets, how many processes share
them and when to stop is the supervisor's business. Knows nothing of MCP.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import RawData
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, LifespanState

from gateway.web.connection import Connection
from gateway.web.connection import ServerSettings as ServerSettings
from gateway.web.cycle import report


def hypercorn_config(settings: ServerSettings) -> Config:
    """Hypercorn's own settings: no access log (paths and queries may name patients), no server header, no read timeout
    (a held call is silent)."""
    config = Config()
    config.accesslog = None
    config.include_server_header = False
    config.keep_alive_timeout = settings.keep_alive_s
    config.keep_alive_max_requests = 2**62
    config.h11_max_incomplete_size = settings.max_head
    config.h2_max_header_list_size = settings.max_head
    return config


class OtherProtocol(TCPServer):
    """Hypercorn's own connection handler for a client whose first bytes were read already."""

    first = b""

    async def _read_data(self) -> None:
        await self.protocol.handle(RawData(self.first))
        await super()._read_data()


class Worker:
    """The connections of one process and what they share."""

    def __init__(self, app: ASGIFramework, settings: ServerSettings) -> None:
        self.app = ASGIWrapper(app)
        self.settings = settings
        self.config = hypercorn_config(settings)
        self.context = WorkerContext(None)
        self.state: LifespanState = {}
        self._connections: set[Connection] = set()
        self._parting = self._draining = False

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection until it closes."""
        try:
            connection = Connection(self.app.app, self.settings, self.state, stream)
        except OSError:  # It was reset before we looked, and has no peer: health checks of HAProxy end so.
            stream.socket.close()
            return
        connection.parting, connection.draining = self._parting, self._draining
        self._connections.add(connection)
        try:
            first = await connection.run()
        except Exception as error:  # A bug in our own code closes the connection that met it, and no other.
            report(error)
            return
        finally:
            self._connections.discard(connection)
        if first:
            cleartext: Any = stream  # Hypercorn annotates TLS streams only and takes both.
            other = OtherProtocol(self.app, self.config, self.context, self.state, cleartext)
            other.first = first
            await other.run()

    def part(self) -> None:
        """From here on every response says that it is the last on its connection, so that an ingress goes elsewhere."""
        self._parting = True
        for connection in self._connections:
            connection.part()

    async def drain(self) -> None:
        """Close idle connections now, the others after the request that they serve."""
        self._parting = self._draining = True
        await self.context.terminated.set()
        for connection in list(self._connections):
            connection.drain()


def _accepted(sockets: list[socket.socket]) -> Iterator[trio.SocketStream]:
    """The connections that the kernel accepted for us, after which nobody listens: else it would reset them, and with
    them requests that their senders could not tell from ones that were lost half-way."""
    for sock in sockets:
        with suppress(OSError), sock:
            while True:
                yield trio.SocketStream(trio.socket.from_stdlib_socket(sock.accept()[0]))


async def serve(
    app: ASGIFramework,
    sockets: list[socket.socket],
    *,
    settings: ServerSettings,
    shutdown: Callable[[], Awaitable[None]],
    started: Callable[[], None],
) -> None:
    """Serve `app` until `shutdown()` returns and for `drain_delay_s` longer, then drain: accept no more, close idle
    connections, let exchanges in flight finish within `drain_s`, cancel what is left.

    `sockets` are listening; this process's copies are closed on return. `started()` is called once, when the app's
    lifespan is up and connections are accepted. Raises what the lifespan raises when it cannot start.
    """
    worker = Worker(app, settings)
    lifespan = Lifespan(worker.app, worker.config, worker.state)
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in sockets]
    async with trio.open_nursery() as lifespan_nursery:
        await lifespan_nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accept = partial(trio.serve_listeners, worker.handle, listeners, handler_nursery=connections)
                accepting.start_soon(accept)
                started()
                await shutdown()
                if settings.drain_delay_s:
                    worker.part()
                    await trio.sleep(settings.drain_delay_s)
                late = [sock.dup() for sock in sockets]
                accepting.cancel_scope.cancel()
            for stream in _accepted(late):
                connections.start_soon(worker.handle, stream)
            await worker.drain()
            connections.cancel_scope.deadline = trio.current_time() + settings.drain_s
        await lifespan.wait_for_shutdown()
        lifespan_nursery.cancel_scope.cancel()
