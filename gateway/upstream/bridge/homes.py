"""Tasks that a program keeps: asked after at the process alone that has the program.

Each process has programs of its own, so a task of one is unknown to the others. Ids of tasks leave with the name of the
process; a request about one that came to another process is carried there (`far.py`).
"""

from __future__ import annotations

import re

from gateway.core.protocol import jsonrpc, tasks
from gateway.core.protocol.jsonrpc import Failure, Message, Request
from gateway.upstream.base import Conversation, Link, Upstream
from gateway.upstream.bridge.far import Far
from gateway.upstream.bridge.office import Office
from gateway.upstream.bridge.translated import Translated
from gateway.upstream.renaming import Renaming

LOST = (
    "The process that had the program of this task has ended, and the program with it. What the call had done by then "
    "is not known: find that out before you make it anew."
)
_IDENT = re.compile(r"([0-9a-f-]{36})\..+", re.DOTALL)


class Homes:
    """Which process a task is at home in."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._prefix = f"{office.name}."

    def around(self, program: Upstream) -> Upstream:
        """An upstream that is a program, whose tasks say where they are."""
        return Renaming(
            program,
            outward=lambda message: tasks.outward(message, self._named),
            inward=lambda message: tasks.inward(message, self._bare),
        )

    def elsewhere(self, message: Message) -> str | None:
        """The other process that has the task that a client asks about; None where it asks about none, or one here."""
        ident = tasks.asked(message)
        found = _IDENT.fullmatch(ident) if ident is not None else None
        return found[1] if found is not None and found[1] != self._office.name else None

    def _named(self, ident: str) -> str:
        return self._prefix + ident

    def _bare(self, ident: str) -> str:
        return ident.removeprefix(self._prefix)


class Carried(Translated):
    """A request about a task that another process has."""

    def __init__(self, office: Office, holder: str, link: Link) -> None:
        self.upstream_session: str | None = None
        self._office = office
        self._link = link
        self._far = Far(office, holder)
        self._lost: Failure | None = None

    async def __aenter__(self) -> Conversation:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._far.aclose()

    async def send(self, message: Message) -> None:
        """See `Conversation`."""
        assert isinstance(message, Request)
        if not await self._far.open(self._link, message):
            self._lost = Failure(message.id, jsonrpc.INVALID_PARAMS, LOST)

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        return self._lost or await self._far.receive()

    async def respond(self, message: Message) -> None:
        """See `Conversation`. Policy kept a question from the client; its id says where it is awaited."""
        if isinstance(message, jsonrpc.Success | Failure):
            await self._office.answer(self._link.session, message)
