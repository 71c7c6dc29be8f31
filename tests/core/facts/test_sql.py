"""SQL facts: what is claimed is true, and what looks bounded but is not is never claimed."""

from __future__ import annotations

import logging
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.facts import sql
from gateway.core.types import Document


def only(text: str, dialect: str = "sqlite") -> Document:
    found = sql.facts(text, dialect)
    statements = found["statements"]
    assert isinstance(statements, list)
    assert len(statements) == 1
    assert isinstance(statements[0], dict)
    return statements[0]


@pytest.mark.parametrize(
    ("dialect", "text", "kind"),
    [
        ("sqlite", "SELECT name FROM patients", "select"),
        ("sqlite", "VALUES (1, 2)", "select"),
        ("sqlite", "SELECT 1 UNION SELECT 2", "select"),
        ("sqlite", "INSERT INTO t VALUES (1)", "insert"),
        ("sqlite", "UPDATE t SET a = 1 WHERE id = 2", "update"),
        ("sqlite", "DELETE FROM t", "delete"),
        ("postgres", "MERGE INTO a USING b ON a.x = b.x WHEN MATCHED THEN DELETE", "merge"),
        ("sqlite", "DROP TABLE t", "ddl"),
        ("sqlite", "CREATE TABLE t AS SELECT * FROM p", "ddl"),
        ("sqlite", "ALTER TABLE t ADD COLUMN x TEXT", "ddl"),
        ("postgres", "TRUNCATE t", "ddl"),
        ("postgres", "GRANT ALL ON t TO u", "ddl"),
        ("postgres", "SELECT * INTO x FROM patients", "ddl"),
        ("sqlite", "BEGIN", "transaction"),
        ("sqlite", "PRAGMA table_info(t)", "pragma"),
        ("tsql", "EXEC sp_who 1", "call"),
        ("sqlite", "ATTACH DATABASE 'x' AS y", "other"),
        ("postgres", "COPY patients TO '/tmp/x'", "other"),
        ("postgres", "WITH d AS (DELETE FROM p RETURNING *) SELECT * FROM d", "delete"),
        ("sqlite", "SELECT load_extension('x') LIMIT 1", "call"),
        ("postgres", "SELECT pg_read_file('/etc/passwd') LIMIT 1", "call"),
    ],
)
def test_a_statement_has_the_kind_of_what_it_does(dialect: str, text: str, kind: str) -> None:
    assert only(text, dialect)["kind"] == kind
    assert sql.facts(text, dialect)["understood"] is True


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        ("sqlite", "EXPLAIN QUERY PLAN SELECT 1"),
        ("postgres", "EXPLAIN ANALYZE DELETE FROM p"),
        ("postgres", "DO $$ BEGIN DELETE FROM p; END $$"),
        ("postgres", "PREPARE x AS DELETE FROM p"),
        ("sqlite", "VACUUM INTO '/tmp/x'"),
        ("sqlite", "REINDEX"),
        ("sqlite", "hello world"),
        ("sqlite", "SELEC 1"),
        ("sqlite", ".tables"),
        ("sqlite", ""),
        ("sqlite", " ;; -- nothing"),
        ("sqlite", "SELECT 1; REPLACE INTO t VALUES (1)"),
        ("sqlite", "SELECT '" + "x" * 70_000 + "'"),
        ("nonsense", "SELECT 1"),
    ],
)
def test_what_is_not_understood_is_said_to_be_so(dialect: str, text: str) -> None:
    assert sql.facts(text, dialect)["understood"] is False


def test_statements_smuggled_behind_a_semicolon_or_comment_are_all_seen() -> None:
    found = sql.facts("SELECT 1 /* ; */; DROP TABLE patients -- ;", "sqlite")["statements"]
    assert isinstance(found, list)
    assert [one["kind"] for one in found if isinstance(one, dict)] == ["select", "ddl"]


def test_tables_and_columns_are_resolved_through_aliases() -> None:
    found = only("SELECT p.ssn AS x, e.code FROM patients p JOIN main.encounters e ON e.patient_id = p.id")
    assert found["tables"] == ["main.encounters", "patients"]
    assert found["columns"] == ["main.encounters.code", "main.encounters.patient_id", "patients.id", "patients.ssn"]


def test_a_cte_is_no_table() -> None:
    assert only("WITH p AS (SELECT * FROM patients) SELECT * FROM p")["tables"] == ["patients"]


@pytest.mark.parametrize("text", ["SELECT * FROM t", "SELECT t.* FROM t", "SELECT to_json(t) FROM patients t"])
def test_whole_rows_are_a_star(text: str) -> None:
    assert only(text, "postgres")["star"] is True


def test_counting_rows_is_no_star() -> None:
    assert only("SELECT count(*) FROM t")["star"] is False


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("SELECT a FROM t LIMIT 5", 5),
        ("SELECT a FROM t", None),
        ("SELECT a FROM t LIMIT -1", None),
        ("SELECT a FROM t LIMIT 5 + 100000", None),
        ("SELECT a FROM t LIMIT (SELECT count(*) FROM t)", None),
        ("SELECT a FROM (SELECT a FROM t LIMIT 5)", None),
        ("SELECT group_concat(ssn) FROM patients LIMIT 1", None),
        ("SELECT json_group_array(ssn) FROM patients LIMIT 1", None),
        ("SELECT a FROM t UNION SELECT b FROM u LIMIT 7", 7),
    ],
)
def test_a_limit_counts_only_where_a_plain_number_bounds_the_rows(text: str, limit: int | None) -> None:
    assert only(text)["limit"] == limit


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM patients WHERE id = 17",
        "SELECT * FROM patients WHERE 17 = id AND active = 1",
        "SELECT * FROM patients p WHERE (p.mrn = ?)",
        "SELECT * FROM patients p JOIN encounters e ON e.patient_id = p.id WHERE p.id = 17",
        "SELECT e.* FROM encounters e, patients p WHERE e.patient_id = p.id AND p.id = 17",
        "SELECT * FROM (SELECT * FROM patients WHERE id = 17) t",
        "WITH p AS (SELECT * FROM patients WHERE id = 17) SELECT * FROM p",
        "SELECT id FROM patients WHERE id = 1 UNION SELECT id FROM patients WHERE id = 2",
        "UPDATE patients SET phone = 'x' WHERE id = 17",
        "DELETE FROM notes WHERE note_id = 17",
    ],
)
def test_a_key_that_bounds_the_rows_is_seen(text: str) -> None:
    assert only(text)["keyed"] is True


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM patients",
        "SELECT * FROM patients WHERE id = 17 OR 1 = 1",
        "SELECT * FROM patients WHERE NOT id = 17",
        "SELECT * FROM patients WHERE id = id",
        "SELECT * FROM patients WHERE id > 17",
        "SELECT * FROM patients WHERE id IN (SELECT id FROM patients)",
        "SELECT * FROM patients WHERE city = 'Boston'",
        "SELECT * FROM patients a, patients b WHERE a.id = 17",
        "SELECT * FROM patients a, patients b WHERE id = 17",
        "SELECT b.* FROM patients a JOIN patients b ON 1 = 1 WHERE a.id = 17",
        "SELECT * FROM (SELECT 17 AS id, ssn FROM patients) t WHERE t.id = 17",
        "WITH p AS (SELECT 17 AS id, ssn FROM patients) SELECT * FROM p WHERE id = 17",
        "SELECT (SELECT group_concat(ssn) FROM patients) FROM patients WHERE id = 17",
        "SELECT (SELECT ssn FROM patients LIMIT 1) FROM patients WHERE id = 17",
        "SELECT id FROM patients WHERE id = 1 UNION SELECT ssn FROM patients",
        "UPDATE patients SET phone = 'x'",
        "DELETE FROM notes WHERE note_id = 17 OR true",
        "UPDATE patients SET a = o.a FROM other o WHERE patients.id = 17",
        "WITH RECURSIVE r AS (SELECT * FROM p WHERE id = 1 UNION ALL SELECT p.* FROM p, r) SELECT * FROM r",
    ],
)
def test_what_only_looks_keyed_is_not(text: str) -> None:
    assert only(text)["keyed"] is False


@pytest.mark.parametrize(
    ("text", "aggregate"),
    [
        ("SELECT count(*) FROM patients", True),
        ("SELECT gender, count(*), avg(weight) FROM patients GROUP BY gender", True),
        ("SELECT count(*) AS n FROM patients WHERE ssn LIKE '1%'", True),
        ("SELECT ssn, count(*) FROM patients GROUP BY ssn", False),
        ("SELECT patient_id, count(*) FROM notes GROUP BY patient_id", False),
        ("SELECT name, count(*) FROM patients GROUP BY name", False),
        ("SELECT count(*), ssn FROM patients", False),
        ("SELECT max(ssn) FROM patients", False),
        ("SELECT group_concat(ssn) FROM patients", False),
        ("SELECT count(*) OVER (), ssn FROM patients", False),
        ("SELECT count(*) FROM a UNION SELECT ssn FROM b", False),
        ("SELECT count((SELECT group_concat(ssn) FROM p)) FROM a", False),
        ("SELECT 1", False),
    ],
)
def test_an_aggregate_is_one_only_if_no_column_names_anybody(text: str, aggregate: bool) -> None:
    assert only(text)["aggregate"] is aggregate


def test_functions_are_named() -> None:
    assert only("SELECT upper(name), my_own(1) FROM t")["functions"] == ["my_own", "upper"]


def test_no_sql_reaches_a_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for dialect, text in (
            ("postgres", "CALL secret_123456789(1)"),
            ("postgres", "DO $$ secret_123456789 $$"),
            ("sqlite", "SELECT secret_123456789 FROM (("),
            ("sqlite", "SELECT '{}' -> '$.secret_123456789['"),
            ("mysql", "SELECT json_extract(x, 'secret_123456789[[')"),
        ):
            sql.facts(text, dialect)
    assert "secret" not in caplog.text


def test_facts_are_the_callers_own_to_change() -> None:
    sql.facts("SELECT 1", "sqlite").clear()
    assert sql.facts("SELECT 1", "sqlite")["understood"] is True


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000,
        "SELECT " + "(" * 60 + "1" + ")" * 60,
        "SELECT " + "-" * 5000 + "1",
        "SELECT " + "NOT " * 5000,
        "CASE " * 3000,
        "SELECT 1 " + "+1" * 20000,
    ],
)
def test_hostile_nesting_ends_soon_and_raises_nothing(text: str) -> None:
    start = time.process_time()
    sql.facts(text, "sqlite")
    assert time.process_time() - start < 10


def _fan(depth: int) -> str:
    """Each CTE names the one before twice."""
    steps = [f"a{n} AS (SELECT x.* FROM a{n - 1} x, a{n - 1} y)" for n in range(1, depth)]
    return f"WITH {', '.join(['a0 AS (SELECT * FROM t WHERE id = 1)', *steps])} SELECT * FROM a{depth - 1}"


def _stairs(depth: int) -> str:
    """A query in a column of a query in a column of a query."""
    return "SELECT (" * depth + "SELECT x FROM t WHERE id = 1" + ") FROM t WHERE id = 1" * depth


@pytest.mark.parametrize(
    "text",
    [
        _fan(60),
        _stairs(24),
        f"SELECT {', '.join(f'c{n}' for n in range(4000))} FROM t GROUP BY {', '.join(f'c{n}' for n in range(4000))}",
    ],
    ids=["CTEs that fan out", "queries in columns", "a group of thousands of columns"],
)
def test_a_statement_with_exponentially_many_paths_does_not_hold_up_the_worker(text: str) -> None:
    start = time.process_time()
    found = sql.facts(text, "sqlite")
    assert time.process_time() - start < 5
    assert found["understood"] is True


_words = st.sampled_from(
    [
        *"SELECT FROM WHERE id = 1 ; , ( ) -- /* */ UNION ALL WITH AS DELETE UPDATE SET INTO t * LIMIT -1".split(),
        *("'", '"', "$$", "\0", "é"),
    ]
)


@settings(max_examples=150)
@given(
    st.lists(_words, max_size=20).map(" ".join) | st.text(max_size=60),
    st.sampled_from(["", "sqlite", "postgres", "tsql", "mysql"]),
)
def test_facts_are_total(text: str, dialect: str) -> None:
    found = sql.facts(text, dialect)
    assert isinstance(found["understood"], bool)
    assert isinstance(found["statements"], list)
