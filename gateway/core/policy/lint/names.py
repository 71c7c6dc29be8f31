"""Names that stand for nothing, for something else than they seem to, or for more than is meant."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.core.policy import syntax
from gateway.core.policy.builtins import ARITY, DEPRECATED, DETERMINISTIC, NONDETERMINISTIC, PANICKING
from gateway.core.policy.lint import schema
from gateway.core.policy.lint.finding import Fault, Faults, advice, check
from gateway.core.policy.lint.policy import Policy, Scope
from gateway.core.policy.syntax import Call, Path, Ref
from gateway.core.types import Document, Json

_BUILTIN = DETERMINISTIC | NONDETERMINISTIC | PANICKING


@check(
    "unknown-function",
    why="A call of a function that does not exist fails only when a decision gets there; behind a condition that is "
    "false nobody notices.",
    fix="correct the name, or define it; docs/lint.md says what OPA has and this engine lacks.",
    bad='x if crypto.sha256(input.message.name) == "…"',
    good='x if startswith(input.message.name, "read_")',
    opa=False,
)
def unknown_function(policy: Policy) -> Faults:
    """A call that is neither of a function of the policy nor of a builtin."""
    for scope, call in _calls(policy):
        name = ".".join(call.name)
        if _arity(policy, scope, call) is None and name not in _BUILTIN and name not in DEPRECATED:
            reason = f"There is no function `{name}`; the engine fails only when a decision gets here."
            yield Fault(scope.file, call.place, reason)


@check(
    "deprecated",
    why="OPA took it out of Rego v1, and the engine does not have it: the decision fails when it gets there.",
    fix="use what replaced it: `some … in` and `every`, `regex.match`, `-` for sets, `to_number`, `net.cidr_contains`.",
    bad='x if re_match("^read_", input.message.name)',
    good='x if regex.match("^read_", input.message.name)',
    opa=True,
)
def deprecated(policy: Policy) -> Faults:
    """A call of a function that OPA deprecated."""
    for scope, call in _calls(policy):
        name = ".".join(call.name)
        if _arity(policy, scope, call) is None and name in DEPRECATED:
            yield Fault(scope.file, call.place, f"`{name}` is deprecated in OPA and does not exist in this engine.")


@check(
    "arity",
    why="A call with too few or too many arguments fails only when a decision gets there.",
    fix="give it what its definition names.",
    bad="x if startswith(input.message.name)",
    good='x if startswith(input.message.name, "read_")',
    opa=True,
)
def arity(policy: Policy) -> Faults:
    """A call with another number of arguments than the function has; one more takes its result."""
    for scope, call in _calls(policy):
        name = ".".join(call.name)
        own = _arity(policy, scope, call)
        takes = own if own is not None else ARITY.get(name)
        if takes is not None and len(call.arguments) not in (takes, takes + 1):
            reason = f"`{name}` takes {takes} argument(s) and is given {len(call.arguments)}."
            yield Fault(scope.file, call.place, reason)


@check(
    "unknown-reference",
    why="A misspelt reference is undefined, and its negation true.",
    fix="correct the name, or add it to data.json.",
    bad="fine := true\n\nopen if not data.gateway.call.fien",
    good="default fine := true\n\nopen if not data.gateway.call.fine",
)
def unknown_reference(policy: Policy) -> Faults:
    """A reference below `data` to what is neither a rule nor in the bundle's data."""
    for scope, ref, target in _data_references(policy):
        if not any(path[: len(target)] == target for path in policy.deciding_paths):
            reason = f"Nothing is at `{'.'.join(target)}`: it is undefined, and what is not undefined then holds."
            yield Fault(scope.file, ref.place, reason)


@check(
    "whole-package",
    why="A package as a value evaluates all of its rules, and an error in any of them fails the decision.",
    fix="name the one rule that is meant.",
    bad="x := count(data.gateway.result)",
    good="x := count(data.gateway.result.decision)",
)
def whole_package(policy: Policy) -> Faults:
    """A reference to a package, or to something above packages."""
    for scope, ref, target in _data_references(policy):
        if any(path[: len(target)] == target for path in policy.deciding_paths):
            name = ".".join(target)
            reason = f"`{name}` is a whole package: every rule of it is evaluated, and an error in one fails this."
            yield Fault(scope.file, ref.place, reason)


@check(
    "duplicate-import",
    why="Of two imports with one name only one counts, and nothing says which.",
    fix="give one of them another name with `as`, or delete it.",
    bad="import data.gateway.settings.roles\nimport data.gateway.settings.masks as roles\n\nx := roles",
    good="import data.gateway.settings.roles\n\nx := roles",
    opa=True,
)
def duplicate_import(policy: Policy) -> Faults:
    """A second import of one name."""
    for module in policy.modules:
        seen: set[str] = set()
        for name, ref in module.imported:
            if name in seen:
                yield Fault(module.file, ref.place, f"`{name}` is imported already.")
            seen.add(name)


@check(
    "shadowed-import",
    why="Where a rule has the name of an import, this engine takes the rule and OPA the import.",
    fix="give one of them another name.",
    bad="import data.gateway.settings.roles\n\nroles := {}\n\nx := roles",
    good="import data.gateway.settings.roles\n\nx := roles",
)
def shadowed_import(policy: Policy) -> Faults:
    """A rule with the name of an import of its source."""
    for scope in policy.scopes:
        name = scope.rule.path[len(scope.module.package)] if len(scope.path) > len(scope.module.package) + 1 else ""
        if name in scope.module.imports:
            reason = f"The rule `{name}` hides the import of that name here, and does not in OPA."
            yield Fault(scope.file, scope.rule.place, reason)


@check(
    "shadows-root",
    why="A local called `input` or `data` hides the document: what looks like a test of the input tests the local.",
    fix="give it another name.",
    bad="reader(input) if input == 1",
    good="reader(given) if given == 1",
    opa=True,
)
def shadows_root(policy: Policy) -> Faults:
    """An argument or local of the name of a root document."""
    for scope in policy.scopes:
        for local in scope.rule.declared:
            if local.name in ("input", "data"):
                yield Fault(scope.file, local.place, f"The local `{local.name}` hides the document of that name.")


@advice(
    "unused-import",
    why="What nobody uses is a leftover, or a name misspelt where it was to be used.",
    fix="delete it.",
    bad="import data.gateway.settings.roles\n\nx := 1",
    good="import data.gateway.settings.roles\n\nx := roles",
    opa=True,
)
def unused_import(policy: Policy) -> Faults:
    """An import that no rule of its source mentions."""
    used: dict[str, set[str]] = {}
    for scope in policy.scopes:
        mentioned = used.setdefault(scope.file, set())
        mentioned |= {ref.path[0] for ref in scope.refs} | {call.name[0] for call in scope.calls}
        mentioned |= set(_replaced(scope))
    for module in policy.modules:
        for name, ref in module.imported:
            if name not in used.get(module.file, set()):
                yield Fault(module.file, ref.place, f"The import `{name}` is not used.")


@advice(
    "shadows-builtin",
    why="A rule or local with the name of a builtin hides it for whoever reads on, and for the engine in this package.",
    fix="give it another name.",
    bad="count(given) := 5 if given",
    good="count_of(given) := 5 if given",
)
def shadows_builtin(policy: Policy) -> Faults:
    """A function, rule, argument or local that has a builtin's name."""
    for scope in policy.scopes:
        name = scope.rule.path[-1]
        if name in _BUILTIN and len(scope.rule.path) == len(scope.module.package) + 1:
            yield Fault(scope.file, scope.rule.place, f"`{name}` hides the builtin of that name.")
        for local in scope.rule.declared:
            if local.name in _BUILTIN:
                yield Fault(scope.file, local.place, f"`{local.name}` hides the builtin of that name.")


CHECKS = (
    unknown_function,
    deprecated,
    arity,
    unknown_reference,
    whole_package,
    duplicate_import,
    shadowed_import,
    shadows_root,
    unused_import,
    shadows_builtin,
)


def _calls(policy: Policy) -> Iterator[tuple[Scope, Call]]:
    return ((scope, call) for scope in policy.scopes for call in scope.calls)


def _arity(policy: Policy, scope: Scope, call: Call) -> int | None:
    """How many arguments the policy's own function of that name takes; one that only tests have is not there."""
    target = scope.module.resolve(Ref(call.name, False, call.place), scope.rule.names)
    found = policy.functions.get(target.path, ()) if target is not None else ()
    visible = [one for one in found if scope.is_test or not one.is_test]
    return visible[0].rule.arity if visible else None


def _data_references(policy: Policy) -> Iterator[tuple[Scope, Ref, Path]]:
    """References below `data` that name neither a rule, nor something in one, nor base data."""
    for scope in policy.deciding:
        for ref in scope.refs:
            target = scope.module.resolve(ref, scope.rule.names)
            if target is None or target.path[0] != "data" or ref.path[0] not in ("data", *scope.module.imports):
                continue
            path = target.path
            within = any(path[:end] in policy.deciding_paths for end in range(1, len(path) + 1))
            if not within and not _in_data(policy.data, path[1:]) and not schema.is_setting(policy, path):
                yield scope, ref, path


def _replaced(scope: Scope) -> Iterator[str]:
    """The first words of what `with` replaces."""
    for statement in scope.expressions():
        for mod in statement.mods:
            found = syntax.chain(mod.get("refr"))
            if found is not None and found[0] is not None:
                yield found[0]


def _in_data(data: Document, path: Path) -> bool:
    at: Json = data
    for segment in path:
        if not isinstance(at, dict) or segment not in at:
            return False
        at = at[segment]
    return True
