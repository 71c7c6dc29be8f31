"""What PHI a value holds, as policy is told: classes, places and counts, never the values."""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import orjson

from gateway.core.masking.cuts import merge
from gateway.core.masking.names import LONGEST_NAME, named
from gateway.core.masking.phi import Phi
from gateway.core.masking.spots import Spot
from gateway.core.masking.survey import NOTHING, Survey, hold_nothing, look, look_at_all
from gateway.core.types import Document, Json

PATHS_MOST = 100
"""Distinct paths in a profile; policy pays for every byte of its input."""
PATIENTS_KEPT = 10_000
"""Patients of one result that are known again; who has seen more at once has seen too many under any budget."""
TOO_LARGE = 2**53 - 1
"""`bytes` of a value nested too deeply to be measured: more than any policy allows."""
_NOBODY: frozenset[bytes] = frozenset()
_SAFE_KEY = re.compile(r"[A-Za-z_$][A-Za-z_$-]{0,40}\d{0,3}[A-Za-z_$]{0,20}")
_STEP = re.compile(r"(?=[.\[])")
_PERSONAL = frozenset({Phi.MRN, Phi.SSN, Phi.NAME})
_STAFF = ("provider", "practitioner", "physician", "doctor", "attending", "referring", "user", "performer", "employer")


@dataclass(frozen=True, slots=True)
class Profile:
    """The answer to Inspect. `document` is what goes into the decision input as `profile`."""

    document: Document = field(default_factory=dict)
    """`{"classes": {class: count}, "paths": [places, indices as *, bounded], "rows": n, "patients": n, "bytes": n}`"""
    patients: frozenset[bytes] = field(default=frozenset(), repr=False)
    """Keyed digests of the patients' identifiers, at most PATIENTS_KEPT; empty unless a key was given."""
    uncounted: int = 0
    """How many patients there are beyond those."""
    survey: Survey | None = field(default=None, repr=False, compare=False)
    """What the profile was read from, so that masking the same value need not look at it again."""


def inspect(value: Json, *, patient_key: bytes | None = None) -> Profile:
    """What PHI `value` holds: an MCP result, error or params. Never raises: what cannot be looked into is class `BLOB`.

    `rows`: entries of the outermost lists and tables, of content or of structuredContent, whichever is more.
    `patients`: distinct values of the patient key that has most of them. `bytes`: of the value as compact JSON.
    With `patient_key` their digests come along, by which they are known again in other results.
    """
    try:
        found = look(value)
    except RecursionError:  # Nested beyond what this process can follow, so nothing is known of it.
        return Profile({"classes": {"BLOB": 1}, "paths": ["$"], "rows": 0, "patients": 0, "bytes": TOO_LARGE})
    tally = _Tally()
    tally.take(found)
    rows = max([*found.walk.rows.values(), found.scanned.rows], default=0)
    kind, patients = _patients(tally.people)
    digests = _NOBODY if patient_key is None else _digests(kind, patients, patient_key)
    return Profile(
        {
            "classes": {phi._value_: count for phi, count in tally.classes.items()},
            "paths": [*sorted(tally.places)],
            "rows": rows,
            "patients": len(patients),
            "bytes": _size(value),
        },
        digests,
        0 if patient_key is None else max(0, len(patients) - PATIENTS_KEPT),
        found,
    )


def inspect_all(values: Sequence[Json]) -> tuple[Profile, ...]:
    """What PHI each of `values` holds, as `inspect` says it; one look at all of them tells where none holds any."""
    try:
        found = NOTHING if hold_nothing(values) else look_at_all(values)
    except RecursionError:
        return tuple([inspect(value) for value in values])
    if not found.empty or found.walk.rows or found.scanned.rows:
        return tuple([inspect(value) for value in values])
    sizes = [_size(value) for value in values]
    nothing: Document = {"classes": {}, "paths": [], "rows": 0, "patients": 0}
    by_size = {size: Profile({**nothing, "bytes": size}, survey=NOTHING) for size in set(sizes)}
    return tuple([by_size[size] for size in sizes])


class _Tally:
    """What was found, counted."""

    def __init__(self) -> None:
        self.classes: dict[Phi, int] = {}
        self.places: set[str] = set()
        self.people: dict[tuple[Phi, str], set[Json]] = {}
        """The contents, to count distinct ones, by class and name."""

    def take(self, found: Survey) -> None:
        """Count all of it, leaf by leaf."""
        spans = found.scanned.spans
        for leaf in found.walk.leaves:
            value, phi = leaf.value, leaf.phi
            if phi is not None:
                spot = leaf.spot
                content = None if type(value) is dict or type(value) is list else value
                self._add(spot.shown or _shown(spot), phi, content, spot.said)
            if spans and type(value) is str and value in spans:
                for span in merge(spans[value]):
                    if phi is None or not _related(phi, span.phi):
                        said = span.field or span.detector
                        self._add(_shown(leaf.spot), span.phi, value[span.start : span.end], said)
        for leaf, span in found.split():
            self._add(_shown(leaf.spot), span.phi, None, "")
        for key in found.walk.names() & spans.keys():
            for span in spans[key]:
                self._add("$..*", span.phi, key[span.start : span.end], "key")
        for _ in found.scanned.unreadable:
            self._add("$", Phi.BLOB, None, "")

    def _add(self, place: str, phi: Phi, content: Json, name: str) -> None:
        self.classes[phi] = self.classes.get(phi, 0) + 1
        if len(self.places) < PATHS_MOST:
            self.places.add(place)
        if phi in _PERSONAL and not name.startswith(_STAFF):
            self.people.setdefault((phi, name), set()).add(content)


def _related(first: Phi, second: Phi) -> bool:
    """Whether one class takes the other."""
    return first in second.wider or second in first.wider


def _shown(spot: Spot) -> str:
    """A path as policy may see it: a member name that could itself be a value is a `*`."""
    if not spot.shown:
        head, *keys = _STEP.split(spot.template)
        spot.shown = head + "".join([key if _is_safe(key) else ".*" for key in keys])
    return spot.shown


def _is_safe(key: str) -> bool:
    if key == "[*]" or re.fullmatch(r"\[\d{1,4}\]", key):
        return True
    name = key[1:]
    return key[0] == "." and (
        _SAFE_KEY.fullmatch(name) is not None or (len(name) <= LONGEST_NAME and named(name).phi is not None)
    )


def _patients(people: dict[tuple[Phi, str], set[Json]]) -> tuple[Phi, set[Json]]:
    """MRN-like keys count; without any, SSNs; without those, names."""
    for phi in (Phi.MRN, Phi.SSN, Phi.NAME):
        found = [values for (kind, _), values in people.items() if kind is phi]
        if found:
            return phi, max(found, key=len)
    return Phi.NAME, set()


def _digests(kind: Phi, patients: set[Json], key: bytes) -> frozenset[bytes]:
    texts = (f"{kind}:{str(each).strip().casefold()}" for each in islice(patients, PATIENTS_KEPT))
    return frozenset(hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256")[:16] for text in texts)


def _size(value: Json) -> int:
    try:
        return len(orjson.dumps(value))
    except TypeError:  # Lone surrogates, integers beyond 64 bits, or nested more than 254 deep.
        pass
    try:
        return len(json.dumps(value, separators=(",", ":")))
    except (RecursionError, ValueError):
        return TOO_LARGE
