"""Facts of a call: SQL is found where it is, and a configured argument that is not there is not overlooked."""

from __future__ import annotations

import pytest

from gateway.core.facts import call, fhir_template
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, Success
from gateway.core.types import Document, Json


def facts(arguments: Json, name: str = "run", sql_arguments: dict[str, str] | None = None) -> Document:
    request = Request(1, "tools/call", {"name": name, "arguments": arguments})
    return call.of(request, call.Reading(sql_arguments or {}, "sqlite"))


def kinds(found: Document) -> list[Json]:
    sql = found["sql"]
    assert isinstance(sql, dict)
    statements = sql["statements"]
    assert isinstance(statements, list)
    return [one["kind"] for one in statements if isinstance(one, dict)]


@pytest.mark.parametrize("name", ["sql", "query", "statement"])
def test_sql_is_read_from_the_usual_arguments(name: str) -> None:
    assert kinds(facts({name: "-- hi\n (SELECT 1)"})) == ["select"]


def test_a_configured_argument_is_sql_whatever_it_says() -> None:
    found = facts({"cmd": "hello"}, sql_arguments={"run": "cmd"})["sql"]
    assert isinstance(found, dict)
    assert found["understood"] is False


def test_a_tool_of_which_it_is_said_that_it_takes_no_sql_takes_none() -> None:
    assert "sql" not in facts({"query": "SELECT * FROM users", "": "SELECT 1"}, sql_arguments={"run": ""})


@pytest.mark.parametrize("arguments", [{}, {"cmd": 17}, {"cmd": ["SELECT 1", 2]}, None, [], "x"])
def test_a_configured_argument_that_is_missing_is_not_understood(arguments: Json) -> None:
    found = facts(arguments, sql_arguments={"run": "cmd"})["sql"]
    assert isinstance(found, dict)
    assert found["understood"] is False


def test_a_list_of_statements_is_read_as_all_of_them() -> None:
    assert kinds(facts({"sql": ["SELECT 1", "DROP TABLE t"]})) == ["select", "ddl"]


def test_sql_in_two_usual_arguments_is_read_in_both() -> None:
    assert kinds(facts({"sql": "SELECT 1", "query": "DELETE FROM t"})) == ["select", "delete"]


@pytest.mark.parametrize("text", ["Ann Smith", "with diabetes and asthma", "from Boston", "call me", "set of labs", ""])
def test_a_search_in_plain_language_is_no_sql(text: str) -> None:
    assert "sql" not in facts({"query": text})


def test_broken_sql_in_a_usual_argument_is_not_overlooked() -> None:
    found = facts({"query": "DELETE FROM WHERE WHERE ("})["sql"]
    assert isinstance(found, dict)
    assert found["understood"] is False


def test_the_size_of_arguments_is_told() -> None:
    assert facts({"a": "xyz"})["size"] == {"arguments": len(b'{"a":"xyz"}')}
    assert facts({"a": "\ud800", "n": 2**70})["size"] != {"arguments": 0}


def test_only_tool_calls_have_facts() -> None:
    assert call.of(Request(1, "resources/read", {"uri": "x"}), call.Reading({}, "sqlite")) == {}
    assert call.of(Notification("tools/call", {}), call.Reading({}, "sqlite")) == {}
    assert call.of(Success(1, {}), call.Reading({}, "sqlite")) == {}


FHIR = call.Reading(
    fhir={"search": fhir_template.parse("GET {type}?{params?}")}, fhir_bases=("https://fhir.example/r4/", "fhir://")
)


def fhir_facts(method: str, params: Document) -> Document:
    found = call.of(Request(1, method, params), FHIR).get("fhir")
    assert found is None or isinstance(found, dict)
    return found or {}


def test_a_configured_tool_makes_a_fhir_request() -> None:
    found = fhir_facts("tools/call", {"name": "search", "arguments": {"type": "Patient", "params": "_id=1"}})
    assert found["understood"] is True


@pytest.mark.parametrize("arguments", [None, [], "x", {}, {"type": "Patient", "more": 1}])
def test_a_configured_tool_that_is_called_otherwise_is_not_understood(arguments: Json) -> None:
    assert fhir_facts("tools/call", {"name": "search", "arguments": arguments})["understood"] is False


def test_other_tools_make_no_fhir_requests() -> None:
    assert fhir_facts("tools/call", {"name": "other", "arguments": {"type": "Patient"}}) == {}


@pytest.mark.parametrize("method", ["resources/read", "resources/subscribe"])
@pytest.mark.parametrize("uri", ["https://fhir.example/r4/Patient/1", "fhir://Patient/1"])
def test_resources_of_a_fhir_server_are_read_as_requests(method: str, uri: str) -> None:
    assert fhir_facts(method, {"uri": uri})["understood"] is True


@pytest.mark.parametrize("uri", ["HTTPS://fhir.example/r4/Patient/1", "file:///Patient/1", "Patient/1", 1, None])
def test_a_resource_that_is_no_url_of_the_fhir_server_is_not_understood(uri: Json) -> None:
    assert fhir_facts("resources/read", {"uri": uri})["understood"] is False


SURVEY = call.Reading(survey=True)
SSN = "SSN 123-45-6789"


@pytest.mark.parametrize(
    "message",
    [
        Request(1, "tools/call", {"name": "web_search", "arguments": {"q": SSN}}),
        Request(1, "resources/read", {"uri": f"x://find?{SSN}"}),
        Request(1, "prompts/get", {"name": "p", "arguments": {"a": SSN}}),
        Request(1, "completion/complete", {"argument": {"name": "a", "value": SSN}}),
        Request(1, "tools/call", {"name": "web_search", "_meta": {"phigate/justification": SSN}}),
        Notification("notifications/progress", {"progressToken": 1, "message": SSN}),
        Success(1, {"role": "assistant", "content": {"type": "text", "text": SSN}}),
        Failure(1, -1, SSN),
        Failure(1, -1, "no", {"a": [SSN]}),
    ],
)
def test_phi_that_the_client_sends_is_found_wherever_it_stands(message: Message) -> None:
    found = call.of(message, SURVEY)["arguments"]
    assert isinstance(found, dict)
    assert found["classes"] == {"SSN": 1}
    assert SSN[4:] not in str(found)


def test_the_name_of_a_tool_is_no_phi() -> None:
    asked = Request(1, "tools/call", {"name": "Ann Smith", "arguments": {"q": "asthma guidelines"}})
    found = call.of(asked, SURVEY)["arguments"]
    assert found == {"classes": {}, "paths": []}


def test_phi_in_arguments_is_looked_for_only_where_that_is_wanted() -> None:
    assert "arguments" not in facts({"q": SSN})
