"""What the conversations around another one have in common: it is theirs in all that they do not say themselves."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from gateway.core.protocol.jsonrpc import Message, Notification
from gateway.upstream.base import Conversation


class Around:
    """See `Conversation`. Its block is that of the one that it is around.

    Every message takes this road, so what is only passed on is handed through and costs no frame of its own.
    """

    __slots__ = ("_block", "_inner")

    _inner: Conversation

    def __init__(self, block: AbstractAsyncContextManager[Conversation]) -> None:
        """`block` is entered and left with this."""
        self._block = block

    async def __aenter__(self) -> Conversation:
        self._inner = await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._block.__aexit__(kind, raised, traceback)

    @property
    def upstream_session(self) -> str | None:
        """See `Conversation`."""
        return self._inner.upstream_session

    def send(self, message: Message) -> Coroutine[Any, Any, None]:
        """See `Conversation`."""
        return self._inner.send(message)

    def receive(self) -> Coroutine[Any, Any, Message | None]:
        """See `Conversation`."""
        return self._inner.receive()

    def together(self, until: float) -> Coroutine[Any, Any, tuple[Notification, ...]]:
        """See `Conversation`."""
        return self._inner.together(until)

    def respond(self, message: Message) -> Coroutine[Any, Any, None]:
        """See `Conversation`."""
        return self._inner.respond(message)
