"""Mask rules as masking uses them: checked, sorted by what they select, and kept for the next result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import orjson

from gateway.core.errors import MaskFault
from gateway.core.masking import operators, paths, structure
from gateway.core.masking.phi import NARROWER, Phi
from gateway.core.masking.scan import Span
from gateway.core.masking.structure import Explicit, Leaf
from gateway.core.policy.decision import MaskRule, Operator, Selector

_CLASSES = {phi.value: phi for phi in Phi}


@dataclass(frozen=True, slots=True)
class Plan:
    """Rules by what they select; the more particular one wins: path, field, class, wider class, then the first."""

    explicit: Explicit
    classes: dict[Phi, MaskRule]

    @staticmethod
    def of(rules: Iterable[MaskRule]) -> Plan:
        """The plan that the rules make. Raises MaskFault for one that is not well formed."""
        fields: dict[str, MaskRule] = {}
        places: list[tuple[tuple[paths.Step, ...], MaskRule]] = []
        given: dict[Phi, MaskRule] = {}
        for rule in rules:
            operators.check(rule.operator)
            match rule.select.by:
                case "path":
                    places.append((paths.parse(rule.select.value), rule))
                case "field" if structure.field_name(rule.select.value):
                    fields.setdefault(structure.field_name(rule.select.value), rule)
                case "class" if rule.select.value in _CLASSES:
                    given.setdefault(_CLASSES[rule.select.value], rule)
                case _:
                    raise MaskFault("A mask rule selects by path, by field name or by one of our PHI classes.")
        classes = dict(given)
        for phi in sorted(given, key=lambda one: len(NARROWER[one])):
            for narrower in NARROWER[phi]:
                classes.setdefault(narrower, given[phi])
        return Plan(Explicit(fields, tuple(places)), classes)

    def owns(self, leaf: Leaf) -> bool:
        """Whether a rule takes a leaf as a whole, because of its place, name or kind."""
        return leaf.rule is not None or leaf.phi in self.classes

    def of_span(self, span: Span) -> MaskRule | None:
        """The rule that takes a place in a text."""
        return self.explicit.fields.get(span.field) or self.classes.get(span.phi)


def compiled(rules: tuple[MaskRule, ...]) -> Plan:
    """The plan that the rules make. Raises MaskFault for a rule that is not well formed."""
    known = _AT_HAND.get(id(rules))
    if known is not None:
        return known[1]
    try:
        plan = _compiled(orjson.dumps(rules))
    except TypeError:  # Lone surrogates or integers beyond 64 bits.
        plan = Plan.of(rules)
    if len(_AT_HAND) >= _AT_HAND_MOST:
        _AT_HAND.clear()
    _AT_HAND[id(rules)] = rules, plan
    return plan


_AT_HAND: dict[int, tuple[tuple[MaskRule, ...], Plan]] = {}
"""Plans by the identity of their rules, which the entry keeps alive: the answer that policy is known to give is one
object each time."""
_AT_HAND_MOST = 256


@lru_cache(maxsize=256)
def _compiled(rules: bytes) -> Plan:
    """A plan made of rules as JSON, and remembered: policy answers the same few again and again."""
    read = orjson.loads(rules)
    return Plan.of([MaskRule(Selector(**each["select"]), Operator(**each["operator"])) for each in read])
