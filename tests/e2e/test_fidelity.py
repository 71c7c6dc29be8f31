"""What proxies lose, through the whole gateway: definitions, names, bytes, capabilities, trace context, pages.

The upstream is asked directly too, and what it says then is what must arrive.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import httpx2
import pytest

from tests.e2e import harness, plain_server
from tests.e2e.harness import Gateway, Upstream

MODERN, LEGACY = "2026-07-28", "2025-11-25"
ABLE = {"elicitation": {"form": {}}, "experimental": {"ward.example/x": {"n": [1, None, 2.5]}}}
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": ABLE,
}
TRACE = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
    "baggage": "ward=icu,shift=night;k=v",
    "progressToken": "p-1",
    "ward.example/own": {"kept": [1, 2.5, None, True]},
}
"""SEP-414: W3C trace context in `_meta`."""


def opened(settings):
    settings["methods"]["ward/echo"] = "protocol"


@pytest.fixture(scope="module")
def plain():
    with harness.python_program("-m", "tests.e2e.plain_server") as said:
        yield said["mcp"]


@pytest.fixture(scope="module")
def served(tmp_path_factory, people, plain):
    """A gateway in front of it; the upstream holds no PHI, so bytes that cannot be looked into may pass."""
    upstream = Upstream("plain", {"url": plain, "labels": {"phi": False}})
    change = lambda policies: harness.change_settings(policies, opened)  # noqa: E731
    with harness.running(tmp_path_factory.mktemp("plain"), people, [upstream], policy=change) as gateway:
        through(gateway, modern=True).result("tools/list")  # A tool that nobody has listed is taken to write.
        yield gateway


@dataclass
class Caller:
    """Somebody who speaks one era to one URL, with each message written out."""

    url: str
    headers: dict[str, str]
    modern: bool

    def ask(self, method, **params):
        """The last message of the answer, and its HTTP status."""
        headers = dict(self.headers)
        if self.modern:
            params["_meta"] = {**META, **params.get("_meta", {})}
            named = {"tools/call": "name", "resources/read": "uri"}.get(method)
            headers |= {"mcp-protocol-version": MODERN, "mcp-method": method}
            headers |= {"mcp-name": params[named]} if named else {}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        response = httpx2.post(self.url, json=body, headers=headers, timeout=30)
        if response.headers["content-type"] == "application/json":
            return response.json(), response
        lines = response.content.replace(b"\r", b"").split(b"\n")  # U+2028 is no end of a line here.
        events = [line for line in lines if line.startswith(b"data: ")]
        return json.loads(events[-1].removeprefix(b"data: ")), response

    def result(self, method, **params):
        message, response = self.ask(method, **params)
        assert "result" in message, (response.status_code, message)
        return message["result"]

    def told(self, **call):
        """What the upstream says that it was sent with a tool call."""
        return json.loads(self.result("tools/call", **call)["content"][0]["text"])


def caller(url: str, headers: dict[str, str], *, modern: bool) -> Caller:
    """A caller; a legacy one has begun its session."""
    one = Caller(url, {**harness.ACCEPT, **headers}, modern)
    if not modern:
        info = META["io.modelcontextprotocol/clientInfo"]
        _, response = one.ask("initialize", protocolVersion=LEGACY, capabilities=ABLE, clientInfo=info)
        one.headers |= {"mcp-session-id": response.headers["mcp-session-id"], "mcp-protocol-version": LEGACY}
        done = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert httpx2.post(url, json=done, headers=one.headers, timeout=60).status_code == 202
    return one


def through(gateway: Gateway, who="analyst", *, modern: bool) -> Caller:
    return caller(gateway.mcp("plain"), {"authorization": f"Bearer {gateway.issuer.token(who)}"}, modern=modern)


both_eras = pytest.mark.parametrize("modern", [True, False], ids=["modern", "legacy"])


@both_eras
def test_definitions_and_names_arrive_as_the_upstream_has_them(served, plain, modern):
    direct, ours = caller(plain, {}, modern=modern), through(served, modern=modern)
    listed = [one.result("tools/list") for one in (direct, ours)]
    pages = [
        one.result("tools/list", cursor=page["nextCursor"]) for one, page in zip((direct, ours), listed, strict=True)
    ]

    assert listed[1]["tools"] == listed[0]["tools"]
    assert pages[1]["tools"] == pages[0]["tools"]
    assert [page["tools"][0]["name"] for page in (listed[1], pages[1])] == ["echo", "Odd.Name_1-x/y"]
    assert listed[1]["tools"][0]["inputSchema"] == plain_server.SCHEMA
    templates = [one.result("resources/templates/list")["resourceTemplates"] for one in (direct, ours)]
    assert templates[1] == templates[0]


@both_eras
def test_a_cursor_is_sealed_and_good_for_whom_it_was_given_to_and_for_its_method_alone(served, modern):
    analyst, other = through(served, modern=modern), through(served, "analyst-2", modern=modern)
    cursor = analyst.result("tools/list")["nextCursor"]
    assert "ward" not in cursor
    assert analyst.result("tools/list", cursor=cursor)["tools"]
    refused = [
        other.ask("tools/list", cursor=cursor),
        analyst.ask("resources/templates/list", cursor=cursor),
        analyst.ask("tools/list", cursor="page 2 of ward"),
        analyst.ask("tools/list", cursor=cursor[:-1] + ("A" if cursor[-1] != "A" else "B")),
        analyst.ask("tools/list", cursor={"page": 2}),
    ]
    # Pagination, Error Handling: -32602; 2026-07-28 has it travel with 400, and legacy errors are read from a 200.
    assert {message["error"]["code"] for message, _ in refused} == {-32602}
    assert {response.status_code for _, response in refused} == {400 if modern else 200}


def test_what_the_upstream_lets_everybody_cache_is_private_here(served, plain):
    direct, ours = caller(plain, {}, modern=True), through(served, modern=True)
    for method, params in {"tools/list": {}, "server/discover": {}, "resources/read": {"uri": "ward://scan"}}.items():
        theirs = direct.result(method, **params)
        assert theirs["cacheScope"] == "public", method
        found = ours.result(method, **params)
        assert (found["cacheScope"], found["ttlMs"]) == ("private", theirs["ttlMs"]), method


@both_eras
def test_the_callers_own_capabilities_reach_the_upstream(served, modern):
    told = through(served, modern=modern).told(name="echo", arguments={})

    if modern:
        assert told["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] == ABLE
    else:
        assert told["capabilities"] == ABLE


@both_eras
def test_meta_and_trace_context_and_unknown_members_reach_the_upstream_as_they_are(served, modern):
    arguments = {"Ünïcode\u2028": "\u0000\U0001f3e5", "n": 2**53 + 1, "f": 1e-7, "deep": [[{"": None}]]}
    told = through(served, modern=modern).told(
        name="echo", arguments=arguments, _meta=TRACE, **{"ward.example/new": {"x": [1]}}
    )

    assert told["params"]["arguments"] == arguments
    assert told["params"]["_meta"].items() >= TRACE.items()
    assert told["params"]["ward.example/new"] == {"x": [1]}


@both_eras
def test_what_a_result_says_of_itself_and_its_bytes_come_back_as_they_are(served, plain, modern):
    direct, ours = caller(plain, {}, modern=modern), through(served, "clinician", modern=modern)
    results = [one.result("tools/call", name="echo", arguments={}) for one in (direct, ours)]
    read = [one.result("resources/read", uri="ward://scan")["contents"] for one in (direct, ours)]

    assert results[1]["content"][1:] == results[0]["content"][1:]
    assert results[1]["content"][1]["data"] == plain_server.BLOB
    assert results[1]["_meta"] == results[0]["_meta"]
    assert read[1] == read[0]
    assert read[1][0]["blob"] == plain_server.BLOB

    masked = through(served, "analyst", modern=modern)  # Whose role's profile leaves no bytes that nobody looked into.
    assert masked.result("tools/call", name="echo", arguments={})["content"][1]["data"] == ""
    assert plain_server.BLOB not in json.dumps(masked.result("resources/read", uri="ward://scan"))


@both_eras
def test_a_method_of_no_revision_passes_where_policy_names_it_and_nowhere_else(served, modern):
    ours = through(served, modern=modern)
    assert ours.result("ward/echo", x={"y": 1})["told"]["x"] == {"y": 1}
    message, response = ours.ask("ward/other", x=1)
    assert message["error"]["code"] == -32601
    assert response.status_code == (404 if modern else 200)
