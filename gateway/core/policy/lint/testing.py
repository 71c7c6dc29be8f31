"""Tests that test nothing, and tests where they decide."""

from __future__ import annotations

from gateway.core.policy import bundle, syntax
from gateway.core.policy.builtins import DETERMINISTIC, NONDETERMINISTIC, PANICKING
from gateway.core.policy.lint.finding import Fault, Faults, advice, check
from gateway.core.policy.lint.policy import Policy, Scope
from gateway.core.policy.syntax import Path, Place

_BUILTIN = DETERMINISTIC | NONDETERMINISTIC | PANICKING


@check(
    "test-package",
    why="A `_test.rego` source is not there when deciding; what it defines in another package is missing then.",
    fix="write a package that ends with `_test`.",
    bad="",
    good="x := 1",
)
def test_package(policy: Policy) -> Faults:
    """A test source in a package that decides."""
    for module in policy.modules:
        if module.file.endswith(bundle.TEST) and not module.package[-1].endswith("_test"):
            reason = f"A {bundle.TEST} source is not loaded to decide, and this one belongs to a package that does."
            yield Fault(module.file, Place(1, 1), reason, f"write `package {'.'.join(module.package)}_test`.")


@check(
    "duplicate-test",
    why="Two tests of one name are one rule: when one of them holds, nobody sees the other fail.",
    fix="give each its own name.",
    bad="test_limit if 1 == 1\n\ntest_limit if 1 == 2",
    good="test_limit if 1 == 1\n\ntest_other_limit if 1 == 2",
    in_test=True,
)
def duplicate_test(policy: Policy) -> Faults:
    """A second rule of a test's name in one package."""
    seen: dict[Path, Scope] = {}
    for scope in policy.scopes:
        if scope.rule.exact and not scope.rule.default and scope.rule.path[-1].startswith(("test_", "todo_test_")):
            before = seen.setdefault(scope.path, scope)
            if before is not scope:
                where = f"{before.file}:{before.rule.place.line}"
                reason = f"`{scope.rule.path[-1]}` stands at {where} too; the failing one of them is not seen."
                yield Fault(scope.file, scope.rule.place, reason)


@check(
    "mock-ignored",
    why="`with data.a.f as …` of a function is ignored here: the test runs the real one and proves nothing.",
    fix="replace it by the name that it has where the test stands, or give an input that makes it so.",
    bad="f(_) := 1\n\ntest_x if f(1) == 2 with data.gateway.call_test.f as 2",
    good="f(_) := 1\n\ntest_x if f(1) == 2 with f as 2",
    in_test=True,
)
def mock_ignored(policy: Policy) -> Faults:
    """A `with` whose target is a function below `data`."""
    for scope in policy.scopes:
        for statement in scope.expressions():
            for mod in statement.mods:
                chain = syntax.chain(mod.get("refr"))
                if chain is not None and chain[0] == "data" and chain in policy.functions:
                    reason = "The engine ignores `with` for a function that is named from `data`."
                    yield Fault(scope.file, syntax.place(mod.get("refr")), reason)


@check(
    "mock-by-builtin",
    why="A builtin cannot stand in for a function here: the engine takes its name for a variable and fails.",
    fix="replace it by a value, or by a function of the policy.",
    bad='f(_) := ""\n\ntest_x if f("a") == "A" with f as upper',
    good='f(_) := ""\n\ntest_x if f("a") == "A" with f as "A"',
    in_test=True,
)
def mock_by_builtin(policy: Policy) -> Faults:
    """A `with … as` a builtin's name."""
    for scope in policy.scopes:
        for statement in scope.expressions():
            for mod in statement.mods:
                found = syntax.reference(mod.get("as"))
                if found is not None and ".".join(found.path) in _BUILTIN and found.path[0] not in scope.rule.names:
                    target = scope.module.resolve(found, scope.rule.names)
                    if target is None or target.path not in policy.paths:
                        reason = f"`{'.'.join(found.path)}` is a builtin, and cannot stand in for anything here."
                        yield Fault(scope.file, found.place, reason)


@advice(
    "test-outside",
    why="A test in a source that decides is loaded with it and makes every decision a little slower.",
    fix="move it to a `_test.rego` source.",
    bad="test_x if 1 == 1",
    good="tested if input.message.name",
)
def test_outside(policy: Policy) -> Faults:
    """A `test_` rule in a source that is no test."""
    for scope in policy.deciding:
        if scope.rule.path[-1].startswith("test_"):
            yield Fault(scope.file, scope.rule.place, f"`{scope.rule.path[-1]}` is a test among what decides.")


@advice(
    "todo-test",
    why="A `todo_test_` is skipped: what it would show is not shown.",
    fix="write it.",
    bad="todo_test_x if 1 == 1",
    good="test_x if 1 == 1",
    in_test=True,
)
def todo_test(policy: Policy) -> Faults:
    """A test that is not run."""
    for scope in policy.scopes:
        if scope.rule.path[-1].startswith("todo_test_"):
            yield Fault(scope.file, scope.rule.place, f"`{scope.rule.path[-1]}` is never run.")


@advice(
    "with-outside",
    why="`with` in what decides asks about another input than the gateway's, and evaluates everything again.",
    fix="give what differs to a function.",
    bad="x if y with input as {}\n\ny if input.message.name",
    good="x if y(input.message)\n\ny(message) if message.name",
)
def with_outside(policy: Policy) -> Faults:
    """`with` in a source that decides."""
    for scope in policy.deciding:
        for statement in scope.expressions():
            if statement.mods:
                yield Fault(scope.file, statement.place, "`with` belongs into tests.")


CHECKS = (test_package, duplicate_test, mock_ignored, mock_by_builtin, test_outside, todo_test, with_outside)
