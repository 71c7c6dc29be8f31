"""One client message with all that was found out about it before policy is asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from gateway.core.held import Claim, Task
from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Message, Notification, Request
from gateway.core.types import Document, Era, ExchangeId, Principal, SessionId, Tool, UpstreamRef

LISTEN = Notification("(listen)")
"""Stands for the legacy GET stream, which is no JSON-RPC message but is decided and recorded like one."""

OURS = "phigate/"
"""What members of `_meta` begin with that are said to the gateway alone."""
PURPOSE = "phigate/purpose"
"""The member of `_meta` in which a client says what for it needs what it asks: a code of HL7 v3 PurposeOfUse."""
JUSTIFICATION = "phigate/justification"
"""The member of `_meta` in which a client says why it needs a call."""
EMERGENCY = "phigate/emergency"
"""The member of `_meta` with which a client claims an emergency: `true`, beside a JUSTIFICATION."""


class Emergency(Enum):
    """Whether a call breaks the glass (45 CFR 164.312(a)(2)(ii))."""

    NONE = "none"
    CLAIMED = "claimed"
    GRANTED = "granted"
    """Policy allowed the call for the emergency's sake, and that is on record."""


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
    purpose: str = field(default="", repr=False)
    """What for, as the client says (`_meta`'s PURPOSE): not looked at here, and empty when it says nothing."""
    justification: str = field(default="", repr=False)
    """Why the client says it needs this call (`_meta`'s JUSTIFICATION), for reviewers."""
    emergency: Emergency = Emergency.NONE
    claim: Claim | None = None
    """What a retry of a held call brought back from the gateway."""
    task: Task | None = None
    """The gateway's own task that a `tasks/…` request names."""
    makes_tasks: bool = False
    """A legacy client was told that any tool of this modern upstream may be called by a task."""

    @property
    def listens(self) -> bool:
        """Whether this is the legacy stream and not a message."""
        return self.message is LISTEN

    @property
    def stands(self) -> bool:
        """Whether this asks for a stream that ends by itself never: the legacy one, or `subscriptions/listen`."""
        return self.listens or (isinstance(self.message, Request) and self.message.method == mcp.LISTEN)

    @property
    def outgoing(self) -> Message:
        """The message as it goes on: what was said to the gateway, maybe in words about a patient, goes no further."""
        message = self.message
        if not isinstance(message, Request | Notification) or not isinstance(
            meta := message.params.get(mcp.META), dict
        ):
            return message
        kept: Document = {name: value for name, value in meta.items() if not name.startswith(OURS)}
        if len(kept) == len(meta):
            return message
        rest: Document = {name: value for name, value in message.params.items() if name != mcp.META}
        return replace(message, params={**rest, mcp.META: kept} if kept else rest)
