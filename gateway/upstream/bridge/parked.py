"""Calls of modern clients that wait for their clients' answers.

A call waits in the process that made it, which is the only one that has its connection. The `requestState` that the
client brings back says which process that is: see `far.py` for the retry that came to another.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import bridge, jsonrpc, mcp
from gateway.core.protocol.jsonrpc import Request
from gateway.core.types import Json
from gateway.upstream.base import Link
from gateway.upstream.bridge.beside import Beside
from gateway.upstream.bridge.office import Office
from gateway.upstream.bridge.run import Run

PARKED_S = 300.0
"""How long a call waits for its client to come back with an answer."""
EACH = 32
"""Calls of one principal that may wait at a time; the one that waits longest makes room for another."""
ALL = 256
"""Half of the connections that a process has to an upstream at least."""
_REAP_EVERY_S = 5.0
_STATE = re.compile(r"([0-9a-f-]{36})\.[\w-]{32}")


@dataclass(eq=False)
class _Parked:
    run: Run
    about: tuple[str, str]
    """Which request may go on with it, in which session."""
    until: float


class Parked:
    """The calls that wait in this process."""

    def __init__(self, office: Office, beside: Beside) -> None:
        self._office = office
        self._beside = beside
        self._parked: dict[str, _Parked] = {}
        """By state, those that have waited longest first."""

    def __len__(self) -> int:
        return len(self._parked)

    def park(self, run: Run, link: Link, request: Request) -> str:
        """Have a call wait for its client; the state that brings the client's next request back to it.

        Raises UpstreamFault when too many wait.
        """
        own = [state for state, each in self._parked.items() if each.about[0] == link.session]
        if len(own) >= EACH:
            self._beside.start_soon(self._parked.pop(own[0]).run.aclose)
        elif len(self._parked) >= ALL:
            raise UpstreamFault("it needs an answer, and too many calls wait for one; try again", kind="unreachable")
        state = f"{self._office.name}.{secrets.token_urlsafe(24)}"
        self._parked[state] = _Parked(run, _about(link, request), trio.current_time() + PARKED_S)
        return state

    def take(self, link: Link, request: Request) -> Run | None:
        """The call that waits for this request, if there is one; it waits no longer."""
        state = request.params.get("requestState")
        parked = self._parked.get(state) if isinstance(state, str) else None
        if parked is None or parked.about != _about(link, request):
            return None
        return self._parked.pop(str(state)).run

    def holder(self, state: Json) -> str | None:
        """The other process that handed out this state; None where that was nobody, or this one."""
        found = _STATE.fullmatch(state) if isinstance(state, str) else None
        return found[1] if found is not None and found[1] != self._office.name else None

    async def reap(self) -> None:
        """Cancel calls whose clients do not come back. Runs for ever."""
        while True:
            await trio.sleep(_REAP_EVERY_S)
            now = trio.current_time()
            for state, parked in tuple(self._parked.items()):
                if parked.until <= now and self._parked.pop(state, None) is not None:
                    await parked.run.aclose()

    async def aclose(self) -> None:
        """Cancel all of them."""
        async with trio.open_nursery() as nursery:
            while self._parked:
                nursery.start_soon(self._parked.popitem()[1].run.aclose)


def _about(link: Link, request: Request) -> tuple[str, str]:
    """The session and the request that an answer must be of: same method, name and arguments."""
    params = {key: value for key, value in request.params.items() if key not in (*bridge.ROUND_TRIP, mcp.META)}
    return link.session, jsonrpc.digest(Request(0, request.method, params))
