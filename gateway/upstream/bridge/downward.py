"""Legacy clients of a modern upstream.

What such an upstream needs in the middle of a call comes as a result; the legacy client is asked for it by a request of
its own, and the call is made again with the answers.
"""

from __future__ import annotations

from collections import deque
from contextlib import AsyncExitStack
from dataclasses import replace

import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import bridge, jsonrpc, mcp, versions
from gateway.core.protocol import bridge_tasks as wording
from gateway.core.protocol.jsonrpc import Failure, Message, Request, Response, Success
from gateway.core.types import Document, Era
from gateway.upstream.base import Conversation, Link
from gateway.upstream.bridge.listening import Listeners
from gateway.upstream.bridge.modern import URIS
from gateway.upstream.bridge.translated import BRIDGED, WITH_TASKS, Translated, answered

ROUNDS = 10
"""How often one call may need more; the SDKs' own clients give up after as many."""
QUESTIONS = 16
"""How much a call may ask at a time."""
ANSWER_S = 300.0
"""How long a client may take to answer."""
_AGAIN_S, _AGAIN_MOST_S = 0.1, 5.0
"""The pause before an upstream that asks nothing is called again with its state alone: the first time, and at most."""


class Downward(Translated):
    """One legacy request to a modern upstream, and what comes back for it."""

    rounds = ROUNDS

    def __init__(self, listeners: Listeners, link: Link) -> None:
        self.upstream_session: str | None = None
        self._listeners = listeners
        self._side = listeners.side
        self._office = listeners.side.office
        self._link = link
        self._stack = AsyncExitStack()
        self._inner: Conversation | None = None
        self._request: Request | None = None
        self._local: deque[Message | None] = deque()
        self._result: Document = {}
        """The result that needs input, while the client is asked for it."""
        self._open: dict[str, tuple[str, str]] = {}
        """Id of each question that is not answered yet -> its key in the result, and its method."""
        self._answers: Document = {}
        self._refused = False
        self._answered = trio.Event()
        self._rounds = 0
        self._by_task = False
        """The client wants a task for an answer, and the upstream can make some."""
        self._cancelled = False
        self._scope = trio.CancelScope()

    async def __aenter__(self) -> Conversation:
        return self

    async def __aexit__(self, *_: object) -> None:
        for ident in self._open:
            self._office.forget(ident)
        if self._request is not None:
            self._office.strike(self._link.session, self._request.id, self.cancel)
        await self._stack.aclose()

    async def send(self, message: Message) -> None:
        """See `Conversation`. Of what a client notifies, only a cancellation has a meaning to a modern upstream."""
        if not isinstance(message, Request):
            self._local.append(None)
            return
        # What goes on with a request is the modern era's and made by us alone.
        kept = {key: value for key, value in message.params.items() if key not in bridge.ROUND_TRIP}
        wanted = kept.pop(wording.TASK, None) if message.method == "tools/call" else None
        if wanted is not None and not wording.is_wish(wanted):
            self._local.append(
                Failure(message.id, jsonrpc.INVALID_PARAMS, "`task` is no object with a number as `ttl`.")
            )
            return
        self._by_task = wanted is not None and await self._side.offers_tasks(self._link)
        self._request = message = Request(message.id, message.method, kept)
        self._office.enlist(self._link.session, message.id, self.cancel)
        if message.method == mcp.INITIALIZE:
            self._local.append(await self._greet(message))
        elif (answer := await self._own(message)) is not None:
            self._local.append(answer)
        else:
            await self._forward(message)

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        while not self._cancelled:
            if self._local:
                return self._local.popleft()
            message: Message | None = None
            with trio.CancelScope() as self._scope:
                message = await self._next()
            if self._scope.cancelled_caught:
                break
            if not isinstance(message, Success | Failure):
                return message
            asked = self._questions(message) if isinstance(message, Success) else None
            if asked is None or isinstance(message, Failure):
                return await self._answer(message)
            self._put(message, asked)
        raise UpstreamFault("the client cancelled this call", kind="closed")

    async def respond(self, message: Message) -> None:
        """See `Conversation`. Policy kept a question from the client."""
        if isinstance(message, Success | Failure):
            await self._office.answer(self._link.session, message)

    def cancel(self) -> None:
        """The client takes this call back; closing its stream is how the upstream hears of it."""
        self._cancelled = True
        self._scope.cancel()

    async def _next(self) -> Message | None:
        if self._result:
            await self._again()
        assert self._inner is not None
        return await self._inner.receive()

    async def _own(self, request: Request) -> Response | None:
        """The answer to what only concerns the session; None for what concerns the upstream."""
        match request.method:
            case "ping":
                return Success(request.id, {})
            case "logging/setLevel":
                level = request.params.get("level")
                if level not in bridge.LEVELS:
                    return Failure(request.id, jsonrpc.INVALID_PARAMS, "There is no such log level.")
                await self._side.set_level(self._link.session, str(level))
                return Success(request.id, {})
            case "resources/subscribe" | "resources/unsubscribe":
                return await self._subscribe(request)
        return None

    async def _subscribe(self, request: Request) -> Response:
        uri, session = request.params.get("uri"), self._link.session
        wanted = request.method == "resources/subscribe"
        if not isinstance(uri, str):
            return Failure(request.id, jsonrpc.INVALID_PARAMS, "`uri` is missing.")
        if not await self._side.subscribe(session, uri, wanted=wanted):
            return Failure(request.id, jsonrpc.INVALID_PARAMS, f"A session has at most {URIS} subscriptions.")
        await self._listeners.renew(session)
        return Success(request.id, {})

    async def _greet(self, request: Request) -> Response:
        offered = request.params.get("protocolVersion")
        known = versions.VERSIONS.get(offered) if isinstance(offered, str) else None
        version = known.name if known is not None and known.era is Era.LEGACY else versions.LATEST_LEGACY
        question = Request(request.id, "server/discover", {})
        discover = bridge.modern_request(question, request.params, versions.LATEST_MODERN)
        async with self._side.inner.converse(self._side.link(self._link)) as conversation:
            await conversation.send(discover)
            answer = await answered(conversation)
        if isinstance(answer, Failure):
            return answer
        found = answer.result if isinstance(answer.result, dict) else {}
        self._side.knows(found)
        told = bridge.initialized(found, version)
        self.upstream_session = WITH_TASKS if wording.runs_tools(told["capabilities"]) else BRIDGED
        return Success(request.id, told)

    async def _forward(self, request: Request) -> None:
        self._inner = await self._stack.enter_async_context(self._side.inner.converse(self._side.link(self._link)))
        tasks = self._declares_tasks(request)
        await self._inner.send(await self._side.request(self._link, request, tasks=tasks))

    def _declares_tasks(self, request: Request) -> bool:
        """Whether the upstream is told that a task may answer."""
        return self._by_task or request.method in mcp.TASK_REQUESTS

    def _put(self, message: Success, asked: dict[str, tuple[str, Document]]) -> None:
        """Have the client asked for what the result needs, each question under an id of its own."""
        self._rounds += 1
        if self._rounds > self.rounds:
            raise UpstreamFault(f"it asked the client something {self.rounds} times, and then again", kind="closed")
        if len(asked) > QUESTIONS or any(method not in bridge.ASKED for method, _ in asked.values()):
            raise UpstreamFault("it asked the client what cannot be asked", kind="malformed")
        assert isinstance(message.result, dict)
        self._result, self._answers, self._answered = message.result, {}, trio.Event()
        able = (self._link.greeting or {}).get("capabilities")
        for key, (method, params) in asked.items():
            ident = self._office.ask(self._link.session, self._take)
            self._open[ident] = key, method
            if bridge.may_ask(method, params, able):
                self._local.append(Request(ident, method, params))
            else:
                self._office.forget(ident)
                self._take(Failure(ident, jsonrpc.METHOD_NOT_FOUND, "The client has not declared that it takes this."))

    async def _again(self) -> None:
        """Call again with the answers; a question that got none ends the call."""
        assert self._request is not None
        if not self._open and not self._answers and not self._refused:
            await trio.sleep(min(_AGAIN_S * 2**self._rounds, _AGAIN_MOST_S))
        with trio.move_on_after(ANSWER_S) as late:
            if self._open:
                await self._answered.wait()
        if late.cancelled_caught:
            raise UpstreamFault("it asked the client something, which was not answered in time", kind="timeout")
        if self._refused:
            raise UpstreamFault("it needs an answer that the client did not give", kind="closed")
        await self._stack.aclose()
        await self._go_on()
        self._result = {}

    async def _go_on(self) -> None:
        """Ask the upstream again, with what it wanted to know."""
        assert self._request is not None
        await self._forward(bridge.resumed(self._request, self._result, self._answers))

    def _questions(self, message: Success) -> dict[str, tuple[str, Document]] | None:
        """What the result wants to know of the client; None where it is final."""
        return bridge.questions(message.result)

    def _take(self, message: Response) -> None:
        """The answer to one of this call's questions."""
        key, method = self._open.pop(str(message.id))
        if isinstance(message, Success):
            self._answers[key] = message.result
        elif method == "elicitation/create":
            self._answers[key] = {"action": "cancel"}  # What a person who was not asked has done.
        else:
            self._refused = True
        if not self._open:
            self._answered.set()

    async def _answer(self, message: Response) -> Message:
        assert self._request is not None
        if isinstance(message, Failure):
            return replace(message, id=self._request.id)
        result = message.result if isinstance(message.result, dict) else {}
        if result.get("resultType") == "task" and not self._by_task:
            raise UpstreamFault("it answered with a task that nobody asked for", kind="malformed")
        if self._by_task:
            task = result if result.get("resultType") == "task" else await self._side.keep(result)
            return Success(self._request.id, {"task": wording.legacy(task)})
        return Success(self._request.id, bridge.legacy_result(result))
