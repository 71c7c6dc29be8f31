"""A query as a rule: what the engine answers wrongly when it is asked directly, it answers rightly in a rule's body.

regorus 0.13.0 says `true` to the query `not data.p.allow` whatever that is, and finds nothing for
`some r in data.roles; r == "b"` unless the first role is it. So a query of more than one plain expression becomes a
comprehension, of whose rows OPA's result set is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.core.policy.bundle import Source
from gateway.core.policy.syntax import member
from gateway.core.types import Document, Json

PATH = "query.rego"
RULE = "data.phigate_query.rows"
_HEAD = "package phigate_query\n\nasked if {\n"
_FUNCTIONS_OF = frozenset({"AssignExpr", "BoolExpr"})
"""Expressions that hold or do not; any other has a value of its own."""


@dataclass(frozen=True, slots=True)
class Expression:
    """One expression of a query: as it was written, and where."""

    text: str
    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Query:
    """A query that is to be asked as the rule `RULE` of `source`."""

    source: Source
    expressions: tuple[Expression, ...]

    def result(self, rows: list[Json]) -> list[Json]:
        """OPA's result set, of the result set that asking for the rule gives."""
        found = member(rows[0], "expressions") if rows else None
        listed = member(found[0], "value") if isinstance(found, list) and found else None
        return [self._row(row) for row in (listed if isinstance(listed, list) else [])]

    def _row(self, row: Json) -> Json:
        values, bindings = member(row, "values"), member(row, "bindings")
        told: list[Json] = [
            {"value": value, "text": each.text, "location": {"row": each.row, "col": each.column}}
            for each, value in zip(self.expressions, values if isinstance(values, list) else [], strict=True)
        ]
        document: Document = {"expressions": told}
        return {**document, "bindings": bindings} if bindings else document


def wrapped(query: str) -> Source:
    """A source whose syntax tree `rewritten` wants."""
    return Source(PATH, f"{_HEAD}{query}\n}}\n")


def rewritten(tree: list[Json], query: str) -> Query | None:
    """The query, of the syntax tree of `wrapped(query)`, as a rule; None when the engine can be asked directly."""
    rules = member(member(tree[0], "ast"), "rules") if tree else None
    bodies = member(member(rules[0], "Spec"), "bodies") if isinstance(rules, list) and len(rules) == 1 else None
    listed = member(member(bodies[0], "query"), "stmts") if isinstance(bodies, list) and len(bodies) == 1 else None
    statements = listed if isinstance(listed, list) else []
    if not statements or (len(statements) == 1 and member(member(statements[0], "literal"), "Expr") is not None):
        return None
    text = wrapped(query).text.encode()
    names = dict.fromkeys(name for statement in statements for name in _variables(statement, text))
    lines: list[str] = []
    values: list[str] = []
    expressions: list[Expression] = []
    for statement in statements:
        start, end = _span(statement, text)
        written = text[start:end].decode()
        literal = member(statement, "literal")
        if member(literal, "SomeVars") is not None:  # A declaration: it stands, and has no value.
            lines.append(written)
            continue
        before = text[len(_HEAD.encode()) : start].decode()
        expressions.append(Expression(written, before.count("\n") + 1, len(before) - before.rfind("\n")))
        expression = member(member(literal, "Expr"), "expr")
        if not isinstance(expression, dict) or _FUNCTIONS_OF & expression.keys():
            lines.append(written)
            values.append("true")
        else:
            name = f"phigate_{len(values)}"
            lines += [f"{name} := {written}", f"{name} != false"]
            values.append(name)
    bound = ", ".join(f'"{name}": {name}' for name in names)
    row = f'{{"values": [{", ".join(values)}], "bindings": {{{bound}}}}}'
    body = "\n".join((f"rows := [{row} |", *lines, "]"))
    return Query(Source(PATH, f"package phigate_query\n\n{body}\n"), tuple(expressions))


def _span(node: Json, text: bytes) -> tuple[int, int]:
    """Where a statement begins and ends, in bytes, with the quotes that regorus leaves off its spans."""
    span = member(node, "span")
    start, end = member(span, "start"), member(span, "end")
    assert isinstance(start, int)
    assert isinstance(end, int)
    quotes = (b'"', b"`")
    return start - (text[start - 1 : start] in quotes), end + (text[end : end + 1] in quotes)


def _variables(node: Json, text: bytes) -> Iterator[str]:
    """The names that an expression binds or uses, not those within comprehensions and `every`."""
    if isinstance(node, list):
        for item in node:
            yield from _variables(item, text)
    elif isinstance(node, dict):
        for key, inner in node.items():
            if key == "Var":
                name = str(member(inner, "value"))
                if name not in ("_", "input", "data"):
                    yield name
            elif key == "SomeVars":
                spans = member(inner, "vars")
                for span in spans if isinstance(spans, list) else []:
                    start, end = member(span, "start"), member(span, "end")
                    if isinstance(start, int) and isinstance(end, int):
                        yield text[start:end].decode()
            elif key == "Every":
                yield from _variables(member(inner, "domain"), text)
            elif key == "Call":
                yield from _variables(member(inner, "params"), text)
            elif not key.endswith("Compr"):
                yield from _variables(inner, text)
