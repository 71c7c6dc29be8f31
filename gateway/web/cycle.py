"""One HTTP request and its response, as an app sees them through ASGI's scope, `receive` and `send`."""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import TYPE_CHECKING
from wsgiref.handlers import format_date_time

import trio
from hypercorn.typing import ASGIReceiveEvent, ASGISendEvent, ConnectionState, HTTPScope

from gateway.process import places
from gateway.web.http1 import Request, Response, refusal

if TYPE_CHECKING:
    from gateway.web.connection import Connection

logger = logging.getLogger(__name__)

HUNG_UP = "phigate.hung_up"
"""The ASGI extension whose `ask` tells an app, without waiting, whether its client has hung up. A server that has it
gives a client up by itself that takes nothing of its response (`ServerSettings.send_s`)."""


class Gone(Exception):
    """The client hung up, stalled or was refused: nothing more can be sent to it."""


@lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    return b"date: " + format_date_time(second).encode()


def date_line() -> bytes:
    """The Date header of a response that leaves now (RFC 9110 §6.6.1)."""
    return _date(int(time.time()))


class Cycle:
    """One request and its response, as the app sees them through ASGI."""

    __slots__ = ("_body_deadline", "_connection", "_delivered", "_gone", "_over", "_refused", "_request", "_response")

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._request = request
        self._response: Response | None = None
        self._delivered = False
        self._gone = False
        self._refused = False
        self._over: trio.Event | None = None
        self._body_deadline = 0.0

    async def run(self) -> bool:
        """Run the app on the request; whether the connection may serve another. Raises Gone."""
        sound = await self._run_app()
        connection, response = self._connection, self._response
        if self._refused:
            await connection.linger()
        if self._gone:
            raise Gone
        if response is None or not response.begun:
            await connection.refuse(500)
        elif not response.ended:
            raise Gone  # Closing is the only way to tell the client that this was not all.
        elif not response.keep_alive:
            await connection.linger()
        return sound

    async def _run_app(self) -> bool:
        """Whether the app came to its end by itself."""
        try:
            await self._connection.app(self._scope(), self.receive, self.send)
        except Exception as error:  # The app's bug ends this request, unanswered or cut short, and no other.
            report(error)
            return False
        except BaseExceptionGroup as group:  # Of a nursery: cancellation, or the end of the process, is no bug.
            bugs, others = group.split(Exception)
            if bugs is not None:
                report(bugs)
            if others is not None:
                raise others from None
            return False
        return True

    def _scope(self) -> HTTPScope:
        connection, request = self._connection, self._request
        path, raw_path, query = request.path()
        return {
            "type": "http",
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "http_version": request.version,
            "method": request.method,
            "scheme": "http",
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": request.headers,
            "client": connection.client,
            "server": connection.server,
            "state": ConnectionState(connection.state.copy()),
            "extensions": {HUNG_UP: {"ask": self.hung_up}},
        }

    async def receive(self) -> ASGIReceiveEvent:
        """ASGI `receive`: the body as it arrives, then nothing until the client hangs up or the response ended."""
        request = self._request
        while not self._gone and not (self._response is not None and self._response.ended):
            if request.chunks or (request.complete and not self._delivered):
                self._delivered = request.complete
                return {"type": "http.request", "body": request.take(), "more_body": not request.complete}
            try:
                await (self._watch() if request.complete else self._read_body())
            except Gone:
                self._gone = True
        return {"type": "http.disconnect"}

    def hung_up(self) -> bool:
        """Whether the client has hung up, as far as can be seen now. Never waits."""
        if self._request.complete and not self._gone:
            try:
                self._connection.look()
            except Gone:
                self._gone = True
        return self._gone

    async def _read_body(self) -> None:
        """Wait for more of the body. Raises Gone, after a word to the client if the body cannot be accepted."""
        connection = self._connection
        if not self._body_deadline:
            self._body_deadline = trio.current_time() + connection.settings.body_s
            if self._request.expects_continue() and self._response is None:
                await connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        with trio.move_on_at(self._body_deadline) as patience:
            connection.requests.feed(await connection.read())  # Cancelled, it has taken no byte.
        status = 408 if patience.cancelled_caught else connection.requests.refused
        if status is not None and not self._request.complete:
            if self._response is None or not self._response.begun:
                self._refused = True
                await connection.write(refusal(status, date_line()))
            raise Gone

    async def _watch(self) -> None:
        """Wait until the client hangs up. Raises Gone when it does; what it sends meanwhile is kept."""
        connection = self._connection
        if connection.full:
            self._over = trio.Event()
            await self._over.wait()
        else:
            connection.stash += await connection.read()

    async def send(self, message: ASGISendEvent) -> None:
        """ASGI `send`. A client that has gone is not an error: the app learns of it from `receive`."""
        response = self._response
        if message["type"] == "http.response.start" and response is None:
            self._response = Response(self._request, message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body" and response is not None and not response.ended:
            more = message.get("more_body", False)
            await self._send_body(response, bytes(message.get("body", b"")), more=more)
        else:
            raise RuntimeError(f"the app sent {message['type']} out of turn")

    async def _send_body(self, response: Response, body: bytes, *, more: bool) -> None:
        connection = self._connection
        may_stay = self._request.keep_alive and self._request.complete and not connection.parting
        data = response.format(body, date_line(), more=more, keep_alive=may_stay)
        if self._gone:
            return
        try:
            await connection.write(data)
        except Gone:
            self._gone = True
        if more:
            await trio.lowlevel.checkpoint()  # A stream must not keep the others waiting.
        if not more or self._gone:  # Whoever waits for the client to hang up waits no longer.
            if self._over is not None:
                self._over.set()
            else:
                connection.wake()


def report(error: BaseException) -> None:
    """Log where an error was raised and of what type; never its text, which may quote a body."""
    for place in places(error):
        logger.error("request failed: %s", place)
