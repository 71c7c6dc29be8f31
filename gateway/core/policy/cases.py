"""Test cases of a policy as data: an input, and the decision that is wanted for it.

A file `*_cases.yaml` (or `.yml`, `.json`) beside the rules holds a list of them; docs/policy-cases.md describes it.
Reading is strict and tells every fault at once: a case with a misspelt key would test nothing and pass for ever.
What is compared is the decision as the gateway reads it, so that a malformed answer is the denial that it would be.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gateway.core.errors import PolicyFault
from gateway.core.policy import located
from gateway.core.policy.compare import ABSENT, Difference, compare, sets, subset
from gateway.core.policy.decision import (
    CODE,
    MEMBERS,
    OPERATORS,
    SELECTORS,
    ApprovalTerms,
    Decision,
    Effect,
    Entrypoint,
    MaskRule,
)
from gateway.core.policy.located import Node
from gateway.core.types import Document, Json

ENTRYPOINTS = {entrypoint.name.lower(): entrypoint for entrypoint in Entrypoint}

_ENDINGS = ("_cases.yaml", "_cases.yml", "_cases.json")
_FILE_KEYS = ("entrypoint", "given", "data", "cases")
_CASE_KEYS = ("note", "entrypoint", "input", "without", "data", "want", "todo")
_TERMS = ("groups", "quorum", "expires_s", "justification", "phase")
_WANTS = ("effect", "reasons", "approval", "mask", "visible", "counts", "labels")


@dataclass(frozen=True, slots=True)
class Masks:
    """Mask rules that must be in the plan, or must not; each matches by the members it names."""

    include: tuple[Document, ...] = ()
    exclude: tuple[Document, ...] = ()


@dataclass(frozen=True, slots=True)
class Want:
    """The decision that is wanted. None: whatever it is, for this member."""

    effect: Effect | None = None
    reasons: frozenset[str] | None = None
    """The codes: these and no others."""
    mask: tuple[Document, ...] | Masks | None = None
    approval: Document | None = None
    """The terms named; others may be as they are."""
    labels: Document | None = None
    visible: frozenset[str] | None = None
    counts: bool | None = None
    result: tuple[Json] | None = None
    """The entrypoint's whole answer, in a tuple of one because it may be null."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question to a policy. `data` is merged over the policy's own."""

    note: str
    file: str
    line: int
    entrypoint: Entrypoint
    input: Document = field(repr=False)
    data: Document = field(repr=False)
    want: Want = field(repr=False)
    todo: bool = False


def is_cases(path: str) -> bool:
    """Whether a file of this name holds test cases."""
    return path.endswith(_ENDINGS)


def parse(path: str, content: bytes) -> tuple[Case, ...]:
    """The cases in a file. Raises PolicyFault with every fault in it, each as `path:line: what is wrong`."""
    reader = _Reader(path)
    found = reader.file(located.parse(path, content))
    if reader.faults:
        raise PolicyFault("\n".join(f"{path}:{line}: {text}" for line, text in sorted(reader.faults)))
    return found


def merged(base: Json, over: Json) -> Json:
    """`over` laid on `base`: objects are merged key by key, anything else, null too, is replaced; neither changes."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return {**base, **{key: merged(base[key], value) if key in base else value for key, value in over.items()}}


def differences(want: Want, decided: Decision, answer: Json) -> tuple[Difference, ...]:
    """How a decision differs from what is wanted; empty when it does not.

    `decided` is what the gateway reads from `answer`, which is what the entrypoint said.
    """
    found: list[Difference] = []
    if want.effect is not None:
        found += compare("effect", want.effect.value, decided.effect.value)
    if want.reasons is not None:
        found += sets("reasons", want.reasons, {reason.code for reason in decided.reasons})
    if want.visible is not None:
        found += sets("visible", want.visible, decided.visible)
    if want.counts is not None:
        found += compare("counts", want.counts, decided.counts)
    if want.approval is not None:
        found += subset("approval", want.approval, _terms(decided.approval))
    if want.labels is not None:
        found += compare("labels", want.labels, decided.labels)
    if want.mask is not None:
        found += _masks(want.mask, [_mask_document(rule) for rule in decided.mask])
    if want.result is not None:
        found += compare("result", want.result[0], answer)
    return tuple(found)


def _masks(want: tuple[Document, ...] | Masks, got: list[Document]) -> list[Difference]:
    if not isinstance(want, Masks):
        return compare("mask", [*want], [*got])
    lacking = [rule for rule in want.include if not any(_matches(rule, held) for held in got)]
    surplus = [held for held in got if any(_matches(rule, held) for rule in want.exclude)]
    return [
        *(Difference("mask", rule, ABSENT) for rule in lacking),
        *(Difference("mask", ABSENT, held) for held in surplus),
    ]


def _matches(rule: Json, held: Json) -> bool:
    if isinstance(rule, dict) and isinstance(held, dict):
        return all(key in held and _matches(inner, held[key]) for key, inner in rule.items())
    return not compare("", rule, held)


def _mask_document(rule: MaskRule) -> Document:
    return {
        "select": {rule.select.by: rule.select.value},
        "operator": {"name": rule.operator.name, **rule.operator.options},
    }


def _terms(terms: ApprovalTerms | None) -> Document | None:
    if terms is None:
        return None
    return {
        "groups": [*terms.groups],
        "quorum": terms.quorum,
        "expires_s": terms.expires_s,
        "justification": "required" if terms.justification_required else "optional",
        "phase": terms.phase.value,
    }


@dataclass(slots=True)
class _Reader:
    """Reads one file and collects what is wrong with it, as line and sentence."""

    path: str
    faults: list[tuple[int, str]] = field(default_factory=list)

    def file(self, root: Node) -> tuple[Case, ...]:
        held = self.members(root, "the file", _FILE_KEYS)
        default = self.entrypoint(held.get("entrypoint"))
        given, data = self.document(held.get("given"), "given"), self.document(held.get("data"), "data")
        listed = held.get("cases")
        if listed is None or not isinstance(listed.content, list) or not listed.content:
            self.fault(listed or root, "`cases` is a list of at least one case.")
            return ()
        notes: dict[str, int] = {}
        found = []
        for node in listed.content:
            case = self.case(node, default, given, data)
            if case is None:
                continue
            if case.note in notes:
                self.fault(node, f"the note {case.note!r} is that of line {notes[case.note]} as well.")
            notes.setdefault(case.note, node.line)
            found.append(case)
        return tuple(found)

    def case(self, node: Node, default: Entrypoint | None, given: Document, data: Document) -> Case | None:
        held = self.members(node, "a case", _CASE_KEYS)
        note = self.text(held.get("note"), node, "`note` says in a few words what the case shows")
        entrypoint = self.entrypoint(held["entrypoint"]) if "entrypoint" in held else default
        asked = merged(given, self.document(held.get("input"), "input"))
        todo = self.boolean(held.get("todo"), "todo") or False
        if entrypoint is None:
            self.fault(node, f"`entrypoint`, here or for the whole file, is one of {', '.join(ENTRYPOINTS)}.")
        want = self.want(held.get("want"), node, entrypoint)
        if "without" in held:
            asked = self.without(held["without"], asked)
        over = merged(data, self.document(held.get("data"), "data"))
        if note is None or entrypoint is None or want is None or not isinstance(asked, dict):
            return None
        return Case(note, self.path, node.line, entrypoint, asked, over if isinstance(over, dict) else {}, want, todo)

    def want(self, node: Node | None, case: Node, entrypoint: Entrypoint | None) -> Want | None:
        if node is None or not isinstance(node.content, dict) or not node.content:
            self.fault(node or case, "`want` is an object that says what is wanted of the decision.")
            return None
        if entrypoint is None:
            return None
        known = (*(name for name in _WANTS if name in MEMBERS[entrypoint]), "result")
        held = self.members(node, f"`want` of {entrypoint.name.lower()}", known)
        effect = self.effect(held.get("effect"), entrypoint)
        terms = held.get("approval")
        if terms is not None and effect not in (None, Effect.REQUIRE_APPROVAL):
            self.fault(terms, "`approval` goes with the effect require_approval, and only with it.")
        return Want(
            effect=effect,
            reasons=self.names(held.get("reasons"), "reasons", CODE),
            mask=self.mask(held.get("mask")),
            approval=None if terms is None else self.terms(terms),
            labels=self.document(held["labels"], "labels") if "labels" in held else None,
            visible=self.names(held.get("visible"), "visible", None),
            counts=self.boolean(held.get("counts"), "counts"),
            result=(held["result"].json,) if "result" in held else None,
        )

    def effect(self, node: Node | None, entrypoint: Entrypoint) -> Effect | None:
        if node is None:
            return None
        words = [effect.value for effect in Effect]
        if "approval" not in MEMBERS[entrypoint]:
            words.remove(Effect.REQUIRE_APPROVAL.value)
        if node.content in words:
            return Effect(node.content)
        self.fault(node, f"`effect` of {entrypoint.name.lower()} is one of {', '.join(words)}.")
        return None

    def mask(self, node: Node | None) -> tuple[Document, ...] | Masks | None:
        if node is None:
            return None
        if isinstance(node.content, list):
            return self.mask_rules(node, whole=True)
        held = self.members(node, "`mask` (a list of rules, or an object)", ("include", "exclude"))
        rules = {key: self.mask_rules(inner, whole=False) for key, inner in held.items()}
        if not any(rules.values()):
            self.fault(
                node, "`mask` names at least one rule to `include` or to `exclude`, or is a list: the whole plan."
            )
        return Masks(rules.get("include", ()), rules.get("exclude", ()))

    def mask_rules(self, node: Node, *, whole: bool) -> tuple[Document, ...]:
        if not isinstance(node.content, list):
            self.fault(node, "mask rules are a list of objects with `select` and `operator`.")
            return ()
        return tuple(self.mask_rule(rule, whole=whole) for rule in node.content)

    def mask_rule(self, node: Node, *, whole: bool) -> Document:
        held = self.members(node, "a mask rule", ("select", "operator"))
        if not held or (whole and len(held) < 2):
            self.fault(node, "a mask rule has `select` and `operator`; one of them is enough for include and exclude.")
        select = held["select"].json if "select" in held else None
        if "select" in held and (not isinstance(select, dict) or len(select) != 1 or not select.keys() <= SELECTORS):
            self.fault(held["select"], f"`select` has exactly one of {', '.join(sorted(SELECTORS))}.")
        operator = held["operator"].json if "operator" in held else None
        if "operator" in held and (not isinstance(operator, dict) or operator.get("name") not in OPERATORS):
            self.fault(held["operator"], f"`operator` has a `name`: one of {', '.join(sorted(OPERATORS))}.")
        return {key: inner.json for key, inner in held.items()}

    def terms(self, node: Node) -> Document:
        held = self.members(node, "`approval`", _TERMS)
        if not held:
            self.fault(node, f"`approval` names at least one of {', '.join(_TERMS)}.")
        return {key: inner.json for key, inner in held.items()}

    def without(self, node: Node, asked: Json) -> Json:
        if not isinstance(node.content, list) or not node.content:
            self.fault(node, "`without` is a list of paths in the input, such as facts/sql.")
            return asked
        for inner in node.content:
            path = inner.content if isinstance(inner.content, str) else ""
            if not path or not _has(asked, path.split("/")):
                self.fault(inner, f"`without`: the input has nothing at {path or 'what is no text'!r}.")
            else:
                asked = _less(asked, path.split("/"))
        return asked

    def members(self, node: Node, what: str, known: tuple[str, ...]) -> dict[str, Node]:
        """The members of an object, less those it may not have; {} for what is no object."""
        if not isinstance(node.content, dict):
            self.fault(node, f"{what} is an object with {', '.join(known)}.")
            return {}
        for key in node.content:
            if key not in known:
                self.faults.append((node.keys[key], f"{what} has no {key!r}; it may have {', '.join(known)}."))
        return {key: inner for key, inner in node.content.items() if key in known}

    def document(self, node: Node | None, name: str) -> Document:
        if node is None:
            return {}
        value = node.json
        if isinstance(value, dict):
            return value
        self.fault(node, f"`{name}` is an object.")
        return {}

    def entrypoint(self, node: Node | None) -> Entrypoint | None:
        if node is None:
            return None
        found = ENTRYPOINTS.get(node.content) if isinstance(node.content, str) else None
        if found is None:
            self.fault(node, f"`entrypoint` is one of {', '.join(ENTRYPOINTS)}.")
        return found

    def names(self, node: Node | None, name: str, form: re.Pattern[str] | None) -> frozenset[str] | None:
        if node is None:
            return None
        listed = node.content if isinstance(node.content, list) else []
        found = [item.content for item in listed if isinstance(item.content, str)]
        if not isinstance(node.content, list) or len(found) != len(listed):
            self.fault(node, f"`{name}` is a list of text.")
        for item in listed:
            if form is not None and isinstance(item.content, str) and not form.fullmatch(item.content):
                self.fault(item, f"{item.content!r} can be no code: lower-case letters, digits, `_` and `.`.")
        return frozenset(found)

    def text(self, node: Node | None, case: Node, what: str) -> str | None:
        if node is not None and isinstance(node.content, str) and node.content.strip():
            return node.content.strip()
        self.fault(node or case, f"{what}.")
        return None

    def boolean(self, node: Node | None, name: str) -> bool | None:
        if node is None or isinstance(node.content, bool):
            return node.content if node is not None else None  # type: ignore[return-value]
        self.fault(node, f"`{name}` is true or false.")
        return None

    def fault(self, node: Node, text: str) -> None:
        self.faults.append((node.line, text))


def _has(value: Json, path: list[str]) -> bool:
    for segment in path:
        if not isinstance(value, dict) or segment not in value:
            return False
        value = value[segment]
    return True


def _less(value: Json, path: list[str]) -> Json:
    if not isinstance(value, dict):
        return value
    if len(path) == 1:
        return {key: inner for key, inner in value.items() if key != path[0]}
    return {**value, path[0]: _less(value[path[0]], path[1:])}
