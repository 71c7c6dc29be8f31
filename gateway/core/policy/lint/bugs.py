"""Conditions that do not ask what they seem to ask; regal's `bugs`, as far as they are worth a warning."""

from __future__ import annotations

from itertools import pairwise

from gateway.core.policy import syntax
from gateway.core.policy.builtins import ARITY, BOOLEAN
from gateway.core.policy.lint.finding import Fault, Faults, advice
from gateway.core.policy.lint.policy import Policy, Scope
from gateway.core.policy.syntax import Path, Ref
from gateway.core.types import Json

_LITERALS = frozenset(("Number", "String", "RawString", "Bool", "True", "False", "Null"))
_COLLECTIONS = frozenset(("Array", "Object", "Set", "ArrayCompr", "SetCompr", "ObjectCompr"))


@advice(
    "constant-condition",
    why="A condition that is always true, or never: it was meant to ask something.",
    fix="ask what is meant, or delete it.",
    bad="x if 1 == 1",
    good="x if input.message.name",
)
def constant_condition(policy: Policy) -> Faults:
    """A literal, or a comparison of two, as a condition of what decides; `if true` and `if false` say so plainly."""
    for scope in policy.deciding:
        for statement in scope.expressions():
            kind = next(iter(statement.expression), "")
            sides = statement.expression.get("BoolExpr")
            both = isinstance(sides, dict) and _literal(sides["lhs"]) and _literal(sides["rhs"])
            always = kind in _COLLECTIONS or kind in ("Number", "String", "RawString", "Null")
            if statement.kind in ("Expr", "NotExpr") and (both or always):
                yield Fault(scope.file, statement.place, "This does not depend on anything.")


@advice(
    "not-equals-in-loop",
    why="`xs[_] != x` holds when any element differs, so a list with one more element passes where none should.",
    fix="write `not x in xs`.",
    bad='x if input.principal.groups[_] != "blocked"',
    good='x if {\n\tgroups := input.principal.groups\n\tnot "blocked" in groups\n}',
)
def not_equals_in_loop(policy: Policy) -> Faults:
    """`!=` beside a reference with a wildcard index."""
    for scope in policy.scopes:
        for node in scope.nodes.get("BoolExpr", ()):
            if node["op"] == "Ne" and any(_wild(side) for side in (node["lhs"], node["rhs"])):
                yield Fault(scope.file, syntax.place(node["lhs"]), "This holds as soon as one element differs.")


@advice(
    "unused-result",
    why="A call as a condition holds for every answer but false: `indexof(x, y)` holds when it is -1.",
    fix="compare what it answers, or bind it.",
    bad='x if indexof(input.message.name, "read") # -1 holds as well',
    good='x if indexof(input.message.name, "read") == 0',
)
def unused_result(policy: Policy) -> Faults:
    """A builtin that answers something else than true or false, as a condition by itself."""
    for scope in policy.scopes:
        for statement in scope.expressions():
            node = statement.expression.get("Call")
            call = syntax.call(node) if isinstance(node, dict) else None
            name = ".".join(call.name) if call is not None else ""
            target = scope.module.resolve(Ref(call.name, False, call.place), scope.rule.names) if call else None
            own = target is not None and target.path in policy.functions
            if call and name in ARITY and name not in BOOLEAN and not own and len(call.arguments) == ARITY[name]:
                yield Fault(scope.file, call.place, f"This holds whatever `{name}` answers, but for false.")


@advice(
    "top-level-iteration",
    why="A value taken from every element at once: as soon as two differ, the decision fails.",
    fix="say which one, or make a set of them: `x contains …`.",
    bad="x := input.principal.groups[_]",
    good="x contains group if some group in input.principal.groups",
)
def top_level_iteration(policy: Policy) -> Faults:
    """A value in the head of a rule with a wildcard index and without a condition."""
    for scope in policy.deciding:
        value = syntax.member(syntax.member(scope.rule.node["head"], "assign"), "value")
        if scope.rule.shape == "Compr" and not scope.rule.bodies and scope.rule.exact and _wild(value):
            yield Fault(scope.file, syntax.place(value), "As soon as two elements differ, the decision fails.")


@advice(
    "redundant-existence",
    why="A line that only asks whether something is there, before one that needs it anyway, hides what is asked.",
    fix="delete the first of the two lines.",
    bad='x if {\n\tinput.message.name\n\tinput.message.name == "x"\n}',
    good='x if input.message.name == "x"',
)
def redundant_existence(policy: Policy) -> Faults:
    """A plain reference as a condition, and the same within a comparison in the next line."""
    for scope in policy.scopes:
        for query in scope.queries:
            for one, following in pairwise(query):
                chain = syntax.chain(one.expression) if one.kind == "Expr" and not one.mods else None
                sides = following.expression.get("BoolExpr") if following.kind == "Expr" else None
                if not chain or len(chain) < 2 or not isinstance(sides, dict) or following.mods:
                    continue
                if chain in (syntax.chain(sides["lhs"]), syntax.chain(sides["rhs"])):
                    yield Fault(scope.file, one.place, "The next line asks this anyway.")


@advice(
    "inconsistent-args",
    why="The definitions of one function name their arguments otherwise: one of them may have mixed them up.",
    fix="name and order them alike.",
    bad="f(role, name) if role == name\n\nf(name, role) if name > role",
    good="f(role, name) if role == name\n\nf(role, name) if name > role",
)
def inconsistent_args(policy: Policy) -> Faults:
    """Definitions of a function with other argument names; patterns, literals and `_` aside."""
    first: dict[Path, tuple[str, ...]] = {}
    for scope in policy.scopes:
        if scope.rule.arity is None or scope.rule.default:
            continue
        names = _arguments(scope)
        before = first.setdefault(scope.path, names)
        pairs = zip(before, names, strict=False)
        if any(one and other and one != other for one, other in pairs):
            reason = f"Another definition of `{scope.rule.path[-1]}` has the arguments {', '.join(before)}."
            yield Fault(scope.file, scope.rule.place, reason)


CHECKS = (
    constant_condition,
    not_equals_in_loop,
    unused_result,
    top_level_iteration,
    redundant_existence,
    inconsistent_args,
)


def _literal(node: Json) -> bool:
    return isinstance(node, dict) and bool(node.keys() & _LITERALS)


def _wild(node: Json) -> bool:
    if not isinstance(node, dict) or not node.keys() & {"RefDot", "RefBrack"}:
        return False
    return any(syntax.member(syntax.member(index, "Var"), "value") == "_" for index in syntax.indices(node))


def _arguments(scope: Scope) -> tuple[str, ...]:
    """The name of each argument; empty where it is a literal, a pattern or `_`."""
    listed = syntax.member(scope.rule.node["head"], "args")
    names = [
        syntax.member(syntax.member(item, "Var"), "value") for item in (listed if isinstance(listed, list) else [])
    ]
    return tuple(name if isinstance(name, str) and name != "_" else "" for name in names)
