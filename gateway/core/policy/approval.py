"""The life of an approval, as rules over values: pending, then granted, refused, expired or cancelled, then spent.

A grant releases exactly one call. What "exactly" means is `binding`; who may release it is `review`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.policy.decision import ApprovalTerms, Reason
from gateway.core.types import Digest, Document, ExchangeId, Principal, SessionId


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to reviewers: may this call run? Bound to the call by `binding`."""

    exchange: ExchangeId
    session: SessionId
    principal: Principal
    upstream: str
    method: str
    name: str
    binding: Digest
    terms: ApprovalTerms
    reasons: tuple[Reason, ...]
    input: Document = field(repr=False)
    """The decision input, so that the reviewer sees and policy re-decides exactly what was asked."""
    justification: str = field(default="", repr=False)
