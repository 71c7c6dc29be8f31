"""One process's numbers, and their snapshot in a file.

Counting is an addition in a dictionary: a tenth of what a memory-mapped value of prometheus-client's takes, and a call
counts some twenty things (docs/decisions/0016-metrics-by-snapshot.md). Each worker leaves its numbers in a file once a
second; `exposition.py` adds them up.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson

from gateway.telemetry.families import FAMILIES, Family, Kind

Labels = tuple[str, ...]


class Series:
    """A histogram's numbers under one set of labels. `counts` are of the buckets, not cumulative, the last is +Inf."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, counts: list[int], total: float) -> None:
        """Somebody else's, over the same buckets."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, counts, strict=True)]
        self.total += total


class Book:
    """The numbers of one process. What has the same family and labels is counted by one thread at a time."""

    def __init__(self) -> None:
        self.values: dict[Family, dict[Labels, float]] = {}
        self.series: dict[Family, dict[Labels, Series]] = {}
        for family in FAMILIES:
            if family.kind is Kind.HISTOGRAM:
                self.series[family] = {}
            else:
                self.values[family] = defaultdict(float)

    def count(self, family: Family, *labels: str, by: float = 1.0) -> None:
        """A counter grows, or a gauge changes, by so much."""
        self.values[family][labels] += by

    def put(self, family: Family, value: float, *labels: str) -> None:
        """A gauge is this now."""
        self.values[family][labels] = value

    def only(self, family: Family, *labels: str) -> None:
        """Of a gauge that tells what is in force, these labels are; what was before is forgotten."""
        self.values[family] = defaultdict(float, {labels: 1.0})

    def observe(self, family: Family, value: float, *labels: str) -> None:
        """A histogram gets one more value; `le` is inclusive."""
        found = self.series[family].get(labels)
        if found is None:
            found = self.series[family][labels] = Series(family.buckets)
        found.counts[bisect_left(found.bounds, value)] += 1
        found.total += value

    def snapshot(self) -> bytes:
        """All numbers, as JSON."""
        values = {
            family.name: [[labels, value] for labels, value in sorted(found.items())]
            for family, found in self.values.items()
            if found
        }
        series = {
            family.name: [[labels, each.counts, each.total] for labels, each in sorted(found.items())]
            for family, found in self.series.items()
            if found
        }
        return orjson.dumps({"values": values, "series": series})

    def resume(self, data: bytes) -> None:
        """Go on from a snapshot's counters and histograms: of a worker that died, in whose place this one is."""
        document = orjson.loads(data)
        for family, found in self.values.items():
            if family.kind is Kind.COUNTER:
                for labels, value in document["values"].get(family.name, ()):
                    found[tuple(labels)] += value
        for family in self.series:
            for labels, counts, total in document["series"].get(family.name, ()):
                self.series[family].setdefault(tuple(labels), Series(family.buckets)).add(counts, total)


def file_of(directory: Path, place: int) -> Path:
    """Where the worker in one place leaves its numbers."""
    return directory / f"worker-{place}.json"


def read(path: Path) -> bytes | None:
    """The snapshot at `path`; None when there is none yet."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def write(path: Path, snapshot: bytes) -> None:
    """Leave a snapshot, whole or not at all: readers may come at any time."""
    aside = path.with_suffix(".new")
    aside.write_bytes(snapshot)
    os.replace(aside, path)


def known(document: dict[str, Any], family: Family) -> list[Any]:
    """What a snapshot has of a family."""
    part = document["series" if family.kind is Kind.HISTOGRAM else "values"]
    found: list[Any] = part.get(family.name, [])
    return found
