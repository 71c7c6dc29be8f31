"""What a text of SQL would do, from a real parse in the upstream's dialect.

Policy decides on these facts, so they lean one way: what is not understood is `other` and `understood: false`; a limit,
a key or an aggregate is claimed only where it really bounds what can come back. `GROUP BY ssn`, `group_concat(ssn)
LIMIT 1`, a self cross join beside a keyed table, a constant named `id` and `LIMIT -1` each look bounded and are not.
Never raises, and neither it nor sqlglot says any of the SQL in a log or an exception.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import Any

import orjson
import sqlglot
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.parser import Parser

from gateway.core.facts import bounds, lineage
from gateway.core.types import Document, Json

LONGEST = 65_536
"""Characters; longer SQL is not parsed, so it is not understood."""
DEEPEST = 64
"""Open parentheses; the parser descends once for each and some cost it much more than that."""
_CACHED = 4_096
"""Characters; longer SQL is parsed each time rather than kept."""

_TWO_READINGS = re.compile(r"/\*(?:M?!|(?:(?!\*/).)*?/\*)", re.DOTALL)
"""Comments that one database ends where another goes on, or that MySQL executes."""

_DDL = (exp.Create, exp.Drop, exp.Alter, exp.TruncateTable, exp.Comment, exp.Grant, exp.Revoke)
_TRANSACTION = (exp.Transaction, exp.Commit, exp.Rollback)
_DDL_WORDS = frozenset("CREATE DROP ALTER TRUNCATE COMMENT GRANT REVOKE".split())
_CALLS = frozenset("CALL EXEC EXECUTE DO".split())
_EFFECTFUL = frozenset(
    "load_extension readfile writefile edit fts3_tokenizer pg_read_file pg_read_binary_file pg_ls_dir pg_stat_file "
    "pg_terminate_backend pg_cancel_backend pg_reload_conf lo_import lo_export lo_get lo_put dblink dblink_exec "
    "dblink_connect query_to_xml table_to_xml database_to_xml set_config setval nextval pg_advisory_lock pg_sleep "
    "load_file sleep benchmark sys_exec sys_eval xp_cmdshell openrowset opendatasource openquery sp_executesql "
    "utl_http utl_file read_csv read_csv_auto read_parquet read_json read_json_auto read_text read_blob url remote s3 "
    "file system$".split()
)
"""Functions that reach beyond the rows of a query: files, other servers, sessions, sequences, time."""


def facts(sql: str, dialect: str) -> Document:
    """What `sql` would do in sqlglot's `dialect` (empty: generic).

    `{"understood": bool, "parse_error": str|null, "statements": [{kind, understood, tables, columns, writes, star,
    limit, where, keyed, aggregate, functions}…], "outputs": [{name, fields, sources, classes, transformed, unresolved}
    …]}`; kind is one of select, insert, update, delete, merge, ddl, transaction, pragma, call, other. `outputs` are the
    names that do not themselves say what stands under them (`lineage.Output`). `parse_error` is a word of ours. Total.
    """
    data = _facts(sql, dialect) if len(sql) <= _CACHED else _facts.__wrapped__(sql, dialect)
    document: Document = orjson.loads(data)
    return document


@lru_cache(maxsize=512)
def _facts(sql: str, dialect: str) -> bytes:
    if len(sql) > LONGEST:
        return _nothing("too_long")
    if _depth(sql) > DEEPEST:
        return _nothing("too_deep")
    if _TWO_READINGS.search(sql):
        return _nothing("comment")
    try:
        trees = _parse(sql, dialect)
        trees = [tree for tree in trees if tree is not None and not isinstance(tree, exp.Semicolon)]
        statements = [_statement(tree) for tree in trees]
        outputs = _outputs(trees)
    except sqlglot.errors.SqlglotError:
        return _nothing("syntax")
    except Exception:  # What else a parser raises on hostile text is not ours to list; nothing was understood.
        return _nothing("unparsable")
    if not statements:
        return _nothing("empty")
    understood = all(statement["understood"] for statement in statements)
    return orjson.dumps({"understood": understood, "parse_error": None, "statements": statements, "outputs": outputs})


def _nothing(why: str) -> bytes:
    return orjson.dumps({"understood": False, "parse_error": why, "statements": [], "outputs": []})


def _depth(sql: str) -> int:
    deepest = depth = 0
    for char in sql:
        if char in "([":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")]":
            depth -= 1
    return deepest


@lru_cache(maxsize=32)
def _quiet(parser: type[Parser]) -> type[Parser]:
    # sqlglot logs a statement that it does not support, text and all.
    return type("Quiet", (parser,), {"_warn_unsupported": _unsaid})


def _unsaid(_parser: Parser) -> None:
    return None


def _parse(sql: str, name: str) -> list[Any]:
    dialect = Dialect.get_or_raise(name or None)
    dialect.STRICT_JSON_PATH_SYNTAX = False  # An instance of our own; the strict one logs the paths it does not know.
    parser = _quiet(dialect.parser_class)(dialect=dialect, error_level=sqlglot.ErrorLevel.RAISE)
    return list(parser.parse(dialect.tokenize(sql), sql))


def _statement(tree: Any) -> dict[str, Json]:
    kind, understood = _kind(tree)
    functions = sorted({_function(call) for call in tree.find_all(exp.Func) if not isinstance(call, exp.Connector)})
    if kind == "select" and not _EFFECTFUL.isdisjoint(functions):
        kind = "call"
    shape = bounds.of(tree)
    return {
        "kind": kind,
        "understood": understood,
        "tables": list[Json](shape.tables),
        "columns": list[Json](shape.columns),
        "writes": kind not in ("select", "transaction") or not understood,
        "star": shape.star,
        "limit": shape.limit if kind == "select" else None,
        "where": tree.args.get("where") is not None,
        "keyed": shape.keyed and kind in ("select", "update", "delete"),
        "aggregate": shape.aggregate and kind == "select",
        "functions": list[Json](functions),
    }


def _outputs(trees: list[Any]) -> list[Json]:
    """The outputs of all statements, whose results travel together. Where they share a field it is as if computed."""
    found = [one for tree in trees for one in lineage.of(tree)]
    uses = Counter(name for one in found for name in one.fields)
    return [
        {
            "name": one.name,
            "fields": list[Json](one.fields),
            "sources": list[Json](one.sources),
            "classes": list[Json](one.classes),
            "transformed": one.transformed or any(uses[name] > 1 for name in one.fields),
            "unresolved": one.unresolved,
        }
        for one in found
    ]


def _kind(tree: Any) -> tuple[str, bool]:
    """The kind of a statement, and whether the parser knew it rather than kept its text."""
    writes = _written(tree)
    match tree:
        case exp.Command():
            word = str(tree.this).upper()
            return ("call" if word in _CALLS else "ddl" if word in _DDL_WORDS else "other"), False
        case exp.Query() | exp.Values():
            if tree.find(exp.Into) is not None:
                return "ddl", True
            return writes or "select", True
        case exp.Insert() | exp.Update() | exp.Delete() | exp.Merge():
            return tree.key, True
        case _ if isinstance(tree, _DDL):
            return "ddl", True
        case _ if isinstance(tree, _TRANSACTION):
            return "transaction", True
        case exp.Pragma():
            return "pragma", True
        case exp.Execute():
            return "call", True
        case exp.Attach() | exp.Detach() | exp.Copy() | exp.Set() | exp.Use() | exp.Describe() | exp.Analyze():
            return "other", True
    return "other", False


def _written(tree: Any) -> str:
    """The kind of a data change inside a query: PostgreSQL lets a CTE delete."""
    found = tree.find(exp.Insert, exp.Update, exp.Delete, exp.Merge)
    return "" if found is None else str(found.key)


def _function(call: Any) -> str:
    if isinstance(call, exp.Anonymous | exp.AnonymousAggFunc):
        return str(call.name).lower()
    return str(call.sql_name()).lower()
