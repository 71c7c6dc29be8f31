"""The legacy session id as a ticket: everything needed to serve the session, sealed, so that any worker can.

The id that a client carries in `Mcp-Session-Id` (MCP 2025-11-25, Session Management) is this ticket under AEAD. It
cannot be guessed, is good only for the principal and upstream it was made for, and needs no shared session table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.types import Document, Json, SessionId


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a legacy session id stands for."""

    session: SessionId
    upstream: str
    actor: str
    """Pseudonym of the principal that the session belongs to."""
    version: str
    upstream_session: str | None = field(default=None, repr=False)
    greeting: Document | None = field(default=None, repr=False)

    def document(self) -> Document:
        """The ticket as JSON; `of` reads it back."""
        return {
            "s": self.session,
            "u": self.upstream,
            "a": self.actor,
            "v": self.version,
            "i": self.upstream_session,
            "g": self.greeting,
        }


def of(document: Document) -> Ticket | None:
    """The ticket that `document` holds, or None when it holds none."""
    session, upstream, actor, version = (_text(document.get(key)) for key in "suav")
    inner, greeting = document.get("i"), document.get("g")
    if not (session and upstream and actor and version):
        return None
    if not isinstance(inner, str | None) or not isinstance(greeting, dict | None):
        return None
    return Ticket(SessionId(session), upstream, actor, version, inner, greeting)


@dataclass(frozen=True, slots=True)
class Pass:
    """What the legacy session id of an aggregate endpoint stands for: a ticket for each of its upstreams."""

    own: Ticket
    """Of the endpoint itself; `upstream` is its name."""
    members: Mapping[str, Ticket] = field(default_factory=dict)

    def document(self) -> Document:
        """The pass as JSON; `pass_of` reads it back. The greeting, which is everybody's, stands in it once."""
        members: Document = {
            name: {**ticket.document(), "a": "", "u": "", "g": ticket.greeting is not None}
            for name, ticket in self.members.items()
        }
        return {**self.own.document(), "m": members}


def pass_of(document: Document) -> Pass | None:
    """The pass that `document` holds, or None when it holds none."""
    own, members = of(document), document.get("m")
    if own is None or not isinstance(members, dict):
        return None
    found: dict[str, Ticket] = {}
    for name, held in members.items():
        if not isinstance(held, dict):
            return None
        greeting = own.greeting if held.get("g") is True else None
        ticket = of({**held, "u": name, "a": own.actor, "g": greeting})
        if ticket is None:
            return None
        found[name] = ticket
    return Pass(own, found)


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
