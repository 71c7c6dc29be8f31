"""The client of an exchange that the gateway itself began, as ASGI: what the exchange answers stays in this process.

An aggregate endpoint asks each of its upstreams through the same `Visit` that any client's request goes through, so
that nothing of it is decided, masked or recorded in another way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from gateway.core.protocol import jsonrpc, sse
from gateway.core.protocol.jsonrpc import Failure, Limits, Response, Success

_LIMITS = Limits(max_bytes=2**31, max_depth=jsonrpc.DEPTH_CEILING)
"""What an exchange answers was bounded where it came in."""


class Within:
    """One request, and what comes of it. `relay` is given what comes ahead of the answer, in its recorded bytes."""

    def __init__(self, body: bytes, relay: Callable[[Sequence[bytes]], Awaitable[None]]) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.answer: Response | None = None
        self.begun = trio.Event()
        """The response has started, or will never."""
        self.spoken = trio.Event()
        """The first message has been taken, or none will come."""
        self.done = trio.Event()
        self.places: list[str] = []
        """The ids of the messages that `relay` is being given; "" for one without."""
        self._body: bytes | None = body
        self._relay = relay
        self._left = trio.Event()
        self._events: sse.Decoder | None = None
        self._whole: list[bytes] = []

    def leave(self) -> None:
        """Hang up: nobody waits for this any more."""
        self._left.set()

    def left(self) -> bool:
        """Whether somebody hung up."""
        return self._left.is_set()

    def end(self) -> None:
        """Nothing will come any more."""
        self.begun.set()
        self.spoken.set()
        self.done.set()

    async def receive(self) -> dict[str, Any]:
        """ASGI `receive`."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, event: dict[str, Any]) -> None:
        """ASGI `send`."""
        if event["type"] == "http.response.start":
            self.status, self.headers = event["status"], dict(event["headers"])
            if self.headers.get(b"content-type") == b"text/event-stream":
                self._events = sse.Decoder(_LIMITS.max_bytes)
            self.begun.set()
            return
        if self._events is not None:
            told = self._events.feed(event["body"])
            await self._take([(each.data, each.id) for each in told if each.data])  # Without data it only says an id.
        else:
            self._whole.append(event["body"])
        if not event.get("more_body", False):
            if self._events is None and (data := b"".join(self._whole)):
                await self._take([(data, "")])
            self.done.set()

    async def _take(self, messages: Sequence[tuple[bytes, str]]) -> None:
        ahead: list[tuple[bytes, str]] = []
        for data, ident in messages:
            message = jsonrpc.parse_upstream(data, _LIMITS)
            if isinstance(message, Success | Failure):
                self.answer = message
            else:
                ahead.append((data, ident))
        if ahead:
            self.places = [ident for _, ident in ahead]
            await self._relay([data for data, _ in ahead])
        if messages:
            self.spoken.set()
