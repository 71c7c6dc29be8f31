"""Where the engine is not OPA: what it answers wrongly, dies of, or answers differently each time."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.core.policy import syntax
from gateway.core.policy.builtins import NONDETERMINISTIC, PANICKING
from gateway.core.policy.lint.finding import Fault, Faults, check
from gateway.core.policy.lint.policy import Policy, Scope
from gateway.core.policy.syntax import Path
from gateway.core.types import Json


@check(
    "walk-as-value",
    why="`[path, value] := walk(x)` and `some w in walk(x)` yield nothing in this engine: a rule that should deny "
    "never holds.",
    fix="write `walk(x, [path, value])`.",
    bad='found if {\n\t[_, value] := walk(input.message)\n\tvalue == "secret"\n}',
    good='found if {\n\twalk(input.message, [_, value])\n\tvalue == "secret"\n}',
)
def walk_as_value(policy: Policy) -> Faults:
    """`walk` with one argument."""
    for scope in policy.scopes:
        for call in scope.calls:
            if call.name == ("walk",) and len(call.arguments) == 1:
                reason = "`walk(x)` used as a value yields nothing in this engine, so the rule never holds."
                yield Fault(scope.file, call.place, reason)


@check(
    "nondeterministic",
    why="It answers differently each time, or looks outside: the decision can never be checked from its record.",
    fix="use what the input says, such as `input.time`.",
    bad="x := time.now_ns()",
    good="x := time.parse_rfc3339_ns(input.time)",
)
def nondeterministic(policy: Policy) -> Faults:
    """Clock, chance, network and environment. A rule of the policy's own may have such a name."""
    for scope in policy.scopes:
        for call in scope.calls:
            if ".".join(call.name) in NONDETERMINISTIC and not _own(policy, scope, call.name):
                reason = (
                    f"`{'.'.join(call.name)}` answers differently each time, so the decision could never be checked."
                )
                yield Fault(scope.file, call.place, reason)


@check(
    "panics",
    why="It panics in this engine on some inputs: a denial, and a message on stderr that may quote what it was given.",
    fix="use another: `count(indexof_n(…))`, `object.keys` and sets, `time.parse_rfc3339_ns`.",
    bad='x := strings.count(input.message.name, "")',
    good='x := count(indexof_n(input.message.name, "a"))',
)
def panics(policy: Policy) -> Faults:
    """The builtins that were found to panic when each was called with random arguments 1.65 million times."""
    for scope in policy.scopes:
        for call in scope.calls:
            if ".".join(call.name) in PANICKING and not _own(policy, scope, call.name):
                reason = f"`{'.'.join(call.name)}` panics in this engine on some inputs, and quotes them on stderr."
                yield Fault(scope.file, call.place, reason)


@check(
    "recursion",
    why="A function that calls itself crashes the process, and a rule that needs itself fails the decision.",
    fix="break the circle; `walk` goes into nested values.",
    bad="f(x) := f(x)",
    good="f(x) := [value | walk(x, [_, value])]",
    opa=True,
)
def recursion(policy: Policy) -> Faults:
    """Every rule on a cycle of what rules use, told once each; by way of a whole package, `whole-package` tells it."""
    # Of each rule of that package, none of which can do anything about it, it would be told otherwise.
    looping = _on_a_cycle(policy.names)
    told: set[Path] = set()
    for scope in policy.scopes:
        if scope.path in looping and scope.path not in told:
            told.add(scope.path)
            reason = f"`{'.'.join(scope.path)}` depends on itself; as a function that crashes the process."
            yield Fault(scope.file, scope.rule.place, reason)


@check(
    "unary-minus",
    why="A minus before anything but a number is read, then fails the decision when it is reached.",
    fix="write `0 - x`.",
    bad="x := -input.profile.rows",
    good="x := 0 - input.profile.rows",
)
def unary_minus(policy: Policy) -> Faults:
    """`-x`; `-1` is a number."""
    for scope in policy.scopes:
        for node in scope.nodes.get("UnaryExpr", ()):
            if syntax.member(node["expr"], "Number") is None:
                reason = "A minus before anything but a number fails the decision in this engine."
                yield Fault(scope.file, syntax.place({"UnaryExpr": node}), reason)


@check(
    "own-name",
    why="Within a rule named `x`, a local `x` is taken for the rule: the decision fails with a misleading message.",
    fix="give the local another name.",
    bad="group := [group | some group in input.principal.groups]",
    good="groups := [group | some group in input.principal.groups]",
)
def own_name(policy: Policy) -> Faults:
    """A local within a comprehension that has the name of the rule around it."""
    for scope in policy.scopes:
        name = scope.rule.path[-1]
        inside = [node for kind in ("ArrayCompr", "SetCompr", "ObjectCompr") for node in scope.nodes.get(kind, ())]
        if scope.rule.arity is None and name in scope.rule.names and any(_declares(node, name) for node in inside):
            local = next(local for local in scope.rule.declared if local.name == name)
            reason = f"The local `{name}` is taken for the rule `{name}` that it stands in, which fails the decision."
            yield Fault(scope.file, local.place, reason)


@check(
    "leading-slash",
    why='`json.remove(x, ["/a"])` removes nothing here, and `json.filter` keeps nothing.',
    fix='write `"a/b"`, not `"/a/b"`.',
    bad='x := json.remove(input.message, ["/arguments"])',
    good='x := json.remove(input.message, ["arguments"])',
)
def leading_slash(policy: Policy) -> Faults:
    """A path literal for json.remove or json.filter that begins with a slash."""
    for scope in policy.scopes:
        for call in scope.calls:
            if call.name in (("json", "remove"), ("json", "filter")) and _begins_with_slash([*call.arguments[1:]]):
                reason = f"`{'.'.join(call.name)}` finds nothing at a path that begins with a slash in this engine."
                yield Fault(scope.file, call.place, reason)


@check(
    "print",
    why="`print` writes to the gateway's stderr: what it is given may be PHI, and no log may have any.",
    fix="print in the tests, which show it; or put what is to be known into the decision's `reasons`.",
    bad="x if {\n\tprint(input.message)\n\tinput.message.name\n}",
    good="x if input.message.name",
)
def prints(policy: Policy) -> Faults:
    """`print` in what decides."""
    for scope in policy.deciding:
        for call in scope.calls:
            if call.name == ("print",):
                yield Fault(scope.file, call.place, "`print` writes what it is given, which may be PHI, to stderr.")


@check(
    "keyword-import",
    why="An import that ends with a keyword has no name to be used by: this engine takes it, OPA refuses the file.",
    fix="give it a name: `import data.a.if as other`.",
    bad="import data.gateway.settings.default\n\nx := 1",
    good="import data.gateway.settings.default as fallback\n\nx := fallback",
    opa=True,
)
def keyword_import(policy: Policy) -> Faults:
    """An import whose own name is a keyword."""
    for module in policy.modules:
        for name, ref in module.imported:
            if name in _KEYWORDS:
                yield Fault(module.file, ref.place, f"The import's name would be `{name}`, which is a keyword.")


_KEYWORDS = frozenset("as contains default else every false if import in not null package some true with".split())

CHECKS = (
    walk_as_value,
    nondeterministic,
    panics,
    recursion,
    unary_minus,
    own_name,
    leading_slash,
    prints,
    keyword_import,
)


def _own(policy: Policy, scope: Scope, name: Path) -> bool:
    target = scope.module.resolve(syntax.Ref(name, False, scope.rule.place), scope.rule.names)
    return target is not None and target.path in policy.functions


def _on_a_cycle(edges: Mapping[Path, frozenset[Path]]) -> frozenset[Path]:
    """The nodes from which some way leads back to themselves: Tarjan's strongly connected components, in one pass."""
    order: dict[Path, int] = {}
    lowest: dict[Path, int] = {}
    open_: dict[Path, None] = {}
    found: set[Path] = set()
    for start in edges:
        waiting = [(start, iter(edges[start]))] if start not in order else []
        while waiting:
            at, following = waiting[-1]
            if at not in order:
                order[at] = lowest[at] = len(order)
                open_[at] = None
            below = next((path for path in following if path not in order or path in open_), None)
            if below is not None and below not in order:
                waiting.append((below, iter(edges[below])))
            elif below is not None:
                lowest[at] = min(lowest[at], order[below])
            else:
                waiting.pop()
                if waiting:
                    lowest[waiting[-1][0]] = min(lowest[waiting[-1][0]], lowest[at])
                if lowest[at] == order[at]:
                    found |= _closed(open_, at, edges)
    return frozenset(found)


def _closed(open_: dict[Path, None], at: Path, edges: Mapping[Path, frozenset[Path]]) -> set[Path]:
    """Take the component that begins with `at` off the open nodes; empty when it is no cycle."""
    component: set[Path] = set()
    while at not in component:
        component.add(open_.popitem()[0])
    return component if len(component) > 1 or at in edges[at] else set()


def _declares(node: Json, name: str) -> bool:
    for kind, inner in syntax.walk(node):
        pattern = [inner["lhs"]] if kind == "AssignExpr" and inner["op"] == "ColEq" else []
        pattern += [inner["key"], inner["value"]] if kind == "SomeIn" else []
        if any(deep == "Var" and at["value"] == name for deep, at in syntax.walk(pattern)):
            return True
    return False


def _begins_with_slash(node: Json) -> bool:
    return any(kind == "String" and str(inner["value"]).startswith("/") for kind, inner in syntax.walk(node))
