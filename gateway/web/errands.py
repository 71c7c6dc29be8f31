"""What goes on beside the requests: the calls that were approved while nobody held a connection open for them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from gateway.core.commands import Resolution
from gateway.core.errors import InternalFault
from gateway.core.types import ExchangeId

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Errands:
    """Work that outlives the request which began it. Belongs to the task that `run`s it, and ends with that."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Take errands until cancelled; what shields itself from that is waited for."""
        async with trio.open_nursery() as self._nursery:
            await trio.sleep_forever()

    async def do(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns, or raises. Cancelled, the caller stops waiting and the work goes on."""
        if self._nursery is None:
            raise InternalFault("an errand was begun before anybody ran errands")
        done = trio.Event()
        results: list[T] = []
        errors: list[Exception] = []

        async def errand() -> None:
            try:
                results.append(await work())
            except Exception as error:  # Raised where the errand is waited for; it must not end the others' nursery.
                errors.append(error)
                logger.error("an errand failed: %s", type(error).__name__)
            finally:
                done.set()

        self._nursery.start_soon(errand)
        await done.wait()
        if errors:
            raise errors[0]
        if not results:
            raise InternalFault("an errand was cut short")
        return results[0]


class Away:
    """The client of a call that runs while nobody waits in it, as the driver's `Client`: the reply is kept for it."""

    gone = True

    def interruptible(self) -> trio.CancelScope:
        """See `world.Client`. It has left already and is expected back, so its leaving ends nothing."""
        return trio.CancelScope()

    def patience(self, seconds: float) -> trio.CancelScope:  # noqa: ARG002 - a protocol's
        """See `world.Client`. Nobody is there to wait."""
        return trio.move_on_after(0)

    async def open_stream(self, of: ExchangeId) -> None:
        """See `world.Client`."""

    async def relay(self, messages: Sequence[bytes]) -> None:
        """See `world.Client`."""

    async def wait_for(self, resolution: Resolution) -> None:
        """See `world.Client`."""
