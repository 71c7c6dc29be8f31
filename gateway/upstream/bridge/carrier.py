"""Answers what came to another process and is about a call or a task in this one: the other end of `far.py`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

import trio

from gateway.core.errors import EvidenceFault, UpstreamFault
from gateway.core.protocol import jsonrpc
from gateway.core.protocol.jsonrpc import Failure, Request, Success
from gateway.core.types import Document
from gateway.upstream.base import Conversation, Link
from gateway.upstream.bridge.beside import Beside
from gateway.upstream.bridge.far import ALIVE_S, LEAVE, RESUME
from gateway.upstream.bridge.office import Office

Converse = Callable[[Link], AbstractAsyncContextManager[Conversation]]

logger = logging.getLogger(__name__)


class Carrier:
    """Has the request made here and sends what comes of it to the process that has the client."""

    def __init__(self, office: Office, beside: Beside, converse: Converse) -> None:
        self._office = office
        self._beside = beside
        self._converse = converse
        self._scopes: dict[str, trio.CancelScope] = {}
        office.on(RESUME, self._resume)
        office.on(LEAVE, self._leave)

    def _resume(self, document: Document) -> None:
        match document:
            case {"to": str(to), "thread": str(thread)}:
                request = jsonrpc.parse_upstream(str(document["request"]).encode())
                link = Link.of(document)
                if isinstance(request, Request):
                    scope = self._scopes[thread] = trio.CancelScope()
                    self._beside.start_soon(self._carry, scope, to, thread, link, request)

    def _leave(self, document: Document) -> None:
        """The client has hung up."""
        scope = self._scopes.get(str(document.get("thread")))
        if scope is not None:
            scope.cancel()

    async def _carry(self, scope: trio.CancelScope, to: str, thread: str, link: Link, request: Request) -> None:
        alive = trio.CancelScope()
        self._beside.start_soon(self._still_here, alive, to, thread)
        try:
            with scope:
                await self._office.tell(to, thread, taken=True)
                try:
                    await self._relay(to, thread, link, request)
                except UpstreamFault as fault:
                    await self._office.tell(to, thread, fault=fault.kind, detail=fault.detail)
        except EvidenceFault:
            logger.error("a call could not be brought to the process that has its client")
        finally:
            alive.cancel()
            del self._scopes[thread]

    async def _relay(self, to: str, thread: str, link: Link, request: Request) -> None:
        async with self._converse(link) as conversation:
            await conversation.send(request)
            while (message := await conversation.receive()) is not None:
                await self._office.tell(to, thread, message=jsonrpc.format(message).decode())
                if isinstance(message, Success | Failure):
                    return

    async def _still_here(self, scope: trio.CancelScope, to: str, thread: str) -> None:
        """Say so as long as the call goes on: silence means that this process is gone."""
        with scope, suppress(EvidenceFault):  # The call itself ends by that, too.
            while True:
                await trio.sleep(ALIVE_S)
                await self._office.tell(to, thread, alive=True)
