"""Rules that contradict each other, their data or their entrypoint."""

from __future__ import annotations

from gateway.core.policy import bundle, syntax
from gateway.core.policy.lint.finding import Fault, Faults, check
from gateway.core.policy.lint.policy import ENTRYPOINTS, Policy, Scope
from gateway.core.policy.syntax import Path, Place
from gateway.core.types import Json

_CONSTANTS = ("Number", "String", "RawString", "Bool", "True", "False", "Null")
_DENYING = 'default decision := {"effect": "deny"}'


@check(
    "missing-entrypoint",
    why="The engine is asked for what is not there, and everything is denied.",
    fix='write `package gateway.…` with `default decision := {"effect": "deny", …}`.',
    bad="",
    good=_DENYING,
)
def missing_entrypoint(policy: Policy) -> Faults:
    """An entrypoint that no deciding rule defines."""
    for entrypoint, path in ENTRYPOINTS.items():
        if path not in policy.deciding_paths:
            reason = f"The entrypoint {entrypoint.value} is missing, so everything it is asked is denied."
            fix = f'write `package {".".join(path[1:-1])}` with `default decision := {{"effect": "deny", …}}`.'
            yield Fault(bundle.MANIFEST, Place(1, 1), reason, fix)


@check(
    "missing-default",
    why="Where no rule holds the entrypoint is undefined, and nobody is told why.",
    fix='write one `default decision := {"effect": "deny", …}`.',
    bad='decision := {"effect": "allow"} if input.message.name == "x"',
    good=_DENYING,
)
def missing_default(policy: Policy) -> Faults:
    """An entrypoint without a default."""
    for entrypoint, path in ENTRYPOINTS.items():
        rules = [scope for scope in policy.deciding if scope.path == path]
        if rules and not any(scope.rule.default for scope in rules):
            reason = f"The entrypoint {entrypoint.value} has no default."
            yield Fault(rules[0].file, rules[0].rule.place, reason)


@check(
    "open-default",
    why="Whatever no rule speaks about would be allowed.",
    fix='begin it with `{"effect": "deny"`.',
    bad='default decision := {"effect": "allow"}',
    good=_DENYING,
)
def open_default(policy: Policy) -> Faults:
    """A default of an entrypoint that is no literal denial."""
    for entrypoint, path in ENTRYPOINTS.items():
        for scope in policy.deciding:
            if scope.path == path and scope.rule.default and not _denies(scope):
                reason = f"The default of {entrypoint.value} is not a plain denial."
                yield Fault(scope.file, scope.rule.place, reason)


@check(
    "duplicate-default",
    why="Of two defaults of one rule the engine takes the first it loaded and says nothing.",
    fix="keep the one that is meant.",
    bad="default limit := 10\n\ndefault limit := 10000",
    good="default limit := 10",
    opa=True,
)
def duplicate_default(policy: Policy) -> Faults:
    """A second default of one rule."""
    first: dict[Path, Scope] = {}
    for scope in policy.scopes:
        if scope.rule.default:
            before = first.setdefault(scope.path, scope)
            if before is not scope:
                where = f"{before.file}:{before.rule.place.line}"
                reason = f"`{scope.rule.path[-1]}` has another default at {where}, and only one of them counts."
                yield Fault(scope.file, scope.rule.place, reason)


@check(
    "conflict",
    why="One name for a function and a rule, a set and a value, or a value and something below it: the engine notices "
    "when a decision gets there, which fails.",
    fix="give one of them another name.",
    bad="rows := 5\n\nrows(role) := 5 if role",
    good="rows := 5\n\nrows_of(role) := 5 if role",
    opa=True,
)
def conflict(policy: Policy) -> Faults:
    """Definitions of one path that are of different kinds, and a path below a whole value."""
    first: dict[Path, Scope] = {}
    for scope in policy.scopes:
        before = first.setdefault(scope.path, scope)
        if scope.rule.exact == before.rule.exact and _kind(scope) != _kind(before):
            name, where = scope.rule.path[-1], f"{before.file}:{before.rule.place.line}"
            reason = f"`{name}` is {_kind(before)} at {where} and {_kind(scope)} here."
            yield Fault(scope.file, scope.rule.place, reason)
    values = {path: scope for path, scope in first.items() if scope.rule.exact and _kind(scope) == "a value"}
    for path, scope in first.items():
        above = next((path[:end] for end in range(2, len(path)) if path[:end] in values), None)
        if above is not None and values[above].rule.bodies == 0 and not values[above].rule.default:
            reason = f"`{'.'.join(path)}` lies below `{'.'.join(above)}`, which has a value of its own."
            yield Fault(scope.file, scope.rule.place, reason)


@check(
    "contradiction",
    why="Two values of one rule that hold at the same time fail the decision, for every input.",
    fix="give each a condition, or use `else`.",
    bad="limit := 10\n\nlimit := 20",
    good="default limit := 20\n\nlimit := 10 if input.upstream.name",
)
def contradiction(policy: Policy) -> Faults:
    """Two unconditional constants that differ, of one rule."""
    first: dict[Path, tuple[Scope, Json]] = {}
    for scope in policy.scopes:
        value = syntax.member(syntax.member(scope.rule.node["head"], "assign"), "value")
        constant = _constant(value)
        if constant is None or scope.rule.bodies or scope.rule.shape != "Compr" or not scope.rule.exact:
            continue
        before, held = first.setdefault(scope.path, (scope, constant))
        if held != constant:
            where = f"{before.file}:{before.rule.place.line}"
            reason = f"`{scope.rule.path[-1]}` always has another value at {where}; both together fail every decision."
            yield Fault(scope.file, scope.rule.place, reason)


@check(
    "data-over-rule",
    why="Base data at a rule's path silently replaces the rule, whatever its conditions say.",
    fix="rename the rule, or move the data.",
    bad="",
    good="x := 1",
)
def data_over_rule(policy: Policy) -> Faults:
    """A leaf of data at, above or below a rule."""
    held = {("data", *leaf) for leaf in bundle.leaves(policy.data)}
    above = {leaf[:end] for leaf in held for end in range(1, len(leaf) + 1)}
    for scope in policy.scopes:
        path = scope.path
        if path in above or any(path[:end] in held for end in range(1, len(path))):
            reason = f"Base data at `{'.'.join(path)}` would silently replace this rule."
            yield Fault(scope.file, scope.rule.place, reason)


@check(
    "outside-roots",
    why="A bundle says nothing outside its manifest's roots: another bundle may own that path.",
    fix="add its root to .manifest, or rename it.",
    bad="",
    good="x := 1",
)
def outside_roots(policy: Policy) -> Faults:
    """A package under none of the roots."""
    for module in policy.modules:
        if not policy.manifest.owns("/".join(module.package)):
            reason = f"The package {'.'.join(module.package)} lies outside the roots {list(policy.manifest.roots)}."
            yield Fault(module.file, Place(1, 1), reason)


CHECKS = (
    missing_entrypoint,
    missing_default,
    open_default,
    duplicate_default,
    conflict,
    contradiction,
    data_over_rule,
    outside_roots,
)


def _kind(scope: Scope) -> str:
    arity = scope.rule.arity
    if arity is not None:
        return f"a function of {arity} argument(s)"
    return "a set" if scope.rule.shape == "Set" else "a value"


def _constant(node: Json) -> Json:
    """The literal that a node is, as `[kind, value]`; None for anything else."""
    if isinstance(node, dict):
        for kind in _CONSTANTS:
            if kind in node:
                return [kind, syntax.member(node[kind], "value")]
    return None


def _denies(scope: Scope) -> bool:
    fields = syntax.member(syntax.member(syntax.member(scope.rule.node["head"], "value"), "Object"), "fields")
    for item in fields if isinstance(fields, list) else []:
        key, value = (item[1], item[2]) if isinstance(item, list) and len(item) == 3 else (None, None)
        if syntax.literal(key) == "effect":
            return syntax.literal(value) == "deny"
    return False
