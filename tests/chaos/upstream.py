"""An upstream that keeps count of every call that reaches it, and misbehaves in every way it is asked to.

It runs in the tests' own process, so it outlives the gateways that are killed in front of it. What it says is about
the demo's synthetic patients: enough of them pass through that a leak would be found.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from queue import SimpleQueue
from typing import Any

import httptools
import trio

from gateway.cli.demo import population

FLOOD_BYTES = 100 * 1024 * 1024
_CHUNK = 256 * 1024
_READS = {"readOnlyHint": True}
_SERVER = {"name": "ward", "version": "1"}
_COLUMNS = "id mrn given family birth_date sex ssn phone email street city state zip allergies".split()
_POPULATION = population.generate(patients=40)
_PATIENTS = _POPULATION.tables["patients"]

FAULTS = {
    "stalls": "timeout",
    "stalls_midway": "timeout",
    "dies": "closed",
    "dies_midway": "closed",
    "dies_in_a_stream": "closed",
    "sends_less_than_it_said": "closed",
    "sends_more_than_it_said": "malformed",
    "floods": "oversize",
    "floods_an_event": "oversize",
    "talks_garbage": "malformed",
    "answers_garbage": "malformed",
    "answers_another": "malformed",
}
"""Tools that misbehave, with the word that evidence has for it."""
TOOLS = [
    *({"name": name, "annotations": _READS} for name in ("read_patient", "note", "stream", "slow", *FAULTS)),
    {"name": "amend"},  # Nobody says that it only reads, so it needs an approval.
]


def identifiers() -> set[str]:
    """What names a patient, distinctive enough that finding it is no chance."""
    return {value for value in _POPULATION.values() if len(value) >= 8}


class Ward:
    """The upstream. `port` is where it listens on loopback."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.calls: Counter[str] = Counter()
        """How many times a `tools/call` with each token arrived whole."""
        self.messages: Counter[str] = Counter()
        """How many messages of each method arrived."""
        self.busy = 0
        """Requests that are being answered now."""
        self.slow_s = 0.3

    @property
    def settings(self) -> dict[str, Any]:
        """What a gateway's configuration says about it."""
        return {"url": f"http://127.0.0.1:{self.port}/mcp"}

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection of a gateway's."""
        requests = _Requests()
        try:
            async with stream:
                while data := await stream.receive_some(65536):
                    requests.parser.feed_data(data)
                    while requests.whole:
                        method, body = requests.whole.pop(0)
                        await self._serve(stream, method, body)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # The gateway hung up, or was killed.

    async def _serve(self, stream: trio.SocketStream, method: bytes, body: bytes) -> None:
        self.busy += 1
        try:
            if method == b"POST":
                await self._answer(stream, json.loads(body))
            elif method == b"GET":
                await self._stand(stream)
            else:
                await stream.send_all(_http(b""))
        finally:
            self.busy -= 1

    async def _stand(self, stream: trio.SocketStream) -> None:
        """A standing stream: one message, and then silence for as long as anybody listens."""
        await stream.send_all(_STREAM + _event({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
        await stream.receive_some(1)
        await stream.aclose()

    async def _answer(self, stream: trio.SocketStream, message: dict[str, Any]) -> None:
        self.messages[message["method"]] += 1
        if "id" not in message:
            await stream.send_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
            return
        if message["method"] != "tools/call":
            await stream.send_all(_http(_result(message, _known(message["method"])), b"mcp-session-id: ward\r\n"))
            return
        arguments = message["params"]["arguments"]
        self.calls[arguments["token"]] += 1
        tool = message["params"]["name"]
        reply = _result(message, _patient(zlib.crc32(arguments["token"].encode())))
        behaviour = _BEHAVIOUR.get(tool)
        if behaviour is not None:
            await behaviour(stream, message, reply)
            return
        if tool == "slow":
            await trio.sleep(self.slow_s)
        await stream.send_all(_http(reply))


@asynccontextmanager
async def ward() -> AsyncIterator[Ward]:
    """The upstream, serving while the block runs."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=512)
    upstream = Ward(listeners[0].socket.getsockname()[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, upstream.handle, listeners)
        yield upstream
        nursery.cancel_scope.cancel()


@contextmanager
def ward_in_thread() -> Iterator[Ward]:
    """The same for a whole session of tests, whose event loops come and go: in a thread with a loop of its own."""
    started: SimpleQueue[tuple[Ward, trio.lowlevel.TrioToken, trio.CancelScope]] = SimpleQueue()

    async def serve() -> None:
        with trio.CancelScope() as scope:
            async with ward() as upstream:
                started.put((upstream, trio.lowlevel.current_trio_token(), scope))
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    upstream, token, scope = started.get()
    try:
        yield upstream
    finally:
        token.run_sync_soon(scope.cancel)
        thread.join()


class _Requests:
    """HTTP requests, as they become whole."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.whole: list[tuple[bytes, bytes]] = []
        self._body = bytearray()

    def on_message_begin(self) -> None:
        self._body = bytearray()

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self.whole.append((self.parser.get_method(), bytes(self._body)))


def _known(method: str) -> dict[str, Any]:
    cache = {"ttlMs": 60_000, "cacheScope": "private"}
    return {
        "initialize": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": _SERVER},
        "server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, **cache},
        "tools/list": {"tools": [{**tool, "inputSchema": {"type": "object"}} for tool in TOOLS], **cache},
        "ping": {},
    }[method]


def _patient(row: int) -> dict[str, Any]:
    record = dict(zip(_COLUMNS, _PATIENTS[row % len(_PATIENTS)], strict=True))
    told = f"Seen today: {record['given']} {record['family']} ({record['mrn']}), call back on {record['phone']}."
    return {"content": [{"type": "text", "text": told}], "structuredContent": record, "isError": False}


def _result(message: dict[str, Any], result: dict[str, Any]) -> bytes:
    modern = "io.modelcontextprotocol/protocolVersion" in message.get("params", {}).get("_meta", {})
    result = {"resultType": "complete", **result} if modern else result
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()


_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def _http(body: bytes, headers: bytes = b"", *, length: int | None = None) -> bytes:
    said = len(body) if length is None else length
    return _JSON + headers + b"content-length: %d\r\n\r\n" % said + body


def _event(message: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(message).encode() + b"\n\n"


def _progress(message: dict[str, Any], step: int) -> bytes:
    token = message["params"].get("_meta", {}).get("progressToken", "none")
    params = {"progressToken": token, "progress": step, "total": 2}
    return _event({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})


Behaviour = Callable[[trio.SocketStream, dict[str, Any], bytes], Awaitable[None]]


async def _streams(stream: trio.SocketStream, message: dict[str, Any], reply: bytes) -> None:
    await stream.send_all(_STREAM)
    for step in (1, 2):
        await stream.send_all(_progress(message, step))
        await trio.sleep(0.02)
    await stream.send_all(b"data: " + reply + b"\n\n")
    await stream.aclose()


async def _stalls(stream: trio.SocketStream, message: dict[str, Any], reply: bytes) -> None:
    await stream.receive_some(1)  # Until the gateway has had enough.


async def _stalls_midway(stream: trio.SocketStream, message: dict[str, Any], reply: bytes) -> None:
    await stream.send_all(_http(reply[:40], length=len(reply)))
    await stream.receive_some(1)


async def _dies(stream: trio.SocketStream, message: dict[str, Any], reply: bytes) -> None:
    await stream.aclose()


async def _dies_midway(stream: trio.SocketStream, message: dict[str, Any], reply: bytes) -> None:
    await stream.send_all(_http(reply[:40], length=len(reply)))
    await stream.aclose()


async def _dies_in_a_stream(stream: trio.SocketStream, message: dict[str, Any], reply: bytes) -> None:
    await stream.send_all(_STREAM + _progress(message, 1) + b"data: " + reply[:40])
    await stream.aclose()


async def _sends_less(stream: trio.SocketStream, message: dict[str, Any], reply: bytes) -> None:
    await stream.send_all(_http(reply, length=len(reply) + 100))
    await stream.aclose()


async def _sends_more(stream: trio.SocketStream, message: dict[str, Any], reply: bytes) -> None:
    """Its answer is cut by its own length, and what is left over looks like the answer to the next request."""
    await stream.send_all(_http(reply, length=len(reply) - 10) + _http(reply.replace(b"Seen", b"Forged")))


async def _floods(stream: trio.SocketStream, message: dict[str, Any], reply: bytes) -> None:
    await stream.send_all(_JSON + b"transfer-encoding: chunked\r\n\r\n")
    chunk = b"%x\r\n%s\r\n" % (_CHUNK, b'["' * (_CHUNK // 2))
    for _ in range(FLOOD_BYTES // _CHUNK):
        await stream.send_all(chunk)


async def _floods_an_event(stream: trio.SocketStream, message: dict[str, Any], reply: bytes) -> None:
    await stream.send_all(_STREAM + b"data: ")
    for _ in range(FLOOD_BYTES // _CHUNK):
        await stream.send_all(b"x" * _CHUNK)


async def _talks_garbage(stream: trio.SocketStream, message: dict[str, Any], reply: bytes) -> None:
    await stream.send_all(bytes(range(256)) * 8)
    await stream.aclose()


async def _answers_garbage(stream: trio.SocketStream, message: dict[str, Any], reply: bytes) -> None:
    await stream.send_all(_http(b"\xff\xfe{]" + reply))


async def _answers_another(stream: trio.SocketStream, message: dict[str, Any], reply: bytes) -> None:
    await stream.send_all(_http(_result({**message, "id": "somebody else's"}, {"content": []})))


_BEHAVIOUR: dict[str, Behaviour] = {
    "stream": _streams,
    "stalls": _stalls,
    "stalls_midway": _stalls_midway,
    "dies": _dies,
    "dies_midway": _dies_midway,
    "dies_in_a_stream": _dies_in_a_stream,
    "sends_less_than_it_said": _sends_less,
    "sends_more_than_it_said": _sends_more,
    "floods": _floods,
    "floods_an_event": _floods_an_event,
    "talks_garbage": _talks_garbage,
    "answers_garbage": _answers_garbage,
    "answers_another": _answers_another,
}
