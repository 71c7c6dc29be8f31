"""Arguments repeated in headers: let through only where they say what the body says."""

import json
from hashlib import sha256

import pytest

from gateway.core.errors import ClientFault
from gateway.core.protocol import mirrored
from gateway.core.protocol.jsonrpc import Notification, Request
from gateway.core.types import Tool

SCHEMA = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "limit": {"type": "integer", "x-mcp-header": "Limit"},
        "options": {"type": "object", "properties": {"dry": {"type": "boolean", "x-mcp-header": "Dry-Run"}}},
        "many": {"type": "array", "items": {"properties": {"no": {"type": "string", "x-mcp-header": "No"}}}},
        "query": {"type": "string"},
    },
}


def tool(schema):
    return Tool("query", sha256(json.dumps(schema).encode()).hexdigest(), {"name": "query", "inputSchema": schema})


TOOL = tool(SCHEMA)


def call(**arguments):
    return Request(1, "tools/call", {"name": "query", "arguments": arguments})


def sent(**named):
    return [(f"mcp-param-{key.replace('_', '-')}".encode(), value.encode("latin-1")) for key, value in named.items()]


PASSING = [
    ({"region": "us-west1"}, sent(region="us-west1")),
    ({"region": "us-west1", "query": "select 1"}, sent(region="us-west1")),
    ({"region": "Hello, 世界"}, sent(region="=?base64?SGVsbG8sIOS4lueVjA==?=")),
    ({"limit": 42}, sent(limit="42")),
    ({"limit": 42}, sent(limit="42.0")),
    ({"limit": -7.0}, sent(limit="-7")),
    ({"options": {"dry": True}}, sent(dry_run="true")),
    ({"region": None}, []),
    ({}, []),
]


@pytest.mark.parametrize(("arguments", "headers"), PASSING)
def test_headers_that_repeat_the_arguments_pass_as_they_were_sent(arguments, headers):
    passed = mirrored.passing(headers, call(**arguments), TOOL)

    assert passed == tuple((key.decode(), value.decode("latin-1")) for key, value in headers)


REFUSED = {
    "another value": ({"region": "us-west1"}, sent(region="us-east1"), "another value"),
    "another number": ({"limit": 42}, sent(limit="42.5"), "another value"),
    "a number that is none": ({"limit": 42}, sent(limit=".0"), "another value"),
    "a missing header": ({"region": "us-west1"}, [], "no value"),
    "a missing nested header": ({"options": {"dry": False}}, [], "no value"),
    "a header without its argument": ({"query": "x"}, sent(region="us-west1"), "another value"),
    "a header for null": ({"region": None}, sent(region="null"), "another value"),
    "broken Base64": ({"region": "a"}, sent(region="=?base64?!?="), "cannot be read"),
    "two values": ({"region": "a"}, sent(region="a") * 2, "two values"),
    "a header that smuggles what policy does not see": ({"region": "a"}, sent(region="a", sql="drop table"), "no arg"),
}


@pytest.mark.parametrize(("arguments", "headers", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_headers_that_say_something_else_are_refused(arguments, headers, why):
    with pytest.raises(ClientFault, match=why) as refused:
        mirrored.passing(headers, call(**arguments), TOOL)

    assert (refused.value.code, refused.value.status) == (-32020, 400)


def test_without_the_tools_schema_a_header_must_repeat_some_argument():
    nested = call(a=[{"b": "deep"}], n=3, flag=False)

    assert mirrored.passing(sent(x="deep", y="3", z="false"), nested, None) == (
        ("mcp-param-x", "deep"),
        ("mcp-param-y", "3"),
        ("mcp-param-z", "false"),
    )
    with pytest.raises(ClientFault, match="no argument has"):
        mirrored.passing(sent(x="elsewhere"), nested, None)


def test_an_annotation_inside_an_array_does_not_count():
    assert mirrored.passing([], call(many=[{"no": "x"}]), TOOL) == ()


def test_only_tool_calls_have_such_headers():
    assert mirrored.passing(sent(region="a"), Request(1, "tools/list"), None) == ()
    assert mirrored.passing(sent(region="a"), Notification("tools/call"), None) == ()


@pytest.mark.parametrize(
    "schema", [{}, None, [], {"properties": []}, {"properties": {"a": 3}}, {"properties": {"a": {"x-mcp-header": 3}}}]
)
def test_an_odd_schema_annotates_nothing(schema):
    assert mirrored.passing([], call(a=1), tool(schema)) == ()


def test_a_tool_that_was_redefined_is_read_anew():
    before, after = tool(SCHEMA), tool({"properties": {"query": {"type": "string", "x-mcp-header": "Query"}}})
    assert mirrored.needed(call(query="x", region="a"), before) == (("mcp-param-region", "a"),)
    assert mirrored.needed(call(query="x", region="a"), after) == (("mcp-param-query", "x"),)
