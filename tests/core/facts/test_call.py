"""Facts of a call: SQL is found where it is, and a configured argument that is not there is not overlooked."""

from __future__ import annotations

import pytest

from gateway.core.facts import call
from gateway.core.protocol.jsonrpc import Notification, Request, Success
from gateway.core.types import Document, Json


def facts(arguments: Json, name: str = "run", sql_arguments: dict[str, str] | None = None) -> Document:
    request = Request(1, "tools/call", {"name": name, "arguments": arguments})
    return call.of(request, sql_arguments or {}, "sqlite")


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
    assert call.of(Request(1, "resources/read", {"uri": "x"}), {}, "sqlite") == {}
    assert call.of(Notification("tools/call", {}), {}, "sqlite") == {}
    assert call.of(Success(1, {}), {}, "sqlite") == {}
