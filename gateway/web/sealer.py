"""What the gateway hands out and believes when it comes back: session ids, ids of upstream requests, cursors, and what
the caller of a held call carries.

All are sealed with one key that all workers share, so no worker needs to remember what another one gave out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache

from gateway.core.errors import InternalFault
from gateway.core.protocol import session, token
from gateway.core.protocol.jsonrpc import Failure, Message, Request, Response, Success
from gateway.core.protocol.session import Pass, Ticket
from gateway.core.types import Document, SessionId

SESSION_S = 7 * 24 * 3600
"""A legacy session id is good for a week at most; idle sessions end long before."""
CURSOR_S = 24 * 3600
"""How long a client may take to ask for the next page of a listing."""
_REMEMBERED_TICKETS = 4096
"""Session ids that need not be opened again, about 2 KB each, for each request of a legacy client brings one."""
_REMEMBERED_CHARACTERS = 2048
"""Longer ones are opened each time: their greetings are what clients made of them."""
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
        found = (_remembered if len(session_id) <= _REMEMBERED_CHARACTERS else _ticket)(self.key, session_id)
        return found[1] if found is not None and self.now().timestamp() < found[0] else None

    def pass_id(self, held: Pass) -> str:
        """The `Mcp-Session-Id` of an aggregate endpoint."""
        return self.seal(held.document(), "session of several", SESSION_S)

    def pass_(self, session_id: str) -> Pass | None:
        """The pass behind such an id."""
        document = self.unseal(session_id, "session of several")
        return session.pass_of(document) if document is not None else None

    def cursors(self, cursors: Mapping[str, str], purpose: str) -> str:
        """One cursor for the listings of several upstreams; `purpose` says whose and of what."""
        return self.seal({**cursors}, f"cursors of {purpose}", CURSOR_S)

    def cursors_of(self, cursor: str, purpose: str) -> Mapping[str, str] | None:
        """What `cursors` sealed."""
        document = self.unseal(cursor, f"cursors of {purpose}")
        return None if document is None else {name: held for name, held in document.items() if isinstance(held, str)}

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


def _ticket(key: bytes, session_id: str) -> tuple[int, Ticket] | None:
    """The ticket behind an `Mcp-Session-Id`, and until when it is good (Unix seconds)."""
    opened = token.opened(session_id, key=key, purpose="session")
    ticket = session.of(opened[1]) if opened is not None else None
    return (opened[0], ticket) if opened is not None and ticket is not None else None


_remembered = lru_cache(_REMEMBERED_TICKETS)(_ticket)


def _of(session: SessionId) -> str:
    return f"request in {session}"
