"""An upstream that is a program on this machine, run once for each session so that sessions never share one.

A program that keeps ending before it has said anything is not started again and again: the pauses grow.

Source: MCP stdio transport, every revision. A legacy program that a session finds freshly started, in another worker or
after a crash, is greeted with the session's own `initialize` before anything else is said to it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, Success
from gateway.core.types import Document, Era, SessionId
from gateway.upstream.base import Conversation, Link, StdioSettings
from gateway.upstream.process import Process
from gateway.upstream.switchboard import Talk, again

_REAP_EVERY_S = 5.0
_SHARED = SessionId("(shared)")
_FREE_STARTS = 2
"""How often in a row a program may end unheard before it has to pause: an old one may die of being asked its era."""


class Stdio:
    """One configured stdio upstream and its programs. Made by `open`."""

    local = True

    def __init__(self, settings: StdioSettings, nursery: trio.Nursery) -> None:
        self.name = settings.name
        self.settings = settings
        self._nursery = nursery
        self._processes: dict[SessionId, Process] = {}
        self._unheard = 0
        """How many programs in a row ended before they had said anything."""
        self._not_before = -math.inf

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: StdioSettings) -> AsyncIterator[Stdio]:
        """The upstream, ready for conversations; its programs end with the block."""
        async with trio.open_nursery() as nursery:
            upstream = cls(settings, nursery)
            nursery.start_soon(upstream._reap)
            try:
                yield upstream
            finally:
                await upstream.aclose()
                nursery.cancel_scope.cancel()

    @property
    def processes(self) -> int:
        """How many programs are kept."""
        return len(self._processes)

    def converse(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """See `Upstream`. Leaving early sends `notifications/cancelled`, as both eras want on stdio."""
        return _Conversation(self, link)

    def listen(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """See `Upstream`."""
        return _Listener(self, link)

    async def end(self, link: Link) -> None:
        """See `Upstream`."""
        process = self._processes.pop(link.session, None)  # A shared one is kept under no session's name.
        if process is not None:
            process.stop()

    async def aclose(self) -> None:
        """See `Upstream`."""
        processes = tuple(self._processes.values())
        self._processes.clear()
        for process in processes:
            process.stop()
        for process in processes:
            await process.wait()

    async def process(self, link: Link, message: Message | None = None) -> Process:
        """The session's program, started and, in the legacy era, greeted; `message` is what will be said to it next.

        Raises UpstreamFault.
        """
        key = _SHARED if self.settings.shared else link.session
        process = self._processes.get(key)
        if process is None or process.board.dead is not None:
            process = self._processes[key] = self._another(key)
        async with process.ready:
            if not process.started:
                await self._nursery.start(process.run)
            if mcp.greets(message):
                process.greeted = True
            elif link.era is Era.LEGACY and link.greeting is not None and not process.greeted:
                await self._greet(process, link.greeting)
        if process.board.dead is not None:
            raise again(process.board.dead)
        return process

    def _another(self, key: SessionId) -> Process:
        """A program that is still to be started. Raises UpstreamFault where there may be none now."""
        others = len(self._processes.keys() - {key})
        if others >= self.settings.bounds.max_connections:
            raise UpstreamFault("all its programs are in use; try again shortly", kind="unreachable")
        pause = self._not_before - trio.current_time()
        if pause > 0:
            dead = self._processes.get(key)
            how = f" ({dead.how})" if dead is not None and dead.how else ""
            what = f"its program ended {self._unheard} times at its start{how}; it is started again in {pause:.0f} s"
            raise UpstreamFault(what, kind="unreachable")
        return Process(self.settings, self._ended)

    def _ended(self, process: Process) -> None:
        """A program ended by itself."""
        if process.board.spoke:
            self._unheard = 0
            return
        self._unheard += 1
        first, longest = self.settings.bounds.restart_s
        if self._unheard > _FREE_STARTS:
            pause = min(first * 2.0 ** min(self._unheard - _FREE_STARTS - 1, 32), longest)
            self._not_before = trio.current_time() + pause

    async def _greet(self, process: Process, greeting: Document) -> None:
        """The legacy handshake (2025-11-25, Lifecycle), in place of the client that has had it before."""
        talk = Talk()
        try:
            with trio.CancelScope(deadline=trio.current_time() + self.settings.deadlines.connect_s):
                await process.board.send(talk, Request(0, mcp.INITIALIZE, greeting))
                while not isinstance(answer := await talk.get(), Success):
                    if isinstance(answer, Failure):
                        raise UpstreamFault("its program refuses the session's greeting", kind="malformed")
                await process.write(Notification(mcp.INITIALIZED))
                process.greeted = True
                return
        finally:
            await process.board.leave(talk)
            if not process.greeted:
                process.stop()  # Half a handshake is no state to begin another from.
        raise UpstreamFault("its program did not answer the session's greeting in time", kind="timeout")

    async def _reap(self) -> None:
        """Let go of programs that have ended or that nobody has talked to for long."""
        while True:
            await trio.sleep(min(_REAP_EVERY_S, self.settings.bounds.process_idle_s))
            oldest = trio.current_time() - self.settings.bounds.process_idle_s
            for session, process in tuple(self._processes.items()):
                idle = not process.board.busy and process.board.used <= oldest
                if idle or process.board.dead is not None:
                    del self._processes[session]
                    process.stop()


class _Conversation:
    """One client message to the program, and what comes back for it."""

    def __init__(self, upstream: Stdio, link: Link) -> None:
        self.upstream_session: str | None = None
        self._upstream = upstream
        self._link = link
        self._talk = Talk()
        self._process: Process | None = None
        self._awaits = False
        self._asked = False
        self._idle_s = upstream.settings.deadlines.idle_s
        self._until = math.inf

    async def __aenter__(self) -> Conversation:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is None:
            self._talk.close()
            return
        with suppress(UpstreamFault):  # Whatever hinders the cancellation has ended the program, and the call with it.
            await self._process.board.leave(self._talk)

    async def send(self, message: Message) -> None:
        """See `Conversation`."""
        self._awaits = isinstance(message, Request)
        if isinstance(message, Request) and message.method == mcp.LISTEN:
            self._idle_s = math.inf
        else:
            self._until = trio.current_time() + self._upstream.settings.deadlines.call_s
        self._process = await self._upstream.process(self._link, message)
        await self._process.board.send(self._talk, message)

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        if not self._awaits:
            return None
        idle_s = math.inf if self._asked else self._idle_s
        with trio.CancelScope(deadline=min(trio.current_time() + idle_s, self._until)):
            message = await self._talk.get()
            # Until its question is answered the program may be silent: a person may be thinking.
            self._asked = isinstance(message, Request)
            if isinstance(message, Request) and self._link.era is Era.MODERN:
                what = "it sent a request of its own, which this protocol version forbids"
                raise UpstreamFault(what, kind="malformed")
            return message
        raise UpstreamFault("it did not answer in time", kind="timeout")

    async def together(self, until: float) -> tuple[Notification, ...]:
        """See `Conversation`."""
        return await self._talk.together(until)

    async def respond(self, message: Message) -> None:
        """See `Conversation`."""
        process = self._process or await self._upstream.process(self._link)
        await process.write(message)


class _Listener(_Conversation):
    """What the program says outside any call."""

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        if self._process is None:
            self._process = await self._upstream.process(self._link)
            self._process.board.listen(self._talk)
        return await self._talk.get()
