"""One client message with all that was found out about it before policy is asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Message, Notification, Request
from gateway.core.types import Document, Era, ExchangeId, Principal, SessionId, Tool, UpstreamRef

LISTEN = Notification("(listen)")
"""Stands for the legacy GET stream, which is no JSON-RPC message but is decided and recorded like one."""

JUSTIFICATION = "phigate/justification"
"""The member of `_meta` in which a client says why it needs a call."""


@dataclass(frozen=True, slots=True)
class Call:
    """What the exchange is about. `facts` is what policy may know beside it: parsed SQL and the like."""

    exchange: ExchangeId
    session: SessionId
    actor: str
    """The principal's pseudonym, which evidence leaves carry instead of the subject."""
    era: Era
    version: str
    principal: Principal
    upstream: UpstreamRef
    message: Message
    tool: Tool | None = None
    facts: Document = field(default_factory=dict, repr=False)
    answers: str = ""
    """For a response to the upstream's own request: that request's method."""
    justification: str = field(default="", repr=False)
    """Why the client says it needs this call (`_meta`'s JUSTIFICATION), for reviewers."""

    @property
    def listens(self) -> bool:
        """Whether this is the legacy stream and not a message."""
        return self.message is LISTEN

    @property
    def stands(self) -> bool:
        """Whether this asks for a stream that ends by itself never: the legacy one, or `subscriptions/listen`."""
        return self.listens or (isinstance(self.message, Request) and self.message.method == mcp.LISTEN)
