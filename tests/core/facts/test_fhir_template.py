"""Lines that say how a tool makes a FHIR request, and calls that try to make another one of it."""

from __future__ import annotations

import pytest

from gateway.core.facts import fhir, fhir_template
from gateway.core.facts.fhir import Asked, Unclear
from gateway.core.types import Document

SEARCH = "GET {type}?{params?}&_count={limit?}"


def filled(line: str, arguments: Document) -> Asked:
    return fhir_template.parse(line).fill(arguments, ("https://fhir.example/r4",))


@pytest.mark.parametrize(
    ("line", "arguments", "asked"),
    [
        (SEARCH, {"type": "Patient"}, Asked("GET", ("Patient",))),
        (
            SEARCH,
            {"type": "Observation", "params": {"patient": "1"}, "limit": 5},
            Asked("GET", ("Observation",), (("patient", "1"), ("_count", "5"))),
        ),
        (
            SEARCH,
            {"type": "Observation", "params": "?patient=1&code=a%20b"},
            Asked("GET", ("Observation",), (("patient", "1"), ("code", "a b"))),
        ),
        ("GET {type}/{id}/{operation?}", {"type": "Patient", "id": "1"}, Asked("GET", ("Patient", "1"))),
        (
            "GET {type}/{id}/{operation?}",
            {"type": "Patient", "id": 1, "operation": "$everything"},
            Asked("GET", ("Patient", "1", "$everything")),
        ),
        ("GET Patient/{id}/$everything", {"id": "1"}, Asked("GET", ("Patient", "1", "$everything"))),
        (
            "POST {type} {resource}",
            {"type": "Patient", "resource": {"a": 1}},
            Asked("POST", ("Patient",), (), {"a": 1}),
        ),
        (
            "{method} {+url} {body?}",
            {"method": "get", "url": "https://fhir.example/r4/Patient/1?_elements=id"},
            Asked("GET", ("Patient", "1"), (("_elements", "id"),)),
        ),
        ("GET {type} - {store}", {"type": "Patient", "store": "7"}, Asked("GET", ("Patient",))),
    ],
)
def test_a_line_makes_a_request_of_the_arguments(line: str, arguments: Document, asked: Asked) -> None:
    assert filled(line, arguments) == asked


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        (SEARCH, {}),
        (SEARCH, {"type": None}),
        (SEARCH, {"type": "Patient", "operation": "$export"}),  # An argument that the line does not have.
        (SEARCH, {"type": "Patient", "params": "a=1;b=2"}),
        (SEARCH, {"type": "Patient", "params": {"name": "x&_count=9999"}}),
        (SEARCH, {"type": "Patient", "params": 7}),
        (SEARCH, {"type": "Patient", "params": ["patient=1"]}),
        (SEARCH, {"type": "Patient?_count=9999"}),
        (SEARCH, {"type": "Patient%2F1"}),
        (SEARCH, {"type": ["Patient"]}),
        ("{method} {+url}", {"method": "GET", "url": ["Patient/1"]}),
        ("{method} {+url}", {"method": "GET", "url": "https://evil.example/Patient/1"}),
        ("{method} {+url}", {"method": 1, "url": "Patient/1"}),
    ],
)
def test_arguments_that_could_make_another_request_are_unclear(line: str, arguments: Document) -> None:
    with pytest.raises(Unclear):
        filled(line, arguments)


@pytest.mark.parametrize("type_", ["Patient/..", "..", "Patient/1"])
def test_an_argument_that_is_a_segment_stays_one(type_: str) -> None:
    asked = filled("GET {type}/{id}", {"type": type_, "id": "1"})
    assert fhir.facts(asked)["understood"] is False


@pytest.mark.parametrize(
    "line",
    [
        "",
        "GET",
        "GET  {type}",
        "FETCH {type}",
        "get {type}",
        "GET {type}/x{id}",
        "GET {type}?params",
        "GET {a?}/{b}",
        "GET {}",
        "GET {type} body",
        "GET {type} - other thing's",
        "GET {+url}/x",
    ],
)
def test_a_line_that_is_none_says_what_is_wrong(line: str) -> None:
    with pytest.raises(ValueError, match=r"^(?:is|has|begins) "):
        fhir_template.parse(line)
