"""An MCP client that looks at the bytes: what of each answer arrived, whole or not, in both eras."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httptools
import trio

from gateway.core.protocol.sse import Decoder

LEGACY, MODERN = "2025-11-25", "2026-07-28"
ANSWERS_S = 40.0
"""The gateway answers within this time whatever happens: no hold and no deadline in these tests is near it."""
_CLIENT = {"name": "chaos", "version": "1"}
_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": _CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Lost(Exception):
    """The connection could not be made, or ended before the answer did; `answer` is what had arrived."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("the connection was lost")
        self.answer = answer


@dataclass
class Answer:
    """What arrived for one request."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    messages: list[bytes] = field(default_factory=list)
    """Each JSON-RPC message that arrived whole: the events of a stream, or the body."""
    whole: bool = False

    @property
    def last(self) -> Any:
        """The last message, decoded."""
        return json.loads(self.messages[-1])


class Connection:
    """One HTTP/1.1 connection, one request at a time."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._parser = httptools.HttpResponseParser(self)
        self._answer = Answer()
        self._body = bytearray()
        self._events: Decoder | None = None
        self._heard: Callable[[], None] | None = None

    async def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        heard: Callable[[], None] | None = None,
    ) -> Answer:
        """Send a request and read its answer to the end. `heard` is called at each piece of it. Raises Lost."""
        self._answer, self._body, self._events, self._heard = Answer(), bytearray(), None, heard
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        head = "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode()
        try:
            await self._stream.send_all(head + body)
            while not self._answer.whole:
                data = await self._stream.receive_some(65536)
                if not data:
                    raise Lost(self._answer)
                self._parser.feed_data(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Lost(self._answer) from None
        return self._answer

    def on_header(self, name: bytes, value: bytes) -> None:
        """llhttp: a header."""
        self._answer.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        """llhttp: all of them."""
        self._answer.status = self._parser.get_status_code()
        if self._answer.headers.get("content-type", "").startswith("text/event-stream"):
            self._events = Decoder(1 << 30)
        self._tell()

    def on_body(self, data: bytes) -> None:
        """llhttp: a piece of the body."""
        if self._events is None:
            self._body += data
        else:
            self._answer.messages += [event.data for event in self._events.feed(data) if event.data]
        self._tell()

    def on_message_complete(self) -> None:
        """llhttp: the end."""
        if self._body:
            self._answer.messages.append(bytes(self._body))
        self._answer.whole = True

    def _tell(self) -> None:
        if self._heard is not None:
            self._heard()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    """A connection to the gateway; dropped, as by a client that dies, when the block ends. Raises Lost."""
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        raise Lost(Answer()) from None
    try:
        yield Connection(stream)
    finally:
        # Not `aclose`: it would wait, and a client that hangs up does not.
        stream.socket.close()


@dataclass
class Agent:
    """Somebody's client of one era at one upstream: how it words its requests, and its legacy session."""

    port: int
    upstream: str
    token: str
    modern: bool
    session: str | None = None

    @property
    def path(self) -> str:
        """Where it sends its messages."""
        return f"/mcp/{self.upstream}"

    async def greet(self, connection: Connection) -> None:
        """Begin as a client of the era does. Raises Lost, also when the gateway does not answer with a session."""
        if self.modern:
            return
        self.session = None
        hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": _CLIENT}
        answer = await self.ask(connection, "initialize", hello, ident="hello")
        self.session = answer.headers.get("mcp-session-id")
        if self.session is None:
            raise Lost(answer)
        note = json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode()
        await connection.request("POST", self.path, self.headers("notifications/initialized"), note)

    def headers(self, method: str, name: str | None = None) -> dict[str, str]:
        """The headers of a message."""
        headers = {
            "host": f"127.0.0.1:{self.port}",
            "authorization": f"Bearer {self.token}",
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
        }
        if self.modern:
            headers |= {"mcp-protocol-version": MODERN, "mcp-method": method}
            return headers if name is None else headers | {"mcp-name": name}
        if self.session is not None:
            headers |= {"mcp-session-id": self.session, "mcp-protocol-version": LEGACY}
        return headers

    async def ask(
        self,
        connection: Connection,
        method: str,
        params: dict[str, Any],
        *,
        ident: str,
        heard: Callable[[], None] | None = None,
    ) -> Answer:
        """One request and its answer. Raises Lost, and TooSlowError when the gateway leaves its client waiting."""
        if self.modern:
            params = {**params, "_meta": {**_META, **params.get("_meta", {})}}
        body = json.dumps({"jsonrpc": "2.0", "id": ident, "method": method, "params": params}).encode()
        with trio.fail_after(ANSWERS_S):
            return await connection.request("POST", self.path, self.headers(method, params.get("name")), body, heard)

    async def call(
        self,
        connection: Connection,
        tool: str,
        *,
        heard: Callable[[], None] | None = None,
        ident: str,
        **arguments: Any,
    ) -> Answer:
        """`tools/call`, asking for progress of a tool that streams."""
        params: dict[str, Any] = {"name": tool, "arguments": arguments}
        if tool == "stream":
            params["_meta"] = {"progressToken": ident}
        return await self.ask(connection, "tools/call", params, ident=ident, heard=heard)

    async def listen(self, connection: Connection, heard: Callable[[], None]) -> Answer:
        """The legacy GET stream; returns when the gateway ends it. Raises Lost."""
        return await connection.request("GET", self.path, self.headers(""), heard=heard)


async def once(agent: Agent, tool: str, *, ident: str, **arguments: Any) -> Answer:
    """One `tools/call` on a connection, and in a session, of its own. Raises Lost."""
    async with connected(agent.port) as connection:
        if not agent.modern and agent.session is None:
            await agent.greet(connection)
        return await agent.call(connection, tool, ident=ident, **arguments)


async def listed(agent: Agent) -> None:
    """Have the gateway learn the upstream's tools, and with them which of them only read."""
    async with connected(agent.port) as connection:
        await agent.greet(connection)
        answer = await agent.ask(connection, "tools/list", {}, ident="tools")
        assert "tools" in answer.last["result"], answer


async def fetch(port: int, method: str, path: str, token: str = "", document: Any = None) -> tuple[int, Any]:
    """Status and JSON of something else than MCP. Raises Lost."""
    body = b"" if document is None else json.dumps(document).encode()
    headers = {"host": f"127.0.0.1:{port}", "content-type": "application/json", "authorization": f"Bearer {token}"}
    async with connected(port) as connection:
        with trio.fail_after(ANSWERS_S):
            answer = await connection.request(method, path, headers, body)
    return answer.status, answer.last if answer.messages else None
