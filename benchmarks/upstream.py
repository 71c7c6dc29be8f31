"""The upstream of every measurement: an MCP server that answers from memory, fast enough never to be what is measured.

Both eras, plain JSON answers, one tool whose result is about 1 KB of (synthetic) PHI, and one that tells of its
progress on an event stream before it answers. `python -m benchmarks.upstream PORT` serves on loopback until it is told
to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any

import httptools
import orjson

TOOL = "read_patient"
STREAM = "follow_import"
"""Arguments: `events`, how many notifications come first, and `every_ms` of rest before each; 0: written at once."""
WRITES = "amend_patient"
"""Nobody says that it only reads, so it needs an approval."""
SSN = "219-09-9999"
"""Never assigned to anybody by the Social Security Administration."""
PATIENT = {
    "patient": {
        "mrn": "MRN-4821937",
        "given": "Rosalind",
        "family": "Achterberg",
        "birth_date": "1957-03-14",
        "ssn": SSN,
        "phone": "(617) 555-0142",
        "email": "r.achterberg@example.org",
        "street": "77 Fenwick Lane",
        "city": "Medford",
        "state": "MA",
        "zip": "02155",
    },
    "labs": [
        {"day": "2026-02-11", "loinc": "4548-4", "name": "Hemoglobin A1c", "value": 7.9, "unit": "%"},
        {"day": "2026-02-11", "loinc": "2160-0", "name": "Creatinine", "value": 1.1, "unit": "mg/dL"},
    ],
}
"""Invented."""

CALL_RESULT = {
    "content": [{"type": "text", "text": orjson.dumps(PATIENT).decode()}],
    "structuredContent": PATIENT,
    "isError": False,
}
_OBJECT = {"type": "object"}
TOOLS = {
    "tools": [
        {
            "name": TOOL,
            "description": "One patient's record.",
            "inputSchema": {**_OBJECT, "properties": {"mrn": {"type": "string"}}, "required": ["mrn"]},
            "outputSchema": {**_OBJECT, "properties": {"patient": _OBJECT, "labs": {"type": "array"}}},
            "annotations": {"readOnlyHint": True},
        },
        {
            "name": WRITES,
            "description": "Amends one patient's record.",
            "inputSchema": {**_OBJECT, "properties": {"mrn": {"type": "string"}}},
        },
        {
            "name": STREAM,
            "description": "Tells how an import goes on.",
            "inputSchema": {**_OBJECT, "properties": {"events": {"type": "integer"}, "every_ms": {"type": "number"}}},
            "annotations": {"readOnlyHint": True},
        },
    ]
}
LEGACY, MODERN = "2025-11-25", "2026-07-28"
_SERVER = {"name": "benchmark-upstream", "version": "1"}
_CACHE = {"ttlMs": 60_000, "cacheScope": "private"}
RESULTS: dict[str, dict[str, Any]] = {
    "initialize": {"protocolVersion": LEGACY, "capabilities": {"tools": {}}, "serverInfo": _SERVER},
    "server/discover": {"supportedVersions": [MODERN, LEGACY], "capabilities": {"tools": {}}, **_CACHE},
    "tools/list": {**TOOLS, **_CACHE},
    "tools/call": CALL_RESULT,
    "ping": {},
}


class Server(asyncio.Protocol):
    """One connection. Every request is read whole before it is answered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []
        self._streams: set[asyncio.Task[None]] = set()

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """llhttp: a request begins."""
        self._body.clear()

    def on_body(self, data: bytes) -> None:
        """llhttp: a piece of its body."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """llhttp: it is whole."""
        method = self._parser.get_method()
        if method == b"POST":
            message = orjson.loads(b"".join(self._body))
            if message.get("params", {}).get("name") == STREAM:
                task = asyncio.get_running_loop().create_task(self._stream(message))
                self._streams.add(task)
                task.add_done_callback(self._streams.discard)
            else:
                self._transport.write(answer(message))
        else:
            self._transport.write(_http(b"200 OK" if method == b"DELETE" else b"405 Method Not Allowed", b""))

    async def _stream(self, message: dict[str, Any]) -> None:
        """Answer with an event stream: each notification in a write of its own, unless they are to come at once."""
        asked = message["params"]["arguments"]
        count, rest = asked["events"], asked["every_ms"] / 1000
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        token = message["params"].get("_meta", {}).get("progressToken", 0)
        events = [_chunk(_event(_progress(token, number, count))) for number in range(count)]
        if not rest:
            self._transport.writelines(events)
        else:
            for event in events:
                await asyncio.sleep(rest)
                self._transport.write(event)
        done = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": "imported"}]}}
        self._transport.write(_chunk(_event(done)) + b"0\r\n\r\n")


def answer(message: dict[str, Any]) -> bytes:
    """The HTTP response to one JSON-RPC message."""
    if "id" not in message:
        return _http(b"202 Accepted", b"")
    method = message["method"]
    reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
    if method in RESULTS:
        modern = "io.modelcontextprotocol/protocolVersion" in message.get("params", {}).get("_meta", {})
        reply["result"] = {"resultType": "complete", **RESULTS[method]} if modern else RESULTS[method]
    else:
        reply["error"] = {"code": -32601, "message": "Method not found"}
    return _http(b"200 OK", orjson.dumps(reply), b"mcp-session-id: benchmark\r\n" if method == "initialize" else b"")


def _progress(token: str | int, number: int, count: int) -> dict[str, Any]:
    params = {"progressToken": token, "progress": number, "total": count, "message": f"row {number} of {count} is in"}
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}


def _event(message: dict[str, Any]) -> bytes:
    return b"event: message\r\ndata: " + orjson.dumps(message) + b"\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _http(status: bytes, body: bytes, headers: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % (status, len(body))
    return head + headers + b"\r\n" + body


async def main(port: int) -> None:
    """Serve until cancelled."""
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1])))
