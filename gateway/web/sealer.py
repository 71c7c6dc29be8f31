"""What the gateway hands out and believes when it comes back: session ids, ids of upstream requests, cursors, and what
the caller of a held call carries.

All are sealed with one key that all workers share, so no worker needs to remember what another one gave out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from gateway.core.errors import InternalFault
from gateway.core.protocol import session, token
from gateway.core.protocol.jsonrpc import Failure, Message, Request, Response, Success
from gateway.core.protocol.session import Ticket
from gateway.core.types import Document, SessionId

SESSION_S = 7 * 24 * 3600
"""A legacy session id is good for a week at most; idle sessions end long before."""
REQUEST_S = 3600
"""How long a client may take to answer an upstream's request (an elicitation waits for a person)."""


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals and unseals under the gateway's key. What does not unseal is None: forged, foreign or too old."""

    key: bytes = field(repr=False)
    now: Callable[[], datetime]

    def session_id(self, ticket: Ticket) -> str:
        """The `Mcp-Session-Id` for a ticket."""
        return self.seal(ticket.document(), "session", SESSION_S)

    def ticket(self, session_id: str) -> Ticket | None:
        """The ticket behind an `Mcp-Session-Id`."""
        document = self.unseal(session_id, "session")
        return session.of(document) if document is not None else None

    def request(self, request: Request, session: SessionId) -> Request:
        """An upstream's request with an id that only this gateway can have made, to be answered in this session."""
        return replace(request, id=self.seal({"id": request.id, "method": request.method}, _of(session), REQUEST_S))

    def response(self, message: Response, session: SessionId) -> tuple[Response, str] | None:
        """A client's response with the id that the upstream knows, and the method it answers.

        None for an id that was given out in another session: a session is one principal's with one upstream, and what
        one upstream asked must not be answered at another, or by somebody else.
        """
        document = self.unseal(message.id, _of(session)) if isinstance(message.id, str) else None
        match document:
            case {"id": str() | int() as ident, "method": str(method)}:
                return replace(message, id=ident), method
        return None

    def own_response(self, message: Message, session: SessionId) -> Message:
        """The gateway's own answer to an upstream's request, readdressed like a client's."""
        opened = self.response(message, session) if isinstance(message, Success | Failure) else None
        if opened is None:
            raise InternalFault("the gateway answered a request that no upstream made")
        return opened[0]

    def seal(self, document: Document, purpose: str, lives_s: int) -> str:
        """`document` as text that is good for `purpose` alone and for `lives_s` seconds."""
        expires = int(self.now().timestamp()) + lives_s
        nonce = os.urandom(token.NONCE_BYTES)
        return token.seal(document, key=self.key, nonce=nonce, purpose=purpose, expires=expires)

    def unseal(self, text: str, purpose: str) -> Document | None:
        """What `seal` was given; None when it was not, or for something else, or too long ago."""
        return token.unseal(text, key=self.key, purpose=purpose, now=int(self.now().timestamp()))


def _of(session: SessionId) -> str:
    return f"request in {session}"
