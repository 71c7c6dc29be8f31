"""The mask plan carried out: value in, masked value and manifest out.

Two passes. The first looks: every leaf is met, every text scanned, and the values that rules select are harvested. The
second masks: whole leaves by path, field or class; places in texts; and wherever a harvested value is said again. The
more particular rule wins (path, field, class, wider class; then the first in the plan). A plan that cannot be carried
out to the letter is a MaskFault, and nothing leaves.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from gateway.core.errors import MaskFault
from gateway.core.masking import conform, layers, operators, structure
from gateway.core.masking.cuts import Cut, cut
from gateway.core.masking.fold import Joined
from gateway.core.masking.known_values import KnownValues, Value, words
from gateway.core.masking.manifest import Done, manifest
from gateway.core.masking.names import named
from gateway.core.masking.phi import Phi
from gateway.core.masking.rules import Plan, compiled
from gateway.core.masking.structure import Leaf, Node
from gateway.core.masking.survey import NOTHING, Survey, look, to_scan
from gateway.core.policy.decision import MaskRule, Operator
from gateway.core.protocol.mcp import MEMBERS
from gateway.core.types import Document, Json

_STRUCTURED = "structuredContent"
_NO_VALUES = frozenset({"split", "unreadable"})
"""Detectors of what is not a value as a whole."""

_Change = tuple[Leaf, list[Json]]
"""A leaf and what may stand there: first what does, then what if a schema forbids that."""


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
    very value. Raises MaskFault, and nothing else.
    """
    if not rules:
        return Masked(value, manifest([], {}))
    plan = compiled(rules)
    try:
        if plan.explicit or survey is None:
            survey = look(value, plan.explicit, owned=plan.owns)
        elif survey.empty:
            return Masked(value, manifest([], {}))
        return _Masking(plan, survey, key).run(value, schema)
    except RecursionError as problem:
        raise MaskFault("The result is nested too deeply to be masked.") from problem


def apply_all(
    values: Sequence[Json], surveys: Sequence[Survey | None], rules: tuple[MaskRule, ...], *, key: bytes
) -> tuple[Masked | None, ...]:
    """Carry out `rules` on each of `values` as `apply` does, with what was seen of each; None where they cannot be."""
    try:
        by_class = not compiled(rules).explicit
    except MaskFault:
        return (None,) * len(values)
    nothing = manifest([], {})
    done: list[Masked | None] = []
    for value, survey in zip(values, surveys, strict=True):
        if by_class and survey is not None and (survey is NOTHING or survey.empty):
            done.append(Masked(value, nothing))
            continue
        try:
            done.append(apply(value, rules, key=key, schema=None, survey=survey))
        except MaskFault:
            done.append(None)
    return tuple(done)


class _Masking:
    """One plan on one value; lives for one call of `apply`."""

    def __init__(self, plan: Plan, survey: Survey, key: bytes) -> None:
        self._plan, self._survey, self._key = plan, survey, key
        self._copies: dict[Node, list[Json] | dict[str, Json]] = {}
        """Containers that were changed, as they are now; what was not changed is shared with the message."""
        self._wholes: list[tuple[Leaf, Operator, Phi, str]] = []
        """Leaves that go as a whole, how, as what and found by what."""
        self._taken: set[Leaf] = set()
        """Those of them that no rule takes because of what they are."""
        self._known = KnownValues()
        self._cuts: dict[str, list[Cut]] = {}
        self._changes: list[_Change] = []
        self._done: list[Done] = []
        self._safe: dict[str, str] = {}
        self._renamed: dict[Node, dict[int | str, str]] = {}
        """What members are called now, where some were renamed."""

    def run(self, value: Json, schema: Document | None) -> Masked:
        free = self._sort()
        texts, blobs = to_scan(self._survey.walk, free)
        scanned = texts.keys() | blobs
        self._split()
        self._take_spans(scanned)
        rest = [leaf for leaf in free if leaf not in self._taken] if self._taken else free
        self._propagate(rest, list(texts), scanned)
        for whole in self._wholes:
            self._replace(*whole)
        self._mask_rest(rest)
        names = self._names()
        if not self._done:
            return Masked(value, manifest([], {}))
        self._keep(value, schema)
        if self._finish(names) and schema is not None and self._breaks(value, schema):
            raise MaskFault("What had to be masked in a member's name or in JSON in a string breaks the outputSchema.")
        return Masked(self._after(), manifest(self._done, self._safe))

    def _sort(self) -> list[Leaf]:
        """Tell the leaves that go as a whole from those that no rule takes because of what they are; the latter."""
        free: list[Leaf] = []
        classes, walk, texts = self._plan.classes, self._survey.walk, self._survey.scanned.unreadable
        stuck = set(walk.unreadable)
        for leaf in walk.leaves:
            rule = leaf.rule or (None if leaf.phi is None else classes.get(leaf.phi))
            if rule is not None:
                detector = rule.select.by if leaf.rule else leaf.detector
                self._wholes.append((leaf, rule.operator, leaf.phi or Phi.PHI, detector))
                continue
            free.append(leaf)
            if leaf in stuck or (texts and type(leaf.value) is str and leaf.value in texts):
                if Phi.BLOB not in classes:
                    raise MaskFault("Part of the result is packed or nested beyond what can be looked into.")
                self._wholes.append((leaf, classes[Phi.BLOB].operator, Phi.BLOB, "unreadable"))
                self._taken.add(leaf)
        return free

    def _split(self) -> None:
        for leaf, span in self._survey.split():
            rule = self._plan.of_span(span)
            if rule is not None and leaf not in self._taken and not self._plan.owns(leaf):
                self._wholes.append((leaf, rule.operator, span.phi, "split"))
                self._taken.add(leaf)

    def _take_spans(self, scanned: Collection[str]) -> None:
        for text, spans in self._survey.scanned.spans.items():
            if text in scanned:
                cuts = [
                    Cut(span.start, span.end, span.phi, span.detector, _operator(span.detector, rule))
                    for span in spans
                    if (rule := self._plan.of_span(span)) is not None
                ]
                if cuts:
                    self._cuts[text] = cuts

    def _harvest(self) -> list[Value]:
        """What is taken out of one place and may be said in others."""
        values: list[Value] = []
        for leaf, operator, phi, detector in self._wholes:
            told = type(leaf.value) is str or type(leaf.value) is int
            if told and detector not in _NO_VALUES and operator.name != "keep":
                values.append(Value(str(leaf.value), phi, operator))
        for text, cuts in self._cuts.items():
            for one in cuts:
                said = text[one.start : one.end]
                # "Patient/Encounter" in prose: the id is masked there, but a word is no value to look for elsewhere.
                word = one.detector == "fhir-reference" and said.isalpha()
                if not word and one.operator.name != "keep" and not one.detector.startswith("decoded"):
                    values.append(Value(said, one.phi, one.operator))
        return values

    def _propagate(self, rest: list[Leaf], texts: list[str], scanned: Collection[str]) -> None:
        """Take known values out of what no rule takes as a whole."""
        values = self._harvest()
        if not values:
            return
        joined = Joined(texts)
        readings = [(text, read) for text, read in self._survey.scanned.readings if text in scanned]
        views = Joined([read for _, read in readings])
        numbers = [str(each.value).encode() for each in rest if type(each.value) is not str and _is_long(each.value)]
        said = set(words(b"\0".join([joined.data, views.data, *numbers])))
        said.update(*[members.folded for members in self._survey.walk.objects])
        self._known = KnownValues.of(values, said, self._key)
        if not self._known:
            return
        for number, found in self._known.find(joined.data):
            start, end = joined.original(number, found.start, found.end)
            known = found.known
            self._cuts.setdefault(texts[number], []).append(Cut(start, end, known.phi, "known", known.operator))
        for text in texts:
            for found in () if text.isascii() else self._known.find_foreign(text):
                cuts = self._cuts.setdefault(text, [])
                cuts.append(Cut(found.start, found.end, found.known.phi, "known", found.known.operator))
        for number, found in self._known.find(views.data):
            text, _ = readings[number]
            if found.known.folded.decode("ascii") not in text.lower():
                whole = Cut(0, len(text), found.known.phi, "decoded-known", operators.REDACT)
                self._cuts.setdefault(text, []).append(whole)

    def _replace(self, leaf: Leaf, operator: Operator, phi: Phi, detector: str) -> None:
        value = leaf.value
        options = operators.candidates(operator, phi, value, self._key)
        new = options[0]
        if new is not value and new != value:
            self._changes.append((leaf, options))
            self._put(leaf, new)
            self._done.append((leaf, phi, detector, operator.name))

    def _put(self, leaf: Leaf, value: Json) -> None:
        own = self._copies.get(leaf.node) or self._own(leaf.node)
        own[leaf.key] = value  # type: ignore[index]  # The key came out of this container.

    def _own(self, node: Node) -> list[Json] | dict[str, Json]:
        """A node's container as a copy that may be changed, in copies of all around it."""
        own = self._copies.get(node)
        if own is None:
            own = self._copies[node] = node.value.copy()
            if node.above is not None and node.style is None:
                self._own(node.above)[node.key] = own  # type: ignore[index]  # Its own key.
        return own

    def _after(self) -> Json:
        root = self._survey.root
        after = self._copies.get(root, root.value)
        return after if isinstance(after, dict) else after[0]

    def _mask_rest(self, rest: list[Leaf]) -> None:
        masked: dict[str, tuple[str, list[Cut]]] = {}
        cuts, known_any = self._cuts, bool(self._known)
        if not (cuts or known_any):
            return
        for leaf in rest:
            if type(leaf.value) is str:
                if leaf.value in cuts:
                    self._mask_text(leaf, masked)
            elif known_any and _is_long(leaf.value):
                known = self._known.is_known(str(leaf.value))
                if known is not None:
                    self._replace(leaf, known.operator, known.phi, "known")

    def _mask_text(self, leaf: Leaf, masked: dict[str, tuple[str, list[Cut]]]) -> None:
        text = str(leaf.value)
        if text not in masked:
            masked[text] = cut(text, self._cuts[text], self._key)
        new, made = masked[text]
        if made:
            if leaf.detector == "blob":
                new = ""
            self._changes.append((leaf, [new, None]))
            self._put(leaf, new)
            self._done.extend((leaf, one.phi, one.detector, one.operator.name) for one in made)

    def _keep(self, before: Json, schema: Document | None) -> None:
        """Give way where the schema demands it: null, then an empty value; else the plan cannot be carried out."""
        if schema is None or not isinstance(before, dict) or _STRUCTURED not in before:
            return
        compiled = conform.validator(schema)
        if compiled.is_valid(self._structured()):
            return
        places = [(structure.place(change[0].node, change[0].key), change) for change in self._changes]
        changed = {tuple(place[1:]): change for place, change in places if place[0] == _STRUCTURED}
        if not changed or not compiled.is_valid(before[_STRUCTURED]):
            return
        while not compiled.is_valid(self._structured()):
            if not self._give_way(compiled.faults(self._structured()), changed):
                raise MaskFault("No masked value keeps the tool's outputSchema: it allows neither a label nor null.")

    def _structured(self) -> Json:
        after = self._after()
        assert isinstance(after, dict)
        return after[_STRUCTURED]

    def _give_way(self, broken: list[Sequence[str | int]], changed: dict[tuple[str | int, ...], _Change]) -> bool:
        moved = False
        for fault in broken:
            at = tuple(fault)
            exact = changed.get(at)
            # A fault of anyOf and the like is told of the container: then all that changed in it gives way.
            near = [exact] if exact is not None else [one for place, one in changed.items() if place[: len(at)] == at]
            for leaf, options in near:
                if len(options) > 1:
                    options.pop(0)
                    self._put(leaf, options[0])
                    moved = True
        return moved

    def _breaks(self, before: Json, schema: Document) -> bool:
        after = self._after()
        if not isinstance(before, dict) or not isinstance(after, dict) or _STRUCTURED not in before:
            return False
        compiled = conform.validator(schema)
        return not compiled.is_valid(after.get(_STRUCTURED)) and compiled.is_valid(before[_STRUCTURED])

    def _finish(self, names: dict[str, str]) -> bool:
        """Rename members whose names are PHI and write opened JSON back, inner before outer; whether that may have
        changed `structuredContent`. MCP's own words for its members stay: they are nobody's, and clients go by them."""
        walk = self._survey.walk
        changed = bool(names)
        others = {name: told for name, told in names.items() if name not in MEMBERS}
        for mirror, _ in walk.mirrors:
            self._own(mirror.above or mirror)
        for one in reversed(walk.inner):
            if one.style is not None:
                changed = changed or structure.place(one, 0)[0] == _STRUCTURED
                self._write(one, self._copies.get(one, one.value)[0])  # type: ignore[index]  # A list of one.
            elif names and not names.keys().isdisjoint(one.value):
                told = others if structure.is_of_mcp(one) else names
                self._renamed[one] = _rename(self._own(one), told)
        for mirror, wrapped in walk.mirrors:
            whole = self._structured()
            self._write(mirror, next(iter(whole.values())) if wrapped and isinstance(whole, dict) else whole)
        return changed

    def _write(self, opened: Node, value: Json) -> None:
        """Write JSON back into the string that it was opened from."""
        assert opened.above is not None
        assert opened.style is not None
        key = self._renamed.get(opened.above, {}).get(opened.key, opened.key)
        self._own(opened.above)[key] = layers.close_json(value, opened.style)  # type: ignore[index]

    def _names(self) -> dict[str, str]:
        """New spellings of object keys that are PHI or known values."""
        names: dict[str, str] = {}
        met = self._survey.walk.names()
        for key in met if self._known else met & self._cuts.keys():
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


def _is_long(value: Json) -> bool:
    """Whether a number is long enough to be a value that is known."""
    return isinstance(value, int | float) and abs(value) >= 10_000


def _operator(detector: str, rule: MaskRule) -> Operator:
    # The end of an encoded text is not the end of the value in it: what is decoded is only ever redacted.
    return operators.REDACT if detector.startswith("decoded") else rule.operator


def _rename(node: list[Json] | dict[str, Json], names: dict[str, str]) -> dict[int | str, str]:
    """Give members their new names; each name, and what it is now: of two that become the same one is told apart."""
    assert isinstance(node, dict)
    members = list(node.items())
    node.clear()
    now: dict[int | str, str] = {}
    for key, value in members:
        new = base = names.get(key, key)
        number = 2
        while new in node:
            new, number = f"{base}#{number}", number + 1
        node[new] = value
        now[key] = new
    return now
