"""One request of a modern client under way at a legacy upstream: through its questions, to its answer."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack, suppress

import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import bridge, mcp
from gateway.core.protocol import bridge_tasks as wording
from gateway.core.protocol.jsonrpc import Message, Notification, Request, Response, Success
from gateway.core.types import Document
from gateway.upstream.base import Conversation, Link
from gateway.upstream.bridge.sessions import LEAVE_S, Session, Sessions


class Run:
    """Made by `begin`; whoever has it must close it, and may hand it to somebody else before.

    It goes on while its client is asked something, which to a modern client is the end of one request and the
    beginning of another. Closed without its answer, it is cancelled upstream.
    """

    def __init__(self, sessions: Sessions, session: Session, request: Request, *, unfolds: bool = False) -> None:
        """`unfolds`: where the answer is a task, what that comes to is the answer."""
        self.session = session
        self.question: Request | None = None
        """What the upstream has asked and the client has not answered yet."""
        self._sessions = sessions
        self._ident = sessions.office.number()
        self._request = _renumbered(bridge.legacy_request(request), self._ident)
        self._unfolds = unfolds
        self._task: str | None = None
        """The task whose result is awaited."""
        self._using = ExitStack()
        self._stack = AsyncExitStack()
        """Holds `_talk`. No cancel scope is open in a conversation between its calls, so any task may close it."""
        self._link: Link = session.link
        self._talk: Conversation | None = None
        self._heard = False
        self._sent = False
        self._answered = False

    async def begin(self) -> None:
        """Send the request. Raises UpstreamFault."""
        self._using.enter_context(self.session.use())
        await self._send()

    async def receive(self) -> Message:
        """What comes next: a notification, a question that has to be answered, or the answer. Raises UpstreamFault."""
        while True:
            message = await self._next()
            match message:
                case Request(method="ping", id=ident):
                    await self._talking().respond(Success(ident, {}))
                case Request():
                    self.question = message
                    return message
                case Notification():
                    return message
                case None:
                    raise UpstreamFault("it took a request for something that has no answer", kind="malformed")
                case Success(result={"task": {"taskId": str(task)}}) if self._unfolds:
                    await self._unfold(task)
                case _:
                    self._answered = True
                    return message

    async def respond(self, message: Response) -> None:
        """Answer the question. Raises UpstreamFault."""
        self.question = None
        await self._talking().respond(message)

    async def aclose(self) -> None:
        """Let go of it."""
        self._using.close()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + LEAVE_S):
            if self._task is not None and not self._answered:
                with suppress(UpstreamFault):  # It goes on for nobody then, until it ends.
                    await self._sessions.ask(self.session, mcp.TASK_CANCEL, {"taskId": self._task})
            elif self._sent and not self._answered and not self._sessions.inner.local:  # A program is told by leaving.
                await self._sessions.withdraw(self._link, self._ident)
            await self._stack.aclose()

    async def _unfold(self, task: str) -> None:
        """Wait for what the task comes to, in place of the call that it was made for (2025-11-25, Tasks)."""
        self._task, self._unfolds = task, False
        await self._stack.aclose()
        self._request = Request(self._sessions.office.number(), wording.RESULT, {"taskId": task})
        await self._send()

    async def _send(self) -> None:
        self._link = self.session.link
        self._talk = await self._stack.enter_async_context(self._sessions.inner.converse(self._link))
        await self._talk.send(self._request)
        self._sent = True

    async def _next(self) -> Message | None:
        """The next message; from a session begun anew if the upstream has forgotten the one it was sent in, which it
        says before it looks at the request (2025-11-25, Session Management)."""
        try:
            message = await self._talking().receive()
        except UpstreamFault as fault:
            if fault.kind != "ended":
                raise
            if self._heard:  # Not `ended`: that would tell a client of a session which it does not have.
                raise UpstreamFault("it forgot the session of this call", kind="closed") from None
            self._heard = True
            await self._stack.aclose()
            await self._sessions.again(self.session, self._link)
            await self._send()
            return await self._next()
        self._heard = True
        return message

    @property
    def link(self) -> Link:
        """The upstream's session that it is made in."""
        return self._link

    def _talking(self) -> Conversation:
        assert self._talk is not None
        return self._talk


def _renumbered(request: Request, ident: int) -> Request:
    """The request under an id, and a progress token, that nobody else uses in the session."""
    if mcp.progress_token(request) is None:
        return Request(ident, request.method, request.params)
    meta: Document = {**mcp.meta(request), mcp.PROGRESS_TOKEN: ident}
    return Request(ident, request.method, {**request.params, mcp.META: meta})
