"""What would be different if another policy had decided: two decisions on one question, compared.

Pure and total: any two decisions have an answer, a decision beside itself has none, and whatever is not alike is at
least OTHERWISE. What masks would do is read from the plans and the profile that policy was told, never from a body, and
where that leaves doubt (a profile gives classes and places, not which class is where) it errs towards NEWLY_UNMASKED.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from gateway.core.errors import MaskFault
from gateway.core.masking import paths, structure
from gateway.core.masking.names import LONGEST_NAME, named
from gateway.core.masking.phi import Phi
from gateway.core.policy.decision import Decision, Effect, Entrypoint, MaskRule, Reason, Selector
from gateway.core.types import Document, Json


class Kind(Enum):
    """One way in which a decision changes; the order is that of reports."""

    NEWLY_ALLOWED = "newly-allowed"
    NEWLY_APPROVABLE = "newly-approvable"
    """It was denied; now people may approve it."""
    NO_LONGER_NEEDING_APPROVAL = "no-longer-needing-approval"
    NEWLY_UNMASKED = "newly-unmasked"
    NEWLY_VISIBLE = "newly-visible"
    NEWLY_DENIED = "newly-denied"
    NEWLY_NEEDING_APPROVAL = "newly-needing-approval"
    NEWLY_MASKED = "newly-masked"
    NEWLY_HIDDEN = "newly-hidden"
    FAILS = "fails"
    """The candidate gives no decision that can be used: the gateway would deny."""
    MASKED_DIFFERENTLY = "masked-differently"
    APPROVAL_TERMS = "approval-terms"
    OTHERWISE = "otherwise"
    """Reasons, labels, or masks that met nothing."""

    @property
    def loosens(self) -> bool:
        """Whether more is let through than before."""
        return self in _LOOSER


_LOOSER = frozenset(
    {
        Kind.NEWLY_ALLOWED,
        Kind.NEWLY_APPROVABLE,
        Kind.NO_LONGER_NEEDING_APPROVAL,
        Kind.NEWLY_UNMASKED,
        Kind.NEWLY_VISIBLE,
    }
)

FAULTS = frozenset({"policy_error", "policy_malformed", "policy_undefined", "policy_slow", "policy_stopped"})
"""Reason codes of the gateway's own denials, for when policy gave no decision that can be used."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `causes`: the rules and reason codes, or classes of PHI, that explain it; never a value."""

    kind: Kind
    causes: tuple[str, ...]

    @property
    def document(self) -> Document:
        """As JSON."""
        return {"kind": self.kind.value, "causes": list(self.causes)}


_EFFECTS = {
    (Effect.DENY, Effect.ALLOW): Kind.NEWLY_ALLOWED,
    (Effect.DENY, Effect.REQUIRE_APPROVAL): Kind.NEWLY_APPROVABLE,
    (Effect.REQUIRE_APPROVAL, Effect.ALLOW): Kind.NO_LONGER_NEEDING_APPROVAL,
    (Effect.ALLOW, Effect.DENY): Kind.NEWLY_DENIED,
    (Effect.REQUIRE_APPROVAL, Effect.DENY): Kind.NEWLY_DENIED,
    (Effect.ALLOW, Effect.REQUIRE_APPROVAL): Kind.NEWLY_NEEDING_APPROVAL,
}
_EXPLAINED_BY_BEFORE = frozenset({Kind.NEWLY_ALLOWED, Kind.NEWLY_APPROVABLE, Kind.NO_LONGER_NEEDING_APPROVAL})
"""Changes that come of a reason that is given no more; the others come of one that is given now."""

_CODE = re.compile(r"[a-z][a-z0-9_.]{0,63}", re.ASCII)
_RULE = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,100}", re.ASCII)
_KINDS_OF_ITEM = frozenset({"tools", "prompts", "resources", "resourceTemplates"})
_HIDDEN_NAME = re.compile(r"\.\*")


def compare(entrypoint: Entrypoint, asked: Json, before: Decision, after: Decision) -> tuple[Change, ...]:
    """What changes when `after` takes the place of `before` as the answer to `asked`, the recorded input.

    Empty when nothing does. Never raises, whatever the input is.
    """
    if before == after:
        return ()
    if fails(after) and not fails(before):
        return (Change(Kind.FAILS, _reasons(after)),)
    if entrypoint is Entrypoint.CATALOGUE:
        found = _catalogue(asked, before, after)
    elif before.effect is not after.effect:
        found = (_effect(before, after),)
    else:
        found = tuple(_same_effect(asked, before, after))
    return found or (Change(Kind.OTHERWISE, _reasons(after)),)


def fails(decided: Decision) -> bool:
    """Whether this is the gateway's own denial for want of a decision that can be used."""
    return decided.effect is Effect.DENY and bool(decided.reasons) and decided.reasons[0].code in FAULTS


def _effect(before: Decision, after: Decision) -> Change:
    kind = _EFFECTS[before.effect, after.effect]
    return Change(kind, _reasons(before if kind in _EXPLAINED_BY_BEFORE else after))


def _same_effect(asked: Json, before: Decision, after: Decision) -> Iterator[Change]:
    if before.approval != after.approval or before.counts != after.counts:
        yield Change(Kind.APPROVAL_TERMS, _reasons(after))
    if after.effect is Effect.ALLOW and before.mask != after.mask:
        yield from masks(asked, before.mask, after.mask)


def _reasons(decided: Decision) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_cause(reason) for reason in decided.reasons)) or ("(no reason given)",)


def _cause(reason: Reason) -> str:
    code = reason.code if _CODE.fullmatch(reason.code) else "(malformed)"
    if not reason.rule:
        return code
    return f"{reason.rule if _RULE.fullmatch(reason.rule) else '(other)'}: {code}"


def _catalogue(asked: Json, before: Decision, after: Decision) -> tuple[Change, ...]:
    kind, names = _listed(asked)
    had, has = _shown(names, before), _shown(names, after)
    cause = (f"catalogue: {kind}",)
    found = ((Kind.NEWLY_VISIBLE, has - had), (Kind.NEWLY_HIDDEN, had - has))
    return tuple(Change(what, cause) for what, items in found if items)


def _shown(names: frozenset[str], decided: Decision) -> frozenset[str]:
    return names & decided.visible if decided.effect is Effect.ALLOW else frozenset()


def _listed(asked: Json) -> tuple[str, frozenset[str]]:
    """What a listing lists and the names of its items, as policy was told. Names can be of patients: compared only."""
    catalogue = _member(asked, "catalogue")
    kind, items = _member(catalogue, "kind"), _member(catalogue, "items")
    found = (_member(item, "name") for item in items) if isinstance(items, list) else ()
    names = frozenset(name for name in found if isinstance(name, str))
    return (kind if isinstance(kind, str) and kind in _KINDS_OF_ITEM else "(unknown)"), names


def _member(value: Json, name: str) -> Json:
    return value.get(name) if isinstance(value, dict) else None


def masks(asked: Json, before: tuple[MaskRule, ...], after: tuple[MaskRule, ...]) -> Iterator[Change]:
    """How two mask plans differ on the PHI that the profile in `asked` tells of: classes and places, not values."""
    classes, places = _profiled(asked)
    old, new = _Plan.of(before), _Plan.of(after)
    pairs = [(place, phi) for phi in classes for place in places]
    for kind, one, other in ((Kind.NEWLY_UNMASKED, old, new), (Kind.NEWLY_MASKED, new, old)):
        lost = {phi for place, phi in pairs if one.may_mask_where_not(other, place, phi)}
        if lost:
            yield Change(kind, tuple(f"mask: {phi}" for phi in sorted(lost)))
    turned = sorted({turn for place, phi in pairs for turn in old.turns(new, place, phi)})
    if turned:
        yield Change(Kind.MASKED_DIFFERENTLY, tuple(turned))


def _profiled(asked: Json) -> tuple[list[str], list[_Place]]:
    """The classes and places of a profile. PHI whose place is not told may be anywhere."""
    profile = _member(asked, "profile")
    classes, told = _member(profile, "classes"), _member(profile, "paths")
    known = [name for name in classes if name in _CLASSES] if isinstance(classes, dict) else []
    texts = [path for path in told if isinstance(path, str)] if isinstance(told, list) else []
    return known, [_Place.of(path) for path in texts] or [_Place(None, frozenset(), None)]


_CLASSES = {phi.value: phi for phi in Phi}


@dataclass(frozen=True, slots=True)
class _Place:
    """A path of a profile. Its `*` are indices, or names that it would not tell."""

    steps: tuple[paths.Step, ...] | None
    """None: anywhere."""
    names: frozenset[str]
    """The names on the way, as field selectors have them."""
    last: str | None

    @staticmethod
    def of(path: str) -> _Place:
        try:
            steps = paths.parse(path)
        except MaskFault:  # `$`: the whole of it.
            return _Place(None, frozenset(), None)
        if any(step.deep for step in steps) or _HIDDEN_NAME.search(path):
            return _Place(None, frozenset(), None)
        names = [structure.field_name(step.key) for step in steps if isinstance(step.key, str)]
        last = structure.field_name(steps[-1].key) if isinstance(steps[-1].key, str) else None
        return _Place(steps, frozenset(names), last)


class _Plan:
    """A mask plan as far as it can be followed without the value: which rules may, and which must, take a place."""

    def __init__(self, explicit: dict[Selector, MaskRule], classes: dict[str, MaskRule]) -> None:
        self._explicit = explicit
        self._classes = classes

    @staticmethod
    def of(rules: tuple[MaskRule, ...]) -> _Plan:
        """The rules by what they select; of two for one thing the first counts, as in masking."""
        explicit: dict[Selector, MaskRule] = {}
        classes: dict[str, MaskRule] = {}
        for rule in rules:
            if rule.select.by == "class":
                classes.setdefault(rule.select.value, rule)
            else:
                explicit.setdefault(_normal(rule.select), rule)
        return _Plan(explicit, classes)

    def may_mask_where_not(self, other: _Plan, place: _Place, phi: str) -> bool:
        """Whether PHI of this class at this place can be masked here and clear there.

        A selector that both plans have takes the same values in both, whichever those are.
        """
        spared = [each for each in other._explicit if other._keeps(each) and not self._keeps(each)]
        if any(_may_take(each, place, phi) for each in spared) and self._may_mask(place, phi):
            return True
        if other._keeps_class(phi) and not self._keeps_class(phi) and self._may_mask(place, phi):
            return True  # What is masked here is masked wherever it is said again, but not where its class is kept.
        if other._by_class(phi) is not None:
            return False
        if any(_must_take(each, place) and not other._spares(each) for each in other._explicit):
            return False
        if self._by_class(phi) is not None:
            return True
        return any(self._reaches_beyond(other, each) and _may_take(each, place, phi) for each in self._explicit)

    def _may_mask(self, place: _Place, phi: str) -> bool:
        taken = any(not self._keeps(each) and _may_take(each, place, phi) for each in self._explicit)
        return taken or self._by_class(phi) is not None

    def _reaches_beyond(self, other: _Plan, selector: Selector) -> bool:
        return selector not in other._explicit or (other._spares(selector) and not self._spares(selector))

    def _keeps(self, selector: Selector) -> bool:
        return selector in self._explicit and self._explicit[selector].operator.name == "keep"

    def _spares(self, selector: Selector) -> bool:
        """Whether what is taken is kept; or emptied, and then not masked wherever it is said again."""
        return self._explicit[selector].operator.name in ("keep", "null")

    def turns(self, other: _Plan, place: _Place, phi: str) -> Iterator[str]:
        """What is done otherwise to PHI that both may mask: `SSN: redact → partial`."""
        old, new = self._by_class(phi), other._by_class(phi)
        if old is not None and new is not None and old.operator != new.operator:
            yield f"mask: {phi}: {old.operator.name} → {new.operator.name}"
        for selector in self._explicit.keys() & other._explicit.keys():
            was, now = self._explicit[selector].operator, other._explicit[selector].operator
            if was != now and _may_take(selector, place, phi):
                yield f"mask: by {selector.by}: {was.name} → {now.name}"

    def _by_class(self, phi: str) -> MaskRule | None:
        rule = self._rule_of(phi)
        return None if rule is None or rule.operator.name == "keep" else rule

    def _keeps_class(self, phi: str) -> bool:
        rule = self._rule_of(phi)
        return rule is not None and rule.operator.name == "keep"

    def _rule_of(self, phi: str) -> MaskRule | None:
        return next((self._classes[wide] for wide in _CLASSES[phi].wider if wide in self._classes), None)


def _normal(selector: Selector) -> Selector:
    return Selector("field", structure.field_name(selector.value)) if selector.by == "field" else selector


def _steps(selector: Selector) -> tuple[paths.Step, ...] | None:
    try:
        return paths.parse(selector.value)
    except MaskFault:
        return None  # Such a plan is never carried out: nothing leaves.


def _may_take(selector: Selector, place: _Place, phi: str) -> bool:
    """Whether the selector can mean PHI of this class at this place."""
    if place.steps is None:
        return True
    if selector.by == "field":
        own = named(selector.value).phi if len(selector.value) <= LONGEST_NAME else None
        # A field's label can stand in a text ("SSN: …"), at whatever place that text is.
        return selector.value in place.names or (own is not None and _alike(own, phi))
    steps = _steps(selector)
    return steps is not None and _leads(steps, place.steps, surely=False)


def _must_take(selector: Selector, place: _Place) -> bool:
    """Whether the selector takes the whole value at this place, whatever it is."""
    if place.steps is None:
        return False
    if selector.by == "field":
        return place.last == selector.value
    steps = _steps(selector)
    return steps is not None and _leads(steps, place.steps, surely=True)


def _alike(one: Phi, other: str) -> bool:
    return other in one.wider or one in _CLASSES[other].wider


@lru_cache(maxsize=4096)
def _leads(steps: tuple[paths.Step, ...], place: tuple[paths.Step, ...], *, surely: bool) -> bool:
    """Whether the steps lead to the place or to something it lies in. Surely: to every place that `*` stands for."""
    if not steps:
        return True
    step, rest = steps[0], steps[1:]
    for start in range(len(place) if step.deep else min(1, len(place))):
        if _is(step.key, place[start].key, surely=surely) and _leads(rest, place[start + 1 :], surely=surely):
            return True
    return False


def _is(wanted: str | int | None, found: str | int | None, *, surely: bool) -> bool:
    if wanted is None or wanted == found:
        return True
    # A row of a table is an array, of which a path may take a column by its name.
    return not surely and (found is None or isinstance(found, int))
