"""What is kept of the names of earlier messages changes nothing in later ones, and is bounded."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.masking import names as field_names
from gateway.core.masking import profile, spots
from gateway.core.masking.names import KEPT_CHARACTERS, KEPT_MEMBERS, Named
from gateway.core.masking.phi import Phi
from gateway.core.types import Json

names = st.sampled_from(
    "name id patient value identifier system type data mimeType blob uri code rows columns field date telecom display "
    "reference resourceType text photo content zz".split()
)
words = st.sampled_from(
    [
        "Ann Smith",
        "219-09-9999",
        "2020-01-02",
        "image",
        "text",
        "ssn",
        "Patient",
        "aGVsbG8gd29ybGQ=",
        "x",
        "",
        '{"id":"x"}',
    ]
)
values: st.SearchStrategy[Json] = st.recursive(
    words | st.integers(0, 10**9) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5),
    max_leaves=12,
)
messages = st.dictionaries(st.sampled_from(["content", "structuredContent", "tools", "_meta"]), values, max_size=3)


def forget() -> None:
    for kept in (spots._members, spots._renamed, spots._columns, spots._blob, spots._top, field_names._kept_shape):
        kept.cache_clear()


@settings(max_examples=150)
@given(st.lists(messages, min_size=1, max_size=4), messages)
def test_what_was_met_before_changes_nothing(before: list[dict[str, Json]], message: dict[str, Json]) -> None:
    forget()
    alone = profile.inspect(message).document
    for one in before:
        profile.inspect(one)
    assert profile.inspect(message).document == alone


@settings(max_examples=100)
@given(messages)
def test_what_is_too_long_to_be_kept_means_the_same(message: dict[str, Json]) -> None:
    long: dict[str, Json] = {"zz" * KEPT_CHARACTERS: message}
    kept = spots._members.cache_info().currsize
    found = profile.inspect({"structuredContent": long}).document
    assert spots._members.cache_info().currsize == kept
    short = profile.inspect({"structuredContent": {"zz": message}}).document
    assert {**found, "bytes": 0, "paths": []} == {**short, "bytes": 0, "paths": []}


@pytest.mark.parametrize(
    "wide",
    [
        {f"n{number}": "219-09-9999" for number in range(KEPT_MEMBERS + 1)},
        {"n" * KEPT_CHARACTERS + "1": "219-09-9999"},
        {f"{number}" * 79: "219-09-9999" for number in range(20)},
    ],
    ids=["many members", "a long name", "many long names"],
)
def test_attack_names_without_end_are_not_kept(wide: dict[str, Json]) -> None:
    profile.inspect({"_meta": {}})
    caches = (spots._members, spots._top, field_names._kept_shape)
    before = [kept.cache_info().currsize for kept in caches]
    assert profile.inspect({"_meta": wide}).document["classes"] == {"SSN": len(wide)}
    assert profile.inspect(wide).document["classes"] == {"SSN": len(wide)}
    assert [kept.cache_info().currsize for kept in caches] == before


def test_values_are_not_kept() -> None:
    forget()
    profile.inspect({"structuredContent": {"field": "ssn", "value": "219-09-9999", "patient": {"name": "Ann Smith"}}})
    top = spots._top(("structuredContent",), "").spots[0]
    seen = json.dumps([spot.template for spot in spots.members(top, {"field": "x", "value": "y", "patient": {}}).spots])
    assert "219" not in seen
    assert "Ann" not in seen


def test_a_class_passes_to_what_is_inside_but_not_through_a_person() -> None:
    root = spots.top({"structuredContent": {}}).spots[0]
    birth, patient = spots.members(root, {"birth_date": {}, "patient": {}}).spots
    inner = spots.members(birth, {"note": "", "use": ""}).spots
    assert [spot.phi for spot in inner] == [Phi.BIRTH_DATE, None]
    assert patient.phi is Phi.NAME
    assert patient.passed is None


def test_a_spot_for_another_meaning_is_its_own() -> None:
    root = spots.top({"structuredContent": {}}).spots[0]
    told = [spots.renamed(root, "value", Named(phi.value.lower(), phi)) for phi in (Phi.SSN, Phi.MRN, Phi.SSN)]
    assert told[0] is told[2]
    assert [spot.phi for spot in told] == [Phi.SSN, Phi.MRN, Phi.SSN]
