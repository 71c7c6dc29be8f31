"""Legacy clients of a modern upstream: it has no session, so what their `initialize` said is repeated in each request.

What such an upstream needs in the middle of a call comes as a result; the legacy client is asked for it by a request of
its own, and the call is made again with the answers. A client answers to the process that asked: docs/architecture.md.
"""

from __future__ import annotations

from collections import deque
from contextlib import AsyncExitStack

import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import bridge, jsonrpc, mcp, versions
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, Success
from gateway.core.types import Document, Era, Json, SessionId
from gateway.upstream.base import Conversation, Link, Upstream

ROUNDS = 10
"""How often one call may need more; the SDKs' own clients give up after as many."""
ANSWER_S = 300.0
"""How long a client may take to answer."""
_AGAIN_S = 0.1
"""The pause before an upstream that asks nothing is called again with its state alone."""


class ModernSide:
    """What is kept of legacy clients between their messages, in this process."""

    def __init__(self, inner: Upstream) -> None:
        self.inner = inner
        self.levels: dict[SessionId, str] = {}
        self.uris: dict[SessionId, set[str]] = {}
        self.asked: dict[tuple[SessionId, str], Downward] = {}
        """The calls that wait for an answer, by session and the id of the question."""
        self.calls: dict[tuple[SessionId, jsonrpc.RequestId], Downward] = {}
        """The calls that are under way, to be cancelled by their clients."""
        self.listeners: dict[SessionId, Listening] = {}

    def link(self, link: Link) -> Link:
        """The modern link of a legacy session."""
        return Link(link.session, Era.MODERN, versions.LATEST_MODERN, mirrored=link.mirrored)

    def request(self, link: Link, request: Request) -> Request:
        """A client's request as the upstream wants it."""
        greeted = link.greeting or {}
        return bridge.modern_request(request, greeted, versions.LATEST_MODERN, self.levels.get(link.session))

    def forget(self, session: SessionId) -> None:
        """The session has ended."""
        self.levels.pop(session, None)
        self.uris.pop(session, None)


class Downward:
    """One legacy message to a modern upstream, and what comes back for it. `marker`: the session of those without."""

    def __init__(self, side: ModernSide, link: Link, marker: str) -> None:
        self.upstream_session: str | None = None
        self._side = side
        self._link = link
        self._marker = marker
        self._stack = AsyncExitStack()
        self._inner: Conversation | None = None
        self._request: Request | None = None
        self._sent: Request | None = None
        self._local: deque[Message | None] = deque()
        self._result: Document = {}
        """The result that needs input, while the client is asked for it."""
        self._open: dict[str, str] = {}
        """Id of each question that is not answered yet -> its key in the result."""
        self._answers: Document = {}
        self._refused = False
        self._answered = trio.Event()
        self._rounds = 0
        self._cancelled = False
        self._scope = trio.CancelScope()

    async def __aenter__(self) -> Conversation:
        return self

    async def __aexit__(self, *_: object) -> None:
        for ident in self._open:
            self._side.asked.pop((self._link.session, ident), None)
        if self._request is not None:
            self._side.calls.pop((self._link.session, self._request.id), None)
        await self._stack.aclose()

    async def send(self, message: Message) -> None:
        """See `Conversation`."""
        match message:
            case Request():
                self._request = message
                await self._ask(message)
            case Success() | Failure():
                self._deliver(message)
                self._local.append(None)
            case Notification():
                if (taken_back := mcp.cancelled(message)) is not None:
                    self._cancel(taken_back)
                self._local.append(None)

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        while True:
            if self._local:
                return self._local.popleft()
            if self._cancelled:
                raise UpstreamFault("the client cancelled this call", kind="closed")
            message: Message | None = None
            with trio.CancelScope() as self._scope:
                if self._open:
                    await self._wait()
                if self._result:
                    await self._again()
                message = await self._talk().receive()
            if self._scope.cancelled_caught:
                continue
            if not isinstance(message, Success | Failure):
                return message
            assert self._request is not None
            asked = bridge.questions(message.result) if isinstance(message, Success) else None
            if asked is None:
                return self._answer(message)
            assert isinstance(message, Success)
            assert isinstance(message.result, dict)
            self._put(message.result, asked)

    def at_hand(self) -> Notification | None:
        """See `Conversation`. What is translated is looked at one by one."""
        return None

    async def respond(self, message: Message) -> None:
        """See `Conversation`. Policy kept a question from the client."""
        self._deliver(message)

    async def _ask(self, request: Request) -> None:
        """Answer what only concerns the session here; send the rest upstream."""
        session = self._link.session
        match request.method:
            case mcp.INITIALIZE:
                await self._greet(request)
            case "ping":
                self._local.append(Success(request.id, {}))
            case "logging/setLevel":
                self._side.levels[session] = str(request.params.get("level"))
                self._local.append(Success(request.id, {}))
            case "resources/subscribe" | "resources/unsubscribe":
                self._subscribe(request)
                self._local.append(Success(request.id, {}))
            case _:
                self._side.calls[session, request.id] = self
                await self._forward(request)

    async def _greet(self, request: Request) -> None:
        offered = request.params.get("protocolVersion")
        known = versions.VERSIONS.get(offered) if isinstance(offered, str) else None
        version = known.name if known is not None and known.era is Era.LEGACY else versions.LATEST_LEGACY
        discover = bridge.modern_request(
            Request(request.id, "server/discover", {}), request.params, versions.LATEST_MODERN
        )
        async with self._side.inner.converse(self._side.link(self._link)) as conversation:
            await conversation.send(discover)
            while not isinstance(answer := await conversation.receive(), Success | Failure):
                pass
        if isinstance(answer, Success):
            found = answer.result if isinstance(answer.result, dict) else {}
            answer = Success(request.id, bridge.initialized(found, version))
            self.upstream_session = self._marker
        self._local.append(answer)

    def _subscribe(self, request: Request) -> None:
        uris = self._side.uris.setdefault(self._link.session, set())
        uri = str(request.params.get("uri"))
        (uris.add if request.method == "resources/subscribe" else uris.discard)(uri)
        listener = self._side.listeners.get(self._link.session)
        if listener is not None:
            listener.renew()

    async def _forward(self, request: Request) -> None:
        self._sent = request
        self._inner = await self._stack.enter_async_context(self._side.inner.converse(self._side.link(self._link)))
        await self._inner.send(self._side.request(self._link, request))

    def _put(self, result: Document, asked: dict[str, tuple[str, Document]]) -> None:
        """Have the client asked for what the result needs, each question under an id of its own."""
        assert self._request is not None
        self._rounds += 1
        self._result, self._answers, self._answered = result, {}, trio.Event()
        for number, (key, (method, params)) in enumerate(asked.items()):
            ident = f"{self._request.id}/{self._rounds}/{number}"
            self._open[ident] = key
            self._side.asked[self._link.session, ident] = self
            self._local.append(Request(ident, method, params))

    async def _wait(self) -> None:
        with trio.move_on_after(ANSWER_S):
            await self._answered.wait()
            return
        raise UpstreamFault("it asked the client something, which was not answered in time", kind="timeout")

    async def _again(self) -> None:
        """Call again with the answers; a question that got none ends the call."""
        assert self._sent is not None
        if self._refused or self._rounds > ROUNDS:
            raise UpstreamFault("it needs an answer that the client did not give", kind="closed")
        if not self._answers:
            await trio.sleep(_AGAIN_S)
        request, self._result = bridge.resumed(self._sent, self._result, self._answers), {}
        await self._stack.aclose()
        await self._forward(request)

    def _deliver(self, message: Message) -> None:
        """A client's answer, or the gateway's in its place, to the call that waits for it."""
        if not isinstance(message, Success | Failure) or not isinstance(message.id, str):
            return
        waiting = self._side.asked.pop((self._link.session, message.id), None)
        if waiting is None:
            raise UpstreamFault("nobody here waits for this answer any more", kind="ended")
        waiting.take(message.id, message)

    def take(self, ident: str, message: Success | Failure) -> None:
        """The answer to one of this call's questions."""
        key = self._open.pop(ident)
        question = self._asked_method(key)
        if isinstance(message, Success):
            self._answers[key] = message.result
        elif question == "elicitation/create":
            self._answers[key] = {"action": "cancel"}  # What a person who was not asked has done.
        else:
            self._refused = True
        if not self._open:
            self._answered.set()

    def cancel(self) -> None:
        """The client takes this call back."""
        self._cancelled = True
        self._scope.cancel()

    def _asked_method(self, key: str) -> str:
        asked = bridge.questions(self._result) or {}
        return asked[key][0] if key in asked else ""

    def _cancel(self, ident: Json) -> None:
        """The client takes a call back; closing its stream is how the upstream hears of it."""
        if isinstance(ident, str | int) and not isinstance(ident, bool):
            call = self._side.calls.pop((self._link.session, ident), None)
            if call is not None:
                call.cancel()

    def _answer(self, message: Success | Failure) -> Message:
        assert self._request is not None
        if isinstance(message, Failure):
            return Failure(self._request.id, message.code, message.message, message.data)
        return Success(self._request.id, bridge.legacy_result(message.result))

    def _talk(self) -> Conversation:
        assert self._inner is not None
        return self._inner


class Listening:
    """A legacy client's stream, fed by a subscription of its modern upstream."""

    def __init__(self, side: ModernSide, link: Link) -> None:
        self.upstream_session: str | None = None
        self._side = side
        self._link = link
        self._stack = AsyncExitStack()
        self._inner: Conversation | None = None
        self._changed = False
        self._scope = trio.CancelScope()

    async def __aenter__(self) -> Conversation:
        await self._open()
        self._side.listeners[self._link.session] = self
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._side.listeners.get(self._link.session) is self:
            del self._side.listeners[self._link.session]
        await self._stack.aclose()

    async def send(self, message: Message) -> None:
        """See `Conversation`. Nothing is sent on this stream."""

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        while True:
            with trio.CancelScope() as self._scope:
                if self._changed:
                    await self._open()
                assert self._inner is not None
                message = await self._inner.receive()
                if message is None or isinstance(message, Success | Failure):
                    return None
                if isinstance(message, Notification) and message.method != "notifications/subscriptions/acknowledged":
                    return bridge.outside(message)

    def at_hand(self) -> Notification | None:
        """See `Conversation`. What is translated is looked at one by one."""
        return None

    async def respond(self, message: Message) -> None:
        """See `Conversation`. A modern upstream asks nothing on a stream."""

    def renew(self) -> None:
        """What the client wants to hear has changed: the subscription is made anew."""
        self._changed = True
        self._scope.cancel()

    async def _open(self) -> None:
        self._changed = False
        await self._stack.aclose()
        uris = tuple(sorted(self._side.uris.get(self._link.session, ())))
        self._inner = await self._stack.enter_async_context(self._side.inner.converse(self._side.link(self._link)))
        wanted = Request("(listen)", mcp.LISTEN, bridge.listening(uris))
        await self._inner.send(self._side.request(self._link, wanted))
