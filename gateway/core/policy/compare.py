"""Where what came is not what was wanted, by path."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.core.types import Document, Json


class Absent:
    """Stands where one of two values that are compared has nothing."""

    def __repr__(self) -> str:
        return "(nothing)"


ABSENT = Absent()


@dataclass(frozen=True, slots=True)
class Difference:
    """Where what came is not what was wanted: a path such as `approval.groups[0]`, and the two values."""

    path: str
    want: Json | Absent
    got: Json | Absent

    @property
    def document(self) -> Document:
        """As JSON: `want` or `got` is not there where it is absent."""
        held = {"want": self.want, "got": self.got}
        return {"path": self.path, **{key: value for key, value in held.items() if not isinstance(value, Absent)}}

    @classmethod
    def read(cls, document: Json) -> Difference:
        """The difference that a `document` was made of."""
        assert isinstance(document, dict)
        return cls(str(document["path"]), document.get("want", ABSENT), document.get("got", ABSENT))


def compare(path: str, want: Json, got: Json) -> list[Difference]:
    """Where two values differ, as deep down as they are of one shape; numbers are equal by value, as JSON's are."""
    if isinstance(want, dict) and isinstance(got, dict):
        return [
            difference
            for key in [*want, *(key for key in got if key not in want)]
            for difference in _at(_below(path, key), want.get(key, ABSENT), got.get(key, ABSENT))
        ]
    if isinstance(want, list) and isinstance(got, list):
        return [
            difference
            for index in range(max(len(want), len(got)))
            for difference in _at(f"{path}[{index}]", _item(want, index), _item(got, index))
        ]
    same = want == got and isinstance(want, bool) == isinstance(got, bool)
    return [] if same else [Difference(path, want, got)]


def _at(path: str, want: Json | Absent, got: Json | Absent) -> list[Difference]:
    if isinstance(want, Absent) or isinstance(got, Absent):
        return [Difference(path, want, got)]
    return compare(path, want, got)


def _item(items: list[Json], index: int) -> Json | Absent:
    return items[index] if index < len(items) else ABSENT


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) else f"{path}[{key!r}]"


def subset(path: str, want: Document, got: Document | None) -> list[Difference]:
    """Where `got` lacks what `want` names; what it has beyond that is no difference."""
    if got is None:
        return [Difference(path, want, ABSENT)]
    return [found for key in want for found in _at(_below(path, key), want[key], got.get(key, ABSENT))]


def sets(path: str, want: Iterable[str], got: Iterable[str]) -> list[Difference]:
    """What is in one of two sets alone."""
    wanted, given = set(want), set(got)
    return [
        *(Difference(path, name, ABSENT) for name in sorted(wanted - given)),
        *(Difference(path, ABSENT, name) for name in sorted(given - wanted)),
    ]
