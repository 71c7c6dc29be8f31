"""Serve one ASGI app on sockets that are already listening, in hypercorn's trio worker, until told to drain.

Hypercorn keeps the lifespan protocol, HTTP/2 and the configuration; who binds the sockets, how many processes share
them and when to stop is the supervisor's business. Knows nothing of MCP.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, LifespanState


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Deadlines in seconds and sizes in bytes of the HTTP server."""

    drain_s: float = 50.0
    """How long exchanges in flight may go on after the shutdown began. A held call lasts 45 s."""
    keep_alive_s: float = 620.0
    """Idle connections outlive the ingress' own limit (nginx and AWS 60 s, Google 600 s): no 502 races."""
    head_s: float = 10.0
    """From a request's first byte to the end of its headers: a slow-loris client gets no more."""
    body_s: float = 30.0
    """From the end of the headers to the end of the body."""
    send_s: float = 30.0
    """A client that takes no byte of its response for this long has gone."""
    max_head: int = 32 * 1024
    """Request line and headers; nginx' large_client_header_buffers are 4 x 8 KiB. A token with many groups fits."""
    max_body: int = 4 * 1024 * 1024
    """Request body as received; the endpoint may allow less."""


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


async def serve(
    app: ASGIFramework,
    sockets: list[socket.socket],
    *,
    settings: ServerSettings,
    shutdown: Callable[[], Awaitable[None]],
    started: Callable[[], None],
) -> None:
    """Serve `app` until `shutdown()` returns, then drain: accept no more, close idle connections, let exchanges in
    flight finish within `drain_s`, cancel what is left.

    `sockets` are listening; this process's copies are closed on return. `started()` is called once, when the app's
    lifespan is up and connections are accepted. Raises what the lifespan raises when it cannot start.
    """
    config = hypercorn_config(settings)
    wrapped = ASGIWrapper(app)
    state: LifespanState = {}
    lifespan = Lifespan(wrapped, config, state)
    context = WorkerContext(None)
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in sockets]
    async with trio.open_nursery() as lifespan_nursery:
        await lifespan_nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as connections:
            handler = partial(TCPServer, wrapped, config, context, state)
            async with trio.open_nursery() as accepting:
                accepting.start_soon(partial(trio.serve_listeners, handler, listeners, handler_nursery=connections))
                started()
                await shutdown()
                accepting.cancel_scope.cancel()
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + settings.drain_s
        await lifespan.wait_for_shutdown()
        lifespan_nursery.cancel_scope.cancel()
