"""What Rego may answer. Decoding is total: whatever is not plainly a decision is a denial with a reason code.

Each entrypoint has its own members, and a member that the gateway would not act on is no member: a mask that the call
phase cannot carry out, or approval terms on an allow, would look like protection and be none. `policies/schema/`
says the same as JSON Schema.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

from gateway.core.types import Document, Json


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
    """Why: for people (`message`, PHI-free by contract), for machines (`code`), and which package said it (`rule`)."""

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
    """Which values a mask rule takes: by `path` (JSONPath subset), `field` (a name, normalised) or `class` (of PHI)."""

    by: str
    value: str


@dataclass(frozen=True, slots=True)
class Operator:
    """What is done to a selected value: one of `OPERATORS`, with the `options` that it defines."""

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


OPERATORS = frozenset({"redact", "partial", "null", "token", "generalise", "keep"})
SELECTORS = frozenset({"path", "field", "class"})
QUORUM_MAX = 10
EXPIRES_MAX_S = 2_592_000  # 30 days: a question that stays open longer is forgotten, not considered.
MESSAGE_MAX = 1_000
REASONS_MAX = 64
MASK_MAX = 1_000

CODE = re.compile(r"[a-z][a-z0-9_.]{0,63}", re.ASCII)
"""The form of a reason's code."""
_PHASES = {Entrypoint.CALL: Phase.CALL, Entrypoint.RESULT: Phase.RESULT}
MEMBERS = {
    Entrypoint.CALL: frozenset({"effect", "reasons", "labels", "approval"}),
    Entrypoint.RESULT: frozenset({"effect", "reasons", "labels", "approval", "mask"}),
    Entrypoint.CATALOGUE: frozenset({"effect", "reasons", "labels", "visible"}),
    Entrypoint.APPROVAL: frozenset({"effect", "reasons", "labels", "counts"}),
    Entrypoint.ACCESS: frozenset({"effect", "reasons", "labels"}),
}
"""What the answer of each entrypoint may have."""


class _Malformed(Exception):
    """What is wrong with an answer, as a sentence about its form: never a value from it."""


def deny(code: str, message: str, *, rule: str = "") -> Decision:
    """A denial of our own, for when policy gave none that can be used."""
    return Decision(Effect.DENY, (Reason(code, message, rule),))


def decode(entrypoint: Entrypoint, result: Json) -> Decision:
    """Read the answer of an entrypoint. Never raises: what is not plainly a decision is denied, `policy_malformed`."""
    try:
        return _decision(entrypoint, _object(result, "the answer", required=("effect",)))
    except _Malformed as fault:
        return deny("policy_malformed", f"The policy's answer is not a decision: {fault}.", rule=entrypoint.value)


def _decision(entrypoint: Entrypoint, answer: Document) -> Decision:
    unknown = answer.keys() - MEMBERS[entrypoint]
    if unknown:
        raise _Malformed(f"{len(unknown)} member(s) that {entrypoint.value} does not have")
    effect = _effect(entrypoint, answer["effect"])
    if ("approval" in answer) != (effect is Effect.REQUIRE_APPROVAL):
        raise _Malformed("`approval` goes with the effect require_approval, and only with it")
    if entrypoint is Entrypoint.CATALOGUE and effect is Effect.ALLOW and "visible" not in answer:
        raise _Malformed("an allowed catalogue names what is `visible`")
    return Decision(
        effect,
        reasons=tuple(_reason(item) for item in _list(answer.get("reasons", []), "reasons", REASONS_MAX)),
        mask=tuple(_mask_rule(item) for item in _list(answer.get("mask", []), "mask", MASK_MAX)),
        approval=_terms(answer["approval"], _PHASES[entrypoint]) if "approval" in answer else None,
        labels=_object(answer.get("labels", {}), "labels"),
        counts=_boolean(answer.get("counts", False), "counts"),
        visible=frozenset(_text(item, "visible") for item in _list(answer.get("visible", []), "visible", None)),
    )


def _effect(entrypoint: Entrypoint, value: Json) -> Effect:
    match value:
        case "allow":
            return Effect.ALLOW
        case "deny":
            return Effect.DENY
        case "require_approval" if entrypoint in _PHASES:
            return Effect.REQUIRE_APPROVAL
    raise _Malformed(f"`effect` is none that {entrypoint.value} has")


def _reason(value: Json) -> Reason:
    item = _object(value, "a reason", required=("code", "message"), optional=("rule",))
    code = _text(item["code"], "code")
    if not CODE.fullmatch(code):
        raise _Malformed("a reason's `code` is lower-case letters, digits, `_` and `.`, at most 64")
    message = _text(item["message"], "message")
    if len(message) > MESSAGE_MAX:
        raise _Malformed(f"a reason's `message` is longer than {MESSAGE_MAX} characters")
    rule = item.get("rule", "")
    if not isinstance(rule, str):
        raise _Malformed("a reason's `rule` is text")
    return Reason(code, message, rule)


def _mask_rule(value: Json) -> MaskRule:
    item = _object(value, "a mask rule", required=("select", "operator"), optional=())
    select = _object(item["select"], "select")
    if len(select) != 1 or not select.keys() <= SELECTORS:
        raise _Malformed("`select` has exactly one of path, field and class")
    ((by, chosen),) = select.items()
    operator = _object(item["operator"], "operator", required=("name",))
    name = operator["name"]
    if not isinstance(name, str) or name not in OPERATORS:
        raise _Malformed(f"a mask operator is one of {', '.join(sorted(OPERATORS))}")
    options = {key: option for key, option in operator.items() if key != "name"}
    return MaskRule(Selector(by, _text(chosen, by)), Operator(name, options))


def _terms(value: Json, phase: Phase) -> ApprovalTerms:
    item = _object(value, "approval", required=("groups",), optional=("quorum", "expires_s", "justification", "phase"))
    if item.get("phase", phase.value) != phase.value:
        raise _Malformed(f"`approval.phase` is {phase.value} here")
    justification = item.get("justification", "optional")
    if justification not in ("required", "optional"):
        raise _Malformed("`approval.justification` is required or optional")
    groups = tuple(_text(group, "approval.groups") for group in _list(item["groups"], "approval.groups", 64))
    if not groups:
        raise _Malformed("`approval.groups` is empty, so that nobody could approve")
    return ApprovalTerms(
        groups,
        quorum=_integer(item.get("quorum", 1), "approval.quorum", QUORUM_MAX),
        expires_s=_integer(item.get("expires_s", 900), "approval.expires_s", EXPIRES_MAX_S),
        justification_required=justification == "required",
        phase=phase,
    )


def _object(
    value: Json, what: str, *, required: tuple[str, ...] = (), optional: tuple[str, ...] | None = None
) -> Document:
    """`value` as an object that has `required` and, when `optional` is given, nothing but those two."""
    if not isinstance(value, dict):
        raise _Malformed(f"{what} is not an object")
    if any(key not in value for key in required):
        raise _Malformed(f"{what} lacks one of: {', '.join(required)}")
    if optional is not None and value.keys() - {*required, *optional}:
        raise _Malformed(f"{what} has a member beside {', '.join((*required, *optional))}")
    return value


def _list(value: Json, what: str, most: int | None) -> list[Json]:
    if not isinstance(value, list):
        raise _Malformed(f"`{what}` is not an array")
    if most is not None and len(value) > most:
        raise _Malformed(f"`{what}` has more than {most} items")
    return value


def _text(value: Json, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise _Malformed(f"`{what}` is not text, or is empty")
    return value


def _boolean(value: Json, what: str) -> bool:
    if not isinstance(value, bool):
        raise _Malformed(f"`{what}` is not a boolean")
    return value


def _integer(value: Json, what: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise _Malformed(f"`{what}` is not a whole number from 1 to {most}")
    return value
