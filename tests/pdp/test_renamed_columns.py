"""SQL that renames, joins up or turns around what it selects: an analyst gets none of it, masked or refused.

Real statements on a real SQLite database, through the facts, the shipped policy and the masks that it asks for.
"""

import json
import re
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.core.facts import sql
from gateway.core.masking import plan
from gateway.core.policy import samples
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.pdp import loader
from gateway.pdp.engine import Pdp

POLICIES = Path(__file__).resolve().parents[2] / "policies"
KEY = b"k" * 32
COLUMNS = ("id", "mrn", "given", "family", "ssn", "birth_date", "zip", "phone", "email", "department", "cost", "note")
PHI = ("mrn", "given", "family", "ssn", "birth_date", "zip", "phone", "email")
PATIENTS = [
    (41, "MR-7741996", "Xjqvzkw", "Qzwvkjx", "917-36-5284", "1951-11-23", "02139", "857-555-0163", "qx@zvk.example"),
    (42, "MR-8852003", "Vwkqjzx", "Jxkzqwv", "926-47-1385", "1948-12-27", "59301", "617-555-0194", "wj@kqz.example"),
]
OTHERS = [("cardiology", 118.5, "Came by, SSN 917-36-5284."), ("surgery", 77.25, "Nothing new.")]


def grams(value):
    plain = re.sub(r"[^a-z0-9]", "", value.lower())
    return {plain[at : at + 4] for at in range(len(plain) - 3)}


SECRETS = set().union(*(grams(str(value)) for row in PATIENTS for value in row[1:]))
SECRETS |= {gram[::-1] for gram in SECRETS}
SECRETS -= grams("example") | {gram[::-1] for gram in grams("example")} | {"1951", "1948", "1591", "8491"}
HEX = {str(value).encode().hex()[:8] for row in PATIENTS for value in row[1:]}


@pytest.fixture(scope="module")
def pdp():
    with Pdp(loader.read(POLICIES)) as pdp:
        yield pdp


@pytest.fixture(scope="module")
def clinic():
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    connection.execute(f"CREATE TABLE patients ({', '.join(COLUMNS)})")
    marks = ", ".join("?" * len(COLUMNS))
    connection.executemany(
        f"INSERT INTO patients VALUES ({marks})",
        [(*patient, *other) for patient, other in zip(PATIENTS, OTHERS, strict=True)],
    )
    yield connection
    connection.close()


def decide(pdp, text, group, entrypoint):
    principal = {"iss": "https://issuer.example", "sub": "s", "groups": [group], "client": "", "acr": "", "amr": []}
    common = {
        "time": samples.TIME,
        "principal": {**principal, "chain": []},
        "session": {"id": "s", "era": "legacy", "version": "2025-11-25"},
        "upstream": {"name": "clinic", "labels": {}},
        "tool": {"name": "run_sql", "pin": "", "annotations": {}},
        "facts": {"size": {"arguments": len(text)}, "sql": sql.facts(text, "sqlite")},
    }
    about = {"kind": "request", "method": "tools/call", "name": "run_sql"}
    if entrypoint is Entrypoint.CALL:
        document = {**common, "phase": "call", "message": {**about, "arguments": {"sql": text}, "params": {}}}
    else:
        profile = {"classes": {"NAME": 1}, "paths": [], "rows": 2, "patients": 2, "bytes": 9}
        result = {"kind": "success", "method": "", "is_error": False, "asks": []}
        document = {**common, "phase": "result", "message": about, "result": result, "profile": profile}
    return pdp.decide(entrypoint, document, at=samples.TIME).decision


def objects(names, rows):
    return {"structuredContent": {"rows": [dict(zip(names, row, strict=True)) for row in rows]}}


def table(names, rows):
    return {"structuredContent": {"columns": names, "rows": rows}}


def headed(names, rows):
    return {"structuredContent": {"result": [names, *rows]}}


def text_of_objects(names, rows):
    return {"content": [{"type": "text", "text": json.dumps(objects(names, rows)["structuredContent"]["rows"])}]}


def python_text(names, rows):
    return {"content": [{"type": "text", "text": repr([dict(zip(names, row, strict=True)) for row in rows])}]}


def lines(names, rows):
    said = ["\n".join(f"{name}: {value}" for name, value in zip(names, row, strict=True)) for row in rows]
    return {"content": [{"type": "text", "text": "\n\n".join(said)}]}


def answered(pdp, clinic, text, form, group="analysts"):
    """What the client would be shown, or None where it is refused; statements that do not run show nothing."""
    if decide(pdp, text, group, Entrypoint.CALL).effect is Effect.DENY:
        return None
    try:
        cursor = clinic.execute(text)
        rows = [list(row) for row in cursor.fetchall()]
    except sqlite3.Error:
        return None
    decision = decide(pdp, text, group, Entrypoint.RESULT)
    if decision.effect is Effect.DENY:
        return None
    names = [column[0] for column in cursor.description]
    return json.dumps(plan.apply(form(names, rows), decision.mask, key=KEY, schema=None).value)


def leaked(shown):
    """The pieces of secrets in it. A year of birth may be shown; two in a row would spell a piece between them."""
    plain = re.sub(r"[^a-z0-9]", "", re.sub(r"\b(1951|1948)\b", "year", shown.lower()))
    return {gram for gram in SECRETS if gram in plain} | {code for code in HEX if code in plain}


FORMS = (objects, table, headed, text_of_objects, python_text, lines)
ALIASES = (
    "x",
    "y",
    "full",
    "Result",
    "myCol",
    "department",
    "age",
    "count_1",
    "family",
    "note",
    '"a b"',
    "'q'",
    "value",
)
WRAPS = (
    "{}",
    "upper({})",
    "lower({})",
    "substr({}, 1, 5)",
    "replace({}, '-', '')",
    "hex({})",
    "max({})",
    "group_concat({})",
    "json_group_array({})",
    "json_object('a', {})",
    "trim({} || ' ')",
    "CASE WHEN 1 THEN {} END",
    "CAST({} AS TEXT)",
    "(SELECT max({}) FROM patients)",
    "printf('%s', {})",
    "coalesce(NULL, {})",
    "({})",
)
OUTER = ("*", "x", "x AS y", "y || x AS full", "upper(x) AS note", "department", "*, 1 AS one")
columns = st.sampled_from(COLUMNS[1:] + PHI)


@st.composite
def expressions(draw):
    whole = draw(columns)
    for _ in range(draw(st.integers(0, 2))):
        whole = draw(st.sampled_from(WRAPS)).format(whole)
    return f"{whole} || ' ' || {draw(columns)}" if draw(st.integers(0, 3)) == 0 else whole


@st.composite
def items(draw):
    item = draw(expressions())
    alias = draw(st.sampled_from(ALIASES))
    return draw(st.sampled_from([f"{item} AS {alias}", f"{item} {alias}", f"{item} AS {alias}", item]))


@st.composite
def statements(draw):
    chosen = draw(st.lists(items(), min_size=1, max_size=3))
    inner = ", ".join(chosen)
    select = f"SELECT {inner} FROM patients WHERE id = 41"
    outer = draw(
        st.sampled_from(("*", "x", "x AS y", "y || x AS full", "upper(x) AS note", "department", "*, 1 AS one"))
    )
    two = ", ".join(draw(st.lists(items(), min_size=inner.count(", ") + 1, max_size=inner.count(", ") + 1)))
    return draw(
        st.sampled_from(
            (
                select,
                select,
                f"SELECT {outer} FROM ({select}) LIMIT 5",
                f"WITH t AS ({select}) SELECT {outer} FROM t LIMIT 5",
                f"WITH t(x, y) AS ({select}) SELECT {outer} FROM t LIMIT 5",
                f"SELECT department AS d, cost AS c FROM patients UNION ALL {select} LIMIT 5",
                f"{select} UNION ALL SELECT {two} FROM patients WHERE id = 42 LIMIT 5",
                f"SELECT {outer} FROM ({select}) a JOIN ({select}) b LIMIT 5",
                f"SELECT {inner}, * FROM patients LIMIT 5",
            )
        )
    )


@settings(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=statements(), form=st.sampled_from(FORMS))
@example(text="SELECT birth_date FROM patients UNION ALL SELECT birth_date AS x FROM patients LIMIT 5", form=table)
def test_whatever_an_analyst_selects_no_phi_comes_back(pdp, clinic, text, form):
    shown = answered(pdp, clinic, text, form)

    assert shown is None or leaked(shown) == set()


@pytest.mark.parametrize("form", FORMS)
def test_the_columns_of_an_alias_are_masked_and_the_rest_is_left(pdp, clinic, form):
    text = "SELECT family AS x, given || ', ' || family AS y, department AS d FROM patients WHERE id = 41"

    shown = answered(pdp, clinic, text, form)

    assert shown is not None
    assert leaked(shown) == set()
    assert "cardiology" in shown


def test_whoever_may_see_names_sees_them_under_any_name_and_no_ssn(pdp, clinic):
    text = "SELECT family AS x, ssn AS y, given || family AS z FROM patients WHERE id = 41"

    shown = answered(pdp, clinic, text, objects, "clinicians")

    assert shown is not None
    assert json.loads(shown)["structuredContent"]["rows"] == [
        {"x": "Qzwvkjx", "y": "***-**-5284", "z": "XjqvzkwQzwvkjx"}
    ]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT given || ' ' || family FROM patients WHERE id = 41",
        "SELECT value FROM patients, json_each(json_array(family)) LIMIT 5",
        "SELECT cost AS c FROM patients UNION ALL SELECT * FROM (SELECT ssn FROM patients) LIMIT 5",
    ],
)
def test_what_could_not_be_masked_is_refused_with_what_to_do(pdp, text):
    decision = decide(pdp, text, "analysts", Entrypoint.CALL)

    assert decision.effect is Effect.DENY
    assert [reason.code for reason in decision.reasons] == ["sql_hidden_columns"]
    assert "under their own names" in decision.reasons[0].message


@pytest.mark.parametrize(
    "text",
    [
        "SELECT department, count(*) AS visits FROM encounters GROUP BY department",
        "SELECT mrn, family, birth_date, zip, allergies FROM patients LIMIT 5",
        "SELECT * FROM patients WHERE id = 41",
    ],
)
def test_what_analysts_usually_ask_is_allowed(pdp, text):
    assert decide(pdp, text, "analysts", Entrypoint.CALL).effect is Effect.ALLOW
