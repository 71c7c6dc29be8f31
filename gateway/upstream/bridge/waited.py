"""Legacy calls that ask for no task, at a modern upstream that may insist on one.

Such an upstream refuses a call that does not take a task for an answer (-32021: tasks extension, Capability
Negotiation), and a legacy client cannot say that it does. So it is said in its place, and what the task comes to is the
answer.
"""

from __future__ import annotations

from contextlib import suppress

import trio

from gateway.core.errors import GatewayError, UpstreamFault
from gateway.core.protocol import bridge_tasks as wording
from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Failure, Message, Request, Response, Success
from gateway.upstream.base import Link
from gateway.upstream.bridge.downward import Downward
from gateway.upstream.bridge.listening import Listeners
from gateway.upstream.bridge.polled import Polled
from gateway.upstream.bridge.sessions import LEAVE_S


class Waited(Downward):
    """One `tools/call`."""

    def __init__(self, listeners: Listeners, link: Link) -> None:
        super().__init__(listeners, link)
        self._insists = False
        self._sent: Request | None = None
        """What was sent last."""
        self._task: str | None = None
        """The task that is waited for, while it may still be under way."""
        self._polled: Polled | None = None

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            await self._take_back(self._task)
        await super().__aexit__()

    def _declares_tasks(self, request: Request) -> bool:
        """See `Downward`."""
        return self._insists or super()._declares_tasks(request)

    async def _forward(self, request: Request) -> None:
        self._sent = request
        await super()._forward(request)

    async def _next(self) -> Message | None:
        if self._polled is not None:
            return await self._waits(self._polled)
        message = await super()._next()
        if isinstance(message, Failure) and not self._insists and wording.insists(message):
            assert self._sent is not None
            self._insists = True
            await self._stack.aclose()
            await self._forward(self._sent)
            message = await super()._next()
        match message:
            case Success(result={"resultType": "task", "taskId": str(task)}) if self._insists:
                await self._stack.aclose()
                self._task = task
                self._polled = polled = Polled(self._listeners, self._link)
                await self._stack.enter_async_context(polled)
                await polled.send(Request(message.id, wording.RESULT, {"taskId": task}))
                return await self._waits(polled)
        return message

    async def _waits(self, polled: Polled) -> Message | None:
        """What comes of the task next: a question, or what the call is answered."""
        try:
            message = await polled.receive()
        except UpstreamFault as fault:
            if fault.kind != "timeout":
                raise
            raise UpstreamFault("its task did not end in time, and is taken back", kind="timeout") from None
        if isinstance(message, Request):  # Towards this client there is no task.
            return Request(message.id, message.method, wording.unrelated(message.params))
        if isinstance(message, Success | Failure):
            self._task = None
        return message

    async def _answer(self, message: Response) -> Message:
        if self._polled is not None and isinstance(message, Success):
            message = Success(message.id, wording.unrelated(message.result))
        return await super()._answer(message)

    async def _take_back(self, task: str) -> None:
        """Nobody waits for it any more."""
        request = Request("(task)", mcp.TASK_CANCEL, {"taskId": task})
        with trio.CancelScope(shield=True, deadline=trio.current_time() + LEAVE_S), suppress(GatewayError):
            side = self._listeners.side
            async with side.inner.converse(side.link(self._link)) as conversation:
                await conversation.send(await side.request(self._link, request, tasks=True))
                await conversation.receive()
