"""Lineage: a name in a result that is not the column's own is known for what it holds, or said to be unknown."""

from __future__ import annotations

import time

import pytest

from gateway.core.facts import lineage, sql
from gateway.core.types import Document


def outputs(text: str, dialect: str = "sqlite") -> list[Document]:
    found = sql.facts(text, dialect)
    assert found["understood"] is True
    listed = found["outputs"]
    assert isinstance(listed, list)
    return [one for one in listed if isinstance(one, dict)]


def hidden(text: str, dialect: str = "sqlite") -> bool:
    """Whether something is selected that no rule for a field could mask."""
    return any(one["unresolved"] or (one["classes"] and not one["fields"]) for one in outputs(text, dialect))


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
@pytest.mark.parametrize(
    "text",
    [
        "SELECT department, count(*) AS visits FROM encounters GROUP BY department",
        "SELECT mrn, family, birth_date, zip, allergies FROM patients",
        "SELECT * FROM patients",
        "SELECT p.*, e.code FROM patients p JOIN encounters e ON e.patient_id = p.id WHERE p.id = 1",
        "SELECT p.id, e.id FROM patients p JOIN encounters e ON e.patient_id = p.id",
        "SELECT count(DISTINCT mrn) FROM patients WHERE family = 'x'",
        "SELECT row_number() OVER (ORDER BY ssn) AS n FROM patients",
        "SELECT department, EXISTS (SELECT ssn FROM patients) AS found FROM encounters",
        "WITH t AS (SELECT * FROM patients WHERE id = 1) SELECT family, zip FROM t",
        "SELECT id, name FROM patients UNION SELECT id, name FROM former",
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5) SELECT n FROM c",
    ],
)
def test_columns_under_their_own_names_and_counts_are_not_listed(text: str, dialect: str) -> None:
    assert outputs(text, dialect) == []


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
@pytest.mark.parametrize(
    ("text", "name", "classes", "transformed"),
    [
        ("SELECT family AS x FROM patients", "x", ["NAME"], False),
        ("SELECT family x FROM patients", "x", ["NAME"], False),
        ('SELECT "family" AS "x" FROM patients', "x", ["NAME"], False),
        ("SELECT p.FAMILY AS x FROM patients p", "x", ["NAME"], False),
        ("SELECT given || ' ' || family AS x FROM patients", "x", ["NAME"], True),
        ("SELECT family || ssn AS x FROM patients", "x", ["NAME", "SSN"], True),
        ("SELECT reverse(ssn) AS x FROM patients", "x", ["SSN"], True),
        ("SELECT hex(substr(lower(replace(ssn, '-', '')), 1, 3)) AS x FROM patients", "x", ["SSN"], True),
        ("SELECT CASE WHEN sex = 'F' THEN family ELSE '' END AS x FROM patients", "x", ["NAME"], True),
        ("SELECT CASE substr(ssn, 1, 1) WHEN '1' THEN 'a' END AS x FROM patients", "x", ["SSN"], True),
        ("SELECT max(family) AS x FROM patients", "x", ["NAME"], True),
        ("SELECT coalesce(null, mrn) AS x FROM patients", "x", ["MRN"], True),
        ("SELECT CAST(ssn AS text) AS x FROM patients", "x", ["SSN"], True),
        ("SELECT (SELECT family FROM patients WHERE id = 5) AS x", "x", ["NAME"], True),
        ("SELECT lag(zip) OVER (ORDER BY cost) AS x FROM patients", "x", ["ZIP"], True),
        ("SELECT x FROM (SELECT family AS x FROM patients) t", "x", ["NAME"], False),
        ("SELECT * FROM (SELECT family AS x FROM patients) t", "x", ["NAME"], False),
        ("WITH t AS (SELECT family AS a FROM patients) SELECT a AS x FROM t", "x", ["NAME"], False),
        ("WITH t(a, b) AS (SELECT cost, family FROM patients) SELECT b AS x FROM t", "x", ["NAME"], False),
        ("WITH t AS (SELECT ssn || '' AS a FROM patients) SELECT a AS x FROM t", "x", ["SSN"], True),
        ("SELECT department FROM encounters UNION SELECT family FROM patients", "department", ["NAME"], False),
        ("SELECT cost AS x FROM claims UNION ALL SELECT ssn FROM patients", "x", ["SSN"], False),
        ("SELECT name AS x FROM patients", "x", ["NAME"], False),
        ("SELECT id AS x FROM patients", "x", ["MRN"], False),
        ("SELECT upper(family) AS family FROM patients", "family", ["NAME"], True),
        ("SELECT hex(ssn) AS age FROM patients", "age", ["SSN"], True),
        ("SELECT reverse(note) AS x FROM notes", "x", ["PHI"], True),
        ("SELECT sum(cost) AS x FROM claims", "x", [], True),
    ],
)
def test_a_name_is_followed_to_the_columns_it_stands_for(
    text: str, name: str, classes: list[str], transformed: bool, dialect: str
) -> None:
    found = next(one for one in outputs(text, dialect) if one["name"] == name)
    assert found["classes"] == classes
    assert found["transformed"] is transformed
    assert found["unresolved"] is False
    assert found["fields"] == [name]


@pytest.mark.parametrize(
    ("text", "dialect", "name", "classes"),
    [
        ("SELECT group_concat(family) AS x FROM patients", "sqlite", "x", ["NAME"]),
        ("SELECT json_object('a', ssn) AS x FROM patients", "sqlite", "x", ["SSN"]),
        ("SELECT json_group_array(family) AS x FROM patients", "sqlite", "x", ["NAME"]),
        ("SELECT printf('%s', family) AS x FROM patients", "sqlite", "x", ["NAME"]),
        ("SELECT json_extract(info, '$.name[0].family') AS x FROM t", "sqlite", "x", ["NAME"]),
        ("SELECT fAmIlY AS x, cost FROM patients", "sqlite", "x", ["NAME"]),
        ("SELECT patientssn AS x FROM patients", "sqlite", "x", ["SSN"]),
        ("SELECT fAmIlY, cost FROM patients", "mysql", "fAmIlY", ["NAME"]),
        ("SELECT info->'a'->>'ssn' AS x FROM t", "postgres", "x", ["SSN"]),
        ("SELECT info #>> '{ssn}' AS x FROM t", "postgres", "x", ["SSN"]),
        ("SELECT jsonb_extract_path_text(info, 'ssn') AS x FROM t", "postgres", "x", ["SSN"]),
        ("SELECT (info).ssn AS x FROM t", "postgres", "x", ["SSN"]),
        ("SELECT string_agg(family, ',') AS x FROM patients", "postgres", "x", ["NAME"]),
        ("SELECT ssn::text AS x FROM patients", "postgres", "x", ["SSN"]),
        ("SELECT z FROM patients p, LATERAL (SELECT p.family AS z) t", "postgres", "z", ["NAME"]),
        ("SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY ssn) AS x FROM patients", "postgres", "x", ["SSN"]),
        ("DELETE FROM patients WHERE id = 1 RETURNING ssn AS x, *", "postgres", "x", ["SSN"]),
        ("SELECT x = family FROM patients", "tsql", "x", ["NAME"]),
    ],
)
def test_a_dialects_own_ways_are_followed(text: str, dialect: str, name: str, classes: list[str]) -> None:
    found = next(one for one in outputs(text, dialect) if one["name"] == name)
    assert found["classes"] == classes
    assert found["fields"]
    assert not hidden(text, dialect)


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("SELECT given || family FROM patients", "sqlite"),
        ("SELECT upper(family) FROM patients", "postgres"),
        ("SELECT (SELECT family FROM patients LIMIT 1)", "sqlite"),
        ("SELECT json_agg(p) FROM patients p", "postgres"),
        ("SELECT json_agg(p) AS x FROM patients p", "postgres"),
        ("SELECT to_json(patients.*) AS x FROM patients", "postgres"),
        ("SELECT row(p.*) AS x FROM patients p", "postgres"),
        ("SELECT p FROM patients p", "postgres"),
        ("SELECT patients FROM patients", "postgres"),
        ("SELECT s FROM (SELECT family AS x FROM patients) s", "postgres"),
        ("SELECT (p).family AS x FROM patients p", "postgres"),
        ("SELECT c FROM patients AS p(a, b, c)", "postgres"),
        ("SELECT v.x FROM patients p CROSS JOIN LATERAL (VALUES (p.family)) v(x)", "postgres"),
        ("SELECT value FROM patients, json_each(json_array(family))", "sqlite"),
        ("SELECT unnest FROM patients, unnest(ARRAY[family])", "postgres"),
        ("SELECT * FROM crosstab('SELECT ssn FROM patients') AS t(x text)", "postgres"),
        ("SELECT look_it_up(5) AS x", "postgres"),
        ("SELECT look_it_up(department) AS x FROM encounters", "postgres"),
        ('SELECT U&"\\0066amily" AS x FROM patients', "postgres"),
        ("SELECT json_extract(info, '$.' || 'ssn') AS x FROM t", "sqlite"),
        ("SELECT json_extract(info, '$.\"\\u0073sn\"') AS x FROM t", "sqlite"),
        ("SELECT * FROM drugs UNION ALL SELECT * FROM patients", "sqlite"),
        ("SELECT code, label FROM drugs UNION ALL SELECT * FROM patients", "sqlite"),
        ("VALUES ('a') UNION SELECT family FROM patients", "sqlite"),
        ("VALUES ((SELECT family FROM patients))", "sqlite"),
        ("SELECT * FROM (SELECT given || family FROM patients)", "sqlite"),
        ("SELECT * FROM (SELECT * FROM patients a JOIN patients b ON a.id = b.id)", "sqlite"),
        ("SELECT * FROM (SELECT family AS department, * FROM patients)", "sqlite"),
        ("SELECT * FROM (SELECT department AS family, * FROM patients)", "sqlite"),
        ("SELECT * FROM (SELECT a.family, b.family FROM patients a JOIN patients b ON a.id = b.id)", "sqlite"),
        ("SELECT family AS x, given AS x FROM patients", "sqlite"),
        ("SELECT cost AS x, family AS x FROM patients", "sqlite"),
        ('SELECT family AS "a b" FROM patients', "sqlite"),
        ('SELECT family AS "" FROM patients', "sqlite"),
        ('SELECT family AS "[SSN]" FROM patients', "sqlite"),
        ("SELECT family AS value, 'ssn' AS field FROM patients", "sqlite"),
        (f"SELECT family AS {'x' * 64} FROM patients", "postgres"),
        ("SELECT @x := family FROM patients", "mysql"),
        ("SELECT * RENAME (ssn AS x) FROM patients", "snowflake"),
        ("SELECT COLUMNS('fam.*') FROM patients", "duckdb"),
        ("DELETE FROM patients WHERE id = 1 RETURNING upper(ssn)", "sqlite"),
    ],
)
def test_what_no_rule_could_mask_is_said_to_be_hidden(text: str, dialect: str) -> None:
    assert hidden(text, dialect)


def test_a_name_is_masked_in_every_way_a_database_may_write_it() -> None:
    (found,) = outputs("SELECT family AS myCol FROM patients", "postgres")
    assert found["fields"] == ["my_col", "mycol"]
    (found,) = outputs("SELECT X FROM (SELECT family AS x FROM patients)")
    assert found["fields"] == ["x"]


def test_statements_that_share_a_name_mask_it_as_computed() -> None:
    found = outputs("SELECT zip AS x FROM patients; SELECT ssn AS x FROM patients")
    assert [one["transformed"] for one in found] == [True, True]


@pytest.mark.parametrize("text", ["SELECT 1 /*!50000, ssn AS x */", "SELECT 1 /* /* */, ssn AS x -- */"])
def test_comments_that_databases_read_differently_are_not_understood(text: str) -> None:
    for dialect in ("sqlite", "postgres", "mysql"):
        assert sql.facts(text, dialect)["understood"] is False


def test_a_source_is_known_by_its_table_where_its_name_alone_says_nothing() -> None:
    assert lineage.classes_of("id", "patients") == {"MRN"}
    assert lineage.classes_of("id", "drugs") == set()
    assert lineage.classes_of("name", "drugs") == set()
    assert lineage.classes_of("naïve_ssn") == {"SSN"}
    assert lineage.classes_of("x" * 500) == {"PHI"}


def test_names_that_hold_each_other_end() -> None:
    assert outputs("WITH a AS (SELECT y AS x FROM b), b AS (SELECT x AS y FROM a) SELECT x, y FROM a")


def test_following_a_large_statement_takes_bounded_time() -> None:
    steps = ", ".join(f"c{number} || '' AS c{number + 1}" for number in range(2_500))
    start = time.process_time()
    assert hidden(f"SELECT {steps} FROM t")
    assert time.process_time() - start < 5
