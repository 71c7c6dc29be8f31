"""What a check is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from gateway.core.policy.syntax import Place

if TYPE_CHECKING:
    from gateway.core.policy.lint.policy import Policy

PAGE = "docs/lint.md"
_TAB = 4


class Severity(Enum):
    """An error makes a policy decide wrongly, and a bundle that has one is not admitted; a warning only advises."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a policy."""

    rule: str
    file: str
    place: Place
    reason: str
    fix: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        return f"{self.file}:{self.place.line}:{self.place.column}: {self.reason} [{self.rule}] Fix: {self.fix}"

    @property
    def docs(self) -> str:
        """Where the rule is explained, with an example."""
        return f"{PAGE}#{self.rule}"


@dataclass(frozen=True, slots=True)
class Fault:
    """What a check yields: a finding less what the check says of itself. Without `fix`, the check's own is meant.

    The column counts as the engine does, see `in_characters`; a finding's counts characters.
    """

    file: str
    place: Place
    reason: str
    fix: str = ""


Faults = Iterator[Fault]


def in_characters(place: Place, lines: list[str]) -> Place:
    """A place of the engine's, whose column counts bytes and 4 for a tab, as one whose column counts characters.

    The engine's column is 0 where a line break surprises it.
    """
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    if line.isascii() and "\t" not in line:
        return Place(place.line, max(1, place.column))
    left = place.column - 1
    for index, sign in enumerate(line):
        if left <= 0:
            return Place(place.line, index + 1)
        left -= width(sign)
    return Place(place.line, len(line) + 1 + max(0, left))


def width(text: str) -> int:
    """How many columns the engine counts for `text`."""
    return len(text.replace("\t", " " * _TAB).encode())


@dataclass(frozen=True, slots=True)
class Check:
    """A rule of the lint, as docs/lint.md describes it."""

    name: str
    why: str
    """What would go wrong."""
    fix: str
    bad: str
    """Rego below `package gateway.call` that it finds something in."""
    good: str
    """The same, written so that nothing is found."""
    find: Callable[[Policy], Faults]
    severity: Severity = Severity.ERROR
    opa: bool = False
    """Whether `opa check --strict` finds the bad example too."""
    in_test: bool = False
    """Whether the examples stand in a test source, in `package gateway.call_test`."""

    def findings(self, policy: Policy) -> Iterator[Finding]:
        """Everything it finds in `policy`."""
        for fault in self.find(policy):
            yield Finding(self.name, fault.file, fault.place, fault.reason, fault.fix or self.fix, self.severity)


def check(
    name: str,
    *,
    why: str,
    fix: str,
    bad: str,
    good: str,
    opa: bool = False,
    in_test: bool = False,
    severity: Severity = Severity.ERROR,
) -> Callable[[Callable[[Policy], Faults]], Check]:
    """Make a Check of the function that finds its faults."""

    def made(find: Callable[[Policy], Faults]) -> Check:
        return Check(name, why, fix, bad, good, find, severity, opa, in_test)

    return made


def advice(
    name: str, *, why: str, fix: str, bad: str, good: str, opa: bool = False, in_test: bool = False
) -> Callable[[Callable[[Policy], Faults]], Check]:
    """Make a Check that only warns."""
    return check(name, why=why, fix=fix, bad=bad, good=good, opa=opa, in_test=in_test, severity=Severity.WARNING)
