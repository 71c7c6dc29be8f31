"""What is under way here at one upstream, and how other processes reach it.

A client's next message may come to any process: the answer to a question, a cancellation, the retry of a call. Whoever
gets it looks here, and puts it into the mail where the call that it is about is somebody else's (docs/architecture.md).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count

from gateway.core.errors import GatewayError
from gateway.core.protocol import jsonrpc, mcp
from gateway.core.protocol.jsonrpc import Failure, RequestId, Response, Success
from gateway.core.types import Document, Json, SessionId
from gateway.upstream.base import Conversation
from gateway.upstream.bridge.translated import Translated
from gateway.upstream.mail import Hear, Mail

logger = logging.getLogger(__name__)

Take = Callable[[Response], None]
"""Takes the answer to a question; returns at once."""


class Office:
    """One process's share of what clients have under way at one upstream."""

    def __init__(self, mail: Mail, upstream: str) -> None:
        self.mail = mail
        self.name = mail.name
        self._upstream = upstream
        self._questions: dict[str, tuple[SessionId, Take]] = {}
        self._calls: dict[tuple[SessionId, RequestId], list[Callable[[], None]]] = {}
        self._hears: dict[str, Hear] = {"answer": self._answered, "cancel": self._cancelled}
        self._numbers = count(1)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Hear what the other processes say while the block runs."""
        with ExitStack() as stack:
            stack.enter_context(self.mail.listen(self._box(self.name), self._hear))
            stack.enter_context(self.mail.listen(self._box(""), self._hear))
            yield

    def on(self, kind: str, hear: Hear) -> None:
        """Have `hear` called with the messages of this kind."""
        self._hears[kind] = hear

    def off(self, kind: str) -> None:
        """Hear no more of this kind."""
        del self._hears[kind]

    async def tell(self, process: str, kind: str, **members: Json) -> None:
        """Tell one process something, or all others where `process` is empty. Raises EvidenceFault."""
        await self.mail.send(self._box(process), {"kind": kind, **members})

    def number(self) -> int:
        """A number that was not used here before."""
        return next(self._numbers)

    def ask(self, session: SessionId, take: Take) -> str:
        """An id for a question to the client of `session`; `take` is called once with its answer, wherever it comes."""
        ident = f"{self.name}.{self.number()}"
        self._questions[ident] = session, take
        return ident

    def forget(self, ident: str) -> None:
        """Nobody waits for this answer any more."""
        self._questions.pop(ident, None)

    async def answer(self, session: SessionId, message: Response) -> None:
        """Bring an answer to who asked. One that came too late is dropped. Raises EvidenceFault."""
        if not isinstance(message.id, str):
            return
        holder = message.id.partition(".")[0]
        if holder == self.name:
            self._take(session, message)
        else:
            await self.tell(holder, "answer", session=session, message=jsonrpc.format(message).decode())

    def enlist(self, session: SessionId, ident: RequestId, cancel: Callable[[], None]) -> None:
        """A call begins that its client may take back; `cancel` returns at once."""
        self._calls.setdefault((session, ident), []).append(cancel)

    def strike(self, session: SessionId, ident: RequestId, cancel: Callable[[], None]) -> None:
        """The call is over."""
        key = session, ident
        self._calls[key].remove(cancel)
        if not self._calls[key]:
            del self._calls[key]

    async def cancel(self, session: SessionId, ident: RequestId) -> None:
        """The client takes a call back, whichever process has it. Raises EvidenceFault."""
        if (session, ident) in self._calls:
            self._cancel(session, ident)
        else:
            await self.tell("", "cancel", session=session, id=ident)

    def _box(self, process: str) -> str:
        return f"{process}/{self._upstream}"

    def _hear(self, document: Document) -> None:
        hear = self._hears.get(str(document.get("kind")))
        try:
            if hear is not None:
                hear(document)
        except (GatewayError, KeyError, ValueError):
            logger.error("a message of another process could not be read: do all run the same release?")

    def _answered(self, document: Document) -> None:
        message = jsonrpc.parse_upstream(str(document["message"]).encode())
        if isinstance(message, Success | Failure):
            self._take(SessionId(str(document["session"])), message)

    def _cancelled(self, document: Document) -> None:
        match document:
            case {"session": str(session), "id": str() | int() as ident}:
                self._cancel(SessionId(session), ident)

    def _take(self, session: SessionId, message: Response) -> None:
        asked = self._questions.get(str(message.id))
        if asked is not None and asked[0] == session:
            del self._questions[str(message.id)]
            asked[1](message)

    def _cancel(self, session: SessionId, ident: RequestId) -> None:
        for cancel in tuple(self._calls.get((session, ident), ())):
            cancel()


class Delivery(Translated):
    """A client's message that is for a call under way and not for the upstream: an answer, or a cancellation."""

    def __init__(self, office: Office, session: SessionId) -> None:
        self.upstream_session: str | None = None
        self._office = office
        self._session = session

    async def __aenter__(self) -> Conversation:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is kept open."""

    async def send(self, message: jsonrpc.Message) -> None:
        """See `Conversation`."""
        if isinstance(message, Success | Failure):
            await self._office.answer(self._session, message)
        elif (taken_back := mcp.cancelled(message)) is not None:
            await self._office.cancel(self._session, taken_back)

    async def receive(self) -> None:
        """See `Conversation`. Neither has a reply."""

    async def respond(self, message: jsonrpc.Message) -> None:
        """See `Conversation`. Nothing is asked here."""
