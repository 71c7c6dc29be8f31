"""What makes a policy decide wrongly without anybody noticing, found before it may decide.

Each check closes a hole that was found in the engine or in the language; docs/lint.md describes them. A finding says
where, why, and what to write instead. `check` gives the errors, for which a bundle is not admitted; `review` gives the
warnings as well, less those that a source says are meant:

    # phigate ignore: use-in, yoda

in the line of the finding or the one above it. No comment silences an error. Tests are held to fewer rules: they decide
nothing.
"""

from __future__ import annotations

import re
from dataclasses import replace

from gateway.core.policy import syntax
from gateway.core.policy.bundle import Manifest
from gateway.core.policy.lint.finding import Finding, Severity, in_characters
from gateway.core.policy.lint.policy import ENTRYPOINTS, Policy, Schemas
from gateway.core.policy.lint.registry import CHECKS
from gateway.core.policy.lint.text import NESTING_MAX, unparsed
from gateway.core.types import Document, Json

__all__ = [
    "ENTRYPOINTS",
    "NESTING_MAX",
    "Finding",
    "Schemas",
    "Severity",
    "check",
    "in_characters",
    "review",
    "unparsed",
]

UNKNOWN = Schemas()
"""No schema: nothing is compared with one."""

_IGNORED = re.compile(r"#\s*phigate ignore:\s*([a-z, -]+)")


def check(tree: list[Json], data: Document, manifest: Manifest, schemas: Schemas = UNKNOWN) -> list[Finding]:
    """Every error in a parsed policy, in order of file and line. `tree` is regorus's `get_ast_as_json`."""
    policy = Policy(syntax.modules(tree), data, manifest, schemas)
    return _found(policy, frozenset((Severity.ERROR,)))


def review(tree: list[Json], data: Document, manifest: Manifest, schemas: Schemas = UNKNOWN) -> list[Finding]:
    """Every error and every warning that no comment silences, in order of file and line."""
    policy = Policy(syntax.modules(tree), data, manifest, schemas)
    ignored = {
        (module.file, line + below, rule)
        for module in policy.modules
        for line, rules in _ignores(module.text)
        for rule in rules
        for below in (0, 1)
    }
    return [
        finding
        for finding in _found(policy, frozenset(Severity))
        if finding.severity is Severity.ERROR or (finding.file, finding.place.line, finding.rule) not in ignored
    ]


def _found(policy: Policy, severities: frozenset[Severity]) -> list[Finding]:
    lines = {module.file: module.text.split("\n") for module in policy.modules}
    found = [
        replace(finding, place=in_characters(finding.place, lines.get(finding.file, [])))
        for one in CHECKS
        if one.severity in severities
        for finding in one.findings(policy)
    ]
    return sorted(found, key=lambda finding: (finding.file, finding.place.line, finding.place.column, finding.rule))


def _ignores(text: str) -> list[tuple[int, list[str]]]:
    """The rules that each line's comment silences."""
    return [
        (number, [rule.strip() for rule in found.group(1).split(",")])
        for number, line in enumerate(text.split("\n"), 1)
        if (found := _IGNORED.search(line)) is not None
    ]
