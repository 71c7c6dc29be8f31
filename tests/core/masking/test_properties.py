"""Masking over invented patients, wherever a message may hold them: nothing selected remains, and twice is once."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.errors import MaskFault
from gateway.core.evidence import canonical
from gateway.core.masking import known_values, layers, patterns, plan, profile, structure, survey
from gateway.core.policy.decision import MaskRule, Operator, Selector
from gateway.core.types import Json

KEY = b"k" * 32
_FIRST = "Adaeze Bjorn Chiara Dmitri Eun-ji Fatima Giulia Hamza Ines José Katarzyna Zoë 美咲".split()
_LAST = "Okafor Lindqvist Rossi O'Hara Nakamura Petrova Vasquez Müller MacAllister Dubois-Leroy Yıldız Łoś 山田".split()
_STREETS = ["1081 Ward Key Unit 71", "12 Elm Street", "77 Massachusetts Avenue"]
_CITIES = ["Shirley", "Newton", "Fall River"]


@dataclass(frozen=True)
class Person:
    first: str
    last: str
    birth: str
    ssn: str
    mrn: str
    phone: str
    email: str
    street: str
    city: str
    zip: str

    @property
    def values(self) -> list[str]:
        return [
            self.first,
            self.last,
            self.birth,
            self.ssn,
            self.mrn,
            self.phone,
            self.email,
            self.street,
            self.city,
            self.zip,
        ]


digits = st.text("123456789", min_size=4, max_size=4)
people = st.builds(
    Person,
    first=st.sampled_from(_FIRST),
    last=st.sampled_from(_LAST),
    birth=st.dates(date(1920, 1, 1), date(2009, 12, 31)).map(date.isoformat),
    ssn=digits.map(lambda four: f"219-09-{four}"),
    mrn=digits.map(lambda four: f"MR-00{four}"),
    phone=digits.map(lambda four: f"(555) 867-{four}"),
    email=digits.map(lambda four: f"p{four}@mail.example"),
    street=st.sampled_from(_STREETS),
    city=st.sampled_from(_CITIES),
    zip=digits.map(lambda four: f"0{four}"),
)


def row(one: Person) -> dict[str, Json]:
    return {
        "patient_id": one.mrn, "first_name": one.first, "last_name": one.last, "birth_date": one.birth, "ssn": one.ssn,
        "phone": one.phone, "email": one.email, "address": one.street, "city": one.city, "zip": one.zip, "bp": 120,
    }  # fmt: skip


def note(one: Person) -> str:
    return (
        f"{one.last}, {one.first} ({one.mrn}) of {one.street}, {one.city} was seen. "
        f"{one.first} {one.last}'s SSN is {one.ssn}; DOB {one.birth}, phone {one.phone}, mail {one.email}. "
        f"{one.last.upper()} lives in {one.city}, zip {one.zip}."
    )


def csv(persons: list[Person]) -> str:
    lines = [",".join(row(persons[0]))] + [",".join(f'"{cell}"' for cell in row(one).values()) for one in persons]
    return "\n".join(lines)


@st.composite
def messages(draw: st.DrawFn) -> tuple[list[Person], Any]:
    persons = draw(st.lists(people, min_size=1, max_size=3))
    rows: list[Json] = [row(one) for one in persons]
    notes = "\n".join(note(one) for one in persons)
    texts = draw(
        st.lists(
            st.sampled_from([notes, json.dumps(rows), json.dumps({"rows": rows}, indent=2), csv(persons), repr(rows)]),
            max_size=3,
        )
    )
    columns: Json = {
        "columns": list(row(persons[0])),
        "rows": [list(one.values()) for one in rows if isinstance(one, dict)],
    }
    shape: dict[str, Json] = draw(
        st.sampled_from([{"rows": rows}, {"result": rows}, columns, {"patient": rows[0], "others": rows[1:]}])
    )
    value: dict[str, Json] = {
        "content": [{"type": "text", "text": text} for text in texts],
        "structuredContent": {**shape, "note": notes},
        "_meta": {"org.example/log": notes},
    }
    return persons, value


rules = st.lists(
    st.builds(
        MaskRule,
        st.sampled_from(["NAME", "GEO", "ZIP", "DATE", "SSN", "MRN", "PHONE", "EMAIL", "PHI"]).map(
            lambda c: Selector("class", c)
        ),
        st.sampled_from(
            [
                Operator("redact"),
                Operator("null"),
                Operator("token"),
                Operator("generalise", {"as_of": 2026}),
                Operator("partial"),
            ]
        ),
    ),
    max_size=5,
)
everything = MaskRule(Selector("class", "PHI"), Operator("redact"))
slow = settings(max_examples=40)


@slow
@given(messages())
def test_no_value_of_a_patient_remains_where_all_classes_are_masked(drawn: tuple[list[Person], Any]) -> None:
    persons, value = drawn
    done = plan.apply(value, (everything,), key=KEY, schema=None)
    out = json.dumps(done.value, ensure_ascii=False)
    for one in persons:
        for raw in one.values:
            assert raw not in out
            assert raw.upper() not in out
    for raw in [raw for one in persons for raw in one.values]:
        assert raw not in json.dumps(done.manifest, ensure_ascii=False)
        assert raw not in json.dumps(profile.inspect(value).document, ensure_ascii=False)


@slow
@given(messages(), rules)
def test_masking_twice_is_masking_once(drawn: tuple[list[Person], Any], chosen: list[MaskRule]) -> None:
    once = plan.apply(drawn[1], tuple(chosen), key=KEY, schema=None)
    again = plan.apply(once.value, tuple(chosen), key=KEY, schema=None)
    assert again.value == once.value


@slow
@given(messages())
def test_rules_made_from_the_profile_mask_what_a_rule_for_all_masks(drawn: tuple[list[Person], Any]) -> None:
    classes = profile.inspect(drawn[1]).document["classes"]
    assert isinstance(classes, dict)
    named = tuple(MaskRule(Selector("class", name), Operator("redact")) for name in classes)
    assert (
        plan.apply(drawn[1], named, key=KEY, schema=None).value
        == plan.apply(drawn[1], (everything,), key=KEY, schema=None).value
    )


SCHEMA: dict[str, Json] = {
    "type": "object",
    "properties": {
        "rows": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "birth_date": {"type": ["string", "null"], "format": "date"},
                    "patient_id": {"type": "string"},
                    "bp": {"type": "integer"},
                    "age": {"type": "integer"},
                    "city": {"enum": [*_CITIES, None]},
                },
                "required": ["birth_date", "patient_id", "bp", "ssn"],
            },
        }
    },
}


@slow
@given(st.lists(people, min_size=1, max_size=3), rules)
def test_a_masked_result_keeps_its_schema_or_is_a_fault(persons: list[Person], chosen: list[MaskRule]) -> None:
    import jsonschema_rs

    value: Json = {"structuredContent": {"rows": [{**row(one), "age": 93} for one in persons]}}
    try:
        out = plan.apply(value, tuple(chosen), key=KEY, schema=SCHEMA).value
    except MaskFault:
        return
    assert isinstance(out, dict)
    assert jsonschema_rs.validator_for(SCHEMA, validate_formats=True).is_valid(out["structuredContent"])


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
names = st.sampled_from(
    "ssn name note dob rows columns content text data type url value identifier coding code system resultType tools "
    "mimeType uri blob resourceType reference display family patient address id field isError message _meta".split()
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(names | st.text(), inner, max_size=4) | inner.map(json.dumps)
    ),
    max_leaves=12,
)


@settings(max_examples=250)
@given(anything, rules)
@example(
    {"Patient": "0"},
    [MaskRule(Selector("class", "NAME"), Operator("null")), MaskRule(Selector("class", "MRN"), Operator("redact"))],
)
def test_any_message_is_masked_or_refused_and_its_profile_is_told(value: Json, chosen: list[MaskRule]) -> None:
    profile.inspect(value)
    try:
        masked = plan.apply(value, tuple(chosen), key=KEY, schema=None)
    except MaskFault:
        return
    assert plan.apply(masked.value, tuple(chosen), key=KEY, schema=None).value == masked.value
    assert canonical.plain(masked.manifest), "records write it as such"


@given(st.one_of(anything, messages().map(lambda drawn: drawn[1])), rules)
def test_masking_with_what_was_inspected_is_masking_anew(value: Json, chosen: list[MaskRule]) -> None:
    survey = profile.inspect(value).survey
    try:
        anew = plan.apply(value, tuple(chosen), key=KEY, schema=None)
    except MaskFault:
        return
    assert anew == plan.apply(value, tuple(chosen), key=KEY, schema=None, survey=survey)


_HARMLESS = ["row 7 of 200 is in", "done", "", "2/3", "info", "id", "a\nb", "[1, 2]", "{", "x=1"]
_HARMFUL = ["219-09-9999", "She lives in Boston, MA", "MRN: 4821937", '{"ssn": "219099999"}', "aged 93", "A;B\nC;D"]
_VALUES = st.sampled_from([*_HARMLESS * 4, *_HARMFUL, 7, 93.5, None, True, ["2", "19"], {"name": "Ann Okafor"}])
_NAMES = st.sampled_from(
    [
        "progress",
        "total",
        "message",
        "data",
        "logger",
        "content",
        "note",
        "ssn",
        "dob",
        "_meta",
        "219-09-9999",
        "born 1931",
    ]
)
_PARAMS = st.dictionaries(_NAMES, _VALUES, max_size=4)
_PLANS = st.sampled_from(
    [
        (),
        (MaskRule(Selector("class", "PHI"), Operator("redact")),),
        (MaskRule(Selector("field", "note"), Operator("null")), MaskRule(Selector("class", "SSN"), Operator("hmac"))),
        (MaskRule(Selector("path", "$.message"), Operator("redact")),),
        (MaskRule(Selector("class", "NO_SUCH"), Operator("redact")),),
    ]
)


@settings(max_examples=300)
@given(st.lists(_PARAMS, min_size=1, max_size=6), _PLANS)
def test_what_is_looked_at_together_is_seen_and_masked_as_if_it_were_alone(
    values: list[Json], rules: tuple[MaskRule, ...]
) -> None:
    together = profile.inspect_all(values)
    assert [found.document for found in together] == [profile.inspect(value).document for value in values]

    done = plan.apply_all(values, [found.survey for found in together], rules, key=KEY)
    for value, masked in zip(values, done, strict=True):
        try:
            alone = plan.apply(value, rules, key=KEY, schema=None)
        except MaskFault:
            assert masked is None
        else:
            assert masked is not None
            assert (masked.value, masked.manifest) == (alone.value, alone.manifest)


@given(st.lists(st.sampled_from([*_HARMLESS, *_HARMFUL]), unique=True, min_size=2))
def test_what_is_found_in_a_text_does_not_depend_on_where_it_stands_among_others(texts: list[str]) -> None:
    def found(order: list[str]) -> Any:
        return profile.inspect({f"t{texts.index(text)}": text for text in order}).document["classes"]

    assert found(texts) == found(texts[::-1])


_MIXED = st.sampled_from(
    "Ann Smith|219-09-9999|2020-01-02|born 2020-01-02"
    "|p@mail.example|MR-0047|(555) 867-5309|aged 93|a: b|ref 5558675309|ann_smith|Boston, MA 02139"
    "|x\ny|U1NOIDIxOS0wOS05OTk5|2&#49;9-09-9999|José|DOB: 2020-01-02|1\x002|".split("|")
)
_FIELDS = st.sampled_from("name ssn birth_date date zip city phone email mrn url note code ann_smith".split())
_LISTS = st.lists(_MIXED, max_size=3)
_MESSAGES: st.SearchStrategy[Any] = st.dictionaries(
    st.sampled_from(["content", "structuredContent", "_meta"]),
    st.recursive(
        st.dictionaries(_FIELDS, _MIXED, max_size=6),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(_FIELDS, inner | st.lists(_MIXED, max_size=3), max_size=3)
        ),
        max_leaves=5,
    ),
    max_size=2,
)


def seen_and_masked(value: Json, chosen: tuple[MaskRule, ...]) -> Any:
    found = profile.inspect(value)
    try:
        done = plan.apply(value, chosen, key=KEY, schema=None, survey=found.survey)
    except MaskFault as fault:
        return found.document, str(fault)
    return found.document, done.value, done.manifest


@settings(max_examples=200)
@given(_MESSAGES, rules.map(tuple) | st.just((everything,)))
def test_what_plainly_is_what_its_name_says_need_not_be_scanned(value: Json, chosen: tuple[MaskRule, ...]) -> None:
    fast = seen_and_masked(value, chosen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey, "_as_named", lambda _: frozenset())
        assert seen_and_masked(value, chosen) == fast


_TEXTS = _MESSAGES.map(json.dumps) | _MESSAGES.map(lambda one: json.dumps(one, separators=(",", ":")))
_WRITTEN = st.sampled_from(
    ['{"a":"Ann","a":"Ann Smith"}', '{"a":18446744073709551617}', '{"a":1e2}', "[1.0]", '["\\u00e9"]']
)


@settings(max_examples=100)
@given(_TEXTS | _WRITTEN | anything.map(json.dumps))
def test_json_that_stands_as_it_is_written_is_opened_like_any_other(text: str) -> None:
    fast = layers.open_json(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "_is_as_written", lambda _value, _text: False)
        plain = layers.open_json(text)
    assert repr(fast) == repr(plain)
    assert fast is None or plain is None or json.dumps(fast.value) == json.dumps(plain.value)


@settings(max_examples=100)
@given(_MESSAGES.filter(lambda one: "structuredContent" in one), rules.map(tuple) | st.just((everything,)))
def test_a_text_that_is_structured_content_need_not_be_opened(value: Any, chosen: tuple[MaskRule, ...]) -> None:
    said = [value["structuredContent"], value]
    value = {**value, "content": [{"type": "text", "text": layers.compact(each)} for each in said]}
    fast = seen_and_masked(value, chosen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structure.Walk, "_is_structured", lambda _self, _text: False)
        assert seen_and_masked(value, chosen) == fast


@settings(max_examples=200)
@given(_MESSAGES, rules.map(tuple) | st.just((everything,)))
def test_words_need_not_be_scanned(value: Json, chosen: tuple[MaskRule, ...]) -> None:
    fast = seen_and_masked(value, chosen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patterns, "is_word", lambda _: False)
        assert seen_and_masked(value, chosen) == fast


@given(st.binary())
def test_words_are_letters_and_digits_in_lower_case(data: bytes) -> None:
    assert known_values.words(data) == re.findall(rb"[a-z0-9]+", data.lower())


@settings(max_examples=200)
@given(_MESSAGES, rules.map(tuple) | st.just((everything,)))
def test_looking_at_known_values_together_first_changes_nothing(value: Json, chosen: tuple[MaskRule, ...]) -> None:
    class Everything(set[bytes]):
        def __contains__(self, _: object) -> bool:
            return True

    fast = seen_and_masked(value, chosen)
    of = known_values.KnownValues.of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known_values, "_none_said", lambda _values, _said: False)
        patch.setattr(known_values.KnownValues, "of", lambda values, _, key: of(values, Everything(), key))
        assert seen_and_masked(value, chosen) == fast


@slow
@given(messages(), rules)
def test_a_message_stays_as_it_is_and_its_survey_serves_again(drawn: tuple[list[Person], Any], chosen: Any) -> None:
    before = json.dumps(drawn[1])
    seen = profile.inspect(drawn[1]).survey
    done = [plan.apply(drawn[1], tuple(chosen), key=KEY, schema=None, survey=seen) for _ in range(2)]
    assert done[0] == done[1]
    assert json.dumps(drawn[1]) == before
