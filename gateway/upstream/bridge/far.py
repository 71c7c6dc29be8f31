"""A request about a call or a task that another process has, seen from the process that has the client.

The holder goes on with the call and sends whatever comes of it here, message by message: `carrier.py`.
"""

from __future__ import annotations

import secrets
from collections import deque
from contextlib import suppress

import trio

from gateway.core.errors import EvidenceFault, UpstreamFault
from gateway.core.protocol import jsonrpc
from gateway.core.protocol.jsonrpc import Failure, Message, Request, Success
from gateway.core.types import Document
from gateway.upstream.base import Link
from gateway.upstream.bridge.office import Office

TAKEN_S = 5.0
"""How long the process that holds a call may take to say that it has heard of its retry."""
ALIVE_S = 5.0
"""How often it says then that it still has the call."""
SILENT_S = 20.0
"""How long it may say nothing: a process that is so late is gone, and nobody knows what became of its call."""
RESUME = "resume"
LEAVE = "leave"


class Far:
    """One request that another process has to answer: a retry of a call that waits there, or about a task of it."""

    def __init__(self, office: Office, holder: str) -> None:
        self._office = office
        self._holder = holder
        self._thread = secrets.token_urlsafe(12)
        self._said: deque[Document] = deque()
        self._news = trio.Event()
        self._begun = self._over = False

    async def open(self, link: Link, request: Request) -> bool:
        """Have the call go on; False when its holder is gone. Raises EvidenceFault."""
        self._begun = True
        self._office.on(self._thread, self._hear)
        text = jsonrpc.format(request).decode()
        told: Document = {"to": self._office.name, "thread": self._thread, "request": text, **link.document()}
        await self._office.tell(self._holder, RESUME, **told)
        with trio.move_on_after(TAKEN_S):
            await self._next()
            return True
        return False

    async def receive(self) -> Message:
        """The next message of the call. Raises UpstreamFault."""
        while True:
            said: Document = {}
            with trio.move_on_after(SILENT_S):
                said = await self._next()
            match said:
                case {"message": str(text)}:
                    message = jsonrpc.parse_upstream(text.encode())
                    self._over = isinstance(message, Success | Failure)
                    return message
                case {"detail": str(detail), "fault": str(kind)}:
                    self._over = True
                    raise UpstreamFault(detail, kind=kind)
                case {"alive": True}:
                    continue
            detail = "the process that had this call has ended, and what became of the call is not known"
            raise UpstreamFault(detail, kind="closed")

    async def aclose(self) -> None:
        """Let go of it; a call that has not ended is cancelled."""
        if not self._begun:
            return
        self._office.off(self._thread)
        if not self._over:
            with suppress(EvidenceFault):  # Its own deadline ends it then.
                await self._office.tell(self._holder, LEAVE, thread=self._thread)

    async def _next(self) -> Document:
        while not self._said:
            await self._news.wait()
            self._news = trio.Event()
        return self._said.popleft()

    def _hear(self, document: Document) -> None:
        self._said.append(document)
        self._news.set()
