"""What the driver needs of an upstream, whatever wire it speaks."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from gateway.core.protocol.jsonrpc import Message
from gateway.core.types import Document, Era, SessionId


@dataclass(frozen=True, slots=True)
class Link:
    """The thread between one client session and one upstream."""

    session: SessionId
    """The gateway's session: keys the process of a stdio upstream, so that sessions never share one."""
    era: Era
    version: str
    """MCP protocol version that the client speaks; the same on both sides until bridging."""
    upstream_session: str | None = field(default=None, repr=False)
    """Legacy Streamable HTTP: the `Mcp-Session-Id` that the upstream gave at `initialize`."""
    greeting: Document | None = field(default=None, repr=False)
    """Legacy stdio: the client's `initialize` params, to greet a fresh process in whichever worker needs one."""


class Conversation(Protocol):
    """One client message sent upstream and everything that comes back for it.

    Every method raises UpstreamFault, within the configured deadlines and limits, and nothing else but cancellation.
    """

    upstream_session: str | None
    """The session id that the upstream has just assigned, after the response to `initialize` was received."""

    async def send(self, message: Message) -> None:
        """Send the client's message. Called once, first."""

    async def receive(self) -> Message | None:
        """The next message for this one: notifications and requests, then the response; None: accepted, no reply."""

    async def respond(self, message: Message) -> None:
        """Answer a request that the upstream made in this conversation."""


class Upstream(Protocol):
    """One configured upstream."""

    name: str

    def converse(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """A conversation; leaving the block early cancels it upstream by the means of the link's era and wire."""

    def listen(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """Legacy GET stream: messages that the upstream sends outside any call. `send` is not called on it."""

    async def end(self, link: Link) -> None:
        """The client ended its session (legacy DELETE): tell the upstream and let go of what was kept for it."""

    async def aclose(self) -> None:
        """Let go of every connection and process. No process outlives this call."""
