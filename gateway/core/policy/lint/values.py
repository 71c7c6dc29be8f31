"""Values that come out otherwise than in OPA, or than they are meant."""

from __future__ import annotations

import re

from gateway.core.policy import syntax
from gateway.core.policy.lint.finding import Fault, Faults, advice, check
from gateway.core.policy.lint.policy import Policy, Scope
from gateway.core.types import Document, Json

_VERB = re.compile(r"%([-+# 0]*)(\d*)(\.\d*)?(.?)", re.DOTALL)
_VERBS = frozenset("svdqxXbcf")
PATTERN_AT = {
    "regex.match": 0,
    "regex.is_valid": 0,
    "regex.split": 0,
    "regex.find_n": 0,
    "regex.find_all_string_submatch_n": 0,
    "regex.replace": 1,
}
_CLASS = re.compile(r"(?<!\\)(?:\\\\)*\\[dDwWsSbB]")
_ORDERED = frozenset(("Lt", "Le", "Gt", "Ge"))
_COMPOSITES = frozenset(("Set", "SetCompr", "Object", "ObjectCompr"))
_SETS = frozenset(("Set", "SetCompr"))
_UINT64 = 2**64
_INT64 = -(2**63)


@check(
    "sprintf",
    why="This engine knows `%s %v %d %q %x %X %b %c %f %.2f %5d %05d`. Others print nothing or something else, or fail "
    "the decision, as do too few or too many arguments.",
    fix="use `%v`, and pad nothing.",
    bad='x := sprintf("%-5s", [input.message.name])',
    good='x := sprintf("%v", [input.message.name])',
)
def sprintf(policy: Policy) -> Faults:
    """A format literal with a verb, flag or number of arguments that this engine treats otherwise."""
    for scope in policy.scopes:
        for call in scope.calls:
            if call.name == ("sprintf",) and len(call.arguments) >= 2:
                for reason in _misformatted(call.arguments[0], call.arguments[1]):
                    yield Fault(scope.file, call.place, reason)


@check(
    "big-number",
    why="Integers beyond 64 bits come out of the engine as floating point: two that differ become one.",
    fix="write it as text.",
    bad="x := 18446744073709551617",
    good='x := "18446744073709551617"',
)
def big_number(policy: Policy) -> Faults:
    """A number literal that no 64-bit integer holds."""
    for scope in policy.scopes:
        for node in scope.nodes.get("Number", ()):
            value = node["value"]
            if isinstance(value, int | float) and not _INT64 < value < _UINT64:
                reason = "The engine answers this as a floating-point number, which has fewer digits."
                yield Fault(scope.file, syntax.place({"Number": node}), reason)


@check(
    "float-equality",
    why="0.1 + 0.2 is 0.30000000000000004 here and 0.3 in OPA, so an equality holds there and not here.",
    fix="compare whole numbers, or with `<` and `>`.",
    bad="x if input.message.arguments.share + 0.2 == 0.3",
    good="x if input.profile.rows + 20 == 30",
)
def float_equality(policy: Policy) -> Faults:
    """`==` or `!=` beside arithmetic, where a fraction or a division is part of it."""
    for scope in policy.scopes:
        for node in scope.nodes.get("BoolExpr", ()):
            sides = [node["lhs"], node["rhs"]]
            if node["op"] in ("Eq", "Ne") and _arithmetic(sides) and _fractional(sides):
                yield Fault(scope.file, syntax.place(node["lhs"]), "Fractions are added otherwise here than in OPA.")


@check(
    "compare-composite",
    why="Sets, objects and arrays are ordered otherwise here than in OPA.",
    fix="compare what they contain: `count(x)`, `x - y == set()`, or single members.",
    bad='x if {group | some group in input.principal.groups} < {"a": 1}',
    good="x if count({group | some group in input.principal.groups}) < 1",
)
def compare_composite(policy: Policy) -> Faults:
    """`<` and its like beside a set or an object."""
    for scope in policy.scopes:
        for node in scope.nodes.get("BoolExpr", ()):
            if node["op"] in _ORDERED and any(_is(side, _COMPOSITES) for side in (node["lhs"], node["rhs"])):
                reason = "Sets and objects are ordered otherwise here than in OPA."
                yield Fault(scope.file, syntax.place(node["lhs"]), reason)


@check(
    "input-set",
    why="JSON has no sets: nothing in the input equals one, and `|`, `&` or `-` of an array of the input and a set "
    "fails the decision.",
    fix="make a set of it first: `{x | some x in input.…}`.",
    bad='x if input.principal.groups == {"staff"}',
    good='x if {group | some group in input.principal.groups} == {"staff"}',
)
def input_set(policy: Policy) -> Faults:
    """A set beside a plain reference into the input."""
    for scope in policy.scopes:
        for kind, ops in (("BoolExpr", ("Eq", "Ne")), ("BinExpr", None), ("ArithExpr", ("Sub",))):
            for node in scope.nodes.get(kind, ()):
                sides = [node["lhs"], node["rhs"]]
                if (ops is None or node["op"] in ops) and _input_and_set(scope, sides, kind == "BinExpr"):
                    reason = "The input is JSON, which has no sets."
                    yield Fault(scope.file, syntax.place(node["lhs"]), reason)


@check(
    "unicode-class",
    why="`\\d`, `\\w`, `\\s` and `\\b` mean all of Unicode here and ASCII in OPA: `^\\d+$` takes Arabic digits.",
    fix="write what is meant: `[0-9]`, `[A-Za-z0-9_]`, `[ \\t\\r\\n]`.",
    bad="x if regex.match(`^\\d+$`, input.message.name)",
    good="x if regex.match(`^[0-9]+$`, input.message.name)",
)
def unicode_class(policy: Policy) -> Faults:
    """A pattern literal with a Perl class."""
    for scope in policy.scopes:
        for call in scope.calls:
            at = PATTERN_AT.get(".".join(call.name))
            pattern = text(call.arguments[at]) if at is not None and at < len(call.arguments) else None
            found = _CLASS.search(pattern) if pattern is not None else None
            if found is not None:
                reason = f"`{found.group()[-2:]}` means all of Unicode here, and ASCII in OPA."
                yield Fault(scope.file, call.place, reason)


@check(
    "upper",
    why='`upper("ß")` is "SS" here and "ß" in OPA: two names that differ become one.',
    fix="compare in small letters: `lower(x)`.",
    bad='x if upper(input.message.name) == "MASS"',
    good='x if lower(input.message.name) == "mass"',
)
def upper(policy: Policy) -> Faults:
    """`upper` of anything but a literal."""
    for scope in policy.deciding:
        for call in scope.calls:
            if call.name == ("upper",) and call.arguments and text(call.arguments[0]) is None:
                yield Fault(scope.file, call.place, "`upper` makes two letters of some, which OPA does not.")


@advice(
    "json-text",
    why="`json.marshal` writes numbers and `<`, `>`, `&` otherwise than OPA: its text, and any digest of it, differ.",
    fix="compare values, not their text.",
    bad='x if contains(json.marshal(input.message.arguments), "<b>")',
    good='x if contains(input.message.name, "<b>")',
)
def json_text(policy: Policy) -> Faults:
    """`json.marshal` in what decides."""
    for scope in policy.deciding:
        for call in scope.calls:
            if call.name in (("json", "marshal"), ("json", "marshal_with_options")):
                yield Fault(scope.file, call.place, "The text that this gives is not what OPA gives.")


@advice(
    "urlquery",
    why="A broken escape (`%zz`) stays as it is here, and is undefined in OPA.",
    fix='look for what is no escape first: `not regex.match("%($|[^0-9A-Fa-f]|.[^0-9A-Fa-f])", x)`.',
    bad='x if urlquery.decode(input.message.name) == "a b"',
    good='x if input.message.name == "a%20b"',
)
def urlquery(policy: Policy) -> Faults:
    """`urlquery.decode` of anything but a literal."""
    for scope in policy.deciding:
        for call in scope.calls:
            if call.name == ("urlquery", "decode") and call.arguments and text(call.arguments[0]) is None:
                yield Fault(scope.file, call.place, "A broken escape is kept here, and undefined in OPA.")


CHECKS = (
    sprintf,
    big_number,
    float_equality,
    compare_composite,
    input_set,
    unicode_class,
    upper,
    json_text,
    urlquery,
)


def text(node: Json) -> str | None:
    """The text of a string literal, raw or not."""
    raw = syntax.member(syntax.member(node, "RawString"), "value")
    return raw if isinstance(raw, str) else syntax.literal(node)


def _misformatted(template: Json, given: Json) -> list[str]:
    literal = text(template)
    if literal is None:
        return []
    faults, wanted = [], 0
    for flags, width, precision, verb in _VERB.findall(literal):
        whole = f"%{flags}{width}{precision}{verb}"
        if whole == "%%":
            continue
        wanted += 1
        if verb not in _VERBS:
            faults.append(f"`{whole}` is no verb of this engine.")
        elif set(flags) - {"0"} or (flags and verb not in "dxXb") or (precision and verb != "f"):
            faults.append(f"`{whole}` is printed otherwise here than in OPA, or fails.")
        elif width and verb not in "dxXb":
            faults.append(f"`{whole}`: this engine ignores the width.")
    listed = syntax.member(syntax.member(given, "Array"), "items")
    if isinstance(listed, list) and len(listed) != wanted:
        faults.append(f"The format has {wanted} verb(s) and is given {len(listed)} argument(s): the decision fails.")
    return faults


def _is(node: Json, kinds: frozenset[str]) -> bool:
    return isinstance(node, dict) and bool(node.keys() & kinds)


def _arithmetic(sides: list[Json]) -> bool:
    return any(_is(side, frozenset(("ArithExpr",))) for side in sides)


def _fractional(sides: list[Json]) -> bool:
    for kind, node in syntax.walk(sides):
        if kind == "ArithExpr" and node["op"] == "Div":
            return True
        if kind == "Number" and isinstance(node["value"], float) and not node["value"].is_integer():
            return True
    return False


def _input_and_set(scope: Scope, sides: list[Json], joined: bool) -> bool:
    """Whether one side is a reference into the input and the other a set; of a join of sets either side is enough."""
    plain = [side for side in sides if _from_input(scope, side)]
    return bool(plain) and (joined or any(_is(side, _SETS) for side in sides))


def _from_input(scope: Scope, node: Json) -> bool:
    kinds: Document = node if isinstance(node, dict) else {}
    chain = scope.trace(node) if kinds.keys() & {"Var", "RefDot", "RefBrack"} else None
    return chain is not None and chain[0] == "input"
