"""Where the values in a statement's output come from, wherever its names do not say so themselves.

Results are masked by the names of their columns, so a name that stands for another column is a way around it. For each
name that a statement gives (`ssn AS x`, a common table's columns, the first branch of a UNION) this tells the columns
whose values may stand under it. Scopes are not told apart and no schema is known: a name means all that anything of
that name in the statement holds. That leans one way, to more sources. What cannot be followed is unresolved: rows as
values, functions we do not know, functions that make tables, names that databases make up.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from gateway.core.facts.functions import KNOWN, TABLES
from gateway.core.masking.names import LONGEST_NAME, named, shape
from gateway.core.masking.phi import Phi

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
"""Names that reach the result as they are: PostgreSQL cuts identifiers to 63 bytes, results may quote others."""
_SPECIAL = re.compile(r"(?:value|answer|data|blob)|(?:type|code|message|is_?error)$", re.IGNORECASE)
"""Names whose place in a result decides how masking reads them."""
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_ $.#-]*")
_PATH = re.compile(r"[A-Za-z0-9_ $.\[\]{},\"'*#-]*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_PROSE = frozenset(
    "note notes text comment comments narrative resource content contents body document report summary remarks history "
    "payload message json data html xml blob raw details description".split()
)
"""Columns in which anything may be written: patterns find it there, but not once it is cut up or turned around."""
_RUN_TOGETHER = tuple(
    "ssn mrn dob zip zipcode postcode phone telephone mobile fax email surname lastname firstname givenname familyname "
    "fullname patientname maidenname middlename address birthdate dateofbirth deathdate birthday".split()
)
"""Tails of names whose words no capital and no underscore tells apart: databases do not care how a name is spelled."""
MOST = 200
"""Outputs of one statement that are told apart; a statement with more is unresolved as a whole."""
_STEPS = 20_000
"""Expressions that are followed for one statement; beyond them its outputs are unresolved."""
_RELATIONS = (exp.From, exp.Join)
_NOWHERE = (exp.Count, exp.Exists, exp.DataType)
"""Expressions that pass on nothing of what they are about: a count, a yes or no."""
_JSON = (exp.JSONExtract, exp.JSONExtractScalar, exp.JSONBExtract, exp.JSONBExtractScalar, exp.Bracket)
_UNFOLLOWED = (exp.Pivot, exp.PropertyEQ, exp.Aliases, exp.MatchRecognize, exp.JSONTable, exp.XMLTable)


@dataclass(frozen=True, slots=True)
class Output:
    """A name in a statement's output that does not itself say what stands under it. `name` is empty if unknown."""

    name: str
    fields: tuple[str, ...]
    """The name as masking normalises it, in each way a database may write it; none if it cannot be relied on."""
    sources: tuple[str, ...]
    classes: tuple[str, ...]
    transformed: bool
    unresolved: bool


@dataclass(slots=True)
class _Flow:
    """All that may flow into one value."""

    sources: set[str] = field(default_factory=set)
    classes: set[Phi] = field(default_factory=set)
    transformed: bool = False
    unresolved: bool = False


def of(tree: Any) -> tuple[Output, ...]:
    """The outputs of one parsed statement, by name; columns that stand under their own name are not among them."""
    return _Lineage(tree).outputs()


def classes_of(column: str, table: str = "") -> set[Phi]:
    """What the name of a source column says, in the company of its table's."""
    plain = unicodedata.normalize("NFKD", column).encode("ascii", "ignore").decode("ascii")
    if len(plain) > LONGEST_NAME:
        return {Phi.PHI}
    ways = (plain, plain.lower())
    told = {named(way).phi or shape((way,), table.lower()).members[0].phi for way in ways} - {None}
    if not told and (tail := next((tail for tail in _RUN_TOGETHER if ways[1].endswith(tail)), "")):
        told = {named(tail).phi}
    return {phi for phi in told if phi is not None}


class _Lineage:
    """One statement; lives for one call of `of`."""

    def __init__(self, tree: Any) -> None:
        self._tree = tree
        self._given: dict[str, dict[int, Any]] = {}
        """What is given a name, each once, by that name in lower case."""
        self._spelled: dict[str, set[str]] = {}
        """How the statement writes a name; databases give it back in one of these ways, or in one case."""
        self._tables: dict[str, str] = {}
        """Table names by what columns call the table."""
        self._rows: set[str] = set()
        """Names that stand for a whole row."""
        self._steps = _STEPS
        self._unnamed: list[Any] = []
        self._risky: list[tuple[tuple[Any, ...], str]] = []
        """Columns and their name that reach the output under a name that is not known, should they hold PHI."""
        self._lost = False
        """Whether some value can reach the output under a name that is not known."""
        ctes: set[str] = set()
        relations: list[tuple[Any, Any, bool]] = [(tree, None, True)] if isinstance(tree, exp.Query) else []
        for node in tree.walk():
            match node:
                case exp.Column():
                    self._spelled.setdefault(node.name.lower(), set()).add(node.name)
                case exp.Alias():
                    self._give(node.alias, node.this)
                case exp.CTE():
                    ctes.add(node.alias.lower())
                    relations.append((node.this, node.args.get("alias"), False))
                case exp.Subquery() if isinstance(node.parent, _RELATIONS):
                    relations.append((node.this, node.args.get("alias"), False))
                case exp.Lateral() if isinstance(node.this, exp.Subquery):
                    relations.append((node.this, node.args.get("alias"), False))
                case exp.Table() | exp.Unnest() | exp.Values() | exp.Lateral():
                    self._source(node)
                case exp.Star():
                    self._star(node)
                case exp.TableAlias():
                    self._rows.add(node.name.lower())
                case exp.Returning():
                    self._returned(node)
                case _ if isinstance(node, _UNFOLLOWED):
                    self._lost = True
        self._tables = {name: table for name, table in self._tables.items() if table.lower() not in ctes}
        self._rows.discard("")
        for query, alias, top in relations:
            self._relation(query, alias, top=top)

    def outputs(self) -> tuple[Output, ...]:
        found: list[Output] = []
        for key in sorted(self._given):
            flow = self._follow([*self._given[key].values()], key)
            if flow.unresolved or flow.classes or flow.sources - {key}:
                found.append(_output(self._spelled[key], flow))
        for item in self._unnamed:
            flow = self._follow([item], "")
            if flow.unresolved or flow.sources:
                found.append(_output(set(), flow))
        if self._lost or any(self._tells(items, name) for items, name in self._risky):
            found.append(_output(set(), _Flow(unresolved=True)))
        return tuple(found) if len(found) <= MOST else (_output(set(), _Flow(unresolved=True)),)

    def _give(self, name: str, item: Any) -> None:
        self._spelled.setdefault(name.lower(), set()).add(name)
        self._given.setdefault(name.lower(), {})[id(item)] = item

    def _source(self, node: Any) -> None:
        """A member of FROM. One that computes its rows is not followed, unless it is made of constants."""
        plain = isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier)
        alias = node.args.get("alias")
        if plain:
            self._tables[node.alias_or_name.lower()] = node.name
            self._rows.update((node.alias_or_name.lower(), node.name.lower()))
            # `patients AS p(a, b, c)` names columns by their position in a schema that is not known here.
            self._lost |= alias is not None and bool(alias.args.get("columns"))
        elif node.find(exp.Column, exp.Select) is not None:
            self._lost = True
        elif isinstance(node, exp.Table | exp.Lateral):
            self._lost |= _called(node.this) not in TABLES

    def _star(self, star: Any) -> None:
        """`*` is all columns under their own names where it is an item of its own; elsewhere it is a row as a value."""
        item = star.parent if isinstance(star.parent, exp.Column) else star
        if isinstance(item.parent, exp.Count):
            return
        direct = isinstance(item.parent, exp.Select | exp.Returning) and item.arg_key == "expressions"
        if not direct or any(star.args.values()):
            self._lost = True

    def _relation(self, query: Any, alias: Any, *, top: bool) -> None:
        """The columns of a query whose rows are used as a table, or returned: name by position, over all branches."""
        branches = list(_branches(query))
        if any(not isinstance(one, exp.Select) for one in branches):
            self._lost |= len(branches) > 1 or query.find(exp.Column) is not None or isinstance(query, exp.Table)
            return
        columns = [column.name for column in alias.args.get("columns") or []] if alias is not None else []
        items = [one.expressions for one in branches]
        starred = any(_is_star(item) for one in items for item in one)
        if starred:
            self._starred(branches, bool(columns), top=top)
            positions = [(item,) for item in items[0] if not _is_star(item)] if len(branches) == 1 else []
        elif len({len(one) for one in items} | ({len(columns)} if columns else set())) > 1:
            self._lost = True
            return
        else:
            positions = list(zip(*items, strict=True))
        names: dict[str, tuple[Any, ...]] = {}
        for number, together in enumerate(positions):
            name = columns[number] if columns and not starred else together[0].output_name
            self._named(name, together, names, columns=bool(columns), top=top)

    def _named(
        self, name: str, together: tuple[Any, ...], names: dict[str, tuple[Any, ...]], *, columns: bool, top: bool
    ) -> None:
        first = together[0]
        if not columns and not isinstance(first, exp.Alias | exp.Column):
            # Each database makes up a name of its own for it.
            if top:
                self._unnamed.extend(together)
            else:
                self._risky.append((together, ""))
            return
        for item in together:
            if isinstance(item, exp.Column):
                self._lost |= self._is_row(item)
            if columns or len(together) > 1 or _unread(name):
                self._give(name, item.unalias())
        before = names.setdefault(name.lower(), together)
        both = (*before, *together)
        if before is not together and not (top and all(isinstance(item, exp.Column) for item in both)):
            # Databases and drivers tell two columns of one name apart in their own ways: `x:1`, `x_1`.
            self._risky.append((both, name))

    def _starred(self, branches: list[Any], columns: bool, *, top: bool) -> None:
        """`*` beside other columns or over several tables may repeat a name, and a UNION of `*` renames by position."""
        if len(branches) > 1 or columns:
            self._lost = True
        elif not top:
            beside = [item for item in branches[0].expressions if not _is_star(item)]
            if len(branches[0].expressions) - len(beside) > 1 or branches[0].args.get("joins"):
                self._lost = True
            self._risky.extend(((item,), item.output_name) for item in beside)

    def _returned(self, returning: Any) -> None:
        for item in returning.expressions:
            if isinstance(item, exp.Column):
                self._lost |= self._is_row(item)
            elif not isinstance(item, exp.Alias) and not _is_star(item):
                self._unnamed.append(item)

    def _is_row(self, column: Any) -> bool:
        return not column.table and column.name.lower() in self._rows

    def _tells(self, items: tuple[Any, ...], name: str) -> bool:
        """Whether anything that must be masked may flow into any of `items`, or their common name claims so."""
        flow = self._follow([item.unalias() for item in items], "")
        return bool(flow.classes) or flow.unresolved or bool(name and classes_of(name))

    def _follow(self, items: list[Any], own: str) -> _Flow:
        """Everything that flows into any of `items`, through every name the statement gives. `own`: the output's."""
        flow = _Flow()
        stack, seen = list(items), {own}
        flow.transformed = any(not isinstance(item, exp.Column) for item in stack)
        while stack:
            self._steps -= 1
            if self._steps < 0:
                flow.unresolved = True
                break
            node = stack.pop()
            if isinstance(node, exp.Column):
                self._column(node, flow, own)
                name = node.name.lower()
                if name in self._given and name not in seen:
                    seen.add(name)
                    stack.extend(self._given[name].values())
                    flow.transformed |= any(not isinstance(item, exp.Column) for item in self._given[name].values())
            else:
                stack.extend(_parts(node, flow))
        if flow.transformed and not flow.classes and any(_is_prose(name) for name in flow.sources):
            flow.classes.add(Phi.PHI)
        return flow

    def _column(self, column: Any, flow: _Flow, own: str) -> None:
        name = column.name
        if isinstance(column.this, exp.Star) or not _plain(name) or self._is_row(column):
            flow.unresolved = True
            return
        flow.sources.add(named(name).name or name.lower())
        if name.lower() == own and not flow.transformed:
            flow.classes |= _unread(name)
            return
        table = self._tables.get(column.table.lower()) if column.table else None
        for one in [table] if table is not None else list(self._tables.values()) or [""]:
            flow.classes |= classes_of(name, one)
        for part in (column.args.get("table"), column.args.get("db")) if column.args.get("db") else ():
            # `p.name.family` may be a table of a schema or a member of a structure.
            if part is not None and part.name.lower() not in self._rows:
                flow.classes |= classes_of(part.name)


def _parts(node: Any, flow: _Flow) -> Iterator[Any]:
    """What of `node` passes its value on."""
    if isinstance(node, _NOWHERE):
        return
    if isinstance(node, exp.Star | exp.Columns | exp.Parameter | exp.SessionParameter):
        flow.unresolved |= not isinstance(node, exp.Parameter) or not str(node.name).isdecimal()
        return
    if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc) and str(node.name).lower() not in KNOWN:
        flow.unresolved = True
    if isinstance(node, exp.Window | exp.Filter):
        yield node.this
        return
    if isinstance(node, exp.Query):
        for branch in _branches(node):
            if isinstance(branch, exp.Select):
                yield from (item.unalias() for item in branch.expressions)
            else:
                flow.unresolved = True
        return
    if isinstance(node, _JSON) or "json" in (_called(node) or ""):
        _members(node, flow)
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier):
        _say(node.expression.name, flow)
    yield from node.iter_expressions()


def _members(node: Any, flow: _Flow) -> None:
    """The names by which a value is taken out of JSON say what it is; they must be there to be read."""
    parts = node.expressions if isinstance(node, exp.Bracket | exp.Anonymous) else [node.args.get("expression")]
    for part in parts[1:] if isinstance(node, exp.Anonymous) else parts:
        if isinstance(part, exp.JSONPath):
            texts = [str(key.this) for key in part.find_all(exp.JSONPathKey)]
        elif isinstance(part, exp.Literal):
            texts = [str(part.this)] if part.is_string else []
        elif "extract" in (_called(node) or "") or not isinstance(node, exp.Func):
            flow.unresolved = True
            return
        else:
            continue
        for text in texts:
            if not _PATH.fullmatch(text):
                flow.unresolved = True
            for word in _WORD.findall(text):
                _say(word, flow)


def _say(name: str, flow: _Flow) -> None:
    flow.sources.add(named(name).name or name.lower())
    flow.classes |= classes_of(name)


def _unread(name: str) -> set[Phi]:
    """What a name says only in lower case: some databases give `fAmIlY` back as it was written."""
    phi = named(name.lower()).phi
    return {phi} if phi is not None and named(name).phi is None else set()


def _output(spellings: set[str], flow: _Flow) -> Output:
    usable = all(_FIELD.fullmatch(name) and not _SPECIAL.match(name) for name in spellings) and not flow.unresolved
    ways = {named(way).name for name in spellings for way in (name, name.lower(), name.upper())} if usable else set()
    return Output(
        min(spellings, default=""),
        tuple(sorted(ways)) if "" not in ways else (),
        tuple(sorted(flow.sources)),
        tuple(sorted(phi.value for phi in flow.classes)),
        flow.transformed,
        flow.unresolved,
    )


def _plain(name: str) -> bool:
    ascii_form = unicodedata.normalize("NFKD", name)
    return bool(_COLUMN.fullmatch("".join(char for char in ascii_form if char.isascii() or not char.isalpha())))


def _is_prose(name: str) -> bool:
    return name.rsplit("_", 1)[-1] in _PROSE


def _is_star(item: Any) -> bool:
    return isinstance(item, exp.Star) or (isinstance(item, exp.Column) and isinstance(item.this, exp.Star))


def _called(node: Any) -> str | None:
    if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc):
        return str(node.name).lower()
    return str(node.sql_name()).lower() if isinstance(node, exp.Func) else None


def _branches(query: Any) -> Iterator[Any]:
    while isinstance(query, exp.Subquery | exp.Paren):
        query = query.this
    if isinstance(query, exp.SetOperation):
        yield from _branches(query.left)
        yield from _branches(query.right)
    else:
        yield query
