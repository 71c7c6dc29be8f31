"""The nouns every part of the gateway shares.

Values only: frozen, compared by content, made once at the edge and believed afterwards. A field that can hold PHI is
kept out of `repr`, so that no log line, traceback or assertion message can show it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NewType

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Document = dict[str, Json]

ExchangeId = NewType("ExchangeId", str)
"""UUIDv7 text: sorts by the time the exchange began."""
SessionId = NewType("SessionId", str)
ApprovalId = NewType("ApprovalId", str)
LeafIndex = NewType("LeafIndex", int)
"""0-based position in the evidence log (RFC 6962 §2.1)."""
Digest = NewType("Digest", str)
"""Lower-case hex SHA-256."""


class Era(Enum):
    """Which of MCP's two wire styles a message is written in; `core/protocol/versions.py` says what differs."""

    LEGACY = "legacy"
    MODERN = "modern"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts: the agent (`client`) and the human it acts for (`subject` at `issuer`), or an agent for itself."""

    issuer: str
    subject: str = field(repr=False)
    groups: tuple[str, ...] = ()
    client: str = ""
    acr: str = ""
    amr: tuple[str, ...] = ()
    chain: tuple[str, ...] = field(default=(), repr=False)
    """RFC 8693 §4.1 `act` claims, outermost first: the first acts now, for the next or for the subject."""
    agent: bool = False
    """Whether the subject is a program with credentials of its own, so that no human stands behind what it does."""

    @property
    def kind(self) -> str:
        """The word for policy and evidence."""
        return "agent" if self.agent else "person"


@dataclass(frozen=True, slots=True)
class UpstreamRef:
    """An upstream as policy knows it: its name and the labels its owner gave it in the configuration."""

    name: str
    labels: Document = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as the upstream last described it. `pin` is the digest of the whole definition."""

    name: str
    pin: Digest
    definition: Document = field(repr=False, compare=False)
    changed: bool = False
    """Whether the definition is another than the one that was accepted."""
