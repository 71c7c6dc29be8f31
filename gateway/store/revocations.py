"""Revocations of tokens, as the log has them: leaves alone say what is revoked, so every process that serves knows.

`token.revoked` says one; `token.restored` names the leaf of one that counts no more. Whoever serves looks for new
leaves once a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.core import revocation
from gateway.core.errors import EvidenceFault
from gateway.core.evidence import leaf as leaves
from gateway.core.evidence.record import LeafType, Record
from gateway.core.revocation import Revocation
from gateway.core.types import Document, LeafIndex
from gateway.store.engine import Connection
from gateway.store.sequencer import EvidenceLog
from gateway.store.transaction import Transaction, as_bytes

LOOK_S = 1.0
"""How often a process looks for what others have revoked."""


@dataclass(frozen=True, slots=True)
class Known:
    """A revocation with its place in the log."""

    leaf: LeafIndex
    time: str
    by: str
    """The pseudonym of whoever revoked."""
    revocation: Revocation


class Revocations:
    """What is in force, kept up to date by `look`. One for each process."""

    def __init__(self, log: EvidenceLog, changed: Callable[[tuple[Revocation, ...]], None]) -> None:
        """`changed` is told everything that is in force, whenever that is something else."""
        self._log = log
        self._changed = changed
        self._newest = -1
        self.fault: str | None = None
        """Why it is not known what is revoked now."""

    async def look(self) -> None:
        """Take in what was revoked or restored since the last look. Raises EvidenceFault."""
        try:
            newest = await self._log.read(newest_leaf)
            known = await self._log.read(in_force) if newest != self._newest else None
        except EvidenceFault as fault:
            self.fault = fault.detail
            raise
        self.fault = None
        if known is not None:
            self._newest = newest
            self._changed(tuple(each.revocation for each in known))


def newest_leaf(connection: Connection) -> int:
    """The newest leaf that changes what is revoked; -1 when there is none."""
    query = "SELECT coalesce(max(idx), -1) FROM leaf WHERE type = ? AND session IS NULL"
    return max(int(connection.execute(query, (kind.value,)).fetchone()[0]) for kind in _KINDS)


def in_force(connection: Connection) -> list[Known]:
    """Every revocation that was not taken back, oldest first. Raises EvidenceFault when a leaf cannot be read."""
    query = "SELECT idx, entry FROM leaf WHERE type IN (?, ?) AND session IS NULL ORDER BY idx"
    found: dict[int, Known] = {}
    for index, entry in connection.execute(query, tuple(kind.value for kind in _KINDS)).fetchall():
        try:
            leaf = leaves.parse(as_bytes(entry))
        except ValueError as error:
            raise EvidenceFault(f"Leaf {index} was altered: {error}.") from None
        if leaf.type is LeafType.TOKEN_RESTORED:
            found.pop(_place(leaf.members.get("leaf")), None)
            continue
        said = revocation.decode(leaf.members)
        if said is None:
            raise EvidenceFault(f"Leaf {index} says a revocation that this phigate cannot read. Use a newer release.")
        found[index] = Known(LeafIndex(index), leaf.place.time, str(leaf.members.get("actor")), said)
    return list(found.values())


def revoke(transaction: Transaction, said: Revocation, by: str, bodies: Mapping[str, bytes]) -> LeafIndex:
    """Put a revocation by the person with this pseudonym on record, and with that in force."""
    members: Document = {**said.members(), "actor": by}
    return transaction.append(Record(LeafType.TOKEN_REVOKED, members, bodies=bodies))


def restore(transaction: Transaction, known: Known, by: str, bodies: Mapping[str, bytes]) -> LeafIndex:
    """Take a revocation back, on record."""
    members: Document = {"leaf": known.leaf, "actor": by}
    return transaction.append(Record(LeafType.TOKEN_RESTORED, members, bodies=bodies))


_KINDS = (LeafType.TOKEN_REVOKED, LeafType.TOKEN_RESTORED)


def _place(value: object) -> int:
    return value if isinstance(value, int) else -1
