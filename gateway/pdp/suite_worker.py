"""Runs a policy's tests in children that can be ended: a test that hangs, crashes or outgrows its memory is an ERROR,
and those behind it are run by the next child.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace

import orjson

from gateway.core.policy import outcome
from gateway.core.policy.bundle import Source
from gateway.core.policy.compare import Absent, Difference
from gateway.core.policy.outcome import Outcome
from gateway.core.types import Document, Json
from gateway.pdp import child, coverage, suite
from gateway.pdp.child import End, Stopped
from gateway.pdp.coverage import Lines
from gateway.pdp.suite import Suite, Test

CASES = r"^[^ ]+: "
"""What to look for in titles to run cases and no rules."""

TIMEOUT_S = 5.0
"""As `opa test` has it."""

TESTS_EACH = 400
"""A further child costs as much as this many tests, so that fewer are not shared out."""

PARALLEL_MAX = 64

_SPARE_S = 1.0
"""What a child may take beyond a test's limit before it is ended: to load the policy, or to say that it is late."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be tested and how. `cases` are the texts of the files that hold cases, by path."""

    sources: tuple[Source, ...]
    data: Document = field(repr=False)
    cases: dict[str, str] = field(default_factory=dict, repr=False)
    only: str = ""
    count: int = 1
    timeout_s: float = TIMEOUT_S
    covering: bool = False
    parallel: int | None = None
    """How many children; None for as many as there are cores, once there are tests enough."""


@dataclass(slots=True)
class Report:
    """What was found out."""

    outcomes: list[Outcome] = field(default_factory=list)
    lines: Lines = field(default_factory=dict)
    lines_lost: bool = False
    """Whether a child ended before it told which lines its tests had come to."""


def run(plan: Plan, *, tell: Callable[[int, int], None] | None = None) -> Report:
    """Run the tests of `plan`, in order of file and line; `tell` hears how many of how many are done.

    Raises PolicyFault when the policy or a file of cases cannot be read.
    """
    count = shares(plan, cores=len(os.sched_getaffinity(0)))
    told: queue.SimpleQueue[_Share | None] = queue.SimpleQueue()
    running = [_Share(plan, number, count, told) for number in range(count)]
    threads = [threading.Thread(target=share.run, daemon=True) for share in running]
    for thread in threads:
        thread.start()
    try:
        while any(not share.ended for share in running):
            told.get()
            if tell is not None:
                tell(sum(len(share.outcomes) for share in running), max(share.total for share in running))
    finally:
        for share in running:
            share.stop.set()
        for thread in threads:
            thread.join()
    report = Report()
    for share in running:
        if share.fault is not None:
            raise share.fault
        report.lines_lost |= share.lines_lost
        for file, (reached, every) in share.lines.items():
            coverage.add(report.lines, file, [*reached], [*every])
    found = sorted((index, each) for share in running for index, each in share.outcomes.items())
    report.outcomes = [each for _, each in found]
    return report


def faults(plan: Plan) -> list[str]:
    """What did not pass, a line each, for whoever only asks whether a policy may be used; `only=CASES` for its cases.

    Raises as `run` does.
    """
    found = []
    for each in run(plan).outcomes:
        if not each.passed and not each.skipped:
            why = each.fault or "; ".join(_difference(one) for one in each.differences)
            found.append(f"{each.file}:{each.place.line}: {each.title}: {each.word}{f': {why}' if why else ''}")
    return found


def work(payload: bytes) -> Iterator[bytes]:
    """In the child: the tests' names, then each one's outcome, for a failed one what is known of it, and the lines."""
    asked = orjson.loads(payload)
    sources = tuple(Source(path, text) for path, text in asked["sources"])
    files = {path: text.encode() for path, text in asked["cases"].items()}
    tests = Suite(
        sources, asked["data"], tuple(suite.read_cases(files)), only=asked["only"], covering=asked["covering"]
    )
    yield orjson.dumps([_listed(test) for test in tests.tests])
    for index in range(asked["number"], len(tests.tests) * asked["count"], asked["shares"]):
        if index < asked["first"]:
            continue
        test = tests.tests[index % len(tests.tests)]
        found = tests.run(test)
        yield orjson.dumps({"index": index, "outcome": found.document})
        if found.word == "FAIL":
            yield orjson.dumps({"index": index, "outcome": tests.why(test, found).document})
    lines = tests.lines()
    yield orjson.dumps({"lines": {file: [sorted(reached), sorted(every)] for file, (reached, every) in lines.items()}})


def _listed(test: Test) -> Document:
    return test.outcome().document


def shares(plan: Plan, *, cores: int) -> int:
    """How many children to use. Counting is rough: the policy is only parsed where it can do no harm."""
    if plan.parallel is not None:
        return min(plan.parallel or cores, PARALLEL_MAX)
    rules = sum(source.text.count("\ntest_") for source in plan.sources)
    listed = sum(text.count("note:") for text in plan.cases.values())
    return max(1, min(cores, (rules + listed) * plan.count // TESTS_EACH))


@dataclass(slots=True)
class _Share:
    """Every n-th test, in one child after another."""

    plan: Plan
    number: int
    shares: int
    told: queue.SimpleQueue[_Share | None]
    tests: list[Outcome] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    lines: Lines = field(default_factory=dict)
    lines_lost: bool = False
    fault: Exception | None = None
    ended: bool = False
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def total(self) -> int:
        return len(self.tests) * self.plan.count

    def run(self) -> None:
        """Run the share to its end, on a thread of its own."""
        try:
            first = self.number
            while not self._child(first) and not self.stop.is_set():
                first = self._next()
        except Exception as fault:  # To be raised where it is waited for.
            self.fault = fault
        finally:
            self.ended = True
            self.told.put(self)

    def _next(self) -> int:
        """The first test that has no outcome yet."""
        return max(self.outcomes, default=self.number - self.shares) + self.shares

    def _child(self, first: int) -> bool:
        """Run what is left from `first` on; False when the child ended before it was through."""
        answers = child.stream(work, self._payload(first), each_s=self.plan.timeout_s + _SPARE_S)
        explaining = False
        try:
            for answer in answers:
                explaining = self._take(orjson.loads(answer))
                self.told.put(self)
                if self.stop.is_set():
                    return True
        except Stopped as stopped:
            if not self.tests:
                raise
            self.lines_lost = self.plan.covering
            if explaining:  # The outcome is known, only what can be told of it is not.
                return False
            index = self._next()
            if index >= self.total:  # It ended while it counted lines.
                return True
            self.outcomes[index] = replace(self._test(index), fault=_fault(stopped, self.plan.timeout_s))
            return False
        finally:
            assert isinstance(answers, Generator)
            answers.close()  # Which ends the child.
        return True

    def _take(self, answer: Json) -> bool:
        """Keep what the child said. True when it goes on to say more of the same test."""
        if isinstance(answer, list):
            self.tests = [outcome.read(item) for item in answer if isinstance(item, dict)]
            return False
        assert isinstance(answer, dict)
        if "lines" in answer:
            lines = answer["lines"]
            for file, item in lines.items() if isinstance(lines, dict) else ():
                reached, every = item if isinstance(item, list) else ([], [])
                coverage.add(self.lines, file, _integers(reached), _integers(every))
            return False
        index, document = answer["index"], answer["outcome"]
        assert isinstance(index, int)
        assert isinstance(document, dict)
        again = index in self.outcomes
        found = outcome.read(document)
        if found.duration_ns > self.plan.timeout_s * 1e9:
            found = replace(found, passed=False, fault=_late(self.plan.timeout_s))
        self.outcomes[index] = found
        return found.word == "FAIL" and not again

    def _test(self, index: int) -> Outcome:
        return self.tests[index % len(self.tests)]

    def _payload(self, first: int) -> bytes:
        plan = self.plan
        return orjson.dumps(
            {
                "sources": [[source.path, source.text] for source in plan.sources],
                "data": plan.data,
                "cases": plan.cases,
                "only": plan.only,
                "count": plan.count,
                "covering": plan.covering,
                "number": self.number,
                "shares": self.shares,
                "first": first,
            }
        )


def _difference(one: Difference) -> str:
    want, got = (value if isinstance(value, Absent) else orjson.dumps(value).decode() for value in (one.want, one.got))
    return f"{one.path} is {got}, wanted {want}"


def _fault(stopped: Stopped, timeout_s: float) -> str:
    return _late(timeout_s) if stopped.end is End.LATE else stopped.detail


def _late(timeout_s: float) -> str:
    return f"timed out after {timeout_s:g} s (--timeout allows more)"


def _integers(value: Json) -> list[int]:
    return [item for item in value if isinstance(item, int)] if isinstance(value, list) else []
