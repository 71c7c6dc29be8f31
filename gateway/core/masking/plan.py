"""The mask plan carried out: value in, masked value and manifest out.

Two passes. The first looks: every leaf is met, every text scanned, and the values that rules select are harvested. The
second masks: whole leaves by path, field or class; places in texts; and wherever a harvested value is said again. The
more particular rule wins (path, field, class, wider class; then the first in the plan). A plan that cannot be carried
out to the letter is a MaskFault, and nothing leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway.core.errors import MaskFault
from gateway.core.masking import conform, layers, operators, paths, structure
from gateway.core.masking.cuts import Cut, cut
from gateway.core.masking.known_values import KnownValues
from gateway.core.masking.names import named
from gateway.core.masking.phi import NARROWER, Phi
from gateway.core.masking.scan import Span
from gateway.core.masking.structure import Embedded, Explicit, Leaf
from gateway.core.masking.survey import Survey, look
from gateway.core.policy.decision import MaskRule, Operator, Selector
from gateway.core.types import Document, Json

ITEMS_MOST = 200
"""Items of a manifest; counts are of all."""
_STRUCTURED = "structuredContent"
_REDACT = Operator("redact")


@dataclass(frozen=True, slots=True)
class Masked:
    """A masked value and the manifest of what was done: class, place, detector and operator, never the value."""

    value: Json = field(repr=False)
    manifest: Document = field(default_factory=dict)
    """`{"counts": {class: n}, "items": [{path, class, detector, operator}…] (bounded), "truncated": bool}`"""

    @property
    def count(self) -> int:
        """How many values were masked."""
        counts = self.manifest.get("counts", {})
        assert isinstance(counts, dict)
        return sum(n for n in counts.values() if isinstance(n, int))


def apply(
    value: Json, rules: tuple[MaskRule, ...], *, key: bytes, schema: Document | None, survey: Survey | None = None
) -> Masked:
    """Carry out `rules` on `value` (an MCP result, error or params), which is left as it is.

    `key`: HMAC key of tokens. `schema`: what `structuredContent` promised; a result that kept it still does afterwards
    (one that broke it before is the upstream's fault and is only masked). `survey`: what `profile.inspect` saw of this
    very value, which is used up. Raises MaskFault, and nothing else.
    """
    if not rules:
        return Masked(value, _nothing_done())
    plan = _Plan.of(rules)
    try:
        if survey is not None and not plan.explicit.fields and not plan.explicit.paths and survey.empty:
            return Masked(value, _nothing_done())
        return _Masking(plan, plan.survey(value, survey), key).run(value, schema)
    except RecursionError as problem:
        raise MaskFault("The result is nested too deeply to be masked.") from problem


def apply_all(
    values: Sequence[Json], surveys: Sequence[Survey | None], rules: tuple[MaskRule, ...], *, key: bytes
) -> tuple[Masked | None, ...]:
    """Carry out `rules` on each of `values` as `apply` does, with what was seen of each; None where they cannot be."""
    try:
        plan = _Plan.of(rules)
    except MaskFault:
        return tuple([None] * len(values))
    done: list[Masked | None] = []
    for value, survey in zip(values, surveys, strict=True):
        if survey is not None and survey.empty and not plan.explicit.fields and not plan.explicit.paths:
            done.append(Masked(value, _nothing_done()))
            continue
        try:
            done.append(apply(value, rules, key=key, schema=None, survey=survey))
        except MaskFault:
            done.append(None)
    return tuple(done)


def _nothing_done() -> Document:
    return {"counts": {}, "items": [], "truncated": False}


@dataclass(frozen=True, slots=True)
class _Plan:
    explicit: Explicit
    classes: dict[Phi, MaskRule]

    @staticmethod
    def of(rules: tuple[MaskRule, ...]) -> _Plan:
        """The rules sorted by what they select. Raises MaskFault for one that is not well formed."""
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
        return _Plan(Explicit(fields, tuple(places)), classes)

    def survey(self, value: Json, seen: Survey | None) -> Survey:
        """All that this plan may have to do with, from what was seen already where the plan names no places."""
        if seen is not None and not self.explicit.fields and not self.explicit.paths:
            return seen.less(self._owns)
        return look(value, self.explicit, owned=self._owns)

    def _owns(self, leaf: Leaf) -> bool:
        return self.whole(leaf) is not None

    def whole(self, leaf: Leaf) -> MaskRule | None:
        """The rule that takes a leaf as a whole, because of its place, name or kind."""
        return leaf.rule or (self.classes.get(leaf.phi) if leaf.phi is not None else None)

    def of_span(self, span: Span) -> MaskRule | None:
        """The rule that takes a place in a text."""
        return self.explicit.fields.get(span.field) or self.classes.get(span.phi)


_CLASSES = {phi.value: phi for phi in Phi}
_BY_VALUE = Selector("class", "PHI")
"""A rule made for a number that is a known value; only its operator matters."""


@dataclass(slots=True, eq=False)
class _Change:
    """A leaf's masked value, and what may stand there instead if a schema forbids it."""

    leaf: Leaf
    options: list[Json]


class _Masking:
    """One plan on one value; lives for one call of `apply`."""

    def __init__(self, plan: _Plan, survey: Survey, key: bytes) -> None:
        self._plan, self._survey, self._root, self._key = plan, survey, survey.root, key
        self._known = KnownValues()
        self._cuts: dict[str, list[Cut]] = {}
        self._changes: list[_Change] = []
        self._done: list[tuple[Leaf | str, Phi, str, str]] = []
        self._safe: dict[str, str] = {}

    def run(self, value: Json, schema: Document | None) -> Masked:
        wholes = self._wholes()
        self._take_spans()
        self._harvest(wholes)
        self._propagate()
        for leaf, rule, phi, detector in wholes:
            self._replace(leaf, rule, phi, detector)
        self._mask_texts({id(leaf) for leaf, *_ in wholes})
        names = self._names()
        if not self._done:
            return Masked(value, self._manifest())
        self._keep(value, schema)
        self._finish(names)
        if schema is not None and self._breaks(value, schema):
            raise MaskFault("What had to be masked in a member's name or in JSON in a string breaks the outputSchema.")
        return Masked(self._root[0], self._manifest())

    def _wholes(self) -> list[tuple[Leaf, MaskRule, Phi, str]]:
        found: dict[int, tuple[Leaf, MaskRule, Phi, str]] = {}
        stuck = self._survey.scanned.unreadable
        unreadable = {id(leaf) for leaf in self._survey.walk.unreadable}
        for leaf in self._survey.walk.leaves:
            rule = self._plan.whole(leaf)
            if rule is not None:
                detector = rule.select.by if leaf.rule else leaf.detector
                found[id(leaf)] = (leaf, rule, leaf.phi or Phi.PHI, detector)
            elif id(leaf) in unreadable or (isinstance(leaf.value, str) and leaf.value in stuck):
                blob = self._plan.classes.get(Phi.BLOB)
                if blob is None:
                    raise MaskFault("Part of the result is packed or nested beyond what can be looked into.")
                found[id(leaf)] = (leaf, blob, Phi.BLOB, "unreadable")
        for leaf, span in self._survey.split():
            rule = self._plan.of_span(span)
            if rule is not None:
                found.setdefault(id(leaf), (leaf, rule, span.phi, "split"))
        return list(found.values())

    def _take_spans(self) -> None:
        for text, spans in self._survey.scanned.spans.items():
            cuts = [
                Cut(span.start, span.end, span.phi, span.detector, _operator(span.detector, rule))
                for span in spans
                if (rule := self._plan.of_span(span)) is not None
            ]
            if cuts:
                self._cuts[text] = cuts

    def _harvest(self, wholes: Iterable[tuple[Leaf, MaskRule, Phi, str]]) -> None:
        for leaf, rule, phi, detector in wholes:
            if detector in ("split", "unreadable") or isinstance(leaf.value, bool) or rule.operator.name == "keep":
                continue
            if isinstance(leaf.value, str | int) and not operators.is_masked(str(leaf.value), self._key):
                self._known.add(str(leaf.value), phi, rule.operator)
        for text, cuts in self._cuts.items():
            for one in cuts:
                said = text[one.start : one.end]
                # "Patient/Encounter" in prose: the id is masked there, but a word is no value to look for elsewhere.
                word = one.detector == "fhir-reference" and said.isalpha()
                kept = one.operator.name == "keep" or one.detector.startswith("decoded")
                if not word and not kept and not operators.is_masked(said, self._key):
                    self._known.add(said, one.phi, one.operator)

    def _propagate(self) -> None:
        scanned = self._survey.scanned
        texts = list(scanned.folded.items())
        for number, found in self._known.find(folded.data for _, folded in texts):
            text, folded = texts[number]
            start, end = folded.original(found.start, found.end)
            self._cuts.setdefault(text, []).append(Cut(start, end, found.known.phi, "known", found.known.operator))
        for text, _ in texts:
            for found in () if text.isascii() else self._known.find_foreign(text):
                cuts = self._cuts.setdefault(text, [])
                cuts.append(Cut(found.start, found.end, found.known.phi, "known", found.known.operator))
        for number, found in self._known.find(folded.data for _, folded in scanned.readings):
            text, folded = scanned.readings[number]
            said = folded.data[found.start : found.end].decode("ascii").lower()
            if said not in text.lower():
                whole = Cut(0, len(text), found.known.phi, "decoded-known", _REDACT)
                self._cuts.setdefault(text, []).append(whole)

    def _replace(self, leaf: Leaf, rule: MaskRule, phi: Phi, detector: str) -> None:
        options = operators.candidates(rule.operator, phi, leaf.value, self._key)
        if options[0] is not leaf.value and options[0] != leaf.value:
            self._changes.append(_Change(leaf, options))
            self._put(leaf, options[0])
            self._done.append((leaf, phi, detector, rule.operator.name))

    @staticmethod
    def _put(leaf: Leaf, value: Json) -> None:
        leaf.holder[leaf.key] = value  # type: ignore[index]  # The key came out of this holder.

    def _mask_texts(self, whole: set[int]) -> None:
        masked: dict[str, tuple[str, list[Cut]]] = {}
        for leaf in self._survey.walk.leaves:
            if id(leaf) in whole:
                continue
            if isinstance(leaf.value, str):
                if leaf.value in self._cuts:
                    self._mask_text(leaf, masked)
            elif isinstance(leaf.value, int | float) and abs(leaf.value) >= 10_000:
                known = self._known.is_known(str(leaf.value))
                if known is not None:
                    rule = MaskRule(_BY_VALUE, known.operator)
                    self._replace(leaf, rule, known.phi, "known")

    def _mask_text(self, leaf: Leaf, masked: dict[str, tuple[str, list[Cut]]]) -> None:
        text = str(leaf.value)
        if text not in masked:
            masked[text] = cut(text, self._cuts[text], self._key)
        new, made = masked[text]
        if made:
            if leaf.detector == "blob":
                new = ""
            self._changes.append(_Change(leaf, [new, None]))
            self._put(leaf, new)
            self._done.extend((leaf, one.phi, one.detector, one.operator.name) for one in made)

    def _keep(self, before: Json, schema: Document | None) -> None:
        """Give way where the schema demands it: null, then an empty value; else the plan cannot be carried out."""
        if schema is None:
            return
        changed = {place: change for change in self._changes if (place := _inside(change.leaf.place)) is not None}
        if not changed or not isinstance(before, dict) or _STRUCTURED not in before:
            return
        compiled = conform.validator(schema)
        after = self._root[0]
        assert isinstance(after, dict)
        while not compiled.is_valid(after[_STRUCTURED]):
            if not compiled.is_valid(before[_STRUCTURED]):
                return
            if not self._give_way(conform.faults(compiled, after[_STRUCTURED]), changed):
                raise MaskFault("No masked value keeps the tool's outputSchema: it allows neither a label nor null.")

    def _give_way(self, broken: list[Sequence[str | int]], changed: dict[tuple[str | int, ...], _Change]) -> bool:
        moved = False
        for fault in broken:
            at = tuple(fault)
            exact = changed.get(at)
            # A fault of anyOf and the like is told of the container: then all that changed in it gives way.
            near = [exact] if exact is not None else [one for place, one in changed.items() if place[: len(at)] == at]
            for change in near:
                if len(change.options) > 1:
                    change.options.pop(0)
                    self._put(change.leaf, change.options[0])
                    moved = True
        return moved

    def _breaks(self, before: Json, schema: Document) -> bool:
        after = self._root[0]
        if not isinstance(before, dict) or not isinstance(after, dict) or _STRUCTURED not in before:
            return False
        compiled = conform.validator(schema)
        if not compiled.is_valid(before[_STRUCTURED]):
            return False
        return not compiled.is_valid(after.get(_STRUCTURED))

    def _finish(self, names: dict[str, str]) -> None:
        """Rename members whose names are PHI and write opened JSON back, inner before outer."""
        for one in reversed(self._survey.walk.inner):
            if isinstance(one, Embedded):
                one.holder[one.key] = self._written(one)  # type: ignore[index]  # Its own key.
            elif names and not names.keys().isdisjoint(one):
                _rename(one, names)
        after = self._root[0]
        for mirror, wrapped in self._survey.walk.mirrors:
            assert isinstance(after, dict)
            whole = after[_STRUCTURED]
            shown = whole["result"] if wrapped and isinstance(whole, dict) else whole
            mirror.root[0] = shown
            mirror.holder[mirror.key] = self._written(mirror)  # type: ignore[index]  # Its own key.

    @staticmethod
    def _written(one: Embedded) -> str:
        return layers.close_json(one.root[0], one.style)

    def _names(self) -> dict[str, str]:
        """New spellings of object keys that are PHI or known values."""
        names: dict[str, str] = {}
        for key in self._survey.walk.names():
            if key in self._cuts:
                new, made = cut(key, self._cuts[key], self._key)
            else:
                known = self._known.is_known(key)
                if known is None or named(key[:80]).phi is not None:
                    continue
                new = operators.mask_text(known.operator, known.phi, key, self._key)
                made = [Cut(0, len(key), known.phi, "known", known.operator)]
            if new != key:
                names[key] = new
                self._safe[key] = f"[{new!r}]"
                self._done.extend(("$..*", one.phi, one.detector, one.operator.name) for one in made)
        return names

    def _manifest(self) -> Document:
        counts: dict[str, Json] = {}
        for _, phi, _, _ in self._done:
            was = counts.get(phi.value, 0)
            counts[phi.value] = (was if isinstance(was, int) else 0) + 1
        items: list[Json] = [
            {"path": self._shown(leaf), "class": phi.value, "detector": detector, "operator": operator}
            for leaf, phi, detector, operator in self._done[:ITEMS_MOST]
        ]
        return {"counts": counts, "items": items, "truncated": len(self._done) > ITEMS_MOST}

    def _shown(self, leaf: Leaf | str) -> str:
        return leaf if isinstance(leaf, str) else structure.path(leaf.place, self._safe)


def _operator(detector: str, rule: MaskRule) -> Operator:
    # The end of an encoded text is not the end of the value in it: what is decoded is only ever redacted.
    return _REDACT if detector.startswith("decoded") else rule.operator


def _inside(place: structure.Place | None) -> tuple[str | int, ...] | None:
    """A place as keys below `structuredContent`, or None elsewhere and inside strings."""
    keys: list[str | int] = []
    while place is not None:
        place, key = place
        keys.append(key)
    return tuple(reversed(keys[:-1])) if keys and keys[-1] == _STRUCTURED else None


def _rename(node: dict[str, Json], names: dict[str, str]) -> None:
    members = list(node.items())
    node.clear()
    for key, value in members:
        new = base = names.get(key, key)
        number = 2
        while new in node:
            new, number = f"{base}#{number}", number + 1
        node[new] = value
