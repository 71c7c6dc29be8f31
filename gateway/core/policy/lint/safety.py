"""Variables that nothing binds, and negations of what may be undefined."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.core.policy import syntax
from gateway.core.policy.builtins import ROOTS
from gateway.core.policy.lint import undefined
from gateway.core.policy.lint.finding import Fault, Faults, advice, check
from gateway.core.policy.lint.policy import Policy, Scope, Statement
from gateway.core.policy.syntax import Place
from gateway.core.types import Json

_REFERENCES = frozenset({"RefDot", "RefBrack"})
_PATTERNS = frozenset({"Var", "Array", "Object"})


@check(
    "unsafe-variable",
    why="A name that nothing binds is undefined: the rule never holds, or the engine refuses every decision of the "
    "bundle the first time one is asked for.",
    fix="correct the name, or bind it with `:=` or `some … in`.",
    bad="wanted := 5\n\nx if {\n\tsome limit\n\tlimit > 5\n}",
    good="x if {\n\tsome group in input.principal.groups\n\tgroup == data.gateway.settings.group\n}",
    opa=True,
)
def unsafe_variable(policy: Policy) -> Faults:
    """A name that is declared nowhere and stands nowhere that would bind it; also one that `some` only declares."""
    for scope in policy.scopes:
        given = set(bound(scope))
        known = scope.module.imports.keys() | {"data", "input", "_"} | given
        declared = {local.name for local in scope.rule.declared if local.by != "some"}
        for ref in scope.refs:
            name = ref.path[0]
            if name in known or name in policy.own[scope.module.package]:
                continue
            if name not in declared and not (len(ref.path) > 1 and name in ROOTS):
                yield Fault(scope.file, ref.place, f"Nothing gives `{name}` a value.")
                break


@check(
    "not-undefined",
    why="`not f(x.y)` holds when `x.y` is missing: it is undefined in OPA, so what OPA denies is let through.",
    fix="bind the value itself first (`y := x.y`), or negate a rule that has a default.",
    bad='open if not startswith(input.message.name, "write_")',
    good='open if {\n\tname := input.message.name\n\tnot startswith(name, "write_")\n}',
)
def not_undefined(policy: Policy) -> Faults:
    """`not` of a comparison, call or index that reads the input itself, or what else may be undefined."""
    for scope in policy.deciding:
        for query in scope.queries:
            for statement in query:
                if statement.kind != "NotExpr":
                    continue
                if _reads_input(scope, statement):
                    reason = (
                        "When this input is missing, `not` of a comparison or call holds here and is undefined in OPA."
                    )
                    yield Fault(scope.file, statement.place, reason)
                elif named := undefined.negated(policy, scope, query, statement):
                    reason = f"Where `{named}` is undefined, this `not` holds here and is undefined in OPA."
                    yield Fault(scope.file, statement.place, reason)


@check(
    "in-as-value",
    why='`x := "a" in input.y` is false when `input.y` is missing: it is undefined in OPA, so a `not x` lets '
    "through what OPA denies.",
    fix="bind the collection first (`y := input.y`), or ask with `in` as a condition of its own.",
    bad='blocked := "blocked" in input.principal.groups\n\nopen if not blocked',
    good='blocked if "blocked" in input.principal.groups\n\nopen if not blocked',
)
def in_as_value(policy: Policy) -> Faults:
    """`in` anywhere but as a whole condition, of what may be undefined."""
    for scope in policy.deciding:
        asked = [statement.expression.get("Membership") for statement in scope.expressions()]
        for node in scope.nodes.get("Membership", ()):
            if any(node is one for one in asked):
                continue
            named = undefined.operand(policy, scope, [node["key"], node["value"], node["collection"]])
            if named:
                reason = f"Where `{named}` is undefined, this `in` is false here and undefined in OPA."
                yield Fault(scope.file, syntax.place(node["value"]), reason)


@check(
    "not-unbound",
    why="`not xs[_] == 1` means that some element differs, not that none is equal, and OPA refuses it.",
    fix="write `not 1 in xs`, or negate a rule that looks for one.",
    bad='open if {\n\tgroups := input.principal.groups\n\tnot groups[_] == "blocked"\n}',
    good='open if {\n\tgroups := input.principal.groups\n\tnot "blocked" in groups\n}',
    opa=True,
)
def not_unbound(policy: Policy) -> Faults:
    """An index under `not` that is `_`, or a name that only `some` declares, of anything but a plain reference."""
    for scope in policy.scopes:
        given = set(bound(scope, negated=False))
        loose = {local.name for local in scope.rule.declared if local.by == "some"} - given
        for statement in _negations(scope):
            kind = next(iter(statement.expression), "")
            names = {ref.path[0] for ref in syntax.refs(statement.expression)}
            if kind not in ("RefDot", "RefBrack", "Var") and names & ({"_"} | loose):
                reason = "Nothing fixes this index before `not`: it holds when one element differs, not when all do."
                yield Fault(scope.file, statement.place, reason)


@advice(
    "unused-local",
    why="What is bound and never used is a leftover, or a name misspelt where it was to be used.",
    fix="delete it, or write `_` in its place.",
    bad="x if {\n\tgroups := input.principal.groups\n\tinput.message.name\n}",
    good='x if {\n\tgroups := input.principal.groups\n\t"staff" in groups\n}',
    opa=True,
)
def unused_local(policy: Policy) -> Faults:
    """A name from `:=`, `some` or `every` that stands nowhere else in its rule."""
    for scope in policy.scopes:
        used = _counted(scope)
        for local in scope.rule.declared:
            if local.by != "argument" and local.name != "_" and local.name not in used:
                yield Fault(scope.file, local.place, f"`{local.name}` is not used.")


@advice(
    "unused-argument",
    why="Whoever reads the call believes that the argument counts.",
    fix="delete it, or write `_` in its place.",
    bad="allowed(name, role) if role",
    good="allowed(_, role) if role",
    opa=True,
)
def unused_argument(policy: Policy) -> Faults:
    """An argument that stands nowhere in its function."""
    for scope in policy.scopes:
        used = _counted(scope)
        for local in scope.rule.declared:
            if local.by == "argument" and local.name != "_" and local.name not in used:
                yield Fault(scope.file, local.place, f"The argument `{local.name}` is not used.")


CHECKS = (unsafe_variable, not_undefined, in_as_value, not_unbound, unused_local, unused_argument)


def _counted(scope: Scope) -> set[str]:
    """The names that stand somewhere else than where they are declared."""
    declared = {(local.name, local.place) for local in scope.rule.declared}
    return {ref.path[0] for ref in scope.refs if (ref.path[0], ref.place) not in declared}


def _negations(scope: Scope) -> Iterator[Statement]:
    return (statement for statement in scope.expressions() if statement.kind == "NotExpr")


def _reads_input(scope: Scope, negation: Statement) -> bool:
    """Whether the input itself stands in what is negated; of a plain reference in its indices alone."""
    read: Json = negation.expression
    if "Var" in negation.expression:
        return False
    if negation.expression.keys() & _REFERENCES:
        read = [*syntax.indices(negation.expression)]
    return any(
        target.path[0] == "input"
        for ref in syntax.refs(read)
        if (target := scope.module.resolve(ref, scope.rule.names))
    )


def bound(scope: Scope, *, negated: bool = True) -> Iterator[str]:
    """The names that stand where a value is bound to them: either side of `=`, an index, or a call's last argument."""
    for node in scope.nodes.get("AssignExpr", ()):
        yield from _names([node["lhs"]] if node["op"] == "ColEq" else [node["lhs"], node["rhs"]])
    for node in scope.nodes.get("SomeIn", ()):
        yield from _names([node["key"], node["value"]])
    for call in scope.calls:
        yield from _names([*call.arguments[-1:]])
    yield from indexed(scope, without=frozenset() if negated else _under_not(scope))
    yield from (local.name for local in scope.rule.declared if local.by in ("argument", "every"))


def indexed(scope: Scope, *, without: frozenset[Place] = frozenset()) -> Iterator[str]:
    """The names that stand as an index, which binds them, but for those at the places `without`."""
    for kind in ("RefDot", "RefBrack"):
        for node in scope.nodes.get(kind, ()):
            for index in syntax.indices({kind: node}):
                if syntax.place(index) not in without:
                    yield from _names([index])


def _under_not(scope: Scope) -> frozenset[Place]:
    return frozenset(ref.place for one in _negations(scope) for ref in syntax.refs(one.expression))


def _names(patterns: list[Json]) -> Iterator[str]:
    """The variables of patterns: a variable, or an array or object of patterns."""
    for pattern in patterns:
        if not isinstance(pattern, dict) or not _PATTERNS & pattern.keys():
            continue
        for kind, inner in syntax.walk(pattern):
            if kind == "Var":
                yield str(inner["value"])
