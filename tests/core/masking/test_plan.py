"""The mask plan: what rules select, what operators do, what a schema forbids, and what the manifest says."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import MaskFault
from gateway.core.masking import plan
from gateway.core.masking.manifest import ITEMS_MOST
from gateway.core.policy.decision import MaskRule, Operator, Selector
from gateway.core.protocol import tasks
from gateway.core.types import Document, Json

KEY = b"k" * 32


def rule(by: str, value: str, operator: str = "redact", **options: Json) -> MaskRule:
    return MaskRule(Selector(by, value), Operator(operator, options))


def apply(value: Json, *rules: MaskRule, schema: Document | None = None) -> Any:
    return plan.apply(value, rules, key=KEY, schema=schema).value


def structured(value: Json, *rules: MaskRule, schema: Document | None = None) -> Any:
    return apply({"content": [], "structuredContent": value}, *rules, schema=schema)["structuredContent"]


def test_without_rules_the_value_is_returned_as_it_is() -> None:
    value: Json = {"structuredContent": {"ssn": "219-09-9999"}}
    assert plan.apply(value, (), key=KEY, schema=None).value is value


def test_the_value_given_is_never_changed() -> None:
    value: Json = {"structuredContent": {"rows": [{"ssn": "219-09-9999", "note": "ssn 219-09-9999"}]}}
    before = copy.deepcopy(value)
    apply(value, rule("class", "PHI"))
    assert value == before


@pytest.mark.parametrize("name", ["ssn", "SSN", "Ssn"])
def test_a_field_rule_takes_the_field_anywhere_by_its_normalised_name(name: str) -> None:
    value: Json = {"SSN": "a1", "x": [{"ssn": "b2"}, {"deep": {"Ssn": "c3"}}], "text": '{"ssn": "d4"}', "other": "e5"}
    assert structured(value, rule("field", name)) == {
        "SSN": "[SSN]",
        "x": [{"ssn": "[SSN]"}, {"deep": {"Ssn": "[SSN]"}}],
        "text": '{"ssn":"[SSN]"}',
        "other": "e5",
    }


def test_a_field_rule_takes_names_that_no_class_has() -> None:
    assert structured({"favouriteColour": "mauve9"}, rule("field", "favourite_colour")) == {
        "favouriteColour": "[REDACTED]"
    }


def test_a_field_rule_takes_pairs_and_columns_in_text() -> None:
    value: Json = {
        "content": [
            {"type": "text", "text": "colour: mauve9\nsize: 4"},
            {"type": "text", "text": "id,colour\n1,teal7\n"},
        ]
    }
    out = json.dumps(apply(value, rule("field", "colour")))
    assert "mauve9" not in out
    assert "teal7" not in out
    assert "size: 4" in out


@pytest.mark.parametrize(
    ("path", "gone"),
    [
        ("$.structuredContent.rows[*].ssn", {"s1", "s2"}),
        ("$.structuredContent.rows[0].ssn", {"s1"}),
        ("$['structuredContent'][\"rows\"][*]['ssn']", {"s1", "s2"}),
        ("$..ssn", {"s1", "s2", "s3", "s4"}),
        ("$.structuredContent.rows[*].*", {"s1", "s2", "n1", "n2"}),
        ("$.structuredContent.rows", {"s1", "s2", "n1", "n2"}),
        ("$.structuredContent.nothing.here", set()),
        ("$.structuredContent.table.rows[*].ssn", {"s4"}),
    ],
)
def test_a_path_rule_takes_what_it_points_at(path: str, gone: set[str]) -> None:
    value: Json = {
        "rows": [{"ssn": "s1", "n": "n1"}, {"ssn": "s2", "n": "n2"}],
        "text": '{"x": {"ssn": "s3"}}',
        "table": {"columns": ["n", "ssn"], "rows": [["n4", "s4"]]},
    }
    out = json.dumps(structured(value, rule("path", path)))
    left = {name for name in ("s1", "s2", "s3", "s4", "n1", "n2", "n4") if name in out}
    assert left == {"s1", "s2", "s3", "s4", "n1", "n2", "n4"} - gone


@pytest.mark.parametrize(
    "path", ["", "$", "rows", "$.rows[?(@.a)]", "$.rows[1:2]", "$.rows[", "$.a['b", "$..", "$" + ".a" * 400]
)
def test_a_path_that_cannot_be_followed_is_a_fault(path: str) -> None:
    with pytest.raises(MaskFault):
        apply({"a": 1}, rule("path", path))


@pytest.mark.parametrize(
    "bad",
    [
        rule("class", "NOPE"),
        rule("class", "ssn"),
        rule("field", ""),
        rule("field", "--"),
        rule("xpath", "//a"),
        rule("class", "SSN", "rot13"),
        rule("class", "SSN", "partial", keep=-1),
        rule("class", "SSN", "partial", keep=99),
        rule("class", "SSN", "partial", keep="4"),
        rule("class", "SSN", "partial", keep=True),
        rule("class", "SSN", "redact", label="no spaces please"),
        rule("class", "SSN", "redact", keep=4),
        rule("class", "DATE", "generalise", as_of="now"),
    ],
)
def test_a_rule_that_is_not_well_formed_is_a_fault(bad: MaskRule) -> None:
    with pytest.raises(MaskFault):
        apply({"a": 1}, bad)


def test_the_more_particular_rule_wins_and_then_the_first() -> None:
    value: Json = {"ssn": "219-09-9999", "dob": "1950-02-03", "seen": "2020-02-03", "zip": "02139", "city": "Salem"}
    rules = (
        rule("class", "PHI", label="PHI"),
        rule("class", "DATE", label="D1"),
        rule("class", "DATE", label="D2"),
        rule("class", "BIRTH_DATE", label="B"),
        rule("class", "GEO", label="G"),
        rule("field", "ssn", label="F"),
        rule("path", "$.structuredContent.ssn", label="P"),
    )
    assert structured(value, *rules) == {"ssn": "[P]", "dob": "[B]", "seen": "[D1]", "zip": "[G]", "city": "[G]"}


def test_redact_writes_the_class_or_the_label() -> None:
    assert structured({"ssn": "1"}, rule("class", "SSN")) == {"ssn": "[SSN]"}
    assert structured({"ssn": "1"}, rule("class", "SSN", label="GONE")) == {"ssn": "[GONE]"}


@pytest.mark.parametrize(
    ("keep", "value", "out"),
    [
        (4, "219-09-9999", "***-**-9999"),
        (0, "219-09-9999", "***-**-****"),
        (4, "1234", "**34"),
        (4, "x", "*"),
        (2, "añb", "**b"),
    ],
)
def test_partial_keeps_the_last_few_but_at_most_half(keep: int, value: str, out: str) -> None:
    assert structured({"ssn": value}, rule("field", "ssn", "partial", keep=keep)) == {"ssn": out}


def test_null_empties_whole_fields_and_labels_places_in_text() -> None:
    value: Json = {"ssn": "219099999", "note": "ssn 219-09-9998", "more": {"a": [1]}}
    rules = (rule("class", "SSN", "null"), rule("field", "more", "null"))
    assert structured(value, *rules) == {"ssn": None, "note": "ssn [SSN]", "more": None}


def test_tokens_are_the_same_for_the_same_value_however_it_is_punctuated() -> None:
    value: Json = {
        "a": {"ssn": "219-09-9999"},
        "b": {"ssn": "219099999"},
        "c": {"ssn": "219-09-9998"},
        "note": "SSN 219 09 9999.",
    }
    out = structured(value, rule("class", "SSN", "token"))
    token = out["a"]["ssn"]
    assert token.startswith("tok_ssn_")
    assert out["b"]["ssn"] == token
    assert out["c"]["ssn"] != token
    assert out["note"] == f"SSN {token}."


@pytest.mark.parametrize(
    ("value", "out"),
    [
        ({"visit_date": "2020-03-04"}, {"visit_date": "2020"}),
        ({"visit_date": "2020-03-04T10:11:12Z"}, {"visit_date": "2020"}),
        ({"visit_date": "3/4/20"}, {"visit_date": "[DATE]"}),
        ({"dob": "1950-03-04"}, {"dob": "1950"}),
        ({"dob": "1930-03-04"}, {"dob": "90+"}),
        ({"dob": "March 4, 1930"}, {"dob": "90+"}),
        ({"age": 93}, {"age": 90}),
        ({"age": "93"}, {"age": "90+"}),
        ({"age": "47 years old"}, {"age": "47 years old"}),
        ({"age": "6 mo"}, {"age": "6 mo"}),
        ({"age": 42}, {"age": 42}),
        ({"zip": "02139"}, {"zip": "021"}),
        ({"zip": "03601"}, {"zip": "000"}),
        ({"zip": 2139}, {"zip": "021"}),
        ({"zip": "02139-4307"}, {"zip": "021"}),
        ({"city": "Salem"}, {"city": "[GEO]"}),
        ({"ssn": "219099999"}, {"ssn": "[SSN]"}),
        ({"note": "born 3/4/1930, seen 2020-03-04"}, {"note": "born 90+, seen 2020"}),
        ({"note": "a 93-year-old"}, {"note": "a 90+-year-old"}),
    ],
)
def test_generalise_is_safe_harbor_c_and_b(value: Json, out: Json) -> None:
    assert structured(value, rule("class", "PHI", "generalise", as_of="2026-11-22T00:00:00Z")) == out


@pytest.mark.parametrize("text", ["age: 02139", "[{'age': '02139'}]", "age: 32 Elm Street", "age: 857-555-0163"])
def test_what_is_called_an_age_and_is_none_is_masked_as_a_whole(text: str) -> None:
    assert "[AGE]" in structured({"out": text}, rule("field", "age", "generalise"))["out"]
    assert not set("0123456789") & set(structured({"out": text}, rule("field", "age", "generalise"))["out"])


@pytest.mark.parametrize("text", ["age: 47", "age: 6 mo", "Age: 47 years old", "age: 0.5"])
def test_an_age_up_to_89_stays(text: str) -> None:
    assert structured({"out": text}, rule("field", "age", "generalise")) == {"out": text}


def test_generalise_without_a_year_to_reckon_from_shows_no_birth_year() -> None:
    assert structured({"dob": "1950-03-04"}, rule("class", "DATE", "generalise")) == {"dob": "[BIRTH_DATE]"}


def test_a_value_taken_from_a_field_is_taken_from_the_prose_too() -> None:
    value: Json = {
        "content": [{"type": "text", "text": "Dear Ms Okafor-Reilly; OKAFOR was glad. Mr. Will agreed; he will come."}],
        "structuredContent": {"last_name": "Okafor-Reilly", "first_name": "Will", "pin_code": "A-4711", "ok": True},
    }
    out = apply(value, rule("field", "last_name"), rule("field", "first_name"), rule("field", "pin_code"))
    assert out["content"][0]["text"] == "Dear Ms [NAME]; [NAME] was glad. Mr. [NAME] agreed; he [NAME] come."


def test_a_number_is_taken_from_prose_that_writes_it_without_punctuation() -> None:
    assert structured({"phone": "(555) 867-5309", "note": "ref 5558675309"}, rule("class", "PHONE")) == {
        "phone": "[PHONE]",
        "note": "ref [PHONE]",
    }


def test_a_value_that_is_the_name_of_a_member_elsewhere_is_taken_there_too() -> None:
    out = structured({"pin": "Zz_Yy", "counts": {"Zz_Yy": 2}}, rule("field", "pin"))
    assert out == {"pin": "[REDACTED]", "counts": {"[REDACTED]": 2}}


def test_codes_booleans_and_short_numbers_are_never_known_values() -> None:
    value: Json = {"structuredContent": {"a": "M", "b": 17, "c": True, "d": "yes", "note": "M 17 true yes"}}
    out = apply(value, *(rule("field", name) for name in "abcd"))
    assert out["structuredContent"]["note"] == "M 17 true yes"


def test_the_mirror_of_structured_content_agrees_with_it() -> None:
    rows: Json = {"rows": [{"favourite": "zz9", "n": 1}]}
    value: Json = {
        "content": [{"type": "text", "text": json.dumps(rows)}, {"type": "text", "text": json.dumps(rows, indent=2)}],
        "structuredContent": rows,
    }
    out = apply(value, rule("path", "$.structuredContent.rows[*].favourite", "null"))
    for block in out["content"]:
        assert json.loads(block["text"]) == out["structuredContent"] == {"rows": [{"favourite": None, "n": 1}]}


def test_the_wrapped_mirror_agrees_too() -> None:
    value: Json = {
        "content": [{"type": "text", "text": '[{"zz": "q9x"}]'}],
        "structuredContent": {"result": [{"zz": "q9x"}]},
    }
    out = apply(value, rule("path", "$.structuredContent.result[*].zz"))
    assert out == {
        "content": [{"type": "text", "text": '[{"zz":"[REDACTED]"}]'}],
        "structuredContent": {"result": [{"zz": "[REDACTED]"}]},
    }


def schema(**properties: Json) -> Document:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


@pytest.mark.parametrize(
    ("kind", "value", "out"),
    [
        ({"type": "string"}, "219-09-9999", "[SSN]"),
        ({"type": ["integer", "null"]}, 219099999, None),
        ({"type": "integer"}, 219099999, 0),
        ({"type": "number"}, 1.5, 0),
        ({"type": ["string", "null"], "pattern": "^[0-9-]+$"}, "219-09-9999", None),
        ({"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]}, "219", None),
        ({"enum": ["219", None]}, "219", None),
    ],
)
def test_a_masked_value_keeps_the_schema(kind: Json, value: Json, out: Json) -> None:
    assert structured({"ssn": value}, rule("field", "ssn"), schema=schema(ssn=kind)) == {"ssn": out}


@pytest.mark.parametrize(
    "kind",
    [
        {"type": "string", "format": "date"},
        {"enum": ["2020-01-02"]},
        {"type": "string", "pattern": "^2"},
        {"const": "2020-01-02"},
    ],
)
def test_a_schema_that_allows_neither_mask_nor_null_is_a_fault(kind: Json) -> None:
    with pytest.raises(MaskFault):
        structured({"dob": "2020-01-02"}, rule("field", "dob"), schema=schema(dob=kind))


def test_a_result_that_broke_its_schema_before_is_the_upstreams_fault_and_only_masked() -> None:
    out = structured(
        {"dob": "2020-01-02", "n": "x"},
        rule("field", "dob"),
        schema=schema(dob={"format": "date"}, n={"type": "integer"}),
    )
    assert out == {"dob": "[BIRTH_DATE]", "n": "x"}


@pytest.mark.parametrize(
    "bad", [{"type": "nope"}, {"$ref": "https://example.org/schema"}, {"$ref": "file:///etc/passwd"}]
)
def test_a_schema_that_cannot_be_used_is_a_fault_and_nothing_is_fetched(bad: Document) -> None:
    with pytest.raises(MaskFault):
        structured({"ssn": "1"}, rule("field", "ssn"), schema=bad)


def test_a_schema_matters_only_where_something_was_masked() -> None:
    assert structured({"a": "b"}, rule("class", "SSN"), schema={"type": "nope"}) == {"a": "b"}


def test_an_object_may_be_emptied_where_the_schema_wants_an_object() -> None:
    out = structured({"more": {"a": 1}}, rule("field", "more", "null"), schema=schema(more={"type": "object"}))
    assert out == {"more": {}}


def test_a_member_name_that_had_to_be_masked_and_is_required_is_a_fault() -> None:
    wanted: Document = {"type": "object", "required": ["219-09-9999"]}
    with pytest.raises(MaskFault):
        structured({"219-09-9999": 1}, rule("class", "SSN"), schema=wanted)


def test_member_names_that_become_the_same_stay_apart() -> None:
    out = structured({"219-09-9999": 1, "219-09-9998": 2}, rule("class", "SSN"))
    assert out == {"[SSN]": 1, "[SSN]#2": 2}


def test_what_the_protocol_fixes_stays() -> None:
    value: Json = {
        "content": [{"type": "text", "text": "x"}],
        "isError": True,
        "resultType": "complete",
        "protocolVersion": "2025-06-18",
    }
    assert apply(value, rule("class", "PHI"), rule("field", "type"), rule("field", "is_error")) == value
    error: Json = {"code": -32000, "message": "ssn 219-09-9999"}
    assert apply(error, rule("class", "PHI"), rule("field", "code", "null")) == {"code": -32000, "message": "ssn [SSN]"}


MADE = "2026-11-23T04:18:20.349Z"
TASK: Document = {"taskId": "t", "status": "working", "createdAt": MADE, "lastUpdatedAt": "2026-11-23T05:00:00+01:00"}


@pytest.mark.parametrize("value", [TASK, {"task": TASK}, {**TASK, "resultType": "task"}])
def test_when_a_task_was_made_stays(value: Json) -> None:
    assert apply(value, rule("class", "PHI")) == value
    assert apply(value, rule("class", "PHI"), rule("field", "created_at")) != value


@pytest.mark.parametrize(
    "value",
    [
        {**TASK, "createdAt": "2026-11-23"},
        {**TASK, "createdAt": "1962-03-04T00:00:00Z"},
        {**TASK, "createdAt": f"{MADE} of Jane Doe, 1962-03-04"},
        {**TASK, "bornAt": MADE},
        {"taskId": "t", "createdAt": MADE},
        {"structuredContent": TASK},
        {"task": {"createdAt": MADE}},
        {"_meta": {"task": TASK}},
    ],
)
def test_attack_no_other_time_passes_for_when_a_task_was_made(value: Json) -> None:
    assert apply(value, rule("class", "PHI")) != value


@given(st.text() | st.uuids().map(str) | st.sampled_from(["219-09-9999", "patient-219099999-1962-03-04"]), st.text())
def test_the_id_of_an_upstreams_task_says_nothing_and_is_left_alone(ident: str, whose: str) -> None:
    task: Json = {"taskId": tasks.sealed(ident, KEY, whose), "status": "working"}
    assert apply(task, rule("class", "PHI")) == task


def test_definitions_of_tools_keep_their_names_and_schemas() -> None:
    tools: Json = {"tools": [{"name": "Find Patient", "inputSchema": {"properties": {"ssn": {"type": "string"}}}}]}
    assert apply(tools, rule("class", "PHI"), rule("field", "ssn", "null"), rule("field", "name")) == tools


def test_the_manifest_says_what_was_done_and_never_a_value() -> None:
    value: Json = {
        "structuredContent": {"rows": [{"ssn": "219-09-9999", "last_name": "Okafor", "note": "Okafor 2020-01-02"}]}
    }
    done = plan.apply(value, (rule("class", "PHI"),), key=KEY, schema=None)
    assert done.manifest == {
        "counts": {"SSN": 1, "NAME": 2, "DATE": 1},
        "items": [
            {"path": "$.structuredContent.rows[0].ssn", "class": "SSN", "detector": "name", "operator": "redact"},
            {
                "path": "$.structuredContent.rows[0].last_name",
                "class": "NAME",
                "detector": "name",
                "operator": "redact",
            },
            {"path": "$.structuredContent.rows[0].note", "class": "NAME", "detector": "known", "operator": "redact"},
            {"path": "$.structuredContent.rows[0].note", "class": "DATE", "detector": "date", "operator": "redact"},
        ],
        "truncated": False,
    }
    assert done.count == 4


def test_the_manifest_is_bounded_and_its_counts_are_not() -> None:
    value: Json = {"structuredContent": {"rows": [{"ssn": f"219-09-{n:04d}"} for n in range(500)]}}
    manifest = plan.apply(value, (rule("class", "SSN"),), key=KEY, schema=None).manifest
    assert manifest["counts"] == {"SSN": 500}
    assert isinstance(manifest["items"], list)
    assert len(manifest["items"]) == ITEMS_MOST
    assert manifest["truncated"] is True


def test_content_that_cannot_be_looked_into_is_a_fault_unless_a_rule_takes_blobs() -> None:
    deep: Json = "x"
    for _ in range(200):
        deep = [deep]
    with pytest.raises(MaskFault):
        apply({"structuredContent": {"x": deep}}, rule("class", "SSN"))
    assert "x" in json.dumps(apply({"structuredContent": {"x": deep}}, rule("class", "SSN"), rule("class", "BLOB")))


def test_nesting_beyond_this_process_is_a_fault() -> None:
    deep: Json = "x"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(MaskFault):
        apply(deep, rule("class", "SSN"))


@pytest.mark.parametrize(
    "value",
    [None, True, 17, 1.5, "219-09-9999", [], {}, ["219-09-9999"], {"content": "x", "tools": 4}, {"content": [None]}],
)
def test_any_json_can_be_masked(value: Json) -> None:
    assert "219-09" not in json.dumps(apply(value, rule("class", "PHI"), rule("path", "$..a"), rule("field", "b")))


def test_what_is_kept_stays_where_a_wider_rule_would_take_it() -> None:
    value: Json = {"city": "Salem", "street": "9 Elm Road", "zip": "02139", "seen": "2020-02-03", "ssn": "219-09-9999"}
    rules = (
        rule("field", "city", "keep"),
        rule("class", "ZIP", "keep"),
        rule("class", "DATE", "keep"),
        rule("class", "PHI"),
    )
    assert structured(value, *rules) == {**value, "street": "[GEO]", "ssn": "[SSN]"}


def test_what_is_kept_in_prose_stays_and_the_rest_of_it_goes() -> None:
    value: Json = {"note": "Seen on 2020-02-03, SSN 219-09-9999."}
    assert structured(value, rule("class", "DATE", "keep"), rule("class", "PHI")) == {
        "note": "Seen on 2020-02-03, SSN [SSN]."
    }


def test_a_kept_value_is_no_known_value() -> None:
    value: Json = {"family": "Kowalski", "note": "Kowalski was seen", "ssn": "219-09-9999"}
    assert structured(value, rule("field", "family", "keep"), rule("class", "SSN")) == {**value, "ssn": "[SSN]"}


def test_what_is_masked_in_one_place_stays_where_it_is_kept() -> None:
    value: Json = {"family": "Kowalski", "author": "Kowalski", "note": "Kowalski was seen"}
    assert structured(value, rule("field", "author", "keep"), rule("class", "NAME")) == {
        "family": "[NAME]",
        "author": "Kowalski",
        "note": "[NAME] was seen",
    }


def test_what_cannot_be_looked_into_is_never_kept() -> None:
    blob: Json = {"type": "image", "data": "aGVsbG8gd29ybGQ=" * 40, "mimeType": "image/png"}
    masked = apply({"content": [blob]}, rule("class", "BLOB", "keep"), rule("class", "PHI"))
    assert masked["content"][0]["data"] == ""
