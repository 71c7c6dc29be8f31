"""Messages between the processes that serve from one store, and the notes that they share.

Any process may get what another one waits for: the answer to a question, a cancellation, the retry of a call. It puts
that into the other's box, a row here; every process looks for rows of its boxes. Rows hold PHI and are sealed under the
key that session ids are sealed with; they are no evidence, lose their meaning within seconds and are swept soon after.
"""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from gateway.core.errors import EvidenceFault
from gateway.core.protocol import token
from gateway.core.types import Document
from gateway.store.engine import Connection
from gateway.store.sequencer import EvidenceLog
from gateway.store.stamps import uuid7
from gateway.store.transaction import Transaction

Hear = Callable[[Document], None]

POLL_S = 0.2
"""How late a message may come. Who waits for it is a person, or a program that has just been asked something."""
KEPT_S = 60
"""How long a message lies: longer than any process that still looks may fail to."""
NOTED_S = 7 * 24 * 3600
"""How long a note is kept after its last change: as long as the session id that it is about may be used."""
_AT_ONCE = 256
"""Messages taken in one look."""

logger = logging.getLogger(__name__)


class Mail:
    """See `upstream.mail.Mail`. One for each process; belongs to the trio thread that opened the log."""

    def __init__(self, log: EvidenceLog) -> None:
        self.name = uuid7(log.now())
        self._log = log
        self._ears: defaultdict[str, list[Hear]] = defaultdict(list)
        self._last: int | None = None
        """The newest message that was looked at."""

    async def send(self, box: str, message: Document) -> None:
        """Put a message into a box; durable when this returns. Raises EvidenceFault."""
        data, sender = self._seal(message, f"mail to {box}", KEPT_S), self.name

        def job(transaction: Transaction) -> None:
            query = "INSERT INTO mail (box, sender, sent, data) VALUES (?, ?, ?, ?)"
            transaction.connection.execute(query, (box, sender, int(transaction.at.timestamp()), data))

        await self._log.transact(job)

    @contextmanager
    def listen(self, box: str, hear: Hear) -> Iterator[None]:
        """While the block runs, `hear` is called with what other processes put into the box."""
        self._ears[box].append(hear)
        try:
            yield
        finally:
            self._ears[box].remove(hear)
            if not self._ears[box]:
                del self._ears[box]

    async def note(self, key: str) -> Document:
        """What is noted under `key`. Raises EvidenceFault."""
        return await self._log.read(lambda connection: self._noted(connection, key))

    async def change(self, key: str, change: Callable[[Document], Document]) -> None:
        """Change a note, as one step among those of all processes. Raises EvidenceFault."""

        stored = self._log.keys.note_key(key)

        def job(transaction: Transaction) -> None:
            connection = transaction.connection
            note = change(self._noted(connection, key))
            connection.execute("DELETE FROM note WHERE key = ?", (stored,))
            if note:
                data = self._seal(note, f"note {key}", NOTED_S)
                row = (stored, int(transaction.at.timestamp()), data)
                connection.execute("INSERT INTO note (key, changed, data) VALUES (?, ?, ?)", row)

        await self._log.transact(job)

    async def once(self, key: str) -> bool:
        """Whether nobody asked for this key within NOTED_S: what may be used once is used up. Raises EvidenceFault."""
        fresh: list[bool] = []

        def use(transaction: Transaction) -> None:
            # That there is a note says it all. It is not read: one that another session.key sealed counts as well.
            query = "INSERT INTO note (key, changed, data) VALUES (?, ?, '') ON CONFLICT DO NOTHING"
            row = (f"once {key}", int(transaction.at.timestamp()))
            fresh.append(transaction.connection.execute(query, row).rowcount == 1)

        await self._log.transact(use)
        return fresh[-1]

    async def run(self) -> None:
        """Look for messages, for ever. A store that fails is the log's state, told by readiness."""
        while True:
            try:
                while await self.look() == _AT_ONCE:
                    pass
            except EvidenceFault:
                pass
            await trio.sleep(POLL_S)

    async def sweep(self) -> None:
        """Forget what nobody waits for any more. Raises EvidenceFault."""

        def job(transaction: Transaction) -> None:
            now = int(transaction.at.timestamp())
            transaction.connection.execute("DELETE FROM mail WHERE sent < ?", (now - KEPT_S,))
            transaction.connection.execute("DELETE FROM note WHERE changed < ?", (now - NOTED_S,))

        await self._log.transact(job)

    async def look(self) -> int:
        """Hand over what is new; how much that was."""
        boxes, last, name = tuple(self._ears), self._last, self.name

        def job(connection: Connection) -> tuple[int, list[tuple[int, str, str]]]:
            (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM mail").fetchone()
            if last is None or newest <= last or not boxes:
                return newest, []
            query = f"""SELECT id, box, data FROM mail WHERE id > ? AND id <= ? AND sender <> ?
                AND box IN ({", ".join("?" * len(boxes))}) ORDER BY id LIMIT {_AT_ONCE}"""
            found = connection.execute(query, (last, newest, name, *boxes)).fetchall()
            return (found[-1][0] if len(found) == _AT_ONCE else newest), found

        self._last, found = await self._log.read(job)
        for _, box, data in found:
            message = self._unseal(data, f"mail to {box}")
            for hear in tuple(self._ears.get(box, ())) if message is not None else ():
                hear(dict(message or {}))
        return len(found)

    def _noted(self, connection: Connection, key: str) -> Document:
        row = connection.execute("SELECT data FROM note WHERE key = ?", (self._log.keys.note_key(key),)).fetchone()
        return (self._unseal(row[0], f"note {key}") if row is not None else None) or {}

    def _seal(self, document: Document, purpose: str, lifetime_s: int) -> str:
        expires = int(self._log.now().timestamp()) + lifetime_s
        nonce = os.urandom(token.NONCE_BYTES)
        return token.seal(document, key=self._log.keys.session_seal, nonce=nonce, purpose=purpose, expires=expires)

    def _unseal(self, text: str, purpose: str) -> Document | None:
        now = int(self._log.now().timestamp())
        return token.unseal(text, key=self._log.keys.session_seal, purpose=purpose, now=now)
