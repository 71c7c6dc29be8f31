"""The standing stream of an aggregate: what each upstream says outside any call, on one stream that can be resumed.

Each upstream's part is an exchange of its own, and the evidence of all of them is what such a stream is resumed from
(decision 10). So the id of an event says how far the stream has come on each: whoever comes back with it goes on
everywhere, and no upstream's word is told twice or left out because another's was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import trio

from gateway.core.errors import ClientFault
from gateway.core.protocol import sse
from gateway.core.protocol.jsonrpc import INVALID_REQUEST
from gateway.core.protocol.session import Ticket
from gateway.core.resuming import PRIMED_SINCE, Mark
from gateway.web.client import HttpClient, Send
from gateway.web.desk import Sessions
from gateway.web.parts import Asked, until_done, whose
from gateway.web.visit import UNKNOWN_EVENT

_ALL = "all:"
"""Tells these ids from those of a call's stream."""


class Gathered(HttpClient):
    """The waiting client of such a stream."""

    def __init__(
        self, send: Send, *, keepalive_s: float, version: str, hung_up: Callable[[], bool] | None = None
    ) -> None:
        """`version`: the protocol version that the client speaks."""
        super().__init__(send, keepalive_s=keepalive_s, hung_up=hung_up)
        self._takes_primes = version >= PRIMED_SINCE
        self._parts: dict[str, Asked] = {}
        self._places: dict[str, str] = {}
        """How far it has come, by upstream: event ids of its own."""
        self._begun = trio.Event()

    async def stand(self, asked: list[Asked], places: Mapping[str, str]) -> None:
        """Until the last of them ends, or the client does. `places`: where it came back to."""
        heard = [each for each in asked if each.within.status == 200]
        self._parts = {each.member: each for each in asked}  # Whoever begins later is heard from then on.
        self._places = {each.member: places.get(each.member, str(Mark(each.exchange))) for each in heard}
        await self._event(sse.priming(self._place()) if self._takes_primes else b"")
        self._begun.set()
        await until_done(asked, self)

    def leave_off(self) -> None:
        """There is nothing to hear."""
        self._begun.set()

    async def tell(self, member: str, messages: Sequence[bytes]) -> None:
        """Pass on what one upstream's part has said, each message with its place."""
        await self._begun.wait()
        for data, place in zip(messages, self._parts[member].within.places, strict=True):
            self._places[member] = place or self._places.get(member, str(Mark(self._parts[member].exchange)))
            await self.relay([data])

    def _numbered(self, data: bytes) -> bytes:
        return sse.event(data, self._place())

    def _place(self) -> str:
        return _ALL + ",".join(self._places.values())


async def places(last: str, tickets: Mapping[str, Ticket], sessions: Sessions) -> dict[str, str] | None:
    """Where a client was on each upstream's part that comes back with this event id; None where it is a call's.

    Raises ClientFault for one that was not given in this session.
    """
    if not last.startswith(_ALL):
        return None
    marks = last.removeprefix(_ALL).split(",")
    if len(marks) > len(tickets):
        raise ClientFault(UNKNOWN_EVENT, code=INVALID_REQUEST)
    return {await whose(mark, tickets, sessions): mark for mark in marks}
