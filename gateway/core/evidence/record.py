"""What the evidence log is told: one typed record for each thing that happened.

A record has PHI-free `members`, which become the leaf that is hashed, signed and shown to anyone, and `bodies`, which
are sealed before they are stored; the leaf carries only each body's digest. The store adds index, session chain and
key commitment when it writes the leaf, because only it knows the order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from gateway.core.evidence.used import Used
from gateway.core.types import ApprovalId, Document, ExchangeId, SessionId


class LeafType(Enum):
    SESSION_OPEN = "session.open"
    SESSION_CLOSE = "session.close"
    EXCHANGE_INTENT = "exchange.intent"
    EXCHANGE_REFUSED = "exchange.refused"
    EXCHANGE_MESSAGE = "exchange.message"
    EXCHANGE_OUTCOME = "exchange.outcome"
    EXCHANGE_UNKNOWN = "exchange.unknown"
    EXCHANGE_MERGED = "exchange.merged"
    APPROVAL_REQUEST = "approval.request"
    APPROVAL_RESOLVED = "approval.resolved"
    BUNDLE_ACTIVATED = "bundle.activated"
    CONFIG_CHANGED = "config.changed"
    KEY_EVENT = "key.event"
    EVIDENCE_READ = "evidence.read"
    EVIDENCE_RESTORED = "evidence.restored"
    EMERGENCY_ACCESS = "emergency.access"
    ACTIVITY_REVIEW = "activity.review"
    TOOL_ACCEPTED = "tool.accepted"
    TOOL_CHANGED = "tool.changed"
    LOGIN_FAILED = "login.failed"
    TOKEN_ISSUED = "token.issued"
    LOGIN_SUCCEEDED = "login.succeeded"
    TOKEN_REVOKED = "token.revoked"
    TOKEN_RESTORED = "token.restored"
    POLICY_SHADOW = "policy.shadow"
    HEARTBEAT = "heartbeat"

    @property
    def opens_exchange(self) -> bool:
        """After this leaf the exchange owes an end."""
        return self is LeafType.EXCHANGE_INTENT

    @property
    def closes_exchange(self) -> bool:
        """This leaf is the one end of its exchange."""
        return self in (LeafType.EXCHANGE_OUTCOME, LeafType.EXCHANGE_UNKNOWN)


@dataclass(frozen=True, slots=True)
class Record:
    """One entry for the log, before it has a place in it."""

    type: LeafType
    members: Document
    session: SessionId | None = None
    exchange: ExchangeId | None = None
    approval: ApprovalId | None = None
    bodies: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    used: Used | None = field(default=None, repr=False)
    """What this counts against budgets: kept beside the leaf and in one transaction with it, never in it."""

    @property
    def projected(self) -> bool:
        """Whether a table that decisions are made from changes with it."""
        return self.approval is not None or self.type is LeafType.EMERGENCY_ACCESS
