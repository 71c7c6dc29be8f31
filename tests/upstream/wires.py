"""A raw TCP server that says exactly what a test wants, and the messages that the tests send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import orjson
import trio

from gateway.core.protocol.jsonrpc import Failure, Limits, Request, Success
from gateway.core.types import Era, SessionId
from gateway.upstream.base import Bounds, Deadlines, HttpSettings, Link
from gateway.upstream.streamable_http import StreamableHttp

MODERN = Link(SessionId("s"), Era.MODERN, "2026-07-28")
LEGACY = Link(SessionId("s"), Era.LEGACY, "2025-11-25", upstream_session="abc")
CALL = Request("call-1", "tools/call", {"name": "query", "arguments": {"sql": "select 1"}})
ANSWER = Success("call-1", {"content": [{"type": "text", "text": "one"}]})
ANSWER_JSON = orjson.dumps({"jsonrpc": "2.0", "id": "call-1", "result": ANSWER.result})


@dataclass
class Asked:
    """One request as the server read it."""

    line: bytes
    headers: dict[bytes, bytes]
    body: bytes


@dataclass
class Wire:
    """One accepted connection, as the test's script sees it."""

    stream: trio.SocketStream
    held: bytes = b""

    async def request(self) -> Asked:
        """The next request. Raises EndOfChannel when the client has closed instead."""
        while b"\r\n\r\n" not in self.held:
            await self._more()
        head, _, self.held = self.held.partition(b"\r\n\r\n")
        line, *lines = head.split(b"\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
        length = int(headers.get(b"content-length", b"0"))
        while len(self.held) < length:
            await self._more()
        body, self.held = self.held[:length], self.held[length:]
        return Asked(line, headers, body)

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            await self.stream.send_all(piece)

    async def closed(self) -> None:
        """Wait until the client has closed the connection."""
        while await self.stream.receive_some(65536):
            pass

    async def _more(self) -> None:
        data = await self.stream.receive_some(65536)
        if not data:
            raise trio.EndOfChannel
        self.held += data


Script = Callable[[Wire], Awaitable[None]]


@dataclass
class Server:
    """A listening server; `connections` counts those it accepted."""

    port: int
    connections: int = 0

    def settings(self, path="/mcp", **changed):
        deadlines = Deadlines(connect_s=2, idle_s=2, call_s=5)
        return HttpSettings("clinic", f"http://127.0.0.1:{self.port}{path}", **({"deadlines": deadlines} | changed))


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Server]:
    """A server that plays `script` on each connection and then closes it."""

    async def play(stream):
        server.connections += 1
        try:
            async with stream:
                await script(Wire(stream))
        except (trio.EndOfChannel, trio.BrokenResourceError):
            return  # The client has had enough; tests look at its side.

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server = Server(listeners[0].socket.getsockname()[1])
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, play, listeners)
        try:
            yield server
        finally:
            nursery.cancel_scope.cancel()


def answering(*responses: bytes) -> Script:
    """A script that gives one response to each request of a connection, in order, and then closes it."""

    async def script(wire):
        for response in responses:
            await wire.request()
            await wire.say(response)

    return script


def echoing(count: int = 1000) -> Script:
    """A script that answers each request with a result that repeats its id."""

    async def script(wire):
        for _ in range(count):
            asked = await wire.request()
            ident = orjson.loads(asked.body)["id"]
            await wire.say(json_response(orjson.dumps({"jsonrpc": "2.0", "id": ident, "result": {"line": 1}})))

    return script


def json_response(body: bytes = ANSWER_JSON, *, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n"
    return head % (status, more, len(body)) + body


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(document: object, *, end: bytes = b"\n\n") -> bytes:
    return chunk(b"event: message\ndata: " + orjson.dumps(document) + end)


async def ask(upstream, message=CALL, link=MODERN):
    """Everything that comes back for one message, the response last."""
    async with upstream.converse(link) as conversation:
        await conversation.send(message)
        heard = []
        while True:
            heard.append(await conversation.receive())
            if heard[-1] is None or isinstance(heard[-1], Success | Failure):
                return heard


@asynccontextmanager
async def upstream_of(script: Script, **changed) -> AsyncIterator[tuple[StreamableHttp, Server]]:
    async with serving(script) as server:
        upstream = StreamableHttp(server.settings(**changed))
        try:
            yield upstream, server
        finally:
            await upstream.aclose()


def small(**changed) -> Bounds:
    return replace(Bounds(message=Limits(max_bytes=10_000), max_header_bytes=4096), **changed)
