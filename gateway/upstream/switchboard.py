"""Which message on a shared pair of pipes belongs to which conversation.

Each request gets an id and a progress token of the gateway's own, and what comes back is given, under the client's own,
to the conversation that it belongs to. Sources: MCP 2026-07-28 stdio, Subscriptions, Cancellation; MCP 2025-11-25
Progress, Cancellation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from itertools import count

import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import jsonrpc, mcp
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, RequestId, Response, Success

_QUEUE = 16
"""Messages that may wait for one conversation before the upstream is made to wait as well."""

_STANDING = frozenset({
    "notifications/prompts/list_changed", "notifications/resources/list_changed", "notifications/resources/updated",
    "notifications/tools/list_changed",
})  # fmt: skip
"""Notifications about the upstream as a whole; the others are most likely about a call."""


class Talk:
    """What one conversation waits for."""

    def __init__(self) -> None:
        self._put, self._got = trio.open_memory_channel[Message](_QUEUE)
        self._ahead: Message | None = None
        """What was found to be next, and is for `get`."""
        self.fault: UpstreamFault | None = None
        self.id: RequestId | None = None
        """The client's id of the request, and `token` its progress token; None where it has none."""
        self.token: RequestId | None = None
        self.key: int | None = None
        """The id of the request on the wire, while its answer is awaited."""
        self.cancellable = True

    async def put(self, message: Message) -> None:
        """Hand over a message, waiting for room. One that nobody waits for any more is dropped."""
        try:
            await self._put.send(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def get(self) -> Message:
        """The next message. Raises UpstreamFault once there will be no other."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            return ahead
        try:
            return await self._got.receive()
        except trio.EndOfChannel:
            raise again(self.fault or UpstreamFault("it has nothing more to say", kind="closed")) from None

    async def together(self, until: float) -> tuple[Notification, ...]:
        """See `Conversation`. No more at once than may wait here."""
        found: list[Notification] = []
        with suppress(trio.EndOfChannel), trio.CancelScope(deadline=until):
            while self._ahead is None and len(found) < _QUEUE:
                try:
                    message = self._got.receive_nowait()
                except trio.WouldBlock:
                    message = await self._got.receive()
                if isinstance(message, Notification):
                    found.append(message)
                else:
                    self._ahead = message
        return tuple(found)

    def fail(self, fault: UpstreamFault) -> None:
        """End the talk: when what has come is read, the reader gets `fault`."""
        self.fault = self.fault or fault
        self._put.close()

    def close(self) -> None:
        """The reader has left."""
        self._put.close()
        self._got.close()


class Switchboard:
    """The conversations over one pair of pipes. `write` sends a message; it raises UpstreamFault.

    `shared`: they are of different sessions, so what does not say whose it is belongs to nobody.
    """

    def __init__(self, write: Callable[[Message], Awaitable[None]], *, shared: bool = False) -> None:
        self.shared = shared
        self.spoke = False
        """Whether anything was ever heard."""
        self.dead: UpstreamFault | None = None
        """Why no more messages will come."""
        self.used = trio.current_time()
        """When something was last sent or received."""
        self._write = write
        self._talks: dict[int, Talk] = {}
        self._listeners: list[Talk] = []
        self._keys = count(1)

    @property
    def busy(self) -> bool:
        """Whether anybody waits for a message."""
        return bool(self._talks or self._listeners)

    async def send(self, talk: Talk, message: Message) -> None:
        """Send a client's message; the answer to a request will come to `talk`."""
        self.used = trio.current_time()
        match message:
            case Request():
                await self._write(self._register(talk, message))
            case Notification(method=mcp.CANCELLED):
                await self._cancel(message)
            case _:
                await self._write(message)

    def listen(self, talk: Talk) -> None:
        """Give `talk` what the upstream says outside any call."""
        self._listeners.append(talk)
        if self.dead is not None:
            talk.fail(self.dead)

    async def leave(self, talk: Talk) -> None:
        """The conversation is over. A request still unanswered is cancelled, but for `initialize`, which cannot be."""
        talk.close()
        if talk in self._listeners:
            self._listeners.remove(talk)
        key, talk.key = talk.key, None
        if key is None:
            return
        del self._talks[key]
        if self.dead is None and talk.fault is None and talk.cancellable:
            await self._write(mcp.cancel(key))

    async def take(self, message: Message) -> None:
        """Give what the upstream has sent to whom it belongs. What belongs to nobody is dropped: it came too late."""
        self.used = trio.current_time()
        self.spoke = True
        match message:
            case Success() | Failure():
                await self._answer(message)
            case Request(method="ping", id=ident):
                await self._write(Success(ident, {}))  # It asks whether we are there, and no client.
            case Request():
                talk = None if self.shared else self._latest() or self._listener()
                if talk is None:
                    await self._write(Failure(message.id, jsonrpc.INTERNAL_ERROR, "No client is there to be asked."))
                else:
                    await talk.put(message)
            case Notification():
                await self._notify(message)

    def fail_all(self, fault: UpstreamFault) -> None:
        """Something came that cannot be read and may have been anybody's answer."""
        for talk in self._talks.values():
            talk.fail(fault)

    def end(self, fault: UpstreamFault) -> None:
        """No more messages will come. The first reason given is the one that everybody hears."""
        self.dead = self.dead or fault
        self.fail_all(self.dead)
        for talk in self._listeners:
            talk.fail(self.dead)

    def _register(self, talk: Talk, request: Request) -> Request:
        key = next(self._keys)
        talk.id, talk.token, talk.key = request.id, mcp.progress_token(request), key
        talk.cancellable = request.method != mcp.INITIALIZE  # MCP 2025-11-25, Cancellation: Behavior Requirements.
        self._talks[key] = talk
        params = request.params
        if talk.token is not None:
            params = {**params, mcp.META: {**mcp.meta(request), mcp.PROGRESS_TOKEN: key}}
        return Request(key, request.method, params)

    async def _cancel(self, message: Notification) -> None:
        """Pass on a client's cancellation under the id that the upstream knows; the call gets no answer any more."""
        wanted = mcp.cancelled(message)
        for key, talk in self._talks.items():
            if type(talk.id) is type(wanted) and talk.id == wanted:
                talk.fail(UpstreamFault("the client cancelled this call", kind="closed"))
                await self._write(Notification(message.method, {**message.params, "requestId": key}))
                return

    async def _answer(self, message: Response) -> None:
        talk = self._talks.get(message.id) if type(message.id) is int else None
        if talk is None or talk.id is None:
            return
        del self._talks[message.id]  # type: ignore[arg-type] # found under it
        talk.key = None
        await talk.put(_readdressed(message, talk.id))

    async def _notify(self, message: Notification) -> None:
        progress, subscription, ended = mcp.progress_token(message), mcp.subscription(message), mcp.cancelled(message)
        params = dict(message.params)
        if message.method == mcp.PROGRESS:
            talk = self._of(progress)
            if talk is None or talk.token is None:
                return
            params[mcp.PROGRESS_TOKEN] = talk.token
        elif message.method == mcp.CANCELLED:
            talk = self._of(ended)
            if talk is None:
                return
            params["requestId"] = talk.id
        elif subscription is not None:
            talk = self._of(subscription)
        elif self.shared:
            return
        else:
            talk = self._listener() or self._only() if message.method in _STANDING else self._only() or self._listener()
        if talk is None:
            return
        if subscription is not None:
            params[mcp.META] = {**mcp.meta(message), mcp.SUBSCRIPTION_ID: talk.id}
        await talk.put(Notification(message.method, params))

    def _of(self, key: RequestId | None) -> Talk | None:
        return self._talks.get(key) if type(key) is int else None

    def _only(self) -> Talk | None:
        return next(iter(self._talks.values())) if len(self._talks) == 1 else None

    def _latest(self) -> Talk | None:
        return next(reversed(self._talks.values()), None)

    def _listener(self) -> Talk | None:
        return self._listeners[-1] if self._listeners else None


def again(fault: UpstreamFault) -> UpstreamFault:
    """The fault for one more reader: an exception raised in several tasks would gather all their tracebacks."""
    return UpstreamFault(fault.detail, kind=fault.kind)


def _readdressed(message: Response, ident: RequestId) -> Response:
    """The response under the client's id, also where a subscription's result repeats it (Subscriptions)."""
    if isinstance(message, Failure):
        return replace(message, id=ident)
    result = message.result
    if isinstance(result, dict):
        meta = result.get(mcp.META)
        if isinstance(meta, dict) and mcp.SUBSCRIPTION_ID in meta:
            result = {**result, mcp.META: {**meta, mcp.SUBSCRIPTION_ID: ident}}
    return Success(ident, result)
