"""The connection handler alone: hypercorn's as it is, and ours, under a trivial ASGI app."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Sockets
from hypercorn.trio.run import worker_serve
from rich.console import Console
from rich.table import Table

from benchmarks.processes import cores, free_port, running
from gateway.web.server import ServerSettings, hypercorn_config, serve

CONNECTIONS = (1, 16, 64)


def run(scratch: Path, console: Console, *, seconds: int) -> int:
    """Print requests/s and CPU per request of both handlers."""
    core, load_core = cores()
    table = Table(title="A trivial ASGI app on one core")
    for heading in ("handler", "connections", "requests/s", "CPU µs"):
        table.add_column(heading, justify="left" if heading == "handler" else "right")
    for handler in ("hypercorn", "lean"):
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.handlers", handler, str(port)]
        with running(command, core=core, port=port, log=scratch / f"{handler}.log") as process:
            for connections in CONNECTIONS:
                before = process.cpu_s()
                requests = _wrk(port, connections, seconds, load_core)
                cpu_us = (process.cpu_s() - before) * 1e6 / requests
                table.add_row(handler, str(connections), f"{requests / seconds:,.0f}", f"{cpu_us:,.0f}")
    console.print(table)
    return 0


def _wrk(port: int, connections: int, seconds: int, core: int) -> int:
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"http://127.0.0.1:{port}/"],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"The server did not answer every request:\n{done.stdout}")
    return int(done.stdout.partition(" requests in ")[0].split()[-1])


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Reads the request, answers eight bytes."""
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b'{"ok":1}'})


async def _serve(handler: str, port: int) -> None:
    sock = socket.create_server(("127.0.0.1", port), backlog=1024)
    settings = ServerSettings()
    if handler == "lean":
        await serve(app, [sock], settings=settings, shutdown=trio.sleep_forever, started=lambda: None)
    else:
        await worker_serve(
            ASGIWrapper(app),
            hypercorn_config(settings),
            sockets=Sockets([], [sock], []),
            shutdown_trigger=trio.sleep_forever,
        )


if __name__ == "__main__":
    trio.run(_serve, sys.argv[1], int(sys.argv[2]))
