"""How Rego is best written; what of regal's `idiomatic`, `style` and `naming` is worth a warning."""

from __future__ import annotations

import re

from gateway.core.policy import bundle, syntax
from gateway.core.policy.lint.finding import Fault, Faults, advice, width
from gateway.core.policy.lint.policy import Policy
from gateway.core.policy.lint.safety import indexed
from gateway.core.policy.lint.values import PATTERN_AT
from gateway.core.policy.syntax import Place
from gateway.core.types import Json

LINE_MAX = 120
RULE_MAX = 40
"""Lines of one rule."""
FILE_MAX = 500
_LITERALS = frozenset(("Number", "String", "RawString", "Bool", "True", "False", "Null"))
_SNAKE = re.compile(r"_?[a-z][a-z0-9_]*")
_TO_DO = re.compile(r"#.*\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")


@advice(
    "prefer-assign",
    why="`=` binds or compares, whichever comes out: a name bound before turns an assignment into a test.",
    fix="write `:=` to bind and `==` to compare.",
    bad='x if {\n\tname = input.message.name\n\tname == "x"\n}',
    good='x if {\n\tname := input.message.name\n\tname == "x"\n}',
)
def prefer_assign(policy: Policy) -> Faults:
    """`=` in a body or a head."""
    for scope in policy.scopes:
        for node in scope.nodes.get("AssignExpr", ()):
            if node["op"] == "Eq":
                yield Fault(scope.file, syntax.place(node["lhs"]), "`=` may bind or compare.")
        head = syntax.member(scope.rule.node["head"], "assign")
        if syntax.member(head, "op") == "Eq":
            yield Fault(scope.file, scope.rule.place, "`=` may bind or compare.")


@advice(
    "prefer-some",
    why="An index bound on the spot is taken for a rule as soon as somebody adds one of its name.",
    fix="declare it: `some i, x in xs`.",
    bad='x contains i if input.principal.groups[i] == "staff"',
    good='x contains i if some i, "staff" in input.principal.groups',
)
def prefer_some(policy: Policy) -> Faults:
    """A name that is bound by an index alone."""
    for scope in policy.scopes:
        known = scope.rule.names | scope.module.imports.keys() | {"_", "input", "data"}
        told: set[str] = set()
        for name in indexed(scope):
            place = next((ref.place for ref in scope.refs if ref.path[0] == name), scope.rule.place)
            if name not in known and name not in told and name not in policy.own[scope.module.package]:
                told.add(name)
                yield Fault(scope.file, place, f"`{name}` is declared nowhere.")


@advice(
    "use-in",
    why="`x == xs[_]` says less plainly what `x in xs` says.",
    fix="write `x in xs`.",
    bad='x if input.principal.groups[_] == "staff"',
    good='x if "staff" in input.principal.groups',
)
def use_in(policy: Policy) -> Faults:
    """`==` beside a reference that ends with a wildcard."""
    for scope in policy.scopes:
        for node in scope.nodes.get("BoolExpr", ()):
            if node["op"] == "Eq" and any(_ends_wild(side) for side in (node["lhs"], node["rhs"])):
                yield Fault(scope.file, syntax.place(node["lhs"]), "This asks whether something is in a collection.")


@advice(
    "raw-pattern",
    why="In a quoted pattern each backslash is written twice, and one forgotten changes what matches.",
    fix="write it between backticks.",
    bad='x if regex.match("^a\\\\.b$", input.message.name)',
    good="x if regex.match(`^a\\.b$`, input.message.name)",
)
def raw_pattern(policy: Policy) -> Faults:
    """A quoted pattern with a backslash."""
    for scope in policy.scopes:
        for call in scope.calls:
            at = PATTERN_AT.get(".".join(call.name))
            if at is not None and at < len(call.arguments) and "\\" in (syntax.literal(call.arguments[at]) or ""):
                yield Fault(scope.file, call.place, "The pattern has backslashes and is no raw string.")


@advice(
    "yoda",
    why="A comparison that begins with the literal is read twice.",
    fix="write the literal last.",
    bad='x if "a" == input.message.name',
    good='x if input.message.name == "a"',
)
def yoda(policy: Policy) -> Faults:
    """A literal on the left of a comparison alone."""
    for scope in policy.scopes:
        for node in scope.nodes.get("BoolExpr", ()):
            if _literal(node["lhs"]) and not _literal(node["rhs"]):
                yield Fault(scope.file, syntax.place(node["lhs"]), "The literal stands first.")


@advice(
    "package-directory",
    why="A package is looked for in the directory of its name.",
    fix="move the source, or rename the package.",
    bad="",
    good="x := 1",
)
def package_directory(policy: Policy) -> Faults:
    """A source whose directories are not the last words of its package, test packages without `_test`."""
    for module in policy.modules:
        directory = tuple(module.file.split("/")[:-1])
        package = (*module.package[:-1], module.package[-1].removesuffix("_test"))
        length = min(len(directory), len(package))
        if length and directory[-length:] not in (package[-length:], module.package[-length:]):
            reason = f"The package {'.'.join(module.package)} lies in {'/'.join(directory)}."
            yield Fault(module.file, Place(1, 1), reason)


@advice(
    "snake-case",
    why="Names are written alike, so that none is misspelt by its capitals.",
    fix="write it in small letters with `_`.",
    bad="isStaff if input.message.name",
    good="is_staff if input.message.name",
)
def snake_case(policy: Policy) -> Faults:
    """A rule or local with a capital letter."""
    for scope in policy.scopes:
        own = scope.rule.path[len(scope.module.package)]
        names = [(own, scope.rule.place), *((local.name, local.place) for local in scope.rule.declared)]
        for name, place in names:
            if name != "_" and not _SNAKE.fullmatch(name):
                yield Fault(scope.file, place, f"`{name}` is not in small letters with `_`.")


@advice(
    "line-length",
    why="What runs out of the window is not reviewed.",
    fix="break it.",
    bad=f'x := "{"a" * LINE_MAX}"',
    good='x := "a"',
)
def line_length(policy: Policy) -> Faults:
    """A line longer than 120 characters, but for tests."""
    for module in policy.modules:
        for number, line in enumerate(module.text.split("\n") if not module.file.endswith(bundle.TEST) else (), 1):
            if len(line) > LINE_MAX:
                yield Fault(
                    module.file, Place(number, width(line[:LINE_MAX]) + 1), f"The line has {len(line)} characters."
                )


@advice(
    "rule-length",
    why="A rule that does not fit on a screen is not understood at once.",
    fix="give parts of it names.",
    bad="x if {\n" + "\tinput.message.name\n" * (RULE_MAX + 1) + "}",
    good="x if input.message.name",
)
def rule_length(policy: Policy) -> Faults:
    """A rule of what decides that is longer than 40 lines, comments and blank lines aside."""
    for scope in policy.deciding:
        lines = {ref.place.line for ref in scope.refs} | {call.place.line for call in scope.calls}
        if lines and len(lines) > RULE_MAX:
            yield Fault(scope.file, scope.rule.place, f"`{scope.rule.path[-1]}` has more than {RULE_MAX} lines.")


@advice(
    "file-length",
    why="A source of that length holds more than one thing.",
    fix="split it.",
    bad="",
    good="x := 1",
)
def file_length(policy: Policy) -> Faults:
    """A source that decides with more than 500 lines."""
    for module in policy.modules:
        lines = module.text.count("\n")
        if lines > FILE_MAX and not module.file.endswith(bundle.TEST):
            yield Fault(module.file, Place(FILE_MAX + 1, 1), f"The source has {lines} lines.")


@advice(
    "to-do",
    why="What is left to do later is not done when it decides.",
    fix="do it, or write down why not.",
    bad="# TO" + "DO: ask for the purpose\nx := 1",
    good="# The purpose is asked for at the console.\nx := 1",
)
def to_do(policy: Policy) -> Faults:
    """A comment that says so."""
    for module in policy.modules:
        for number, line in enumerate(module.text.split("\n"), 1):
            found = _TO_DO.search(line)
            if found is not None:
                yield Fault(
                    module.file, Place(number, width(line[: found.start()]) + 1), "Something is left to do here."
                )


CHECKS = (
    prefer_assign,
    prefer_some,
    use_in,
    raw_pattern,
    yoda,
    package_directory,
    snake_case,
    line_length,
    rule_length,
    file_length,
    to_do,
)


def _literal(node: Json) -> bool:
    return isinstance(node, dict) and bool(node.keys() & _LITERALS)


def _ends_wild(node: Json) -> bool:
    link = syntax.member(node, "RefBrack")
    return syntax.member(syntax.member(syntax.member(link, "index"), "Var"), "value") == "_"
