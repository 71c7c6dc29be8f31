"""How much a statement can bring back: its tables and columns, and whether a limit, a key or an aggregate bounds it.

Each claim holds for the statement as a whole and for every query nested in what it returns; where the tree does not
show it beyond doubt, it is not claimed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from gateway.core.masking.names import named

_ALL_IN_ONE = (exp.GroupConcat, exp.ArrayAgg, exp.JSONArrayAgg, exp.JSONObjectAgg, exp.ArrayUniqueAgg)
_ALL_IN_ONE_NAMES = frozenset(
    "string_agg group_concat array_agg listagg json_agg jsonb_agg json_group_array json_group_object json_object_agg "
    "jsonb_object_agg xmlagg wm_concat collect_list collect_set array list to_json row_to_json total_changes".split()
)
"""Aggregates whose one row can hold every row."""
_SUMMARIES = (exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max, exp.Stddev, exp.StddevPop, exp.StddevSamp, exp.Variance)
_VALUE = (exp.Literal, exp.Placeholder, exp.Parameter, exp.Neg)
_KEYS = frozenset({"id", "uuid", "guid", "key", "mrn", "ssn"})


@dataclass(frozen=True, slots=True)
class Bounds:
    tables: tuple[str, ...]
    columns: tuple[str, ...]
    star: bool
    limit: int | None
    keyed: bool
    aggregate: bool


def of(tree: Any) -> Bounds:
    """The bounds of one parsed statement."""
    ctes = {cte.alias: cte.this for cte in tree.find_all(exp.CTE)}
    tables = [table for table in tree.find_all(exp.Table) if table.name and not _is_cte(table, ctes)]
    aliases = {table.alias_or_name for table in tables}
    lists_all = any(_gathers(call) for call in tree.find_all(exp.Func))
    return Bounds(
        tables=tuple(sorted({_table(table) for table in tables})),
        columns=tuple(sorted(_columns(tree, tables))),
        star=_star(tree, aliases),
        limit=None if lists_all else _limit(tree),
        keyed=_keyed(tree, ctes) and not lists_all,
        aggregate=_aggregate(tree),
    )


def is_key(name: str) -> bool:
    """Whether a column's name says that it singles out a row or a patient."""
    plain = named(name).name
    return plain in _KEYS or plain.endswith(("_id", "_uuid", "_guid", "_key", "_mrn"))


def _is_cte(table: Any, ctes: dict[str, Any]) -> bool:
    return not table.db and table.name in ctes


def _table(table: Any) -> str:
    return ".".join(part for part in (table.catalog, table.db, table.name) if part)


def _columns(tree: Any, tables: list[Any]) -> Iterator[str]:
    """`table.column` where the table is known, else `column`."""
    by_alias = {table.alias_or_name: _table(table) for table in tables}
    only = next(iter(by_alias.values())) if len(by_alias) == 1 else ""
    for column in tree.find_all(exp.Column):
        if isinstance(column.this, exp.Star):
            continue
        table = by_alias.get(column.table, column.table) or only
        yield f"{table}.{column.name}" if table else column.name


def _star(tree: Any, aliases: set[str]) -> bool:
    """Whether whole rows are returned: `*`, `t.*`, or a function of the row itself (`to_json(t)`)."""
    for star in tree.find_all(exp.Star):
        if not isinstance(star.parent, exp.Count):
            return True
    return any(not column.table and column.name in aliases for column in tree.find_all(exp.Column))


def _limit(tree: Any) -> int | None:
    """The rows at most, if a plain number says so. SQLite reads a negative limit as none."""
    limit = tree.args.get("limit")
    if isinstance(limit, exp.Fetch):
        options = limit.args.get("limit_options")
        if options is not None and (options.args.get("percent") or options.args.get("with_ties")):
            return None
        count = limit.args.get("count")
    elif isinstance(limit, exp.Limit):
        if limit.expressions or limit.args.get("limit_options"):
            return None
        count = limit.expression
    else:
        return None
    if isinstance(count, exp.Literal) and not count.is_string and str(count.this).isdecimal():
        return int(count.this)
    return None


def _gathers(call: Any) -> bool:
    name = call.name.lower() if isinstance(call, exp.Anonymous | exp.AnonymousAggFunc) else call.sql_name().lower()
    return isinstance(call, _ALL_IN_ONE) or name in _ALL_IN_ONE_NAMES


def _branches(tree: Any) -> Iterator[Any]:
    if isinstance(tree, exp.SetOperation):
        yield from _branches(tree.left)
        yield from _branches(tree.right)
    elif isinstance(tree, exp.Subquery):
        yield from _branches(tree.this)
    else:
        yield tree


def _aggregate(tree: Any) -> bool:
    """Whether every column returned is a count or the like, or a group that names nobody."""
    branches = list(_branches(tree))
    return all(isinstance(one, exp.Select) and _summarises(one) for one in branches)


def _summarises(select: Any) -> bool:
    group = select.args.get("group")
    keys = frozenset(group.expressions if group is not None else ())  # Thousands of columns may be grouped by.
    if group is not None and any(not isinstance(key, exp.Column) or _names_somebody(key) for key in keys):
        return False
    found = False
    for item in select.expressions:
        plain = item.unalias()
        if plain in keys:
            continue
        if not isinstance(plain, _SUMMARIES) or plain.find(exp.Select) is not None:
            return False
        if not isinstance(plain, exp.Count) and any(_names_somebody(one) for one in plain.find_all(exp.Column)):
            return False
        found = True
    return found


def _names_somebody(column: Any) -> bool:
    return named(column.name).phi is not None or is_key(column.name) or named(column.name).name == "name"


def _keyed(tree: Any, ctes: dict[str, Any]) -> bool:
    if isinstance(tree, exp.Update | exp.Delete):
        return _keyed_write(tree, ctes)
    branches = list(_branches(tree))
    known: dict[str, bool] = {}
    return all(isinstance(one, exp.Select) and _keyed_select(one, ctes, known) for one in branches)


def _keyed_write(tree: Any, ctes: dict[str, Any]) -> bool:
    target = tree.this
    others = [table for table in tree.find_all(exp.Table) if table is not target]
    if not isinstance(target, exp.Table) or others or _is_cte(target, ctes):
        return False
    return bool(_fixed(tree, {target.alias_or_name}))


def _keyed_select(select: Any, ctes: dict[str, Any], known: dict[str, bool]) -> bool:
    """Whether a key fixes every table of a query: by a value, or by an equality with a table that is so fixed.

    `known` holds what was found out of each CTE, once: with each naming the one before twice, there are 2^n paths.
    """
    sources = _sources(select)
    if not sources:
        return False
    fixed: set[str] = set()
    for alias, source in sources.items():
        inner = _inner(source, ctes)
        if inner is not None:
            if not _keyed_source(source, inner, ctes, known):
                return False
            fixed.add(alias)
        elif not isinstance(source, exp.Table):
            return False
    fixed |= _fixed(select, set(sources) - fixed)
    links = list(_links(select))
    grown = True
    while grown:
        grown = False
        for one, other in links:
            if (one in fixed) != (other in fixed):
                fixed |= {one, other}
                grown = True
    nested = [query for item in select.expressions for query in _outermost(item)]
    return fixed >= sources.keys() and all(_keyed_select(query, ctes, known) for query in nested)


def _keyed_source(source: Any, inner: Any, ctes: dict[str, Any], known: dict[str, bool]) -> bool:
    """Whether keys fix all that a subquery or CTE in FROM brings back."""
    name = source.name if isinstance(source, exp.Table) else ""
    if name in known:
        return known[name]
    if name:
        known[name] = False  # What a recursive query brings back, its own key does not bound.
    good = all(isinstance(one, exp.Select) and _keyed_select(one, ctes, known) for one in _branches(inner))
    if name:
        known[name] = good
    return good


def _outermost(item: Any) -> Iterator[Any]:
    """The queries in an expression, without those in them: looking at each from every level above is 2^n looks."""
    for node in item.walk(prune=lambda node: isinstance(node, exp.Select)):
        if isinstance(node, exp.Select):
            yield node


def _sources(select: Any) -> dict[str, Any]:
    start = select.args.get("from_") or select.args.get("from")
    found = [start.this] if start is not None else []
    found += [join.this for join in select.args.get("joins") or []]
    return {source.alias_or_name: source for source in found}


def _inner(source: Any, ctes: dict[str, Any]) -> Any:
    if isinstance(source, exp.Subquery):
        return source.this
    return ctes.get(source.name) if isinstance(source, exp.Table) and _is_cte(source, ctes) else None


def _conjuncts(condition: Any) -> Iterator[Any]:
    if isinstance(condition, exp.And):
        yield from _conjuncts(condition.left)
        yield from _conjuncts(condition.right)
    elif isinstance(condition, exp.Paren):
        yield from _conjuncts(condition.this)
    elif condition is not None:
        yield condition


def _fixed(statement: Any, aliases: set[str]) -> set[str]:
    """The tables for which WHERE demands that a key equals a value."""
    where = statement.args.get("where")
    found: set[str] = set()
    for one in _conjuncts(where.this if where is not None else None):
        if not isinstance(one, exp.EQ):
            continue
        for column, value in ((one.left, one.right), (one.right, one.left)):
            if isinstance(column, exp.Column) and is_key(column.name) and isinstance(value, _VALUE):
                table = column.table or (next(iter(aliases)) if len(aliases) == 1 else "")
                found |= {table} & aliases
    return found


def _links(select: Any) -> Iterator[tuple[str, str]]:
    """Pairs of tables that an equality of columns ties together, one of them a key."""
    where = select.args.get("where")
    conditions = [where.this if where is not None else None]
    conditions += [join.args.get("on") for join in select.args.get("joins") or []]
    for condition in conditions:
        for one in _conjuncts(condition):
            if isinstance(one, exp.EQ) and isinstance(one.left, exp.Column) and isinstance(one.right, exp.Column):
                tied = one.left.table and one.right.table and one.left.table != one.right.table
                if tied and (is_key(one.left.name) or is_key(one.right.name)):
                    yield one.left.table, one.right.table
