"""Builtins that fail the decision when they are given something of another kind than they take.

OPA makes the expression undefined then; this engine ends the whole decision, which the gateway denies. Nothing is let
through, but whoever sends such a value decides that no rule is asked any more.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.core.policy import syntax
from gateway.core.policy.lint import schema
from gateway.core.policy.lint.finding import Fault, Faults, advice
from gateway.core.policy.lint.policy import Policy, Scope
from gateway.core.policy.syntax import Call, Chain
from gateway.core.types import Json

_TEXT = frozenset(("string",))
_NUMBER = frozenset(("number",))
_LIST = frozenset(("array",))
_OBJECT = frozenset(("object",))
_MANY = frozenset(("array", "object", "string"))

_TAKES: dict[str, tuple[frozenset[str], ...]] = {
    **dict.fromkeys(
        "lower upper trim_space strings.reverse base64.encode base64url.encode hex.encode urlquery.encode "
        "urlquery.decode glob.quote_meta".split(),
        (_TEXT,),
    ),
    **dict.fromkeys(
        "contains endswith startswith indexof indexof_n split trim trim_left trim_right trim_prefix trim_suffix "
        "regex.match regex.split".split(),
        (_TEXT, _TEXT),
    ),
    "replace": (_TEXT, _TEXT, _TEXT),
    "regex.replace": (_TEXT, _TEXT, _TEXT),
    "substring": (_TEXT, _NUMBER, _NUMBER),
    "concat": (_TEXT, _LIST),
    "count": (_MANY,),
    **dict.fromkeys("abs ceil floor round bits.negate".split(), (_NUMBER,)),
    **dict.fromkeys("bits.and bits.or bits.xor bits.lsh bits.rsh numbers.range".split(), (_NUMBER, _NUMBER)),
    "format_int": (_NUMBER, _NUMBER),
    "sum": (_LIST,),
    "product": (_LIST,),
    "array.concat": (_LIST, _LIST),
    "array.slice": (_LIST, _NUMBER, _NUMBER),
    "object.keys": (_OBJECT,),
    "object.union": (_OBJECT, _OBJECT),
    "object.get": (_OBJECT,),
}
_READS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(
        "to_number time.parse_rfc3339_ns time.parse_duration_ns units.parse units.parse_bytes json.unmarshal "
        "yaml.unmarshal base64.decode base64url.decode hex.decode net.cidr_expand urlquery.decode_object "
        "regex.match regex.split regex.find_n glob.match".split(),
        (0,),
    ),
    "regex.replace": (1,),
    "semver.compare": (0, 1),
    "net.cidr_contains": (0, 1),
}
"""Which arguments must not only be text, but text that can be read as something."""

_CLOCK: Chain = ("input", "time")
"""Written by the gateway itself, always readable."""

_GUARDS = frozenset(
    """
    is_array is_boolean is_null is_number is_object is_string type_name base64.is_valid json.is_valid json.match_schema
    net.cidr_is_valid regex.is_valid semver.is_valid yaml.is_valid
    """.split()
)


@advice(
    "may-fail",
    why="A value of another kind ends the whole decision here, where OPA goes on with the next rule.",
    fix="test it in a line before: `is_string(x)`, `is_number(x)`; the schema says what is certain.",
    bad='x if startswith(input.message.arguments.path, "/tmp/")',
    good='x if {\n\tis_string(input.message.arguments.path)\n\tstartswith(input.message.arguments.path, "/tmp/")\n}',
)
def may_fail(policy: Policy) -> Faults:
    """A builtin given part of the input that may be of a kind which it does not take."""
    for scope in policy.deciding:
        for call in scope.calls:
            for taken, argument in zip(_TAKES.get(".".join(call.name), ()), call.arguments, strict=False):
                chain = from_input(scope, argument)
                if chain is not None and not guarded(scope, chain):
                    others = schema.types(policy, scope, chain) - taken
                    if others:
                        yield Fault(scope.file, call.place, _reason(call, others))
        for node in scope.nodes.get("ArithExpr", ()):
            for side in (node["lhs"], node["rhs"]):
                chain = from_input(scope, side)
                if chain is not None and not guarded(scope, chain):
                    others = schema.types(policy, scope, chain) - _NUMBER
                    if others:
                        reason = f"Arithmetic fails the decision when it meets {_list(others)}."
                        yield Fault(scope.file, syntax.place(node["lhs"]), reason)


@advice(
    "may-not-parse",
    why="Text that cannot be read as a number, time, pattern, address or the like ends the whole decision here.",
    fix="test it in a line before: `regex.match(`, `….is_valid(`; take patterns from data.",
    bad="x if to_number(input.message.name) > 5",
    good='x if {\n\tregex.match("^[0-9]{1,9}$", input.message.name)\n\tto_number(input.message.name) > 5\n}',
)
def may_not_parse(policy: Policy) -> Faults:
    """A builtin that reads text, given text of the input that nothing has looked at before."""
    for scope in policy.deciding:
        for call in scope.calls:
            for index in _READS.get(".".join(call.name), ()):
                chain = from_input(scope, call.arguments[index]) if index < len(call.arguments) else None
                certain = chain == _CLOCK or (chain and schema.readable(policy, scope, chain, "date-time"))
                if chain is not None and not certain and not guarded(scope, chain, read=True):
                    name = ".".join(call.name)
                    yield Fault(
                        scope.file, call.place, f"`{name}` fails the decision when it cannot read its argument."
                    )


@advice(
    "may-divide-by-zero",
    why="A division by zero ends the whole decision here, where OPA goes on with the next rule.",
    fix="test it in a line before: `x > 0`.",
    bad="x if 100 / input.profile.rows > 5",
    good="x if {\n\tinput.profile.rows > 0\n\t100 / input.profile.rows > 5\n}",
)
def may_divide_by_zero(policy: Policy) -> Faults:
    """A division by part of the input that is compared with nothing."""
    for scope in policy.deciding:
        for node in scope.nodes.get("ArithExpr", ()):
            chain = from_input(scope, node["rhs"]) if node["op"] in ("Div", "Mod") else None
            if chain is not None and chain not in set(compared(scope)):
                yield Fault(scope.file, syntax.place(node["lhs"]), "When this is 0, the division fails the decision.")


CHECKS = (may_fail, may_not_parse, may_divide_by_zero)


def from_input(scope: Scope, node: Json) -> Chain | None:
    """The reference into the input that a node is or stands for."""
    chain = scope.trace(node)
    return chain if chain is not None and chain[0] == "input" else None


def guarded(scope: Scope, chain: Chain, *, read: bool = False) -> bool:
    """Whether the rule asks what kind of thing is at `chain`; with `read`, whether it can be read."""
    for call in scope.calls:
        name = ".".join(call.name)
        if read and name == "regex.match" and len(call.arguments) > 1 and scope.trace(call.arguments[1]) == chain:
            return True
        enough = name in _GUARDS and not (read and name in ("is_string", "type_name"))
        if enough and call.arguments and scope.trace(call.arguments[0]) == chain:
            return True
    return False


def compared(scope: Scope) -> Iterator[Chain]:
    """What the rule compares with something, by `==`, `<` and so on."""
    for node in scope.nodes.get("BoolExpr", ()):
        for side in (node["lhs"], node["rhs"]):
            chain = scope.trace(side)
            if chain is not None:
                yield chain


def _reason(call: Call, others: frozenset[str]) -> str:
    return f"`{'.'.join(call.name)}` fails the decision when it is given {_list(others)}."


def _list(words: frozenset[str]) -> str:
    return " or ".join(sorted(words))
