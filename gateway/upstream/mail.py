"""What the processes that serve together tell each other, as the upstream side needs it: see `store.mail`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from gateway.core.types import Document

Hear = Callable[[Document], None]
"""Takes a message; returns at once and never raises."""


class Mail(Protocol):
    """Boxes that every process can put messages into, and notes that all of them share. Sealed where they lie."""

    name: str
    """This process, among those that serve together."""

    async def send(self, box: str, message: Document) -> None:
        """Put a message into a box. Raises EvidenceFault when it may not have got there."""

    def listen(self, box: str, hear: Hear) -> AbstractContextManager[None]:
        """While the block runs, `hear` is called with what other processes put into the box, in the order they did."""

    async def note(self, key: str) -> Document:
        """What is noted under `key`; empty when nothing is. Raises EvidenceFault."""

    async def change(self, key: str, change: Callable[[Document], Document]) -> None:
        """Change a note, at once and for everybody; an empty one is forgotten. Raises EvidenceFault."""
