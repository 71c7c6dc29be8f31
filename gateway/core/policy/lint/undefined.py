"""What may be undefined where this engine goes on and OPA does not: under `not`, and where `in` is a value.

OPA's compiler takes every reference and call that is an operand out of a negation and puts it before it
(v1/ast/compile.go, rewriteDynamics), so that the rule is undefined where one of them is; this engine negates the
undefined as it negates false. Only what is negated itself, and either side of `==`, stays where it is in both.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.core.policy import syntax
from gateway.core.policy.lint.policy import Policy, Scope, Statement
from gateway.core.policy.syntax import Path
from gateway.core.types import Document, Json

_REFERENCES = frozenset({"RefDot", "RefBrack"})
_COMPREHENSIONS = frozenset({"ArrayCompr", "SetCompr", "ObjectCompr"})
"""What is asked in them is asked for each element, and their value is always there."""
_DEPTH = 16
"""Rules that are followed one after the other."""


def negated(policy: Policy, scope: Scope, query: tuple[Statement, ...], negation: Statement) -> str:
    """An operand of `negation` that may be undefined, as it is written; empty when there is none.

    What another line of its query refers to as well is defined by then.
    """
    lines = [line.expression if line.kind == "Expr" else line.node for line in query if line.kind in ("Expr", "SomeIn")]
    asked = frozenset(ref.path for line in lines for ref in _references(line) if not ref.dynamic)
    return operand(policy, scope, _judged(negation.expression), asked)


def operand(policy: Policy, scope: Scope, within: Json, asked: frozenset[Path] = frozenset()) -> str:
    """A reference or call `within` that may be undefined, as it is written, but for what is `asked` elsewhere."""
    for node in _operands(within):
        ref = syntax.reference(node)
        if (ref is None or ref.dynamic or ref.path not in asked) and not _is_there(policy, scope, node, _DEPTH):
            called = syntax.reference(syntax.member(syntax.member(node, "Call"), "fcn"))
            named = ref or called
            return f"{'.'.join(named.path)}{'[…]' if named.dynamic else ''}" if named is not None else "its operand"
    return ""


def _judged(expression: Json) -> Json:
    """What of a negated expression must be defined for OPA to negate it."""
    ((kind, inner),) = expression.items() if isinstance(expression, dict) and len(expression) == 1 else [("", None)]
    if kind in _REFERENCES:
        return [*syntax.indices(expression)]
    if kind == "Var":
        return []
    if kind in ("BoolExpr", "AssignExpr") and syntax.member(inner, "op") == "Eq":
        sides = [syntax.member(inner, "lhs"), syntax.member(inner, "rhs")]
        return [_judged(side) if syntax.chain(side) is not None else side for side in sides]
    return syntax.member(inner, "params") if kind == "Call" else expression


def _operands(node: Json) -> Iterator[Document]:
    for kind, inner in syntax.walk(node, without=_COMPREHENSIONS):
        if kind in _REFERENCES or kind in ("Var", "Call"):
            yield {kind: inner}


def _references(node: Json) -> Iterator[syntax.Ref]:
    return (ref for one in _operands(node) if (ref := syntax.reference(one)) is not None)


def _is_there(policy: Policy, scope: Scope, node: Document, depth: int) -> bool:
    """Whether a reference or call always has a value."""
    if "Call" in node:
        call = syntax.call(node["Call"]) if isinstance(node["Call"], dict) else None
        target = _resolved(scope, call.name, node) if call is not None else None
        return target is None or target not in policy.functions or _always(policy, target, depth)
    ref = syntax.reference(node)
    if ref is None or (ref.path[0] in scope.rule.names and len(ref.path) == 1 and not ref.dynamic):
        return ref is not None  # A local name has a value wherever it is in sight.
    chain = scope.trace(node) or ()
    steps = tuple(step for step in chain if step is not None)
    known = len(steps) == len(chain) > 0 and steps[0] == "data"
    return known and (_always(policy, steps, depth) or _given(policy, steps))


def _resolved(scope: Scope, name: Path, node: Document) -> Path | None:
    target = scope.module.resolve(syntax.Ref(name, False, syntax.place(node)), scope.rule.names)
    return target.path if target is not None else None


def _always(policy: Policy, path: Path, depth: int) -> bool:
    """Whether the rule or function at `path` has a value whatever the input is."""
    return any(
        one.rule.default
        or one.rule.shape == "Set"
        or not one.rule.exact
        or (depth > 0 and not one.rule.bodies and _unconditional(policy, one, depth - 1))
        for one in policy.deciding_at.get(path, ())
    )


def _unconditional(policy: Policy, scope: Scope, depth: int) -> bool:
    return all(_is_there(policy, scope, node, depth) for node in _operands(scope.rule.node["head"]))


def _given(policy: Policy, path: Path) -> bool:
    """Whether the bundle's data has a value there."""
    value: Json = policy.data
    for step in path[1:]:
        if not isinstance(value, dict) or step not in value:
            return False
        value = value[step]
    return True
