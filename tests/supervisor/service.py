"""A small supervised service, run as a real process by test_supervisor.py.

`service.py supervise STATE WORKERS HEARTBEAT DRAIN` binds a port, writes it to STATE/port and supervises; STATE/deaths
grows by a line for each death that it is told of. `service.py worker …` is what it starts.
"""

import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import trio

from gateway.supervisor import adopt, supervise, supervised
from gateway.web.server import ServerSettings, serve


def supervisor(state, workers, heartbeat, drain):
    logging.basicConfig(level=logging.INFO)
    directory = Path(state)
    sock = socket.create_server(("127.0.0.1", 0), backlog=128)

    def argv(fds):
        return [sys.executable, __file__, "worker", state, drain, str(fds.sockets[0]), str(fds.lifeline)]

    def died():
        with (directory / "deaths").open("a") as deaths:
            deaths.write("death\n")

    (directory / "port.new").write_text(str(sock.getsockname()[1]))
    (directory / "port.new").rename(directory / "port")
    return supervise(
        argv,
        sockets=[sock],
        workers=int(workers),
        heartbeat_s=float(heartbeat),
        drain_s=float(drain),
        on_worker_death=died,
    )


async def worker(state, drain, descriptor, lifeline):
    if (Path(state) / "refuse").exists():
        sys.exit(7)
    sockets = adopt([int(descriptor)])
    async with supervised(int(lifeline)) as shutdown:
        settings = ServerSettings(drain_s=float(drain))
        await serve(app, sockets, settings=settings, shutdown=shutdown, started=lambda: None)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    headers = [(b"pid", b"%d" % os.getpid())]
    if scope["path"] == "/stuck":
        time.sleep(3600)  # As an evaluation that never ends: nothing else in this process runs.
    if scope["path"] == "/program":
        # As a stdio upstream's that does not mind its input's end, with something that it started.
        program = ["/bin/sh", "-c", "sleep 600 & echo $!; sleep 600"]
        started = subprocess.Popen(program, stdout=subprocess.PIPE, start_new_session=True)
        headers.append((b"programs", b"%d %s" % (started.pid, started.stdout.readline().strip())))
    if scope["path"] == "/held":
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"held", "more_body": True})
        await trio.sleep(float(scope["query_string"]))
        await send({"type": "http.response.body", "body": b" released"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})


if __name__ == "__main__":
    if sys.argv[1] == "supervise":
        sys.exit(supervisor(*sys.argv[2:]))
    trio.run(worker, *sys.argv[2:])
