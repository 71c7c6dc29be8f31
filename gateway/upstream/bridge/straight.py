"""A legacy client of a program of its own era: nothing is rewritten but the ids of the program's questions.

Each process has a program of its own for the session, so the answer to a question, and a cancellation, must come to the
process whose program asked or works: the ids say which that is.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import replace

import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, RequestId, Response, Success
from gateway.core.types import SessionId
from gateway.upstream.base import Conversation
from gateway.upstream.bridge.beside import Beside
from gateway.upstream.bridge.office import Office


class Straight:
    """One legacy conversation with the session's program, `inner`, with the questions in it made findable."""

    def __init__(
        self,
        office: Office,
        session: SessionId,
        inner: AbstractAsyncContextManager[Conversation],
        beside: Beside,
    ) -> None:
        self.upstream_session: str | None = None
        self._office = office
        self._session = session
        self._inner = inner
        self._beside = beside
        self._stack = AsyncExitStack()
        self._talk: Conversation | None = None
        self._request: Request | None = None
        self._own: dict[str, RequestId] = {}
        """Our id of each question that is not answered yet -> the program's."""
        self._scope = trio.CancelScope()
        self._cancelled = False

    async def __aenter__(self) -> Conversation:
        self._talk = await self._stack.enter_async_context(self._inner)
        return self

    async def __aexit__(self, *_: object) -> None:
        for ident in self._own:
            self._office.forget(ident)
        if self._request is not None:
            self._office.strike(self._session, self._request.id, self.cancel)
        await self._stack.aclose()

    async def send(self, message: Message) -> None:
        """See `Conversation`."""
        if isinstance(message, Request):
            self._request = message
            self._office.enlist(self._session, message.id, self.cancel)
        await self._talking().send(message)

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        with trio.CancelScope() as self._scope:
            if not self._cancelled:
                return self._renamed(await self._talking().receive())
        raise UpstreamFault("the client cancelled this call", kind="closed")

    async def together(self, until: float) -> tuple[Notification, ...]:
        """See `Conversation`."""
        return await self._talking().together(until)

    async def respond(self, message: Message) -> None:
        """See `Conversation`. Policy kept a question from the client."""
        if isinstance(message, Success | Failure):
            self._office.forget(str(message.id))
            await self._answer(message)

    def cancel(self) -> None:
        """The client takes this call back: leaving it unanswered is how the program hears of it."""
        self._cancelled = True
        self._scope.cancel()

    def _renamed(self, message: Message | None) -> Message | None:
        if not isinstance(message, Request):
            return message
        ident = self._office.ask(self._session, self._take)
        self._own[ident] = message.id
        return replace(message, id=ident)

    def _take(self, message: Response) -> None:
        self._beside.start_soon(self._answer_late, message)

    async def _answer_late(self, message: Response) -> None:
        with suppress(UpstreamFault):  # The call hears of it where it waits.
            await self._answer(message)

    async def _answer(self, message: Response) -> None:
        own = self._own.pop(str(message.id), None)
        if own is not None:
            await self._talking().respond(replace(message, id=own))

    def _talking(self) -> Conversation:
        assert self._talk is not None
        return self._talk
