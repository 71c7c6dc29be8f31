"""Everybody who is being served, and who looks after those that wait.

Most answers take a few milliseconds, and their requests are nobody's business but their own task's. A client that waits
longer, or is on a stream, gets two more tasks: one notices when it hangs up, one breaks the silence
(docs/decisions/0025-who-waits-is-looked-after.md).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import trio

from gateway.web.client import HttpClient, Receive

MOMENT_S = 0.05
"""Who is still here at the second such tick is looked after."""


class Clients:
    """Everybody who is being served by this process, so that a drain can end it."""

    def __init__(self) -> None:
        self._here: set[HttpClient] = set()
        self._new: list[HttpClient] = []
        """Who came since the last tick."""

    def __iter__(self) -> Iterator[HttpClient]:
        return iter(list(self._here))

    async def serve(self, client: HttpClient, receive: Receive, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work`, whose client is here meanwhile. One whose server cannot be asked whether it has hung up is looked
        after from the beginning."""
        async with trio.open_nursery() as nursery:
            self._here.add(client)
            client.attendant = partial(_look_after, client, receive, nursery)
            if client.hung_up is None:
                client.waits()
            else:
                self._new.append(client)
            try:
                await work()
            finally:
                self._here.discard(client)
                looked_after = client.attendant is None
                client.over()
            if looked_after:
                nursery.cancel_scope.cancel()

    async def look_after(self) -> None:
        """Look after those who wait. Runs as long as the gateway serves."""
        waiting: list[HttpClient] = []
        while True:
            await trio.sleep(MOMENT_S)
            for client in waiting:
                client.waits()
            waiting, self._new = self._new, []


def _look_after(client: HttpClient, receive: Receive, nursery: trio.Nursery) -> None:
    nursery.start_soon(client.watch, receive)
    nursery.start_soon(client.keep_alive)
