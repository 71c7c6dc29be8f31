"""The profile: classes, places, rows, patients and bytes, and never a value."""

from __future__ import annotations

import json

import pytest

from gateway.core.masking import profile
from gateway.core.types import Document, Json


def inspect(value: Json) -> Document:
    return profile.inspect(value).document


def patient(number: int) -> dict[str, Json]:
    return {
        "patient_id": number,
        "name": f"Ann Smith{number}",
        "ssn": f"219-09-{number:04d}",
        "note": "call 555-123-4567",
    }


def test_a_table_of_patients_is_counted() -> None:
    rows: Json = [patient(1), patient(2), patient(2)]
    value: Json = {
        "content": [{"type": "text", "text": json.dumps({"rows": rows})}],
        "structuredContent": {"rows": rows},
    }
    assert inspect(value) == {
        "classes": {"MRN": 3, "NAME": 3, "SSN": 3, "PHONE": 3},
        "paths": [f"$.structuredContent.rows[*].{name}" for name in ("name", "note", "patient_id", "ssn")],
        "rows": 3,
        "patients": 2,
        "bytes": len(json.dumps(value, separators=(",", ":"))),
    }


def test_rows_are_those_of_the_larger_of_text_and_structured_content() -> None:
    text = json.dumps([patient(n) for n in range(5)])
    assert (
        inspect({"content": [{"type": "text", "text": text}], "structuredContent": {"rows": [patient(1)]}})["rows"] == 5
    )


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("id,ssn\n1,219099999\n2,219099998\n", 2),
        ("| id | ssn |\n|---|---|\n| 1 | 219099999 |\n", 1),
        ("[{'id': 1}, {'id': 2}]", 0),
        ("words only", 0),
        (";\n,\n", 0),
    ],
)
def test_rows_of_a_table_in_text_are_counted(text: str, rows: int) -> None:
    assert inspect({"content": [{"type": "text", "text": text}]})["rows"] == rows


def test_columns_and_rows_are_a_table() -> None:
    value: Json = {"structuredContent": {"columns": ["mrn", "x"], "rows": [["a1", 1], ["a2", 1], ["a2", 2]]}}
    found = inspect(value)
    assert found["rows"] == 3
    assert found["patients"] == 2
    assert found["classes"] == {"MRN": 3}


def test_staff_are_not_counted_as_patients() -> None:
    rows: Json = [{"patient_id": 7, "provider_id": n} for n in range(4)]
    assert inspect({"structuredContent": {"rows": rows}})["patients"] == 1


def test_nothing_is_found_where_nothing_is() -> None:
    value: Json = {"content": [{"type": "text", "text": "3 rows"}], "structuredContent": {"count": 3, "ok": True}}
    assert inspect(value) == {
        "classes": {},
        "paths": [],
        "rows": 0,
        "patients": 0,
        "bytes": len(json.dumps(value).replace(" ", "")) + 1,
    }


def test_member_names_that_may_be_values_are_not_in_paths() -> None:
    value: Json = {"structuredContent": {"Ann Smith": {"ssn": "1"}, "219-09-9999": {"ssn": "2"}, "First Name": "Ann"}}
    assert inspect(value)["paths"] == ["$..*", "$.structuredContent.*.ssn", "$.structuredContent.First Name"]


def test_paths_are_bounded() -> None:
    value: Json = {"structuredContent": {f"{chr(97 + n // 26)}{chr(97 + n % 26)}": {"ssn": "1"} for n in range(400)}}
    paths = inspect(value)["paths"]
    assert isinstance(paths, list)
    assert len(paths) == profile.PATHS_MOST


@pytest.mark.parametrize(
    "value", [None, 1, "x", [], {}, {"a": "\ud800"}, {"a": 2**80}, {"content": 7, "structuredContent": []}]
)
def test_any_json_has_a_profile(value: Json) -> None:
    assert set(inspect(value)) == {"classes", "paths", "rows", "patients", "bytes"}


def test_what_cannot_be_followed_is_a_blob_of_any_size() -> None:
    deep: Json = "x"
    for _ in range(100_000):
        deep = [deep]
    found = inspect(deep)
    assert found["classes"] == {"BLOB": 1}
    assert found["bytes"] == profile.TOO_LARGE


def test_patients_are_known_again_by_keyed_digests_and_never_by_their_identifiers():
    key, other = b"k" * 32, b"o" * 32
    one = profile.inspect({"rows": [{"mrn": "MRN-1"}, {"mrn": "MRN-2"}]}, patient_key=key)
    again = profile.inspect({"rows": [{"mrn": " mrn-2 "}, {"mrn": "MRN-3"}]}, patient_key=key)
    elsewhere = profile.inspect({"rows": [{"mrn": "MRN-1"}]}, patient_key=other)

    assert len(one.patients) == one.document["patients"] == 2
    assert len(one.patients & again.patients) == 1
    assert not one.patients & elsewhere.patients
    assert all(len(digest) == 16 for digest in one.patients)
    assert "MRN-1" not in repr(one)


def test_patients_are_not_digested_unless_they_are_counted():
    found = profile.inspect({"rows": [{"mrn": "MRN-1"}]})

    assert (found.patients, found.uncounted) == (frozenset(), 0)
    assert found.document["patients"] == 1


def test_a_patient_whose_identifier_is_a_number_here_and_text_there_is_one():
    key = b"k" * 32
    number = profile.inspect({"rows": [{"mrn": 4711}]}, patient_key=key)
    text = profile.inspect({"rows": [{"mrn": "4711"}]}, patient_key=key)

    assert number.patients == text.patients
