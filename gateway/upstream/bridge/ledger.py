"""Which process looks after which task of a legacy upstream: a note for each, which all processes share.

Over HTTP a task is the upstream session's that it was made in, and any process that knows the session can ask after it:
when the one that did has ended, another goes on. A program's task goes with the program.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gateway.core.types import Document, Json, SessionId
from gateway.upstream.base import Link
from gateway.upstream.bridge.office import Office


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one task. `holder`: the process that looks after it; empty: none does."""

    holder: str
    owner: SessionId
    link: Link = field(repr=False)
    """The upstream's session that it was made in."""
    task: Document = field(repr=False)
    """As the upstream made it, without what it says of it."""
    until: float
    """When it is forgotten, in Unix seconds."""
    lost: bool = False
    """It has gone with its program."""

    def document(self) -> Document:
        """As a note has it."""
        return {
            "holder": self.holder,
            "owner": self.owner,
            "link": self.link.document(),
            "task": self.task,
            "until": self.until,
            "lost": self.lost,
        }


def _entry(note: Mapping[str, Json]) -> Entry | None:
    match note:
        case {
            "holder": str(holder),
            "owner": str(owner),
            "link": dict(link),
            "task": dict(task),
            "until": float() | int() as until,
        }:
            return Entry(holder, SessionId(owner), Link.of(link), task, until, note.get("lost") is True)
    return None


class Ledger:
    """The notes of the tasks at one upstream. Every method raises EvidenceFault."""

    def __init__(self, office: Office, upstream: str) -> None:
        self._office = office
        self._upstream = upstream

    async def open(self, ident: str, owner: SessionId, link: Link, task: Document, lives_s: float) -> None:
        """A task was made, and is this process's."""
        kept: Document = {
            key: task[key] for key in ("taskId", "createdAt", "lastUpdatedAt", "ttl", "pollInterval") if key in task
        }
        entry = Entry(self._office.name, owner, link, kept, time.time() + lives_s)
        await self._office.mail.change(self._key(ident), lambda _: entry.document())

    async def look(self, ident: str) -> Entry | None:
        """What is known of it; None once it is forgotten."""
        entry = _entry(await self._office.mail.note(self._key(ident)))
        return entry if entry is not None and time.time() < entry.until else None

    async def move(self, ident: str, *, holder: str, to: str, lost: bool = False) -> None:
        """The task is `to`'s, or nobody's any more, if it is `holder`'s still."""

        def change(note: Document) -> Document:
            entry = _entry(note)
            if entry is None or entry.holder != holder or entry.lost:
                return note
            return replace(entry, holder=to, lost=lost).document()

        await self._office.mail.change(self._key(ident), change)

    async def close(self, ident: str) -> None:
        """The task is forgotten."""
        await self._office.mail.change(self._key(ident), lambda _: {})

    def _key(self, ident: str) -> str:
        return f"task {ident} at {self._upstream}"
