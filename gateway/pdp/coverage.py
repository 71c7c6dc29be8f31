"""Which lines of a policy its tests have come to, in the shape of `opa test --coverage --format json`.

regorus counts the lines on which it evaluates something: the head of a rule only where it says a value. Files of tests,
which OPA counts, are left out: that they run says nothing of the policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, cast

import orjson

from gateway.core.policy import bundle as bundles
from gateway.core.types import Document, Json
from gateway.pdp.engine import Rego

Lines = dict[str, tuple[set[int], set[int]]]
"""By file: the lines that were come to, and all that could be."""


class _Covering(Protocol):
    def set_enable_coverage(self, b: bool) -> None: ...
    def get_coverage_report_as_json(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Covered:
    """One file: the lines that count, and those that were come to."""

    file: str
    covered: tuple[int, ...]
    missed: tuple[int, ...]

    @property
    def percent(self) -> float:
        return _percent(len(self.covered), len(self.missed))

    @property
    def document(self) -> Document:
        return {
            "covered": [*_ranges(self.covered)],
            "not_covered": [*_ranges(self.missed)],
            "covered_lines": len(self.covered),
            "not_covered_lines": len(self.missed),
            "coverage": self.percent,
        }


@dataclass(frozen=True, slots=True)
class Coverage:
    """All files that have a line which counts, by name."""

    files: tuple[Covered, ...] = field(default=())

    @property
    def percent(self) -> float:
        """Of all lines that count, 0 to 100; 100 when none does."""
        return _percent(sum(len(file.covered) for file in self.files), sum(len(file.missed) for file in self.files))

    @property
    def document(self) -> Document:
        return {
            "files": {file.file: file.document for file in self.files},
            "covered_lines": sum(len(file.covered) for file in self.files),
            "not_covered_lines": sum(len(file.missed) for file in self.files),
            "coverage": self.percent,
        }


def enable(engine: Rego) -> None:
    """Have an engine, and its clones, count."""
    cast(_Covering, engine).set_enable_coverage(True)


def collect(engine: Rego, into: Lines) -> None:
    """Add what an engine has counted to `into`."""
    report: Json = orjson.loads(cast(_Covering, engine).get_coverage_report_as_json())
    listed = report["files"] if isinstance(report, dict) else []
    for item in listed if isinstance(listed, list) else []:
        assert isinstance(item, dict)
        add(into, str(item["path"]), _integers(item["covered"]), _integers(item["not_covered"]))


def add(into: Lines, file: str, covered: list[int], missed: list[int]) -> None:
    """Add the lines of one file to `into`; a line that was come to once is covered."""
    reached, every = into.setdefault(file, (set(), set()))
    reached.update(covered)
    every.update(covered, missed)


def of(lines: Lines) -> Coverage:
    """The coverage that `lines` are."""
    return Coverage(
        tuple(
            Covered(file, tuple(sorted(reached)), tuple(sorted(every - reached)))
            for file, (reached, every) in sorted(lines.items())
            if every and not file.endswith(bundles.TEST)
        )
    )


def _percent(covered: int, missed: int) -> float:
    return 100 * covered / (covered + missed) if covered + missed else 100.0


def _ranges(lines: tuple[int, ...]) -> Iterator[Json]:
    """Lines that follow each other as one range."""
    start = last = 0
    for line in lines:
        if line != last + 1 or not start:
            if start:
                yield {"start": {"row": start}, "end": {"row": last}}
            start = line
        last = line
    if start:
        yield {"start": {"row": start}, "end": {"row": last}}


def _integers(value: Json) -> list[int]:
    return [item for item in value if isinstance(item, int)] if isinstance(value, list) else []
