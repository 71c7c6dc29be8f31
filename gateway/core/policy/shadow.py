"""What a shadow candidate was seen to do: counts for a summary, and how many differences are told one by one. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.core.policy.change import Change
from gateway.core.policy.decision import Entrypoint
from gateway.core.policy.impact import ordered
from gateway.core.types import Digest, Document, Json

CAUSES_MOST = 32
"""Causes that a leaf names: a leaf has a limit, and a policy can have any number of rules."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """The policy that runs beside the active one."""

    digest: Digest
    revision: str


@dataclass(slots=True)
class Tally:
    """Counts since the last summary, beside one active bundle."""

    compared: int = 0
    differing: int = 0
    dropped: int = 0
    """Decisions that the candidate was not asked about, because it did not keep up or was not there."""
    stopped: int = 0
    """Decisions that ended the process that made them."""
    untold: int = 0
    """Differing decisions without a leaf of their own."""
    kinds: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self.compared or self.dropped)

    def count(self, changes: Sequence[Change]) -> None:
        """Add one compared decision."""
        self.compared += 1
        self.differing += bool(changes)
        self.kinds.update(change.kind.value for change in changes)
        self.causes.update(_causes(changes))

    def members(self, candidate: Candidate, active: Digest) -> Document:
        """The summary as a leaf's members."""
        return {
            "what": "summary",
            "candidate": candidate.digest,
            "revision": candidate.revision,
            "active": active,
            "compared": self.compared,
            "differing": self.differing,
            "dropped": self.dropped,
            "stopped": self.stopped,
            "untold": self.untold,
            "kinds": dict[str, Json](self.kinds),
            "causes": dict[str, Json](ordered(self.causes)[:CAUSES_MOST]),
        }


def difference(
    candidate: Candidate, active: Digest, exchange: str, entrypoint: Entrypoint, changes: Sequence[Change]
) -> Document:
    """One differing decision as a leaf's members."""
    return {
        "what": "difference",
        "candidate": candidate.digest,
        "active": active,
        "exchange": exchange,
        "entrypoint": entrypoint.value,
        "kinds": list[Json](change.kind.value for change in changes),
        "causes": list[Json](_causes(changes)[:CAUSES_MOST]),
    }


def _causes(changes: Sequence[Change]) -> list[str]:
    return [f"{change.kind.value}: {cause}" for change in changes for cause in change.causes]
