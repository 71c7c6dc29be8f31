"""How a principal stands when policy is asked about it: what it has used of its budgets, which reviews it owes.

Nobody pays for what policy does not ask: without budgets in the active bundle nothing is counted, and only who claims
an emergency is asked after emergencies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from gateway.core.call import Call
from gateway.core.evidence.record import LeafType, Record
from gateway.core.evidence.used import Used, Window
from gateway.core.masking.profile import Profile
from gateway.core.protocol.jsonrpc import Request
from gateway.core.types import Document, Json, Principal
from gateway.store import emergencies, usage
from gateway.store.engine import Connection
from gateway.store.sequencer import EvidenceLog

METERED = frozenset({"tools/call", "resources/read", "prompts/get", "completion/complete", "tasks/get", "tasks/result"})
"""What counts against budgets: the requests that bring records, and not those that speak of the protocol itself."""
_LEFT = frozenset({"replied", "kept", "relayed"})
"""The statuses of a record whose message goes to the client."""
_COUNTED = frozenset({LeafType.EXCHANGE_OUTCOME, LeafType.EXCHANGE_MESSAGE})
_NONE = Profile()


class Standing:
    """The standing of every principal of one evidence log. Belongs to the trio thread that opened the log."""

    def __init__(self, log: EvidenceLog, windows: Callable[[], tuple[Window, ...]]) -> None:
        """`windows` are those for which the active policy has budgets."""
        self._log = log
        self._windows = windows

    @property
    def patient_key(self) -> bytes | None:
        """The key under which patients are told apart; None when nobody counts them."""
        return self._log.keys.patient_key if self._windows() else None

    async def stamp(self, document: Document, profile: Profile = _NONE) -> Document:
        """A decision input with what is known of its principal's standing. Raises EvidenceFault.

        `usage` for each window that policy has budgets for; in the result phase also how many of the result's patients
        are new in it, which is what `profile` is for. `emergency` gets the reviews that are owed.
        """
        windows, claimed = self._windows(), document.get("emergency")
        asks = isinstance(claimed, dict) and document["phase"] == "call"
        if not windows and not asks:
            return document
        now = self._log.now()

        def job(connection: Connection) -> Document:
            found = dict(document)
            if windows:
                found["usage"] = self._usage(connection, document, windows, profile, now)
            if asks and isinstance(claimed, dict):
                owed = emergencies.unreviewed(connection, self._log.keys.actor(_principal(document)))
                found["emergency"] = {**claimed, "began": owed.began, "open_reviews": owed.own, "unreviewed": owed.all}
            return found

        return await self._log.read(job)

    def charge(self, call: Call, record: Record, profile: Profile) -> Record:
        """`record` with what it counts, if it does; `profile` is of the message that it tells of."""
        windows = self._windows()
        message = call.message
        if not windows or record.type not in _COUNTED:
            return record
        if not isinstance(message, Request) or message.method not in METERED or call.task is not None:
            return record  # What ran as a task of the gateway's own was counted when it ran.
        seen = profile if record.members.get("status") in _LEFT else _NONE
        classes = seen.document.get("classes")
        used = Used(
            who=self._log.keys.usage_key(call.principal),
            windows=windows,
            calls=int(record.type is LeafType.EXCHANGE_OUTCOME),
            rows=_count(seen.document.get("rows")),
            phi_fields=sum(map(_count, classes.values())) if isinstance(classes, dict) else 0,
            patients=seen.patients,
            uncounted=seen.uncounted,
        )
        return replace(record, used=used)

    async def sweep(self) -> int:
        """Forget what no window counts any more; returns how many rows that was. Raises EvidenceFault."""
        return await self._log.transact(lambda transaction: usage.sweep(transaction.connection, transaction.at))

    def _usage(
        self,
        connection: Connection,
        document: Document,
        windows: tuple[Window, ...],
        profile: Profile,
        now: datetime,
    ) -> Document:
        who = self._log.keys.usage_key(_principal(document))
        found = usage.total(connection, who, windows, now)
        if document["phase"] == "result":
            for window in windows:
                counts = found[window.name]
                if isinstance(counts, dict):
                    new = usage.unseen(connection, who, window, now, profile.patients)
                    counts["new_patients"] = new + profile.uncounted
        return found


def _principal(document: Document) -> Principal:
    match document.get("principal"):
        case {"iss": str(issuer), "sub": str(subject)}:
            return Principal(issuer, subject)
    raise ValueError("a decision input names its principal")


def _count(value: Json) -> int:
    return value if isinstance(value, int) else 0
