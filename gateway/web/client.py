"""The client's side of one POST or GET: a plain JSON reply, or a stream when something must be said before it.

The response starts as late as possible. Most exchanges answer with one JSON body; a stream is opened by the first
relayed message or by a hold, whose comments and progress keep the client and every proxy between from giving up.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
import trio

from gateway.core.commands import Resolution
from gateway.core.protocol import sse
from gateway.core.protocol.jsonrpc import RequestId
from gateway.core.replies import Reply
from gateway.core.resuming import Mark
from gateway.core.types import ExchangeId, SessionId

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

WRITE_S = 30.0
"""A client that takes no byte for so long is treated as gone; it may not hold an exchange open."""

_STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx streams such a response even where buffering is left on.
]
_JSON_HEADERS: Headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


class HttpClient:
    """The waiting HTTP client, as the driver's `Client`."""

    def __init__(
        self,
        send: Send,
        *,
        keepalive_s: float = math.inf,
        progress: str | int | None = None,
        mark: Mark | None = None,
        primed: bool = False,
        hung_up: Callable[[], bool] | None = None,
    ) -> None:
        """`keepalive_s`: how often a silence is broken. `mark`: the place on a stream that a client can come back to,
        where this begins; None: its events have no ids. `primed`: the client takes an id before there is a message.
        `hung_up`: asks the server whether it has hung up; None: it cannot tell, nor does it give up a client by itself
        that takes nothing."""
        self._send = send
        self._mark = mark
        self._primed = primed
        self._prime = sse.priming(str(mark)) if primed and mark is not None else b""
        self._keepalive_s = keepalive_s
        self._progress = progress
        self._streaming = False
        self._finished = False
        self._held: Resolution | None = None
        self._waited = 0
        self._waiting: trio.CancelScope | None = None
        self._patience: trio.CancelScope | None = None
        self._turn: _Turn | None = None
        """Whose turn it is to write on the stream, once there is one."""
        self._hurried = False
        self._gone = False
        self.hung_up = hung_up
        self.headers: Callable[[Reply | None], Headers] = _no_headers
        """Further response headers; asked for when the response starts, with the reply if that is what starts it."""
        self.dismiss: Callable[[], None] = _nothing
        """Ends a stream that would last for ever; called when the gateway begins to go down."""
        self.attendant: Callable[[], None] | None = None
        """Begins to look after this client, once: see `clients.py`."""
        self.answers: tuple[SessionId, RequestId] | None = None
        """The request that is answered here; its id is the client's, and unique in its session only."""

    @property
    def gone(self) -> bool:
        """See `world.Client`."""
        if not self._gone and self.hung_up is not None and self.hung_up():
            self.leave()
        return self._gone

    def waits(self) -> None:
        """From here on it is looked after: it has waited for more than a moment, or is on a stream."""
        begin, self.attendant = self.attendant, None
        if begin is not None:
            begin()

    async def watch(self, receive: Receive) -> None:
        """Notice when the client hangs up. Runs beside the exchange and is cancelled when it is over."""
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            # Cancelled while the exchange still runs: the server is going down, and its clients with it.
            self.leave()

    def over(self) -> None:
        """It has been served. Who was asked here holds it in turn: what a call was about goes with the call, and is
        not left for the garbage collector to find."""
        self.headers, self.dismiss, self.attendant = _no_headers, _nothing, None

    def leave(self) -> None:
        """The client is gone: interrupt what waits for its sake."""
        self._gone = True
        if self._waiting is not None:
            self._waiting.cancel()

    def interruptible(self) -> trio.CancelScope:
        """See `world.Client`."""
        self._waiting = scope = trio.CancelScope()
        if self._gone:
            scope.cancel()
        return scope

    def patience(self, seconds: float) -> trio.CancelScope:
        """See `world.Client`."""
        self._patience = scope = trio.move_on_after(0 if self._hurried else seconds)
        return scope

    def hurry(self) -> None:
        """The server is going down: a call that waits for reviewers is told to ask again, which another can answer."""
        self._hurried = True
        if self._patience is not None:
            self._patience.cancel()

    def withdraw(self, request: tuple[SessionId, RequestId]) -> bool:
        """The client takes a request back; whether it is answered here. If it waits for reviewers, it is not run."""
        if self.answers != request:
            return False
        if self._held is not None:
            self.leave()
        return True

    async def keep_alive(self) -> None:
        """Break the silence before anybody on the way gives up: clients and proxies do after 60 s without a byte."""
        while True:
            await trio.sleep(self._keepalive_s)
            if not self._finished:
                await self._still_here()

    async def relay(self, messages: Sequence[bytes]) -> None:
        """See `world.Client`."""
        await self._event(b"".join([self._numbered(data) for data in messages]))

    async def wait_for(self, resolution: Resolution) -> None:
        """See `world.Client`."""
        self._held = resolution
        try:
            await self._still_here()
            await trio.sleep_forever()  # `keep_alive` says the rest.
        finally:
            self._held = None

    async def open_stream(self, of: ExchangeId) -> None:
        """See `world.Client`."""
        if self._mark is None or self._mark.exchange == of:
            await self._event(b"")
        else:  # It came back for the end of another stream, and goes on with this.
            self._mark = Mark(of)
            await self._event(sse.priming(str(self._mark)) if self._primed and self._streaming else b"")

    async def finish(self, reply: Reply) -> None:
        """Send the reply, on the stream if one is open."""
        self._finished = True
        if self._streaming:
            body = self._numbered(reply.data) if reply.data else b""
            async with self._stream():
                await self._write({"type": "http.response.body", "body": body, "more_body": False})
            return
        headers = (_JSON_HEADERS if reply.data else []) + self.headers(reply)
        headers.append((b"content-length", b"%d" % len(reply.data)))
        whole: tuple[dict[str, Any], ...] = (
            {"type": "http.response.start", "status": reply.status, "headers": headers},
            {"type": "http.response.body", "body": reply.data, "more_body": False},
        )
        await self._write(*whole)

    def _numbered(self, data: bytes) -> bytes:
        """The event of a recorded message, under its id if the client can come back for what follows it."""
        if self._mark is None:
            return sse.event(data)
        self._mark = Mark(self._mark.exchange, self._mark.said + 1)
        return sse.event(data, str(self._mark))

    async def _still_here(self) -> None:
        """A comment, and progress if a hold goes on and the client asked to be told (MCP, Progress)."""
        said = sse.comment("still here")
        if self._held is not None and self._progress is not None:
            said += sse.event(_progress(self._progress, self._waited, self._held))
            self._waited += 1
        await self._event(said)

    async def _event(self, data: bytes) -> None:
        """Write on the stream, which the first event opens. Several tasks write: each whole, in turn."""
        async with self._stream():
            if self._finished and not self._streaming:
                return  # The reply went out whole while this waited for its turn: there is no stream any more.
            if not self._streaming:
                self._streaming = True
                self.waits()
                headers = _STREAM_HEADERS + self.headers(None)
                await self._write({"type": "http.response.start", "status": 200, "headers": headers})
                data = self._prime + data
            await self._write({"type": "http.response.body", "body": data, "more_body": True})

    def _stream(self) -> _Turn:
        if self._turn is None:
            self._turn = _Turn()
        return self._turn

    async def _write(self, *messages: dict[str, Any]) -> None:
        if self._gone:
            return
        if self.hung_up is not None:  # Its server bounds how long the client takes.
            for message in messages:
                await self._send(message)
            return
        with trio.move_on_after(WRITE_S) as stalled:
            for message in messages:
                await self._send(message)
        if stalled.cancelled_caught:
            self.leave()


class _Turn:
    """A lock that nobody waits for while nobody else has it: not even a turn of the event loop."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = trio.Lock()

    async def __aenter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


def _nothing() -> None:
    """Whatever this client waits for has an end of its own."""


def _no_headers(_: Reply | None) -> Headers:
    return []


def _progress(token: str | int, waited: int, resolution: Resolution) -> bytes:
    """`notifications/progress` of the gateway's own: it says only that the call waits (MCP, Progress)."""
    text = f"waiting for approval {resolution.approval}"
    params = {"progressToken": token, "progress": waited, "message": text}
    return orjson.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
