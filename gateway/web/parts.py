"""The parts of what an aggregate endpoint asks of all its upstreams, and when there are enough of them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from gateway.core import merging, resuming
from gateway.core.errors import ClientFault, GatewayError, SessionEnded
from gateway.core.merging import Part
from gateway.core.protocol import aggregate, jsonrpc
from gateway.core.protocol.jsonrpc import INVALID_REQUEST, Failure, Message, Notification, Request
from gateway.core.protocol.session import Ticket
from gateway.core.types import ExchangeId
from gateway.web.client import HttpClient, Receive
from gateway.web.desk import Sessions
from gateway.web.visit import UNKNOWN_EVENT
from gateway.web.within import Within


@dataclass(slots=True)
class Asked:
    """One upstream's part of the work."""

    member: str
    exchange: ExchangeId
    within: Within
    fault: GatewayError | None = None

    def part(self, message: Message) -> Part:
        """What came of it."""
        if self.within.answer is not None:
            return Part(self.member, self.within.answer)
        match self.fault:
            case ClientFault(code=code, detail=detail, data=data) if isinstance(message, Request):
                return Part(self.member, Failure(message.id, code, detail, data))
            case SessionEnded():
                return Part(self.member, why="session_ended")
            case None:
                return Part(self.member, why="no_answer" if self.within.done.is_set() else "timeout")
            case _:
                return Part(self.member, why="failed")


@dataclass(slots=True)
class Early:
    """A subscription with several upstreams: what they tell follows what they agreed to, which is said once."""

    message: Request
    client: HttpClient
    wait_s: float
    record: Callable[[Message, list[Asked], bytes], Awaitable[None]]
    """Puts on record what leaves, and of which exchanges it was made."""
    _agreed: list[Notification] = field(default_factory=list)
    _open: trio.Event = field(default_factory=trio.Event)

    async def relay(self, messages: Sequence[bytes]) -> None:
        """See `Within`."""
        rest: list[bytes] = []
        for data in messages:
            message = jsonrpc.parse_upstream(data)
            if isinstance(message, Notification) and message.method == aggregate.ACKNOWLEDGED:
                self._agreed.append(message)
            else:
                rest.append(data)
        if rest:
            await self._open.wait()
            await self.client.relay(rest)

    async def stand(self, asked: list[Asked]) -> None:
        """Until the last of them ends, or the client does."""
        with trio.move_on_after(self.wait_s):
            for each in asked:
                await each.within.spoken.wait()
        if self._agreed:
            silent = [each.part(self.message) for each in asked if each.within.done.is_set()]
            told = merging.acknowledgement(self._agreed, merging.missing(silent))
            data = jsonrpc.format(told)
            await self.record(told, asked, data)
            await self.client.relay([data])
        self._open.set()
        await until_done(asked, self.client)


@asynccontextmanager
async def attending(client: HttpClient, receive: Receive) -> AsyncIterator[trio.Nursery]:
    """Notice while the block runs that the client hangs up."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.watch, receive)
        yield nursery


async def until_done(asked: list[Asked], client: HttpClient, wait_s: float = math.inf) -> None:
    """Until all have answered, the time is up or the client is gone; those that have not are left."""
    with client.interruptible(), trio.move_on_after(wait_s):
        for each in asked:
            await each.within.done.wait()
    leave(asked)


def leave(asked: list[Asked]) -> None:
    """Nobody waits for those that have not answered any more; they come to their end by themselves."""
    for each in asked:
        if not each.within.done.is_set():
            each.within.leave()


async def whose(last: str, tickets: Mapping[str, Ticket], sessions: Sessions) -> str:
    """The upstream on whose stream the client got this event id: one call's, for only those have ids here."""
    mark = resuming.parse(last)
    for name, ticket in tickets.items() if mark is not None else ():
        if mark is not None and await sessions.lost(ticket.session, mark.exchange) is not None:
            return name
    raise ClientFault(UNKNOWN_EVENT, code=INVALID_REQUEST)
