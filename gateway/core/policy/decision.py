"""What Rego may answer. Decoding is total: whatever is not plainly a decision is a denial with a reason code."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from gateway.core.types import Document


class Entrypoint(Enum):
    """The five questions policy is asked; the value is the rule path, as in OPA's `path`."""

    CALL = "gateway/call/decision"
    RESULT = "gateway/result/decision"
    CATALOGUE = "gateway/catalogue/decision"
    APPROVAL = "gateway/approval/decision"
    ACCESS = "gateway/access/decision"


class Effect(Enum):
    ALLOW = "allow"
    DENY = "deny"
    REQUIRE_APPROVAL = "require_approval"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, for people (`message`, PHI-free by contract) and for machines (`code`); `rule` names the package that said it."""

    code: str
    message: str
    rule: str = ""


class Phase(Enum):
    """Before the upstream is called, or when its result is already here and must not leave."""

    CALL = "call"
    RESULT = "result"


@dataclass(frozen=True, slots=True)
class ApprovalTerms:
    """Who must approve, how many of them, and for how long the question stays open (seconds)."""

    groups: tuple[str, ...]
    quorum: int = 1
    expires_s: int = 900
    justification_required: bool = False
    phase: Phase = Phase.CALL


@dataclass(frozen=True, slots=True)
class Selector:
    """Which values a mask rule takes. `by` is `path` (JSONPath subset), `field` (a name, normalised) or `class` (a PHI class)."""

    by: str
    value: str


@dataclass(frozen=True, slots=True)
class Operator:
    """What is done to a selected value: `redact`, `partial`, `null`, `token`, `generalise`; `options` as the operator defines."""

    name: str
    options: Document = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MaskRule:
    select: Selector
    operator: Operator


@dataclass(frozen=True, slots=True)
class Decision:
    """Answer to `CALL`, `RESULT`, `APPROVAL` and `ACCESS`."""

    effect: Effect
    reasons: tuple[Reason, ...] = ()
    mask: tuple[MaskRule, ...] = ()
    approval: ApprovalTerms | None = None
    labels: Document = field(default_factory=dict)
    counts: bool = False
    """`APPROVAL` only: whether this reviewer counts to the quorum."""
    visible: frozenset[str] = frozenset()
    """`CATALOGUE` only: the names this principal may see."""
