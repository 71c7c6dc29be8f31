"""What the driver needs of an upstream, whatever wire it speaks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gateway.core.protocol.jsonrpc import Limits, Message, Notification
from gateway.core.types import Document, Era, Json, SessionId
from gateway.upstream.credentials.settings import Settings

TOGETHER_MOST = 256
TOGETHER_BYTES = 64 * 1024
"""Notifications that are handed over together: enough to share the cost of a commit among them, few enough that nobody
else waits long while they are looked at, and that what is held of them in memory is no more than of one result."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long an upstream may take, in seconds."""

    connect_s: float = 5.0
    """Name look-up, TCP and TLS together; for stdio, from the start of the process to its answer to the greeting."""
    idle_s: float = 60.0
    """Longest silence while an answer is awaited, from the last byte sent to the first received and between bytes."""
    call_s: float = 300.0
    """From sending a message to the whole of its answer. Standing streams (GET, subscriptions/listen) have no end."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much an upstream may send, and how much of it is kept open."""

    message: Limits = field(default_factory=lambda: Limits(max_bytes=16 * 1024 * 1024, max_depth=128))
    """One message; over Streamable HTTP also one whole JSON body or one event."""
    max_header_bytes: int = 64 * 1024  # nginx takes 32 KiB, Node 16 KiB, HAProxy 16 KiB.
    max_connections: int = 512
    """HTTP: connections in use at once; stdio: processes."""
    keepalive_s: float = 30.0
    """HTTP: how long an unused connection is kept. Shorter than the upstream's own, or it may close as we send."""
    process_idle_s: float = 600.0
    """stdio: how long a process that nobody talks to is kept."""
    restart_s: tuple[float, float] = (1.0, 60.0)
    """stdio: the pause before a program is started again that keeps ending at its start, and what it doubles up to."""
    max_memory_bytes: int | None = None
    """stdio: address space of the program, and of each that it starts."""
    max_cpu_s: int | None = None
    """stdio: processor time, likewise; past it the program is killed."""


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """An upstream that speaks Streamable HTTP."""

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with each request: the gateway's own credentials. The client's never go upstream."""
    credentials: Settings | None = None
    """Where the `Authorization` header comes from, if it is none of these."""
    ca_file: Path | None = None
    """PEM certificates to trust instead of the system's."""
    deadlines: Deadlines = field(default_factory=Deadlines)
    bounds: Bounds = field(default_factory=Bounds)


@dataclass(frozen=True, slots=True)
class StdioSettings:
    """An upstream that is a program, run once for each session."""

    name: str
    command: tuple[str, ...]
    """The program and its arguments; no shell reads them."""
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """All that the program's environment holds."""
    launcher: tuple[str, ...] = ()
    """What starts the command, which it gets as its last arguments: a sandbox."""
    shared: bool = False
    """One program for all sessions. Only for one that speaks the modern era: it keeps no session and asks nobody."""
    deadlines: Deadlines = field(default_factory=Deadlines)
    bounds: Bounds = field(default_factory=Bounds)


@dataclass(frozen=True, slots=True)
class Link:
    """The thread between one client session and one upstream."""

    session: SessionId
    """The gateway's session: keys the process of a stdio upstream, so that sessions never share one."""
    era: Era
    version: str
    """MCP protocol version that is spoken here; a bridge has a link of its own on its other side."""
    upstream_session: str | None = field(default=None, repr=False)
    """Legacy Streamable HTTP: the `Mcp-Session-Id` that the upstream gave at `initialize`."""
    greeting: Document | None = field(default=None, repr=False)
    """Legacy stdio: the client's `initialize` params, to greet a fresh process in whichever worker needs one."""
    mirrored: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Modern Streamable HTTP: the `Mcp-Param-*` headers of this message, as `core.protocol.mirrored` let them pass."""

    def document(self) -> Document:
        """As other processes are told of it: all but what is of one message."""
        return {
            "session": self.session,
            "era": self.era.value,
            "version": self.version,
            "upstream_session": self.upstream_session,
            "greeting": self.greeting,
        }

    @staticmethod
    def of(document: Mapping[str, Json]) -> Link:
        """The link that another process told of."""
        upstream, greeting = document["upstream_session"], document["greeting"]
        return Link(
            SessionId(str(document["session"])),
            Era(document["era"]),
            str(document["version"]),
            upstream if isinstance(upstream, str) else None,
            greeting if isinstance(greeting, dict) else None,
        )


class Conversation(Protocol):
    """One client message sent upstream and everything that comes back for it.

    Every method raises UpstreamFault, within the configured deadlines and limits, and nothing else but cancellation.
    """

    @property
    def upstream_session(self) -> str | None:
        """The session id that the upstream has just assigned, after the response to `initialize` was received."""

    async def send(self, message: Message) -> None:
        """Send the client's message. Called once, first. Does not wait for anything to come back."""

    async def receive(self) -> Message | None:
        """The next message for this one: notifications and requests, then the response; None: accepted, no reply.

        On a standing stream (`listen`) None means that the upstream has ended it.
        """

    async def together(self, until: float) -> tuple[Notification, ...]:
        """The notifications that follow the last message: those that have come, and those that come until `until` on
        trio's clock, TOGETHER_MOST or about TOGETHER_BYTES of them. Anything else that comes ends it at once, and is
        left for `receive`, also a fault."""

    async def respond(self, message: Message) -> None:
        """Answer a request that the upstream made in this conversation."""


class Upstream(Protocol):
    """One configured upstream."""

    name: str
    local: bool
    """Whether what it keeps of a session is in this process alone: a program, and not a server somewhere."""

    def converse(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """A conversation; leaving the block early cancels it upstream by the means of the link's era and wire."""

    def listen(self, link: Link) -> AbstractAsyncContextManager[Conversation]:
        """Legacy GET stream: messages that the upstream sends outside any call. `send` is not called on it.

        Entering the block opens the stream, or raises the UpstreamFault that says why there is none.
        """

    async def end(self, link: Link) -> None:
        """The client ended its session (legacy DELETE): tell the upstream and let go of what was kept for it."""

    async def aclose(self) -> None:
        """Let go of every connection and process. No process outlives this call."""
