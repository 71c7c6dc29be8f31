"""Facts of FHIR requests: what R4 says they do, and nothing claimed that a server could read another way."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.facts import fhir
from gateway.core.facts.fhir import Asked, Unclear
from gateway.core.types import Json

BASES = ("https://fhir.example/r4", "fhir://")


def facts(target: str, method: str = "GET", body: Json = None) -> dict[str, Any]:
    try:
        steps, pairs = fhir.located(target, BASES)
    except Unclear as unclear:
        return fhir.not_understood(str(unclear))
    return fhir.facts(Asked(method, steps, pairs, body), BASES)


def only(target: str, method: str = "GET", body: Json = None) -> dict[str, Any]:
    found = facts(target, method, body)
    assert found["understood"] is True, found
    (request,) = found["requests"]
    assert isinstance(request, dict)
    return request


def batch(*requests: Any, kind: str = "batch") -> Any:
    return {"resourceType": "Bundle", "type": kind, "entry": [{"request": request} for request in requests]}


@pytest.mark.parametrize(
    ("method", "target", "interaction", "kind", "patients"),
    [
        ("GET", "Patient/1", "read", "Patient", ["1"]),
        ("HEAD", "Patient/1", "read", "Patient", ["1"]),
        ("GET", "/Patient/1", "read", "Patient", ["1"]),
        ("GET", "https://fhir.example/r4/Patient/1", "read", "Patient", ["1"]),
        ("GET", "fhir://Patient/1", "read", "Patient", ["1"]),
        ("GET", "Observation/55", "read", "Observation", []),
        ("GET", "Observation/55/_history/2", "vread", "Observation", []),
        ("GET", "Patient/1/_history", "history", "Patient", ["1"]),
        ("GET", "Observation/_history", "history", "Observation", []),
        ("GET", "_history", "history", "", []),
        ("GET", "metadata", "capabilities", "", []),
        ("GET", "Observation?patient=1", "search", "Observation", ["1"]),
        ("GET", "Observation?patient=Patient/1,Patient/2", "search", "Observation", ["1", "2"]),
        ("GET", "Observation?patient:Patient=1", "search", "Observation", ["1"]),
        ("GET", "Observation?subject=Patient/1", "search", "Observation", ["1"]),
        ("GET", "Observation?subject:Patient=1", "search", "Observation", ["1"]),
        ("GET", "Patient?_id=1", "search", "Patient", ["1"]),
        ("GET", "Patient/1/Observation?code=x", "search", "Observation", ["1"]),
        ("GET", "Patient/1/*", "search", "", ["1"]),
        ("GET", "Patient/1/$everything", "operation", "Patient", ["1"]),
        ("GET", "?_type=Observation&patient=1", "search", "", []),
        ("GET", "$export", "operation", "", []),
        ("GET", "Patient/$export", "operation", "Patient", []),
        ("POST", "Observation", "create", "Observation", []),
        ("PUT", "Patient/1", "update", "Patient", ["1"]),
        ("PATCH", "Patient/1", "patch", "Patient", ["1"]),
        ("DELETE", "Patient/1", "delete", "Patient", ["1"]),
        ("GET", "Patient/%31", "read", "Patient", ["1"]),
        ("GET", "Patient/1/%24everything", "operation", "Patient", ["1"]),
    ],
)
def test_requests_are_what_the_specification_says(
    method: str, target: str, interaction: str, kind: str, patients: list[Json]
) -> None:
    request = only(target, method)
    assert (request["interaction"], request["type"], request["patients"]) == (interaction, kind, patients)


@pytest.mark.parametrize(
    "target",
    [
        "Practitioner?patient=1",  # Not a parameter of that type: a lenient server ignores it and returns everybody.
        "Patient?patient=1",
        "Patient?name=smith",
        "Observation?Patient=1",  # Names are case-sensitive.
        "Observation?subject=1",  # Could be a group or a device.
        "Observation?subject=Group/1",
        "Observation?subject=Patient/1,Group/2",
        "Observation?patient=1&patient=Group/2",
        "Observation?patient:not=1",
        "Observation?patient:missing=false",
        "Observation?patient:identifier=urn:x|1",
        "Observation?patient.name=smith",  # Chained: whoever is called so.
        "Observation?subject:Patient.name=smith",
        "Patient?_has:Observation:patient:code=1234-5",
        "Observation?patient=",
        "Observation?patient=1,",
        "Observation?patient=1\\,2",
        "Observation?patient=https://elsewhere.example/Patient/1",
        "Observation?patient=*",
        "Observation?encounter=5",
    ],
)
def test_a_search_that_some_server_answers_for_others_too_is_bound_to_no_patient(target: str) -> None:
    found = facts(target)
    assert all(request["patients"] == [] for request in found["requests"])


@pytest.mark.parametrize(
    "target",
    [
        "Patient/../Observation",
        "Patient/./1",
        "Patient//1",
        "//evil.example/Patient/1",
        "/https://evil.example/Patient/1",
        "https://evil.example/Patient/1",
        "https://fhir.example/r4evil/Patient/1",
        "https://fhir.example@evil.example/r4/Patient/1",
        "HTTPS://FHIR.EXAMPLE/r4/Patient/1",
        "Patient/1%2F..%2F2",
        "Patient/%2e%2e/Observation",
        "Patient/%2531",
        "Patient/%31%",
        "Patient/%ff",
        "Patient\\1",
        "Patient/1#x",
        "Patient/1 ",
        "Patient/1\n",
        "Pätient/1",
        "patient/1",
        "Patient/1/",
        "Patient/1/_search",
        "Patient/_search",
        "Observation/_search?patient=1",
        "Patient/1/Observation/5",
        "Observation?patient=1;_count=9999",
        "Observation?patient=1%00",
        "Observation?pat%26ient=1",
        "Observation?_count=5&_count=9999",
        "Observation?_count=-1",
        "Observation?_count=1e9",
        "Observation?_count=9999999999",
        "Observation?_count=",
        "Observation?_count:exact=5",
        "Observation?_elements=id&_elements=subject",
        "Observation?_summary=all",
        "Observation?_query=everything",
        "Observation?_format=xml",
        "Observation?_format=application/fhir%2Bndjson",
        "Observation?_include=Observation:patient,Observation:encounter",
        "Observation?_include:deep=*",
        "Observation?_include=../x",
        "x" * 9000,
    ],
)
def test_attacks_by_spelling_are_not_understood(target: str) -> None:
    found = facts(target)
    assert found["understood"] is False
    assert found["requests"] == []


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "get ", "", "POST /x"])
def test_a_method_that_r4_does_not_have_is_not_understood(method: str) -> None:
    assert facts("Patient/1", method)["understood"] is False


def test_what_a_search_asks_for_beside_its_matches_is_told() -> None:
    target = (
        "Observation?patient=1&_count=20&_include=Observation:encounter&_include:iterate=Encounter:location"
        "&_revinclude=Provenance:target&_elements=id,status&_summary=data"
    )
    request = only(target)
    assert request["count"] == 20
    assert request["includes"] == ["Observation:encounter", "Encounter:location"]
    assert request["revincludes"] == ["Provenance:target"]
    assert request["iterate"] is True
    assert request["elements"] == ["id", "status"]
    assert request["summary"] == "data"


@pytest.mark.parametrize("name", ["patient.name", "_has:Observation:patient:code", "subject:Patient.birthdate"])
def test_chains_are_told(name: str) -> None:
    assert only(f"Observation?{name}=x")["chained"] is True


def test_a_search_by_post_has_the_parameters_of_the_url_and_of_the_form() -> None:
    request = only("Observation/_search?_count=5", "POST", "patient=1&code=a+b")
    assert (request["patients"], request["count"], request["writes"]) == (["1"], 5, False)
    assert request["parameters"] == ["_count", "code", "patient"]
    assert only("Observation/_search", "POST", {"patient": "1"})["patients"] == ["1"]


def test_a_control_parameter_in_url_and_form_is_not_understood() -> None:
    assert facts("Observation/_search?_count=5", "POST", "_count=9999")["understood"] is False


@pytest.mark.parametrize(
    ("method", "target", "writes"),
    [
        ("POST", "Observation", True),
        ("PUT", "Patient?name=x", True),
        ("DELETE", "Patient?name=x", True),
        ("POST", "Patient/$match", True),
        ("GET", "Patient/1/$everything", False),
        ("GET", "Patient", False),
        ("POST", "Patient/_search", False),
    ],
)
def test_what_writes_is_told_from_what_reads(method: str, target: str, writes: bool) -> None:
    assert only(target, method)["writes"] is writes


def test_a_change_of_whatever_matches_is_told() -> None:
    assert only("Patient?name=x", "DELETE")["conditional"] is True
    assert only("Patient/1", "DELETE")["conditional"] is False
    create = {"method": "POST", "url": "Patient", "ifNoneExist": "name=x"}
    assert facts("", "POST", batch(create))["requests"][0]["conditional"] is True


def test_a_batch_is_all_of_its_requests() -> None:
    read = {"method": "GET", "url": "Patient/1"}
    search = {"method": "GET", "url": "https://fhir.example/r4/Observation?_count=5"}
    found = facts("", "POST", batch(read, search, kind="transaction"))
    assert [request["interaction"] for request in found["requests"]] == ["read", "search"]


def test_a_batch_in_a_string_is_read() -> None:
    text = '{"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": "Patient/1"}}]}'
    assert facts("", "POST", text)["understood"] is True


READ = {"method": "GET", "url": "Patient/1"}


@pytest.mark.parametrize(
    "body",
    [
        None,
        "{",
        [],
        {},
        {"resourceType": "Bundle", "type": "collection", "entry": [{"request": READ}]},
        batch(),
        batch({"method": "GET"}),
        batch({"method": "GET", "url": "Patient/../x"}),
        batch({"method": "GET", "url": "https://evil.example/Patient/1"}),
        batch({"method": "POST", "url": ""}),
        batch(READ, {"method": "GET", "url": 1}),
        batch(*[READ] * 101),
        {"resourceType": "Bundle", "type": "batch", "entry": [READ]},
    ],
)
def test_a_batch_with_one_request_that_is_not_understood_is_not_understood(body: Json) -> None:
    assert facts("", "POST", body)["understood"] is False


@pytest.mark.parametrize("value", ["1&_count=9999", "1#x", "1%26", "1;x", "a?b", {"a": 1}, ["1", {"b": 2}]])
def test_a_parameter_that_hides_another_is_not_understood(value: Json) -> None:
    with pytest.raises(Unclear):
        fhir.pairs_of_object({"patient": value})


def test_parameters_of_an_object_are_each_of_its_values() -> None:
    assert fhir.pairs_of_object({"code": ["a", 1], "active": True, "none": None}) == (
        ("code", "a"),
        ("code", "1"),
        ("active", "true"),
    )


PIECES = st.sampled_from(
    "Patient Observation 1 .. . / // ? & = %2F %2e %25 _count _count=5 patient patient=1 : ; # $everything $export "
    "_history _search * _include _include=* https:// fhir:// fhir.example/r4 , \\ + _format=xml Bundle".split()
)


@given(
    st.sampled_from(["GET", "POST", "PUT", "x"]),
    st.lists(PIECES | st.text(max_size=3), max_size=8).map("".join),
    st.none() | st.text(max_size=9) | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
def test_whatever_is_asked_there_are_facts(method: str, target: str, body: Json) -> None:
    found = facts(target, method, body)
    assert found.keys() == {"understood", "why", "requests"}
    assert bool(found["requests"]) is found["understood"]
    assert (found["why"] == "") is found["understood"]


@given(st.text(string.ascii_letters + string.digits + "-.%/?&=+,:", max_size=20))
def test_what_a_server_is_asked_for_one_patient_holds_one_patients_id(ident: str) -> None:
    found = facts(f"Observation?patient={ident}")
    for request in found["requests"]:
        for patient in request["patients"]:
            assert patient in ident.replace("%", "").replace("+", " ") or "%" in ident
