"""What a modern upstream is told, in each request, of a legacy session: it has none itself.

What the client's `initialize` said is in the ticket that it sends along. What it said since, its log level and the
resources it wants to hear of, is in a note that all processes share, because its next message may come to any.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import UTC, datetime

import trio

from gateway.core.errors import EvidenceFault
from gateway.core.protocol import bridge, mcp, versions
from gateway.core.protocol import bridge_tasks as wording
from gateway.core.protocol.jsonrpc import Request, Success
from gateway.core.types import Document, Era, SessionId
from gateway.upstream.base import Link, Upstream
from gateway.upstream.bridge.beside import Beside
from gateway.upstream.bridge.office import Office
from gateway.upstream.bridge.translated import answered

URIS = 256
"""Resources that one session may be subscribed to."""
KEPT_S = 300
"""How long a result is kept that a client wanted by a task."""
POLL_MS = 1_000
_KEPT = "kept-"
"""Tells the tasks that are made here from the upstream's."""
_LEVEL = "level"
_URIS = "uris"


class ModernSide:
    """One modern upstream and the legacy sessions of its clients."""

    def __init__(self, inner: Upstream, office: Office, beside: Beside) -> None:
        self.inner = inner
        self.office = office
        self._beside = beside
        self._tasks: bool | None = None
        """Whether the upstream has the tasks extension; None while it has not said what it has."""

    def link(self, link: Link) -> Link:
        """The modern link of a legacy session."""
        return Link(link.session, Era.MODERN, versions.LATEST_MODERN, mirrored=link.mirrored)

    async def request(self, link: Link, request: Request, *, tasks: bool = False) -> Request:
        """A client's request as the upstream wants it; `tasks`: one that a task may answer, or that is about one.

        Raises EvidenceFault.
        """
        level = (await self._note(link.session)).get(_LEVEL)
        known = level if isinstance(level, str) else None
        greeting = wording.declaring(link.greeting or {}, tasks=tasks)
        return bridge.modern_request(request, greeting, versions.LATEST_MODERN, known)

    def knows(self, discovery: Document) -> None:
        """The upstream has said what it can."""
        self._tasks = wording.offered(discovery.get("capabilities"))

    async def offers_tasks(self, link: Link) -> bool:
        """Whether the upstream may answer a call with a task. Raises UpstreamFault, EvidenceFault."""
        if self._tasks is None:
            async with self.inner.converse(self.link(link)) as conversation:
                await conversation.send(await self.request(link, Request("(discover)", mcp.DISCOVER, {})))
                answer = await answered(conversation)
            self.knows(answer.result if isinstance(answer, Success) and isinstance(answer.result, dict) else {})
        return bool(self._tasks)

    async def keep(self, result: Document) -> Document:
        """A task that has ended with `result`: for a client that wants a task and an upstream that had none to make.
        It can be asked for a while, at every process. Raises EvidenceFault."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        stands: Document = {"createdAt": now, "lastUpdatedAt": now, "ttlMs": KEPT_S * 1000, "pollIntervalMs": POLL_MS}
        ident = f"{_KEPT}{secrets.token_urlsafe(24)}"
        task: Document = {"taskId": ident, **stands, "status": "completed", "result": bridge.legacy_result(result)}
        await self.office.mail.change(self._place(ident), lambda _: task)
        self._beside.start_soon(self._forget, ident)
        return {**task, "status": "working"}  # As every task begins (2025-11-25, Tasks: Task Status Lifecycle).

    async def kept(self, ident: str) -> Document | None:
        """The task that `keep` made under this id. Raises EvidenceFault."""
        return (await self.office.mail.note(self._place(ident)) or None) if ident.startswith(_KEPT) else None

    async def _forget(self, ident: str) -> None:
        await trio.sleep(KEPT_S)
        with suppress(EvidenceFault):  # Notes are swept.
            await self.office.mail.change(self._place(ident), lambda _: {})

    def _place(self, ident: str) -> str:
        return f"task {ident} at {self.inner.name}"

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
