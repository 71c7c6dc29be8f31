"""What a modern upstream is told, in each request, of a legacy session: it has none itself.

What the client's `initialize` said is in the ticket that it sends along. What it said since, its log level and the
resources it wants to hear of, is in a note that all processes share, because its next message may come to any.
"""

from __future__ import annotations

from gateway.core.protocol import bridge, versions
from gateway.core.protocol.jsonrpc import Request
from gateway.core.types import Document, Era, SessionId
from gateway.upstream.base import Link, Upstream
from gateway.upstream.bridge.office import Office

URIS = 256
"""Resources that one session may be subscribed to."""
_LEVEL = "level"
_URIS = "uris"


class ModernSide:
    """One modern upstream and the legacy sessions of its clients."""

    def __init__(self, inner: Upstream, office: Office) -> None:
        self.inner = inner
        self.office = office

    def link(self, link: Link) -> Link:
        """The modern link of a legacy session."""
        return Link(link.session, Era.MODERN, versions.LATEST_MODERN, mirrored=link.mirrored)

    async def request(self, link: Link, request: Request) -> Request:
        """A client's request as the upstream wants it. Raises EvidenceFault."""
        level = (await self._note(link.session)).get(_LEVEL)
        known = level if isinstance(level, str) else None
        return bridge.modern_request(request, link.greeting or {}, versions.LATEST_MODERN, known)

    async def set_level(self, session: SessionId, level: str) -> None:
        """The client has set its log level. Raises EvidenceFault."""
        await self.office.mail.change(self._key(session), lambda note: {**note, _LEVEL: level})

    async def subscribe(self, session: SessionId, uri: str, *, wanted: bool) -> bool:
        """The client wants to hear of a resource, or does not any more; False when it wants too many.

        Raises EvidenceFault.
        """
        full = False

        def change(note: Document) -> Document:
            nonlocal full
            before = _uris(note)
            after = sorted({*before, uri} if wanted else {*before} - {uri})
            full = len(after) > URIS
            return note if full else {**note, _URIS: [*after]}

        await self.office.mail.change(self._key(session), change)
        return not full

    async def uris(self, session: SessionId) -> tuple[str, ...]:
        """The resources that the session is subscribed to. Raises EvidenceFault."""
        return _uris(await self._note(session))

    async def forget(self, session: SessionId) -> None:
        """The session has ended. Raises EvidenceFault."""
        await self.office.mail.change(self._key(session), lambda _: {})

    async def _note(self, session: SessionId) -> Document:
        return await self.office.mail.note(self._key(session))

    def _key(self, session: SessionId) -> str:
        return f"legacy session {session} at {self.inner.name}"


def _uris(note: Document) -> tuple[str, ...]:
    found = note.get(_URIS)
    return tuple(uri for uri in found if isinstance(uri, str)) if isinstance(found, list) else ()
