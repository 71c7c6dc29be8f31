"""What must be known before a parser sees the sources: it would need minutes for them, or for ever."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gateway.core.policy.bundle import Source
from gateway.core.policy.lint.finding import Fault, Faults, Finding, check
from gateway.core.policy.lint.policy import Policy
from gateway.core.policy.syntax import Place

NESTING_MAX = 12
"""regorus needs twice as long for each further level of `[` or `{`: depth 12 takes 5 ms, 18 eight seconds. Parentheses
cost nothing, and the engine itself ends at 32 of them."""

TEXT_MAX = 2**19
"""Bytes of Rego in one bundle. The engine's syntax tree has 150 times the size of its text, and must fit in memory."""

_TOKEN = re.compile(r'\$?"(?:[^"\\\n]|\\.)*"|\$?`[^`]*`|#[^\n]*|[\[{\]}\n]')


def _nothing(_: Policy) -> Faults:
    none: tuple[Fault, ...] = ()
    return iter(none)


def unparsed(sources: tuple[Source, ...]) -> list[Finding]:
    """Findings that keep the sources from being parsed at all: nesting, size, and what this engine cannot read."""
    found = []
    size = 0
    for source in sources:
        size += len(source.text.encode())
        if size > TEXT_MAX:
            reason = f"Up to here the policy is {size} bytes of Rego; {TEXT_MAX} is the most."
            found.append(Finding(TOO_LARGE.name, source.path, Place(1, 1), reason, TOO_LARGE.fix))
            break
        found.extend(_scan(source))
    return found


def _scan(source: Source) -> Iterator[Finding]:
    """Reads the brackets and strings of one source; at most one finding of each rule."""
    depth, line, start = 0, 1, 0
    deep = interpolated = False
    for token in _TOKEN.finditer(source.text):
        at = Place(line, token.start() - start + 1)
        match token.group()[0]:
            case "\n":
                line, start = line + 1, token.end()
            case "[" | "{":
                depth += 1
                if depth > NESTING_MAX and not deep:
                    deep = True
                    reason = (
                        f"Brackets are nested deeper than {NESTING_MAX}, which takes the engine exponentially long."
                    )
                    yield Finding(DEEP.name, source.path, at, reason, DEEP.fix)
            case "]" | "}":
                depth -= 1
            case "$" if not interpolated:
                interpolated = True
                reason = "This engine has no string interpolation: it stops reading at the dollar sign."
                yield Finding(INTERPOLATION.name, source.path, at, reason, INTERPOLATION.fix)
        broken = token.group().count("\n")
        if broken and token.group() != "\n":
            line, start = line + broken, token.start() + token.group().rindex("\n") + 1


DEEP = check(
    "deep-literal",
    why="Parsing takes twice as long for each level of a nested literal: eight seconds for 18, for ever for 30.",
    fix="give inner parts names of their own, or put the literal into data.json.",
    bad="x := [[[[[[[[[[[[[1]]]]]]]]]]]]]",
    good="x := [[[1]]]",
)(_nothing)

INTERPOLATION = check(
    "interpolation",
    why='`$"…{x}…"` of OPA 1.12 and later cannot be read by this engine, which says "invalid character".',
    fix='write `sprintf("…%v…", [x])`.',
    bad='x := $"called by {input.principal.sub}"',
    good='x := sprintf("called by %v", [input.principal.sub])',
)(_nothing)

TOO_LARGE = check(
    "too-large",
    why="The syntax tree of very much Rego does not fit into the memory that admission may use.",
    fix="put what is data into data.json.",
    bad="",
    good="x := data.gateway.settings.roles",
)(_nothing)

UNPARSABLE = check(
    "unparsable",
    why="A bundle with a source that the engine cannot read as Rego v1 is not loaded at all.",
    fix="correct it; `opa fmt` shows the same place, and `opa fmt --v0-v1` converts Rego of before 1.0.",
    bad="x := := 1",
    good="x := 1",
    opa=True,
)(_nothing)

REFUSED = check(
    "engine-refuses",
    why="The engine reads this and then refuses every decision of the bundle, whichever rule is asked.",
    fix="bind each name before the line that uses it.",
    bad="x if {\n\tnot y\n\ty := input.message.name\n}",
    good="x if {\n\ty := input.message.name\n\tnot y\n}",
    opa=True,
)(_nothing)

CHECKS = (UNPARSABLE, REFUSED, DEEP, INTERPOLATION, TOO_LARGE)
