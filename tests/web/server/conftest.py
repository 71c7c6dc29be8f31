"""A server on a real loopback socket, ours or stock hypercorn, and a peer that speaks raw bytes to it."""

import functools
import json
import socket
from dataclasses import dataclass, field

import h11
import pytest
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Sockets
from hypercorn.trio.run import worker_serve

from gateway.web.server import ServerSettings, hypercorn_config, serve

PATIENCE_S = 10.0
"""No test waits longer for a byte; a server that hangs fails its test instead of stopping the run."""


@dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Peer:
    """A client connection: bytes out as the test wrote them, answers in as h11, which we did not write, reads them."""

    def __init__(self, stream):
        self.stream = stream
        self._h11 = h11.Connection(h11.CLIENT)

    async def send(self, data):
        await self.stream.send_all(data)

    async def answer(self, *, method="GET"):
        """The next response, whole."""
        if self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
        # h11 must believe that it sent the request whose answer it reads.
        self._h11.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        self._h11.send(h11.EndOfMessage())
        head, body = None, b""
        with trio.fail_after(PATIENCE_S):
            while True:
                event = self._h11.next_event()
                if event is h11.NEED_DATA:
                    self._h11.receive_data(await self.stream.receive_some())
                elif isinstance(event, h11.Response):
                    head = event
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    return Answer(head.status_code, {n.decode(): v.decode() for n, v in head.headers}, body)

    async def some(self):
        with trio.fail_after(PATIENCE_S):
            return await self.stream.receive_some()

    async def until(self, ending):
        """Bytes up to and with `ending`."""
        data = b""
        while not data.endswith(ending):
            more = await self.some()
            assert more, data
            data += more
        return data

    async def everything(self):
        """Bytes until the server closes."""
        data = b""
        while True:
            try:
                more = await self.some()
            except trio.BrokenResourceError:
                return data
            if not more:
                return data
            data += more

    async def hang_up(self):
        await self.stream.aclose()

    async def reset(self):
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.stream.socket.close()


@dataclass
class Server:
    port: int
    stop: trio.Event = field(default_factory=trio.Event)
    stopped: trio.Event = field(default_factory=trio.Event)
    peers: list = field(default_factory=list)

    async def peer(self):
        self.peers.append(Peer(await trio.open_tcp_stream("127.0.0.1", self.port)))
        return self.peers[-1]

    def hang_up(self):
        for peer in self.peers:
            peer.stream.socket.close()

    async def ask(self, data, *, method="GET"):
        """One request on its own connection."""
        peer = await self.peer()
        await peer.send(data)
        try:
            return await peer.answer(method=method)
        finally:
            await peer.hang_up()

    async def exchange(self, data):
        """All that the server says to `data` until it closes the connection."""
        peer = await self.peer()
        await peer.send(data)
        try:
            return await peer.everything()
        finally:
            await peer.hang_up()


async def run_ours(app, sock, server, *, settings, task_status):
    await serve(app, [sock], settings=settings, shutdown=server.stop.wait, started=task_status.started)


async def run_stock(app, sock, server, *, settings, task_status):
    config = hypercorn_config(settings)
    config.graceful_timeout = settings.drain_s
    sockets = Sockets([], [sock], [])
    trigger = server.stop.wait
    await worker_serve(ASGIWrapper(app), config, sockets=sockets, shutdown_trigger=trigger, task_status=task_status)


RUNNERS = {"ours": run_ours, "stock": run_stock}


@pytest.fixture
def start(nursery):
    """`await start(app, "ours" | "stock", **settings)`: a running Server."""

    servers = []

    async def start(app, which="ours", **settings):
        sock = socket.create_server(("127.0.0.1", 0))
        server = Server(sock.getsockname()[1])

        async def run(*, task_status):
            await RUNNERS[which](app, sock, server, settings=ServerSettings(**settings), task_status=task_status)
            server.stopped.set()

        await nursery.start(run)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.hang_up()
    nursery.cancel_scope.cancel()


def lifespan(app):
    """Answers the lifespan protocol so that `app` sees requests only."""

    @functools.wraps(app)
    async def wrapped(scope, receive, send):
        if scope["type"] != "lifespan":
            return await app(scope, receive, send)
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return None

    return wrapped


async def read_body(receive):
    body = b""
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        body += event["body"]
        if not event["more_body"]:
            return body


async def respond(send, body=b"", *, status=200, headers=()):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


@lifespan
async def echo(scope, receive, send):
    """Says what it was asked."""
    body = await read_body(receive)
    if body is None:
        return
    said = {key: scope[key] for key in ("method", "path", "scheme", "http_version")}
    said["query"] = scope["query_string"].decode()
    said["headers"] = [(n.decode(), v.decode("latin-1")) for n, v in scope["headers"]]
    said["body"] = body.decode("latin-1")
    await respond(send, json.dumps(said).encode(), headers=[(b"content-type", b"application/json")])


@pytest.fixture
def apps():
    """What test apps are made of."""

    class Apps:
        pass

    parts = Apps()
    parts.echo, parts.lifespan, parts.read_body, parts.respond = echo, lifespan, read_body, respond
    return parts
