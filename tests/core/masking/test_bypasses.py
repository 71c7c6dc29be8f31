"""Ways to carry PHI past a mask, each by its name in the study of bypasses (numbers: that list).

A way counts as closed when the value is nowhere in what leaves, in any spelling that the test knows, and the profile
told policy that something of the class was there.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from gateway.core.masking import plan, profile
from gateway.core.policy.decision import MaskRule, Operator, Selector
from gateway.core.protocol.mcp import MEMBERS
from gateway.core.types import Json

SSN = "219-09-9999"
KEY = b"k" * 32
ALL = (MaskRule(Selector("class", "PHI"), Operator("redact")),)


def text(words: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": words}]}


def masked(value: Any) -> str:
    """What leaves, as characters rather than escapes; masked as policy would on what the profile told it."""
    classes = profile.inspect(value).document["classes"]
    assert isinstance(classes, dict)
    rules = tuple(MaskRule(Selector("class", name), Operator("redact")) for name in classes)
    return json.dumps(plan.apply(value, rules, key=KEY, schema=None).value, ensure_ascii=False)


def math_bold(digits: str) -> str:
    return "".join(chr(0x1D7CE + int(char)) if char.isdigit() else char for char in digits)


def full_width(digits: str) -> str:
    return "".join(chr(0xFF10 + int(char)) if char.isdigit() else char for char in digits)


ENCODED: list[tuple[str, str]] = [
    ("2 JSON in text", json.dumps({"note": f"x {SSN}"})),
    ("3 JSON in JSON in JSON", json.dumps(json.dumps(json.dumps({"note": f"x {SSN}"})))),
    ("4 escapes inside inner JSON", '{"note": "\\u0032\\u0031\\u0039-09-9999"}'),
    ("4 escapes in what is no JSON", "see \\u0032\\u0031\\u0039-09-9999 there"),
    ("5 full-width digits", full_width(SSN)),
    ("6 Arabic-Indic digits", "".join(chr(0x660 + int(c)) if c.isdigit() else c for c in SSN)),
    ("7 math-bold digits", math_bold(SSN)),
    ("8 zero-width space inside", SSN.replace("0", "0\u200b")),
    ("8 word joiner inside", SSN.replace("-", "-\u2060")),
    ("8 soft hyphen inside", SSN.replace("9", "9\u00ad", 1)),
    ("9 Unicode dashes", SSN.replace("-", "\u2011")),
    ("9 minus signs", SSN.replace("-", "\u2212")),
    ("10 NBSP separators", SSN.replace("-", "\u00a0")),
    ("13 Cyrillic O for 0", SSN.replace("0", "О")),
    ("15 variation selectors", SSN.replace("1", "1\ufe0f")),
    ("15 tag characters", "".join(chr(0xE0000 + ord(c)) for c in SSN)),
    ("16 HTML entities", "".join(f"&#{ord(c)};" for c in SSN)),
    ("17 HTML tags inside", SSN.replace("09", "<b>09</b>")),
    ("18 Markdown emphasis inside", SSN.replace("09", "**09**")),
    ("19 URL-encoded", "".join(f"%{ord(c):02x}" for c in SSN)),
    ("20 doubly URL-encoded", quote("".join(f"%{ord(c):02x}" for c in SSN))),
    ("21 base64", base64.b64encode(f"the ssn {SSN}".encode()).decode()),
    ("22 base64url without padding", base64.urlsafe_b64encode(f"??>> ssn {SSN}".encode()).decode().rstrip("=")),
    ("23 hex", f"the ssn {SSN}".encode().hex()),
    ("24 gzip in base64", base64.b64encode(gzip.compress(f"the ssn {SSN}".encode(), mtime=0)).decode()),
    ("26 data: URI", "data:text/plain;base64," + base64.b64encode(f"the ssn {SSN}".encode()).decode()),
    ("27 UTF-16 in base64", base64.b64encode(f"the ssn {SSN}".encode("utf-16-le")).decode()),
    ("39 a space between all characters", " ".join(SSN)),
]


@pytest.mark.parametrize("words", [pytest.param(words, id=name) for name, words in ENCODED])
def test_an_encoded_ssn_does_not_leave(words: str) -> None:
    for value in (text(words), {"structuredContent": {"note": words}}):
        out = masked(value)
        assert words not in out
        assert json.dumps(words)[1:-1] not in out
        assert SSN not in out
        assert "[SSN]" in out


@pytest.mark.parametrize("around", ["{}", "see {} there", "的{}号", "ssn:{}."])
def test_1_a_plain_ssn_does_not_leave_whatever_stands_around_it(around: str) -> None:
    assert SSN not in masked(text(around.format(SSN)))


def test_11_combining_marks_leak_no_head_of_an_email() -> None:
    out = masked(text("write to jo\u0301an.do\u0308e@example.org today"))
    assert "jo" not in out.replace("today", "").replace("to ", "")
    assert "example" not in out


def test_12_a_lookalike_letter_does_not_hide_the_keyword() -> None:
    assert "0047112" not in masked(text("МRN 0047112"))


@pytest.mark.parametrize("broken", ["\ud800", "\udfff 219-09-9999", "a\ud800b@example.org"])
def test_28_a_lone_surrogate_neither_crashes_nor_passes(broken: str) -> None:
    value = text(f"x {broken} {SSN}")
    out = plan.apply(value, ALL, key=KEY, schema=None).value
    assert SSN not in json.dumps(out)
    assert "219" not in json.dumps(out)


def test_31_a_duplicate_member_hides_nothing() -> None:
    words = f'{{"ssn": "{SSN}", "name": "Ann Smith", "ssn": "-", "name": "-"}}'
    out = masked(text(words))
    assert SSN not in out
    assert "Smith" not in out


def test_31_a_duplicate_in_the_mirror_of_structured_content_hides_nothing() -> None:
    out = masked(
        {"content": [{"type": "text", "text": f'{{"a": "{SSN}", "a": "x"}}'}], "structuredContent": {"a": "x"}}
    )
    assert SSN not in out


@pytest.mark.parametrize("name", sorted(MEMBERS))
@pytest.mark.parametrize("wrapped", [False, True])
def test_attack_a_patient_called_as_mcp_calls_a_member_is_masked_like_any_other(name: str, wrapped: bool) -> None:
    row: Json = {"patient_name": name.capitalize(), "ssn": SSN, "note": f"{name.capitalize()} has {SSN}"}
    value: Json = {
        "content": [{"type": "text", "text": json.dumps([row] if wrapped else row)}],
        "structuredContent": {"result": [row]} if wrapped else row,
        "isError": False,
    }
    out = plan.apply(value, ALL, key=KEY, schema=None).value
    assert isinstance(out, dict)
    assert SSN not in json.dumps(out)
    assert [*out] == ["content", "structuredContent", "isError"]
    content: Any = out["content"]
    (block,) = content
    assert [*block] == ["type", "text"]
    structured: Any = out["structuredContent"]
    told = next(iter(structured.values())) if wrapped else structured
    assert json.loads(block["text"]) == told
    assert (told[0] if wrapped else told)["patient_name"] == "[NAME]"


def test_attack_a_mirror_under_a_name_that_is_masked_does_not_stay_behind() -> None:
    row: Json = {"patient_name": "Synthia", "ssn": SSN}
    said = json.dumps(row)
    value: Json = {"content": [{"type": "text", "Synthia": said, "_meta": {"Synthia": said}}], "structuredContent": row}
    out = masked(value)
    assert SSN not in out
    assert "Synthia" not in out


def test_31_nesting_beyond_the_bounds_is_unreadable_and_goes_as_a_whole() -> None:
    deep: Json = SSN
    for _ in range(300):
        deep = [deep]
    assert SSN not in masked({"structuredContent": {"x": deep}})
    inner = json.dumps({"note": SSN})
    for _ in range(9):
        inner = json.dumps(inner)
    assert SSN not in masked(text(inner))


def test_30_a_decompression_bomb_is_unreadable_and_goes_as_a_whole() -> None:
    bomb = base64.b64encode(gzip.compress(b"0" * 5_000_000 + SSN.encode())).decode()
    assert bomb not in masked(text(bomb))


def test_36_a_value_split_across_content_blocks_of_one_list_of_strings_does_not_leave() -> None:
    out = masked({"structuredContent": {"parts": ["see 219-", "09-9999 there"]}})
    assert "219" not in out
    assert "9999" not in out


@pytest.mark.parametrize("pieces", [["219-", "09-", "9999"], list(SSN)])
def test_37_a_value_split_across_an_array_does_not_leave(pieces: list[str]) -> None:
    out = masked({"structuredContent": {"parts": list(pieces)}})
    assert "9999" not in out
    assert json.dumps(pieces) not in out


def test_38_an_array_of_digits_does_not_leave() -> None:
    digits: list[Json] = [2, 1, 9, 0, 9, 9, 9, 9, 9]
    assert json.dumps(digits) not in masked({"structuredContent": {"code": digits}})


def test_40_names_in_separate_fields_do_not_leave_in_prose_either() -> None:
    out = masked(
        {
            "content": [{"type": "text", "text": "Okafor, Adaeze was seen; adaeze okafor is stable. OKAFOR agrees."}],
            "structuredContent": {"given": "Adaeze", "family": "Okafor"},
        }
    )
    assert "okafor" not in out.lower()
    assert "adaeze" not in out.lower()


@pytest.mark.parametrize(
    "fields",
    [{"year": 1950, "month": 3, "day": 14}, {"birth_year": 1950, "birth_month": 3, "birth_day": 14}],
)
def test_41_a_date_in_three_fields_does_not_leave(fields: dict[str, Json]) -> None:
    out = json.loads(masked({"structuredContent": fields}))["structuredContent"]
    assert 14 not in out.values()
    assert 3 not in out.values()


@pytest.mark.parametrize("value", [{"ssn": 219099999}, {"mrn": 47112}, {"patient": {"id": 47112, "gender": "f"}}])
def test_44_an_identifier_that_is_a_number_does_not_leave(value: Json) -> None:
    out = masked({"structuredContent": value})
    assert "219099999" not in out
    assert "47112" not in out


def test_46_an_epoch_in_a_date_field_does_not_leave() -> None:
    assert "1580428800" not in masked({"structuredContent": {"visit_date": 1580428800}})


@pytest.mark.parametrize("key", [SSN, f"ssn {SSN}", "ann@example.org"])
def test_47_phi_as_a_member_name_does_not_leave(key: str) -> None:
    value: Json = {"structuredContent": {"people": {key: {"x": 1}}}}
    assert key not in masked(value)
    assert key not in json.dumps(plan.apply(value, ALL, key=KEY, schema=None).manifest)
    assert key not in json.dumps(profile.inspect(value).document)


def test_47_a_known_name_as_a_member_name_does_not_leave() -> None:
    value: Json = {"structuredContent": {"last_name": "Okafor", "by": {"Okafor": 1}}}
    assert "Okafor" not in masked(value)


@pytest.mark.parametrize(
    "words",
    [
        "name,ssn,city\nAnn Smith,219099999,Boston\nBob Jones,219099998,Salem\n",
        "name\tssn\tcity\nAnn Smith\t219099999\tBoston\nBob Jones\t219099998\tSalem",
        "| Name | SSN | City |\n|:-----|----:|------|\n| Ann Smith | 219099999 | Boston |\n| Bob Jones | 219099998 | |",
        " name | ssn | city \n------+-----+------\n Ann Smith | 219099999 | Boston\n Bob Jones | 219099998 |\n(2 rows)",
        "[{'name': 'Ann Smith', 'ssn': '219099999', 'city': 'Boston'}, {'name': 'Bob Jones', 'ssn': 219099998}]",
        "Name: Ann Smith, SSN: 219099999, City: Boston\nName: Bob Jones\nSSN: 219099998",
        '"name": "Ann Smith", "ssn": 219099999 and "name": "Bob Jones", "ssn": "219099998"',
    ],
)
def test_55_tables_and_pairs_in_text_are_read_by_their_names(words: str) -> None:
    out = masked(text(words))
    for value in ("219099999", "219099998", "Ann Smith", "Bob Jones", "Smith", "Boston"):
        assert value not in out


def test_54_a_quoted_csv_cell_over_two_lines_is_one_cell() -> None:
    out = masked(text('id,address,name\n1,"12 Elm ""Old"" Way\nGround floor, Salem",Ann Smith\n'))
    assert "Elm" not in out
    assert "Salem" not in out
    assert "Smith" not in out


@pytest.mark.parametrize(
    "value",
    [
        {"columns": ["id", "ssn", "name"], "rows": [[1, "219099999", "Ann Smith"]]},
        {"columns": [{"name": "ssn"}, {"name": "name"}], "data": [["219099999", "Ann Smith"]]},
        [["ssn", "name"], ["219099999", "Ann Smith"]],
        [{"field": "ssn", "value": "219099999"}, {"field": "name", "value": "Ann Smith"}],
    ],
)
def test_tables_of_columns_and_rows_are_read_by_their_names(value: Json) -> None:
    out = masked({"structuredContent": {"result": value}})
    assert "219099999" not in out
    assert "Smith" not in out


SURFACES: dict[str, Callable[[str], Json]] = {
    "59 structuredContent": lambda said: {"structuredContent": {"a": [{"b": said}]}},
    "61 isError content": lambda said: {"content": [{"type": "text", "text": said}], "isError": True},
    "62 error.message": lambda said: {"code": -32000, "message": said},
    "63 error.data": lambda said: {"code": -32000, "message": "x", "data": {"sql": said}},
    "64 _meta": lambda said: {"content": [], "_meta": {"org.example/x": said}},
    "65 annotations and title": lambda said: {"content": [{"type": "text", "text": "x", "annotations": {"a": said}}]},
    "66 resource_link": lambda said: {
        "content": [{"type": "resource_link", "uri": f"x://{said}", "name": said, "description": said}]
    },
    "67 embedded resource text": lambda said: {
        "content": [{"type": "resource", "resource": {"uri": "x:", "text": said}}]
    },
    "68 blob resource": lambda said: {"contents": [{"uri": "x:", "blob": base64.b64encode(said.encode()).decode()}]},
    "70 resources/updated": lambda said: {"uri": f"patient://{said}"},
    "71 tool description and default": lambda said: {
        "tools": [{"name": "t", "description": said, "inputSchema": {"properties": {"a": {"default": said}}}}]
    },
    "72 prompt messages": lambda said: {"messages": [{"role": "user", "content": {"type": "text", "text": said}}]},
    "73 completion values": lambda said: {"completion": {"values": [said]}},
    "74 progress message": lambda said: {"progressToken": 1, "progress": 1, "message": said},
    "75 logging data": lambda said: {"level": "info", "data": {"x": [said]}},
    "76 elicitation": lambda said: {"message": said, "requestedSchema": {"properties": {"a": {"default": said}}}},
    "77 sampling": lambda said: {"systemPrompt": said, "messages": [{"role": "user", "content": [{"text": said}]}]},
    "78 instructions": lambda said: {"instructions": said, "serverInfo": {"name": said}},
}


@pytest.mark.parametrize("surface", [pytest.param(make, id=name) for name, make in SURFACES.items()])
def test_no_member_of_mcp_is_a_way_out(surface: Callable[[str], Json]) -> None:
    out = masked(surface(f"ssn {SSN} of ann@example.org"))
    assert SSN not in out
    assert "ann@example" not in out
    assert base64.b64encode(f"ssn {SSN} of ann@example.org".encode()).decode() not in out


def test_60_text_and_structured_content_that_disagree_are_both_masked() -> None:
    out = masked(
        {"content": [{"type": "text", "text": '{"ssn": "219099999"}'}], "structuredContent": {"ssn": "219099998"}}
    )
    assert "219099999" not in out
    assert "219099998" not in out


def test_69_an_image_is_a_blob_and_goes_when_policy_says_so() -> None:
    image = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(200)).decode()
    value: Json = {"content": [{"type": "image", "data": image, "mimeType": "image/png"}]}
    assert profile.inspect(value).document["classes"] == {"BLOB": 1}
    assert json.loads(masked(value)) == {"content": [{"type": "image", "data": "", "mimeType": "image/png"}]}


def test_69_text_dressed_up_as_a_blob_is_read_as_text() -> None:
    value: Json = {"content": [{"type": "image", "data": f"ssn {SSN} of Ann", "mimeType": "image/png"}]}
    rules = (MaskRule(Selector("class", "SSN"), Operator("redact")),)
    assert SSN not in json.dumps(plan.apply(value, rules, key=KEY, schema=None).value)


def test_86_a_forged_token_is_not_believed() -> None:
    forged = "tok_ssn_" + "a" * 24 + "b" * 8
    rules = (MaskRule(Selector("field", "ssn"), Operator("token")),)
    out = plan.apply({"structuredContent": {"ssn": forged}}, rules, key=KEY, schema=None).value
    assert forged not in json.dumps(out)


def test_89_a_token_cannot_be_made_without_the_key() -> None:
    rules = (MaskRule(Selector("class", "SSN"), Operator("token")),)
    one = plan.apply(text(SSN), rules, key=b"a" * 32, schema=None).value
    other = plan.apply(text(SSN), rules, key=b"b" * 32, schema=None).value
    assert one != other


@pytest.mark.parametrize(
    "words",
    [
        "BP 120/80, HR 72, Temp 98.6, SpO2 97%",
        "Parkinson disease; positive Babinski sign",
        "lisinopril 10 MG Oral Tablet, NDC 0093-1045",
        "ICD-10 E11.9 and LOINC 2345-7, SNOMED 44054006",
        "version 1.2.3 took 12345 ms",
        "Seen for follow-up, age 42, in 2019.",
        "http://loinc.org",
    ],
)
def test_92_clinical_text_that_names_nobody_is_left_alone(words: str) -> None:
    assert json.loads(masked(text(words))) == text(words)


@pytest.mark.parametrize(
    "words", ["1-" * 10_000, "a." * 10_000, "((" * 10_000, "a@" * 10_000, "Ann " * 5_000, "&" * 20_000, "% " * 9999]
)
def test_94_input_made_to_be_slow_is_not(words: str) -> None:
    import time

    start = time.process_time()
    masked(text(words))
    assert time.process_time() - start < 3


def test_attack_patterns_made_to_be_slow_are_not_waited_for() -> None:
    import time

    slow: list[Json] = [{"pattern": f"^(?:(a+)\\1)+b{number}$"} for number in range(60)]
    schema: Any = {"properties": {"x": {"anyOf": [*slow, {}]}}}
    value: Any = {"structuredContent": {"ssn": SSN, "x": "a" * 5000}}
    start = time.process_time()
    plan.apply(value, ALL, key=KEY, schema=schema)
    assert time.process_time() - start < 1


LIMITS = {
    "14 a value written backwards under a bidi override": f"\u202e{SSN[::-1]}\u202c",
    "spelled-out digits": "two one nine zero nine nine nine nine nine",
    "a bare nine-digit number that nothing names": "219099999",
    "a lower-case name that nothing names": "we saw ann smith today",
}


@pytest.mark.parametrize("words", [pytest.param(words, id=name) for name, words in LIMITS.items()])
def test_known_limits_are_as_docs_masking_lists_them(words: str) -> None:
    assert json.loads(masked(text(words))) == text(words)


RENAMED = (MaskRule(Selector("field", "x"), Operator("redact")),)


@pytest.mark.parametrize(
    "value",
    [
        text("1. row\nx: smith, o'hara; ann\ncost: 3"),
        text('x: ["a"] smith, ann\ncost: 3'),
        text("x = smith, o'hara; ann\ncost = 3"),
        text('cost,x\n3,"smith, o\'hara; ann"\n'),
        text(repr([{"x": "smith, o'hara; ann", "cost": 3}])),
        {"structuredContent": {"columns": ["cost", "x"], "rows": [[3, "smith, o'hara; ann"]]}},
        {"structuredContent": {"result": [["cost", "x"], [3, "smith, o'hara; ann"]]}},
        {"structuredContent": {"result": [["upper(cost)", "x"], [3, "smith, o'hara; ann"]]}},
    ],
)
def test_48_a_renamed_column_is_masked_whole_wherever_its_name_stands(value: Json) -> None:
    left = json.dumps(plan.apply(value, RENAMED, key=KEY, schema=None).value)
    assert not any(word in left for word in ("smith", "hara", "ann"))
    assert "3" in left
