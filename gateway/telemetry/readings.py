"""What is read off the parts of a worker now and then, rather than counted when it happens."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.telemetry import families
from gateway.telemetry.book import Book


@dataclass(frozen=True, slots=True)
class Readings:
    """The state of the parts. Times in seconds."""

    evidence_fault: bool
    unsigned_s: float
    policy_refused: bool
    config_refused: bool
    key_months: int | None = None
    """None where wrapping keys are made when a month begins."""
    keys_age_s: Mapping[str, float | None] = field(default_factory=dict)
    """By issuer; None: none were ever had."""
    issuers_failing: frozenset[str] = frozenset()
    shadow: Mapping[str, int] = field(default_factory=dict)
    """What the candidate policy was given since this process began: compared, differing, dropped."""


class Reader:
    """Puts readings into the book. `place` names the worker."""

    def __init__(self, book: Book, place: int) -> None:
        self._book = book
        self._place = str(place)
        self._shadow: dict[str, int] = {}
        self._cpu_s = 0.0

    def put(self, readings: Readings) -> None:
        """Take down what was read now."""
        book = self._book
        book.put(families.EVIDENCE_FAULT, float(readings.evidence_fault))
        book.put(families.UNSIGNED_S, readings.unsigned_s)
        book.put(families.POLICY_REFUSED, float(readings.policy_refused))
        book.put(families.CONFIG_REFUSED, float(readings.config_refused))
        if readings.key_months is not None:
            book.put(families.KEY_MONTHS, readings.key_months)
        for issuer, age in readings.keys_age_s.items():
            book.put(families.ISSUER_FAILING, float(issuer in readings.issuers_failing), issuer)
            if age is not None:
                book.put(families.KEYS_AGE_S, age, issuer)
        for result, number in readings.shadow.items():
            book.count(families.SHADOW, result, by=number - self._shadow.get(result, 0))
        self._shadow = dict(readings.shadow)
        self._process()

    def approvals(self, pending: int, oldest_s: float) -> None:
        """What waits for reviewers."""
        self._book.put(families.APPROVALS_PENDING, pending)
        self._book.put(families.APPROVALS_OLDEST_S, oldest_s)

    def _process(self) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = used.ru_utime + used.ru_stime
        self._book.count(families.WORKER_CPU_S, self._place, by=cpu_s - self._cpu_s)
        self._cpu_s = cpu_s
        self._book.put(families.WORKER_BYTES, _resident(), self._place)


def _resident() -> int:
    """Memory of this process in bytes; where the system does not tell, the most that it ever had."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
