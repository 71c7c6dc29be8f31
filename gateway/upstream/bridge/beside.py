"""What goes on at a bridge beside its conversations: streams listened to, tasks heard, late answers brought."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVarTuple, Unpack

import trio

Ts = TypeVarTuple("Ts")

logger = logging.getLogger(__name__)


class Beside:
    """Work that ends with the bridge. What goes wrong in one piece of it ends that piece: the nursery is everybody's,
    and what an upstream says must not end the process."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def start_soon(self, work: Callable[[Unpack[Ts]], Awaitable[object]], *args: *Ts) -> None:
        """Have `work` done beside everything else."""

        async def alone() -> None:
            try:
                await work(*args)
            except Exception as bug:  # Its text may quote what the upstream said.
                logger.error("work beside the calls of a bridge failed: %s", type(bug).__name__)

        self._nursery.start_soon(alone)
