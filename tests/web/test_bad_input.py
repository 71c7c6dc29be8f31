"""Each malformed message, header, stream and mix of eras gets the status and the error that the specification demands.

A table: what is wrong, the HTTP status, the JSON-RPC error code, and the clause. All through the ASGI application of a
whole gateway; what is wrong below HTTP's own semantics is in tests/web/server.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e import issuer
from tests.fuzz import asking, parts
from tests.fuzz.asking import GOOD, HEADERS, HOST, SESSION
from tests.fuzz.grammar import META, called
from tests.fuzz.parts import Question

MODERN, LEGACY = "2026-07-28", "2025-11-25"
PARSE, REQUEST, METHOD, PARAMS = -32700, -32600, -32601, -32602
MISMATCH, MISSING, VERSION, NO_SESSION = -32020, -32021, -32022, -32001
STREAMABLE = "2026-07-28 Streamable HTTP: "
OLD = "2025-11-25 Transports: "
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """Somebody with a session at each upstream of a gateway that is checked when all is over."""
    with issuer.running() as people, parts.running(tmp_path_factory.mktemp("bad"), people) as house:
        yield asking.arrive(house)


@dataclass(frozen=True)
class Case:
    """One bad request. `headers` replace those of a good one; None takes one away, a tuple sends it as often."""

    status: int
    code: int | None
    clause: str
    message: Any = None
    headers: dict[str, Any] = field(default_factory=dict)
    method: str = "POST"
    path: str = "/mcp/legacy"
    modern: bool = False

    def question(self) -> Question:
        """The request on the wire."""
        good = called("tools/call" if self.modern else "tools/list", modern=self.modern)
        message = good if self.message is None else self.message
        sent = {name.decode(): value.decode() for name, value in HEADERS} | (NAMED if self.modern else IN_SESSION)
        found = [(name, value) for name, value in (sent | self.headers).items() if value is not None]
        each = [(name, one) for name, value in found for one in (value if isinstance(value, tuple) else (value,))]
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        headers = tuple((name.encode(), value.encode("latin-1")) for name, value in each)
        return Question(self.method, self.path, headers, (data,))


NAMED = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "read"}
IN_SESSION = {"mcp-session-id": (SESSION % b"legacy").decode(), "mcp-protocol-version": LEGACY}


def said(**changes: Any) -> dict[str, Any]:
    """A modern call whose `_meta` says something else; None takes a member away."""
    call = called("tools/call", modern=True)
    known = {"version": VERSION_KEY, "able": "io.modelcontextprotocol/clientCapabilities"}
    for name, value in changes.items():
        call["params"]["_meta"][known[name]] = value
        if value is None:
            del call["params"]["_meta"][known[name]]
    return call


def modern(status: int, code: int | None, clause: str, message: Any = None, **more: Any) -> Case:
    return Case(status, code, STREAMABLE + clause, message, modern=True, **more)


def old(status: int, code: int | None, clause: str, message: Any = None, **more: Any) -> Case:
    return Case(status, code, OLD + clause, message, **more)


PING = called("ping", modern=False)
ANSWER = {"jsonrpc": "2.0", "id": 1, "result": {}}
UNKNOWN_VERSION = {"mcp-protocol-version": "2099-01-01"}

NO_TASKS = {
    "a list with an id": ["t-1"],
    "an object": {"toString": "t-1"},
    "a number": 1,
    "nothing": None,
    "somebody's bare id": "t-1",
    "no text at all": "",
}


def about_task(method: str, ident: Any, *, asks: bool = True) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "method": method, "params": {"taskId": ident}}
    return message | ({"id": 7} if asks else {})


def modern_task(method: str, ident: Any, *, declares: bool = True, answers: Any = MISSING) -> dict[str, Any]:
    message = called("tasks/get", modern=True)
    message["method"], message["params"]["taskId"] = method, ident
    if method == "tasks/update":
        message["params"]["inputResponses"] = {} if answers is MISSING else answers
    if declares:
        able = message["params"]["_meta"][CAPABILITIES_KEY]
        message["params"]["_meta"][CAPABILITIES_KEY] = {**able, "extensions": {"io.modelcontextprotocol/tasks": {}}}
    return message


def subscribed(idents: Any) -> dict[str, Any]:
    message = called("subscriptions/listen", modern=True)
    message["params"]["notifications"]["taskIds"] = idents
    return message


def wishing(wish: Any) -> dict[str, Any]:
    message = called("tools/call", modern=False)
    message["params"]["task"] = wish
    return message


CASES = {
    # Headers and body (2026-07-28, Server Validation).
    "method differs": modern(400, MISMATCH, "Server Validation", headers={"mcp-method": "tools/list"}),
    "method differs in case": modern(400, MISMATCH, "Case Sensitivity", headers={"mcp-method": "Tools/Call"}),
    "no method": modern(400, MISMATCH, "Server Validation", headers={"mcp-method": None}),
    "method twice": modern(400, MISMATCH, "Server Validation", headers={"mcp-method": ("tools/call", "tools/call")}),
    "name differs": modern(400, MISMATCH, "Server Validation", headers={"mcp-name": "write"}),
    "no name": modern(400, MISMATCH, "Server Validation", headers={"mcp-name": None}),
    "name twice": modern(400, MISMATCH, "Server Validation", headers={"mcp-name": ("read", "read")}),
    "name no ASCII": modern(400, MISMATCH, "Server Validation", headers={"mcp-name": "r\xe9ad"}),
    "name bad Base64": modern(400, MISMATCH, "Value Encoding", headers={"mcp-name": "=?base64?cmVhZ?="}),
    "param of no argument": modern(400, MISMATCH, "Custom Headers", headers={"mcp-param-region": "elsewhere"}),
    "version differs": modern(400, MISMATCH, "Protocol Version Header", headers={"mcp-protocol-version": LEGACY}),
    "no version header": modern(400, MISMATCH, "Protocol Version Header", headers={"mcp-protocol-version": None}),
    "version twice": modern(400, MISMATCH, "Server Validation", headers={"mcp-protocol-version": (MODERN, MODERN)}),
    # Versions.
    "version unknown": modern(
        400, VERSION, "Protocol Version Header", said(version="2099-01-01"), headers=UNKNOWN_VERSION
    ),
    "legacy version in a modern form": modern(
        400, VERSION, "Protocol Version Header", said(version=LEGACY), headers={"mcp-protocol-version": LEGACY}
    ),
    "version no text": modern(400, PARAMS, "2026-07-28 Basic: _meta", said(version=5)),
    "legacy header unknown": old(400, VERSION, "Protocol Version Header", headers=UNKNOWN_VERSION),
    "no capabilities": modern(400, PARAMS, "2026-07-28 Basic: _meta", said(able=None)),
    "capabilities no object": modern(400, PARAMS, "2026-07-28 Basic: _meta", said(able=[])),
    # Tasks: ids are their principals' alone, in whatever shape they are written.
    **{
        f"{method} of {what}": old(200, PARAMS, "2025-11-25 Tasks: Task Isolation", about_task(method, ident))
        for method in ("tasks/get", "tasks/result", "tasks/cancel")
        for what, ident in NO_TASKS.items()
    },
    "a result under the gateway's prefix": old(
        200, PARAMS, "2025-11-25 Tasks: Task Isolation", about_task("tasks/result", "phigate.t-1")
    ),
    "a task cancelled by a notification": old(
        400, REQUEST, "2025-11-25 Tasks: Task Isolation", about_task("tasks/cancel", "t-1", asks=False)
    ),
    **{
        f"{method} of {what} in the modern era": modern(
            400, PARAMS, "Tasks extension: Protocol Errors", modern_task(method, ident),
            headers={"mcp-method": method, "mcp-name": ident if isinstance(ident, str) else None},
        )
        for method in ("tasks/get", "tasks/update", "tasks/cancel")
        for what, ident in NO_TASKS.items()
    },
    **{
        f"answers that are {what}": modern(
            400, PARAMS, "Tasks extension: Task Update Requests", modern_task("tasks/update", "t-1", answers=answers),
            headers={"mcp-method": "tasks/update", "mcp-name": "t-1"},
        )
        for what, answers in {"none": None, "a list": [{}], "a text": "accept"}.items()
    },
    **{
        f"{method} without the extension": modern(
            400, MISSING, "Tasks extension: Protocol Errors", modern_task(method, "t-1", declares=False),
            headers={"mcp-method": method, "mcp-name": "t-1"},
        )
        for method in ("tasks/get", "tasks/update", "tasks/cancel")
    },
    "news of tasks without the extension": modern(
        400, MISSING, "Tasks extension: Protocol Errors", subscribed(["t-1"]),
        headers={"mcp-method": "subscriptions/listen", "mcp-name": None},
    ),
    **{
        f"a task with {what} for a name": modern(
            400, MISMATCH, "Tasks extension: Routing Headers", modern_task("tasks/get", "t-1"),
            headers={"mcp-method": "tasks/get", "mcp-name": name},
        )
        for what, name in {"nothing": None, "another task": "t-2", "two": ("t-1", "t-1")}.items()
    },
    **{
        f"{method} in the modern era": modern(
            404, METHOD, "Tasks extension: there is none", modern_task(method, "t-1"),
            headers={"mcp-method": method, "mcp-name": "t-1"},
        )
        for method in ("tasks/result", "tasks/list")
    },
    "a request that is news of a task": modern(
        400, REQUEST, "JSON-RPC 2.0 §4.1", {**modern_task("notifications/tasks/status", "t-1")},
        headers={"mcp-method": "notifications/tasks/status", "mcp-name": None},
    ),
    **{
        f"{method} in the legacy era": old(200, METHOD, "2025-11-25: there is none", called(method, modern=False))
        for method in ("tasks/update", "server/discover", "subscriptions/listen")
    },
    **{
        f"a task wished for by {what} of a modern upstream": old(
            200, PARAMS, "2025-11-25 Tasks: Task Parameters", wishing(wish), path="/mcp/modern",
            headers={"mcp-session-id": (SESSION % b"modern").decode()},
        )
        for what, wish in {"a text": "yes", "a list": [], "a flag": True, "a ttl in words": {"ttl": "long"}}.items()
    },
    # Methods.
    "method of no revision": modern(
        404, METHOD, "Protocol Version Header", called("fuzz/unknown", modern=True),
        headers={"mcp-method": "fuzz/unknown", "mcp-name": None},
    ),
    "method that was removed": modern(
        404, METHOD, "Changelog: Removed", called("ping", modern=True), headers={"mcp-method": "ping", "mcp-name": None}
    ),
    "initialize in the modern era": modern(
        404, METHOD, "Changelog: Removed", called("initialize", modern=True),
        headers={"mcp-method": "initialize", "mcp-name": None},
    ),
    "legacy method of no revision": old(
        200, METHOD, "JSON-RPC 2.0 §5.1", called("fuzz/unknown", modern=False)
    ),
    # Eras mixed.
    "modern header, legacy body": modern(
        400, PARAMS, "Per-request protocol fields", called("tools/call", modern=False),
    ),
    "modern body in a legacy session": modern(
        400, MISMATCH, "Server Validation", headers={**IN_SESSION, "mcp-method": None, "mcp-name": None}
    ),
    "legacy body, modern method header": old(400, MISMATCH, "Server Validation", headers={"mcp-method": "tools/call"}),
    "a response from a modern client": modern(400, REQUEST, "Sending Messages 4", ANSWER),
    "GET without a session": old(400, REQUEST, "Session Management", method="GET", headers={"mcp-session-id": None}),
    # Kinds and ids.
    "a request without an id": old(400, REQUEST, "JSON-RPC 2.0 §4.1", {"jsonrpc": "2.0", "method": "tools/list"}),
    "a notification with an id": old(
        400, REQUEST, "JSON-RPC 2.0 §4.1", {"jsonrpc": "2.0", "id": 1, "method": "notifications/initialized"}
    ),
    "id null": old(400, REQUEST, "2025-11-25 Overview: Requests", {**PING, "id": None}),
    "id a fraction": old(400, REQUEST, "2025-11-25 Overview: Requests", {**PING, "id": 1.5}),
    "an answer to nothing": old(400, REQUEST, "Sending Messages 4", ANSWER),
    "an answer with a made-up id": old(400, REQUEST, "Sending Messages 4", {**ANSWER, "id": "AAAA"}),
    "a member that is none": old(400, REQUEST, "JSON-RPC 2.0 §4", {**PING, "extra": 1}),
    # JSON.
    "not JSON": old(400, PARSE, "JSON-RPC 2.0 §5.1", b"{"),
    "nothing": old(400, PARSE, "JSON-RPC 2.0 §5.1", b""),
    "lone surrogate": old(400, PARSE, "RFC 8259 §8.2", {**PING, "params": {"a": "\ud800"}}),
    "lone surrogate as a key": old(400, PARSE, "RFC 8259 §8.2", {**PING, "params": {"\udfff": 1}}),
    "too deep": old(400, REQUEST, "RFC 8259 §9", b'{"a":' * 70 + b"1" + b"}" * 70),
    "far too deep": old(400, REQUEST, "RFC 8259 §9", b"[" * 100_000),
    "too large": old(413, REQUEST, "RFC 9110 §15.5.14", b" " * (4 * 1024 * 1024 + 1)),
    "in UTF-16": old(400, PARSE, "RFC 8259 §8.1", json.dumps(PING).encode("utf-16")),
    # Batches: 2025-06-18 removed them, and no revision lets a client send one here (docs/decisions/0007).
    **{
        f"a batch in {version or 'no version'}": old(
            400, REQUEST, "2025-06-18 Changelog", [PING], headers={"mcp-protocol-version": version}
        )
        for version in (None, "2025-03-26", "2025-06-18", LEGACY)
    },
    "a modern batch": modern(400, REQUEST, "Sending Messages 4", [called("tools/call", modern=True)]),
    # Sessions.
    "no session": old(400, REQUEST, "Session Management 3", headers={"mcp-session-id": None}),
    "session made up": old(404, NO_SESSION, "Session Management 4", headers={"mcp-session-id": "made-up"}),
    "session empty": old(404, NO_SESSION, "Session Management 4", headers={"mcp-session-id": ""}),
    "session no ASCII": old(404, NO_SESSION, "Session Management 4", headers={"mcp-session-id": "\xe9\xff"}),
    "session of another upstream": old(
        404, NO_SESSION, "Session Management 4", headers={"mcp-session-id": (SESSION % b"modern").decode()}
    ),
    "session twice": old(
        400, REQUEST, "RFC 9110 §5.3", headers={"mcp-session-id": (IN_SESSION["mcp-session-id"],) * 2},
    ),
    "DELETE without a session": old(
        400, REQUEST, "Session Management 5", method="DELETE", headers={"mcp-session-id": None},
    ),
    "DELETE of a made-up session": old(
        404, NO_SESSION, "Session Management 5", method="DELETE", headers={"mcp-session-id": "made-up"}
    ),
    # Where from.
    "host of somebody else": old(403, REQUEST, "Security Warning", headers={"host": "attacker.example"}),
    "no host": old(403, REQUEST, "Security Warning", headers={"host": None}),
    "host twice": old(400, REQUEST, "RFC 9112 §3.2", headers={"host": (HOST.decode(), HOST.decode())}),
    "origin of somebody else": old(403, REQUEST, "Security Warning 1", headers={"origin": "https://attacker.example"}),
    "origin null": old(403, REQUEST, "Security Warning 1", headers={"origin": "null"}),
    "origin of a like name": old(
        403, REQUEST, "Security Warning 1", headers={"origin": f"http://{HOST.decode()}.attacker.example"}
    ),
    "origin twice": old(400, REQUEST, "RFC 6454 §7.3", headers={"origin": ("null", "null")}),
    # Media.
    "text/plain": old(415, REQUEST, "Sending Messages", headers={"content-type": "text/plain"}),
    "no content type": old(415, REQUEST, "Sending Messages", headers={"content-type": None}),
    "two content types": old(
        400, REQUEST, "RFC 9110 §5.3", headers={"content-type": ("application/json", "text/plain")},
    ),
    "JSON of another kind": old(415, REQUEST, "Sending Messages", headers={"content-type": "application/json-seq"}),
    "accepts nothing": old(406, REQUEST, "Sending Messages 2", headers={"accept": None}),
    "accepts JSON only": old(406, REQUEST, "Sending Messages 2", headers={"accept": "application/json"}),
    "accepts streams only": old(406, REQUEST, "Sending Messages 2", headers={"accept": "text/event-stream"}),
    "wants no stream": old(
        406, REQUEST, "RFC 9110 §12.4.2", headers={"accept": "application/json, text/event-stream;q=0"}
    ),
    "wants no JSON although anything": old(
        406, REQUEST, "RFC 9110 §12.5.1", headers={"accept": "*/*, application/json; q=0.0"}
    ),
    "GET of JSON": old(406, REQUEST, "Listening for Messages 2", method="GET", headers={"accept": "application/json"}),
    "PUT": old(405, REQUEST, "RFC 9110 §15.5.6", method="PUT"),
    "another door": old(404, REQUEST, "RFC 9110 §15.5.5", path="/mcp/nowhere"),
    "a door with a tail": old(404, REQUEST, "RFC 9110 §15.5.5", path="/mcp/legacy/"),
    "a door within the door": old(404, REQUEST, "RFC 9110 §15.5.5", path="/mcp/../mcp/legacy"),
    # Who.
    "no token": old(401, None, "2025-11-25 Authorization: Token Handling", headers={"authorization": None}),
    "another scheme": old(401, None, "RFC 6750 §3.1", headers={"authorization": "Basic YTpi"}),
    "token in the URL": old(
        400, None, "2025-11-25 Authorization: Token Requirements", path="/mcp/legacy?access_token=x",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_refused_as_the_specification_says(person, name):
    case = CASES[name]
    question = case.question()
    answer = person.ask(question, GOOD)

    assert answer.status == case.status, (case.clause, answer)
    (message,) = answer.messages()
    assert message["jsonrpc"] == "2.0"
    if case.code is not None:
        assert message["error"]["code"] == case.code, case.clause
    if case.code == VERSION:
        assert message["error"]["data"]["supported"]
    if case.status in (400, 404) and case.modern:
        assert message["id"] in (7, None)
    asking.check(question, answer)


GOOD_CASES = {
    "charset named": {"content-type": "application/json; charset=utf-8"},
    "in capitals": {"content-type": "Application/JSON"},
    "accepts anything": {"accept": "*/*"},
    "accepts both families": {"accept": "text/*, application/*"},
    "two Accept headers": {"accept": ("application/json", "text/event-stream")},
    "accepts with weights": {"accept": "text/event-stream;q=0.5, application/json;q=1.0, */*;q=0"},
    "no version named": {"mcp-protocol-version": None},
    "an earlier version": {"mcp-protocol-version": "2025-03-26"},
}


@pytest.mark.parametrize("name", GOOD_CASES)
def test_what_is_only_written_otherwise_is_served(person, name):
    answer = person.ask(Case(200, None, "", headers=GOOD_CASES[name]).question(), GOOD)

    assert answer.status == 200, answer
    assert "tools" in answer.messages()[-1]["result"]


def test_a_modern_request_may_name_a_session_which_is_ignored(person):
    """2026-07-28, Earlier Streamable HTTP Revisions: ignore it, and do not mint or echo session ids."""
    answer = person.ask(
        Case(200, None, "", modern=True, path="/mcp/modern", headers={"mcp-session-id": "any"}).question(), GOOD
    )

    assert answer.status == 200
    assert b"mcp-session-id" not in answer.headers
    assert META[VERSION_KEY] == MODERN
