"""What a candidate policy would change of recorded traffic, counted: by kind, and each by rule, principal, upstream
and tool, with sample exchanges. Pure; holds pseudonyms, ids and words from closed sets, and no PHI.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway.core.policy.change import Change, Kind
from gateway.core.policy.decision import Entrypoint
from gateway.core.types import Document, Json

BY = ("cause", "principal", "upstream", "about")
"""What the changes of a kind are counted by; `about` is the tool, else the method."""

STOPS = frozenset({Kind.NEWLY_DENIED, Kind.FAILS})
"""Changes after which an exchange goes no further."""


@dataclass(frozen=True, slots=True)
class Row:
    """One recorded decision that would be another."""

    leaf: int
    exchange: str
    """Empty for a decision outside any exchange, as on a reviewer's vote."""
    entrypoint: Entrypoint
    principal: str
    """The pseudonym, as in leaves."""
    groups: tuple[str, ...]
    upstream: str
    about: str
    changes: tuple[Change, ...]

    @property
    def document(self) -> Document:
        """As JSON; `parse` reads it."""
        return {
            "leaf": self.leaf,
            "exchange": self.exchange,
            "entrypoint": self.entrypoint.value,
            "principal": self.principal,
            "groups": list(self.groups),
            "upstream": self.upstream,
            "about": self.about,
            "changes": [change.document for change in self.changes],
        }


def settled(rows: Iterable[Row]) -> tuple[list[Row], int]:
    """The rows in the log's order, without those that could not come about, and how many those are.

    A call that the candidate denies has no result: what would be decided about it is no change of its own.
    """
    ordered = sorted(rows, key=lambda row: row.leaf)
    stopped: dict[str, int] = {}
    for row in ordered:
        if row.exchange and row.entrypoint is Entrypoint.CALL and _kinds(row) & STOPS:
            stopped.setdefault(row.exchange, row.leaf)
    kept = [row for row in ordered if row.leaf <= stopped.get(row.exchange, row.leaf)]
    return kept, len(ordered) - len(kept)


def _kinds(row: Row) -> frozenset[Kind]:
    return frozenset(change.kind for change in row.changes)


@dataclass(slots=True)
class Share:
    """The changes of one kind."""

    kind: Kind
    decisions: int = 0
    exchanges: set[str] = field(default_factory=set)
    by: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in BY})
    samples: dict[str, list[str]] = field(default_factory=dict)
    """Exchanges by cause, the first few."""

    def document(self) -> Document:
        """As JSON, the most frequent first."""
        return {
            "kind": self.kind.value,
            "loosens": self.kind.loosens,
            "decisions": self.decisions,
            "exchanges": len(self.exchanges),
            "by_rule": [
                {"rule": cause, "decisions": count, "samples": list[Json](self.samples.get(cause, []))}
                for cause, count in ordered(self.by["cause"])
            ],
            "by_principal": _counts("principal", self.by["principal"]),
            "by_upstream": _counts("upstream", self.by["upstream"]),
            "by_tool": _counts("tool", self.by["about"]),
        }


def _counts(name: str, counter: Counter[str]) -> list[Json]:
    return [{name: key, "decisions": count} for key, count in ordered(counter)]


def ordered(counter: Counter[str]) -> list[tuple[str, int]]:
    """What was counted, the most frequent first and the rest by name."""
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))


def shares(rows: Sequence[Row], *, samples: int) -> list[Share]:
    """The rows by kind, in the order of `Kind`; at most `samples` exchanges for each cause."""
    found: dict[Kind, Share] = {}
    for row in rows:
        for change in row.changes:
            _count(found.setdefault(change.kind, Share(change.kind)), row, change, samples)
    return [found[kind] for kind in Kind if kind in found]


def _count(share: Share, row: Row, change: Change, samples: int) -> None:
    share.decisions += 1
    if row.exchange:
        share.exchanges.add(row.exchange)
    share.by["principal"][who(row)] += 1
    share.by["upstream"][row.upstream or "(none)"] += 1
    share.by["about"][row.about] += 1
    for cause in change.causes:
        share.by["cause"][cause] += 1
        shown = share.samples.setdefault(cause, [])
        if row.exchange and row.exchange not in shown and len(shown) < samples:
            shown.append(row.exchange)


def who(row: Row) -> str:
    """The principal as reports name it: the pseudonym's first twelve digits and the groups."""
    return f"{row.principal[:12]} ({', '.join(row.groups) or 'no group'})"


def parse(document: Document) -> Row:
    """The row that a document is. Raises ValueError for any other document."""
    match document:
        case {
            "leaf": int(leaf),
            "exchange": str(exchange),
            "entrypoint": str(entrypoint),
            "principal": str(principal),
            "groups": list(groups),
            "upstream": str(upstream),
            "about": str(about),
            "changes": list(changes),
        }:
            named = tuple(str(group) for group in groups)
            found = tuple(_change(change) for change in changes)
            return Row(leaf, exchange, Entrypoint(entrypoint), principal, named, upstream, about, found)
    raise ValueError("not a row of an impact report")


def _change(document: Json) -> Change:
    match document:
        case {"kind": str(kind), "causes": list(causes)}:
            return Change(Kind(kind), tuple(str(cause) for cause in causes))
    raise ValueError("not a change")
