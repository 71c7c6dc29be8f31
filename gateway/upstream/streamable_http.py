"""An upstream over Streamable HTTP, in both eras: one POST a message, answered by JSON or by an event stream.

Sources: MCP 2026-07-28 Streamable HTTP; MCP 2025-11-25 Transports. The client's own credentials never get here.
"""

from __future__ import annotations

import math
import ssl
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from urllib.parse import urlsplit

import trio

from gateway.core.errors import InternalFault, UpstreamFault
from gateway.core.protocol import jsonrpc, mcp, versions
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, Success
from gateway.core.types import Era
from gateway.upstream.base import TOGETHER_BYTES, TOGETHER_MOST, Conversation, HttpSettings, Link
from gateway.upstream.credentials import Source
from gateway.upstream.events import Events, hurries
from gateway.upstream.faults import same_origin, target, unexpected
from gateway.upstream.http1 import Clock, Connection, Origin, Pool

_REDIRECTS = 3
_LINGER_S = 0.01
"""How long the end of an event stream is waited for once the response is there, to keep the connection."""
_ERROR_BYTES = 64 * 1024
_RETRY_S = 1.0
"""How long a stream that broke off is left alone before it is resumed, when it did not say; the spec leaves it open."""
_RETRY_LEAST_S = 0.1
"""An upstream that asks for no wait at all would have us ask in a circle."""


_POSTED = (
    b"%s%sAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
)


class StreamableHttp:
    """One configured HTTP upstream. Holds connections and nothing else, so it serves any number of sessions."""

    local = False

    def __init__(self, settings: HttpSettings, source: Source | None = None) -> None:
        """`source`: where the `Authorization` header comes from, if it is not among the settings' own."""
        self.name = settings.name
        self.settings = settings
        self._source = source
        url = urlsplit(settings.url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise InternalFault(f"the URL of upstream {settings.name} should have been checked by the configuration")
        tls = ssl.create_default_context(cafile=settings.ca_file) if url.scheme == "https" else None
        port = url.port or (443 if tls else 80)
        self.pool = Pool(Origin(url.hostname, port, tls), settings.deadlines, settings.bounds)
        self.target = target(url)
        own = [("Host", url.netloc.rpartition("@")[2]), *settings.headers.items()]
        self._own_headers = b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in own)

    def converse(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """See `Upstream`. Leaving early closes the connection, which in the modern era is the cancellation."""
        return _Post(self, link)

    def listen(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """See `Upstream`."""
        return _Get(self, link)

    async def end(self, link: Link) -> None:
        """See `Upstream`. An upstream that does not let clients end sessions (405) or has forgotten it is no fault."""
        if link.upstream_session is None:
            return
        head = self.head(b"DELETE", self.target, link) + await self.authorized(link)
        connection = await self.pool.connection(Clock(self.settings.deadlines.idle_s))
        try:
            await connection.send(head + b"\r\n")
            await connection.begin()
            if connection.status >= 400 and connection.status not in (404, 405):
                raise unexpected(connection.status)
        finally:
            connection.release()

    async def aclose(self) -> None:
        """See `Upstream`."""
        self.pool.close()

    async def authorized(self, link: Link) -> bytes:
        """The `Authorization` header that is fetched; empty where there is none. Raises UpstreamFault."""
        if self._source is None:
            return b""
        return f"Authorization: {await self._source.authorization(link.session)}\r\n".encode("latin-1")

    def rejected(self, header: bytes) -> None:
        """It did not accept that header. What it was sent is not sent again: only the next request has another."""
        if self._source is not None:
            self._source.rejected(header.removeprefix(b"Authorization: ").strip().decode("latin-1"))

    def head(self, method: bytes, target: bytes, link: Link, message: Message | None = None) -> bytes:
        """Request line and headers, without the empty line that ends them."""
        said = ""
        if not mcp.greets(message):
            said = f"MCP-Protocol-Version: {link.version}\r\n"
            if link.upstream_session is not None:
                said += f"Mcp-Session-Id: {link.upstream_session}\r\n"
        if link.era is Era.MODERN and isinstance(message, Request | Notification):
            said += f"Mcp-Method: {versions.encode_header(message.method)}\r\n"
            name = mcp.name(message)
            if name is not None:
                said += f"Mcp-Name: {versions.encode_header(name)}\r\n"
            for key, value in link.mirrored:
                said += f"{key}: {value}\r\n"
        return b"%s %s HTTP/1.1\r\n%s%s" % (method, target, self._own_headers, said.encode("latin-1"))


class _Post:
    """One message posted, and what comes back for it."""

    def __init__(self, upstream: StreamableHttp, link: Link) -> None:
        self.upstream_session: str | None = None
        self._upstream = upstream
        self._link = link
        self._message: Message | None = None
        self._idle_s = upstream.settings.deadlines.idle_s
        self._clock = Clock(self._idle_s)
        self._connection: Connection | None = None
        self._events: Events | None = None
        self._answered = False
        self._authorized = b""

    async def send(self, message: Message) -> None:
        """See `Conversation`."""
        self._message = message
        if isinstance(message, Request) and message.method == mcp.LISTEN:
            self._idle_s = self._clock.idle_s = math.inf
        else:
            self._clock.until = trio.current_time() + self._upstream.settings.deadlines.call_s
        await self._request(self._upstream.target)

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        if self._events is None and not self._answered:
            connection = await self._headers()
            kind = _media_type(connection)
            if connection.status != 200 or kind != b"text/event-stream":
                return await self._whole(connection, kind)
            self._take_session(connection)
            self._events = Events(self._upstream.settings.bounds.message)
        return await self._next()

    async def together(self, until: float) -> tuple[Notification, ...]:
        """See `Conversation`."""
        events = self._events
        found: list[Notification] = []
        size = 0
        while events is not None and len(found) < TOGETHER_MOST:
            message = events.notification()
            if message is not None:
                found.append(message)  # `_check` would have nothing to say about it.
            elif events or size >= TOGETHER_BYTES or trio.current_time() >= until:
                break
            elif more := await self._gathered(events, until):
                size += more
            else:
                break
        return tuple(found)

    async def respond(self, message: Message) -> None:
        """See `Conversation`. The answer travels in a POST of its own (2025-11-25, Sending Messages)."""
        async with self._upstream.converse(self._link) as other:
            await other.send(message)
            await other.receive()

    async def __aenter__(self) -> Conversation:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let the connection be used again if the answer has been read to its end, close it otherwise."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if self._answered and not connection.ended:
                with trio.move_on_after(_LINGER_S):
                    while await connection.read():
                        pass
        except UpstreamFault:
            pass  # The answer was complete; how the connection ends after it concerns nobody.
        finally:
            connection.release()

    async def _request(self, target: bytes) -> None:
        message = self._message
        assert message is not None
        data, upstream = jsonrpc.format(message), self._upstream
        self._authorized = await upstream.authorized(self._link)
        head = upstream.head(b"POST", target, self._link, message)
        self._connection = await upstream.pool.connection(self._clock)
        await self._connection.send(_POSTED % (head, self._authorized, len(data), data))

    async def _headers(self) -> Connection:
        """The connection once its headers are there, after redirects within the origin that keep method and body."""
        for _ in range(_REDIRECTS + 1):
            connection = self._connection
            assert connection is not None
            await connection.begin()
            if connection.status == 401:
                self._upstream.rejected(self._authorized)
            if connection.status not in (307, 308):
                return connection
            target = same_origin(self._upstream.settings.url, connection.header(b"location").decode("latin-1"))
            self._connection = None
            connection.release()
            await self._request(target)
        raise UpstreamFault("it redirects in a circle", kind="status")

    async def _whole(self, connection: Connection, kind: bytes) -> Message | None:
        """The one message of an answer that is no stream; None where it accepted a message that has no reply."""
        status, link = connection.status, self._link
        if status == 404 and link.upstream_session is not None and link.era is Era.LEGACY:
            raise UpstreamFault("it no longer knows this session; the client has to begin a new one", kind="ended")
        request = self._message if isinstance(self._message, Request) else None
        if request is None:
            if 200 <= status < 300:
                await self._body(connection)  # To keep the connection; 202 has none.
                self._answered = True
                return None
            raise unexpected(status)
        if kind != b"application/json":
            neither = UpstreamFault("it answered with neither JSON nor an event stream", kind="malformed")
            raise neither if status == 200 else unexpected(status)
        try:
            message = jsonrpc.parse_upstream(await self._body(connection), self._upstream.settings.bounds.message)
        except UpstreamFault as fault:
            raise fault if status == 200 else unexpected(status) from None
        return self._final(request, message, status, connection)

    def _final(self, request: Request, message: Message, status: int, connection: Connection) -> Message:
        if status != 200:
            # A JSON-RPC error says it better than the status; its id may be missing (2025-11-25, Sending Messages).
            if not isinstance(message, Failure) or message.id not in (None, request.id):
                raise unexpected(status)
            message = replace(message, id=request.id)
        self._take_session(connection)
        return self._answer(request, message)

    async def _next(self) -> Message | None:
        """The next message of the event stream."""
        while True:
            connection, events = self._connection, self._events
            assert connection is not None
            assert events is not None
            if events:
                return self._check(events.take())
            if not await self._fill(events):
                if not self._resumable(events):
                    return self._at_end()
                await self._resume(connection, events)

    async def _fill(self, events: Events) -> int:
        """Take in what comes next of the stream; how many bytes, none where it has ended, also by a connection that
        broke."""
        connection = self._connection
        assert connection is not None
        try:
            data = await connection.read()
        except UpstreamFault as fault:
            if fault.kind == "closed":
                return 0
            events.fail(fault)
            return 1
        events.feed(data)
        return len(data)

    async def _gathered(self, events: Events, until: float) -> int:
        """Take in what comes of the stream until `until`, or until something comes that may not wait so long; how many
        bytes."""
        connection = self._connection
        assert connection is not None
        data = await connection.gather(TOGETHER_BYTES, hurries, until)
        events.feed(data)
        return len(data)

    def _resumable(self, events: Events) -> bool:
        """Whether the stream said where to go on, in what a header can hold. `initialize` has no session yet."""
        named = bool(events.last_id) and events.last_id.isascii() and events.last_id.isprintable()
        return named and self._link.era is Era.LEGACY and not mcp.greets(self._message)

    async def _resume(self, connection: Connection, events: Events) -> None:
        """Go on with a stream that ended before its answer: the upstream may close it on purpose and have its client
        come back for the rest (2025-11-25, Resumability and Redelivery). A call's own deadline ends this."""
        self._connection = None
        connection.release()
        with self._clock.scope() as scope:
            await trio.sleep(_RETRY_S if events.retry_s is None else max(events.retry_s, _RETRY_LEAST_S))
        if scope.cancelled_caught:
            raise UpstreamFault("it ended the stream, and its answer is late", kind="timeout")
        again = Events(self._upstream.settings.bounds.message, after=events)
        await self._get(b"Last-Event-ID: %s\r\n" % events.last_id.encode())
        self._events = again

    async def _get(self, more: bytes = b"") -> None:
        """Open an event stream with a GET. Raises UpstreamFault when the answer is none."""
        upstream = self._upstream
        self._authorized = await upstream.authorized(self._link)
        head = upstream.head(b"GET", upstream.target, self._link) + self._authorized
        self._connection = connection = await upstream.pool.connection(self._clock)
        await connection.send(head + more + b"Accept: text/event-stream\r\n\r\n")
        await connection.begin()
        if connection.status == 401:
            upstream.rejected(self._authorized)
        if connection.status == 404 and self._link.upstream_session is not None:
            raise UpstreamFault("it no longer knows this session; the client has to begin a new one", kind="ended")
        if connection.status != 200 or _media_type(connection) != b"text/event-stream":
            raise unexpected(connection.status)

    def _at_end(self) -> Message | None:
        raise UpstreamFault("it ended the stream before its answer", kind="closed")

    def _check(self, message: Message) -> Message:
        """The message, if it is one that may come on this stream."""
        if isinstance(message, Request) and self._link.era is Era.MODERN:
            raise UpstreamFault("it sent a request of its own, which this protocol version forbids", kind="malformed")
        if isinstance(message, Success | Failure):
            if not isinstance(self._message, Request):
                raise UpstreamFault("it answered a message that asks for no answer", kind="malformed")
            return self._answer(self._message, message)
        # Until its question is answered the upstream may be silent: a person may be thinking.
        self._clock.idle_s = math.inf if isinstance(message, Request) else self._idle_s
        return message

    def _answer(self, request: Request, message: Message) -> Message:
        if not isinstance(message, Success | Failure) or not _same_id(message.id, request.id):
            raise UpstreamFault("its answer is not for the request that it was sent", kind="malformed")
        self._answered = True
        return message

    async def _body(self, connection: Connection) -> bytes:
        limit = self._upstream.settings.bounds.message.max_bytes if connection.status == 200 else _ERROR_BYTES
        declared = connection.header(b"content-length")
        parts: list[bytes] = []
        size = 0
        if connection.header(b"content-encoding") not in (b"", b"identity"):
            raise UpstreamFault("it compressed its answer without being asked to", kind="malformed")
        while max(size, int(declared or 0)) <= limit:  # llhttp has checked that it is a number.
            data = await connection.read()
            if not data:
                return b"".join(parts)
            parts.append(data)
            size += len(data)
        raise UpstreamFault(f"its answer is larger than {limit} bytes", kind="oversize")

    def _take_session(self, connection: Connection) -> None:
        """Keep the session id that the response to `initialize` assigns (2025-11-25, Session Management)."""
        if not mcp.greets(self._message):
            return
        value = connection.header(b"mcp-session-id")
        if value:
            if not all(0x21 <= byte <= 0x7E for byte in value):
                raise UpstreamFault("its session id is not visible ASCII", kind="malformed")
            self.upstream_session = value.decode()


class _Get(_Post):
    """The legacy stream for what the upstream sends outside any call (2025-11-25, Listening for Messages)."""

    async def __aenter__(self) -> Conversation:
        try:
            await self._open()
        except BaseException:  # Failed or cancelled: a block that was not entered is not left by anybody else.
            await self.__aexit__()
            raise
        return self

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        return await self._next()

    async def _open(self) -> None:
        await self._get()
        self._idle_s = self._clock.idle_s = math.inf  # It may be silent for as long as it has nothing to say.
        self._events = Events(self._upstream.settings.bounds.message)

    def _at_end(self) -> Message | None:
        return None


def _media_type(connection: Connection) -> bytes:
    return connection.header(b"content-type").partition(b";")[0].strip().lower()


def _same_id(one: jsonrpc.RequestId | None, other: jsonrpc.RequestId) -> bool:
    return type(one) is type(other) and one == other
