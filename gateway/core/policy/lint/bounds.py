"""Builtins whose answer grows beyond all bounds with what they are given.

What cannot be seen in one call is left to admission, which measures what decisions cost.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from gateway.core.policy import syntax
from gateway.core.policy.lint.finding import Fault, Faults, advice, check
from gateway.core.policy.lint.policy import Policy, Scope
from gateway.core.policy.lint.raising import from_input
from gateway.core.policy.lint.values import text
from gateway.core.policy.syntax import Call
from gateway.core.types import Json

RANGE_MAX = 10_000
SHIFT_MAX = 64
WIDTH_MAX = 100
_SIZES: dict[str, tuple[tuple[int, ...], int]] = {
    "numbers.range": ((0, 1), RANGE_MAX),
    "numbers.range_step": ((0, 1), RANGE_MAX),
    "bits.lsh": ((1,), SHIFT_MAX),
}
"""Which arguments say how large the answer is, and how large each may be."""

_ENDLESS = frozenset({"units.parse", "units.parse_bytes", "graph.reachable_paths"})
"""Builtins that may need for ever for what a caller writes: `9e999999999`, or a graph with all of its edges."""

_GROWING = {"replace": 2, "regex.replace": 2, "strings.replace_n": 0}
_DEPTH_MAX = 8


@check(
    "unbounded",
    why="`bits.lsh(1, n)`, `numbers.range(1, n)`, `net.cidr_expand(n)`, `sprintf(n, …)`, `units.parse(n)` and "
    "`graph.reachable_paths(n, …)` hang or kill the process if the caller chooses `n`.",
    fix="compare it with a bound in the same rule (`n < 100`), or take it from data.",
    bad="x := count(numbers.range(1, input.message.arguments.n))",
    good="x := count(numbers.range(1, input.message.arguments.n)) if {\n\tis_number(input.message.arguments.n)\n"
    "\tinput.message.arguments.n < 100\n}",
)
def unbounded(policy: Policy) -> Faults:
    """A size, network or format that is no constant, or too large a one, and has no bound in its rule; and others."""
    for scope in policy.scopes:
        for call in scope.calls:
            name = ".".join(call.name)
            sizes, most = _SIZES.get(name, ((), 0))
            for index in sizes:
                if index < len(call.arguments) and not _bounded(policy, scope, call.arguments[index], most):
                    yield Fault(scope.file, call.place, f"Nothing bounds what `{name}` makes of this to {most}.")
                    break
            if name == "net.cidr_expand" and not _small_network(call):
                yield Fault(scope.file, call.place, "A network may have millions of addresses.")
            if name == "sprintf" and call.arguments and _wide(scope, call.arguments[0]):
                yield Fault(scope.file, call.place, f"The format may ask for a text wider than {WIDTH_MAX}.")
            if name in _ENDLESS and not (call.arguments and _chosen_here(policy, scope, call.arguments[0])):
                yield Fault(scope.file, call.place, f"`{name}` hangs on some of what a caller may write.")


@advice(
    "growing",
    why="A replacement that the caller chooses, put in wherever something occurs in what they sent, makes megabytes "
    "of kilobytes.",
    fix="replace by a literal, or by something from data.",
    bad='x := replace(input.message.name, "a", input.upstream.name)',
    good='x := replace(input.message.name, "a", "b")',
)
def growing(policy: Policy) -> Faults:
    """A replacement from the input."""
    for scope in policy.deciding:
        for call in scope.calls:
            index = _GROWING.get(".".join(call.name))
            if index is not None and index < len(call.arguments) and from_input(scope, call.arguments[index]):
                reason = f"`{'.'.join(call.name)}` makes of its arguments what may be as large as their product."
                yield Fault(scope.file, call.place, reason)


CHECKS = (unbounded, growing)


def _bounded(policy: Policy, scope: Scope, node: Json, most: int, depth: int = _DEPTH_MAX) -> bool:
    """Whether a number is a constant up to `most`, comes from data or a count, or is compared with something."""
    if not isinstance(node, dict) or not depth:
        return False
    number = syntax.member(syntax.member(node, "Number"), "value")
    if isinstance(number, int | float):
        return abs(number) <= most
    if "ArithExpr" in node:
        sides = node["ArithExpr"]
        return all(_bounded(policy, scope, syntax.member(sides, side), most, depth - 1) for side in ("lhs", "rhs"))
    if "Call" in node:
        inner = syntax.call(node["Call"]) if isinstance(node["Call"], dict) else None
        return inner is not None and inner.name == ("count",)
    chain = scope.trace(node)
    if chain is None:
        return False
    if chain in _limited(scope):
        return True
    if chain[0] == "data":
        return all(_bounded(policy, one, value, most, depth - 1) for one, value in _values(policy, chain))
    name = syntax.member(syntax.member(node, "Var"), "value")
    found = scope.assigned.get(name) if isinstance(name, str) else None
    return _bounded(policy, scope, found, most, depth - 1)


def _chosen_here(policy: Policy, scope: Scope, node: Json, depth: int = _DEPTH_MAX) -> bool:
    """Whether a value is a text literal or base data, maybe by way of rules that are nothing else."""
    if text(node) is not None:
        return True
    chain = scope.trace(node)
    if chain is None or chain[0] != "data" or not depth:
        return False
    return all(_chosen_here(policy, one, value, depth - 1) for one, value in _values(policy, chain))


def _values(policy: Policy, chain: syntax.Chain) -> Iterator[tuple[Scope, Json]]:
    """What the rules say whose value a reference below `data` is: None where it is a part of it; nothing for data."""
    steps = tuple(step for step in itertools.takewhile(lambda step: step is not None, chain) if step is not None)
    for length in range(1, len(steps) + 1):
        for one in policy.deciding_at.get(steps[:length], ()):
            head, bodies = one.rule.node["head"], one.rule.node["bodies"]
            said = [head if one.rule.default else syntax.member(head, "assign")]
            said += [syntax.member(body, "assign") for body in (bodies if isinstance(bodies, list) else [])[1:]]
            yield from ((one, syntax.member(each, "value") if length == len(chain) else None) for each in said)


def _limited(scope: Scope) -> set[syntax.Chain]:
    """What the rule compares by order."""
    found = set()
    for node in scope.nodes.get("BoolExpr", ()):
        for side in (node["lhs"], node["rhs"]) if node["op"] in ("Lt", "Le", "Gt", "Ge") else ():
            chain = scope.trace(side)
            if chain is not None:
                found.add(chain)
    return found


def _small_network(call: Call) -> bool:
    literal = text(call.arguments[0]) if call.arguments else None
    address, _, prefix = (literal or "").partition("/")
    return prefix.isdecimal() and int(prefix) >= (112 if ":" in address else 16)


def _wide(scope: Scope, template: Json) -> bool:
    literal = text(template)
    if literal is None:
        chain = scope.trace(template)
        return chain is not None and chain[0] == "input"
    return any(len(width) > 5 or int(width) > WIDTH_MAX for width in _widths(literal))


def _widths(template: str) -> list[str]:
    """The runs of digits behind a `%`."""
    found = []
    for part in template.split("%")[1:]:
        digits = part.lstrip("-+# ").partition(".")
        for side in (digits[0], digits[2]):
            run = side[: len(side) - len(side.lstrip("0123456789"))]
            if run:
                found.append(run)
    return found
