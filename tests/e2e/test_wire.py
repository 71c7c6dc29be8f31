"""What goes over the wire when nobody is polite: malformed messages, stolen and ended sessions, wrong doors."""

from __future__ import annotations

import json
import os
import signal
from contextlib import contextmanager

import httpx2
import pytest

MODERN = {"mcp-protocol-version": "2026-07-28"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
GREETING = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "e2e", "version": "1"},
}


def request(method, ident=1, **params):
    return {"jsonrpc": "2.0", "id": ident, "method": method, "params": params}


def call(name, arguments, ident=1, **more):
    return request("tools/call", ident, name=name, arguments=arguments, **more)


def post(gateway, upstream, who, message, **headers):
    """One POST over a connection of its own; `message` as it is if it is bytes."""
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    given = gateway.headers(who, **{"content-type": "application/json"} | headers)
    return httpx2.post(gateway.mcp(upstream), content=data, headers=given, timeout=30)


def events(response):
    """The messages of a response, whether it is one JSON document or a stream."""
    if response.headers["content-type"] == "application/json":
        return [response.json()]
    return [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]


def greeted(gateway, upstream, who):
    """The session id of a legacy session that has just begun."""
    response = post(gateway, upstream, who, request("initialize", **GREETING))
    assert response.status_code == 200, response.text
    session = response.headers["mcp-session-id"]
    done = post(
        gateway, upstream, who, {"jsonrpc": "2.0", "method": "notifications/initialized"}, **in_session(session)
    )
    assert (done.status_code, done.content) == (202, b"")
    return session


def in_session(session):
    return {"mcp-session-id": session, "mcp-protocol-version": "2025-11-25"}


DEEP = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":' + b'{"a":' * 80 + b"1" + b"}" * 80 + b"}"
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'

MALFORMED = {
    "nothing": (b"", 400, -32700),
    "not JSON": (b"{", 400, -32700),
    "two documents": (PING + PING, 400, -32700),
    "trailing comma": (b'{"jsonrpc":"2.0","id":1,"method":"ping",}', 400, -32700),
    "not UTF-8": (b'{"jsonrpc":"2.0","id":1,"method":"p\xffng"}', 400, -32700),
    "UTF-16": (PING.decode().encode("utf-16"), 400, -32700),
    "byte order mark": (b"\xef\xbb\xbf" + PING, 400, -32700),
    "NaN": (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":NaN}}', 400, -32700),
    "lone surrogate": (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\\ud800"}}', 400, -32700),
    "duplicate key": (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}', 400, -32600),
    "duplicate key deep within": (
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":{"b":1,"b":2}}}',
        400,
        -32600,
    ),
    "duplicate key, once escaped": (b'{"jsonrpc":"2.0","id":1,"method":"ping","\\u006dethod":"x"}', 400, -32600),
    "too deep": (DEEP, 400, -32600),
    "a batch": (b"[" + PING + b"]", 400, -32600),
    "an empty batch": (b"[]", 400, -32600),
    "a text": (b'"ping"', 400, -32600),
    "no version": (b'{"id":1,"method":"ping"}', 400, -32600),
    "version 1.0": (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', 400, -32600),
    "id null": (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', 400, -32600),
    "id true": (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', 400, -32600),
    "id 1.5": (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', 400, -32600),
    "id object": (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', 400, -32600),
    "method a number": (b'{"jsonrpc":"2.0","id":1,"method":7}', 400, -32600),
    "params an array": (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', 400, -32600),
    "result and error": (b'{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"x"}}', 400, -32600),
    "an answer to nothing": (b'{"jsonrpc":"2.0","id":1,"result":{}}', 400, -32600),
}


def test_malformed_messages_get_their_json_rpc_error_and_leave_the_session_alone(gateway):
    session = in_session(greeted(gateway, "ward", "analyst"))
    answers = {name: post(gateway, "ward", "analyst", data, **session) for name, (data, _, _) in MALFORMED.items()}
    told = {name: (answer.status_code, answer.json()["error"]["code"]) for name, answer in answers.items()}
    assert told == {name: (status, code) for name, (_, status, code) in MALFORMED.items()}
    assert all(answer.json().keys() == {"jsonrpc", "id", "error"} for answer in answers.values())
    assert events(post(gateway, "ward", "analyst", PING, **session)) == [{"jsonrpc": "2.0", "id": 1, "result": {}}]


def test_http_that_is_not_the_transport_is_refused_by_status(gateway):
    url, good = gateway.mcp("ward"), gateway.headers("analyst", **{"content-type": "application/json"})

    def status(method="POST", url=url, data=PING, **changes):
        headers = {name.replace("_", "-"): value for name, value in (good | changes).items() if value is not None}
        return httpx2.request(method, url, content=data, headers=headers, timeout=60).status_code

    assert status(content_type="text/plain") == 415
    assert status(**{"content-type": None}) == 415
    assert status(accept="text/html") == 406
    assert status(accept="application/json") == 406
    assert status(data=b" " * (4 * 1024 * 1024 + 1)) == 413
    assert status("PUT") == 405
    assert httpx2.patch(url, headers=good).headers["allow"] == "DELETE, GET, POST"
    assert status(url=f"{gateway.url}/mcp/nowhere") == 404
    assert status(url=f"{gateway.url}/mcp/") == 404
    assert status(url=f"{url}/") == 404
    assert status(host="attacker.example") == 403
    assert status(origin="https://attacker.example") == 403
    assert status(authorization=None) == 401
    assert status(authorization="Bearer nonsense") == 401
    assert status(authorization=f"Bearer {gateway.issuer.token('analyst', lifetime_s=-60)}") == 401
    assert status(url=f"{url}?access_token=x") == 400
    assert status("GET", accept="application/json") == 406


def test_modern_headers_must_repeat_the_body(gateway):
    body = call("add", {"one": 1, "other": 2}, _meta=META)
    named = MODERN | {"mcp-method": "tools/call", "mcp-name": "add"}

    def answer(message=body, **headers):
        response = post(gateway, "ward", "analyst", message, **headers)
        last = events(response)[-1]
        return response.status_code, last["error"]["code"] if "error" in last else last["result"]["structuredContent"]

    assert answer(**named) == (200, {"result": 3})
    assert answer(**named | {"mcp-method": "tools/list"}) == (400, -32020)
    assert answer(**named | {"mcp-name": "chart"}) == (400, -32020)
    assert answer(**MODERN) == (400, -32020)
    assert answer(**named | {"mcp-protocol-version": "2025-11-25"}) == (400, -32020)
    future = {**META, "io.modelcontextprotocol/protocolVersion": "2099-01-01"}
    assert answer({**body, "params": {**body["params"], "_meta": future}}, **named) == (400, -32020)
    both = named | {"mcp-protocol-version": "2099-01-01"}
    assert answer({**body, "params": {**body["params"], "_meta": future}}, **both) == (400, -32022)
    assert answer({**body, "params": {**body["params"], "_meta": {}}}, **named) == (400, -32602)
    unknown = {**body, "method": "no/such", "params": {"_meta": META}}
    assert answer(unknown, **MODERN | {"mcp-method": "no/such"}) == (404, -32601)
    removed = {**body, "method": "ping", "params": {"_meta": META}}
    assert answer(removed, **MODERN | {"mcp-method": "ping"}) == (404, -32601)


def test_a_session_belongs_to_one_person_and_one_upstream_until_it_is_deleted(gateway):
    session = in_session(greeted(gateway, "ward", "analyst"))

    def status(who="analyst", upstream="ward", **headers):
        return post(gateway, upstream, who, PING, **(headers or session)).status_code

    def delete(who="analyst", upstream="ward"):
        headers = gateway.headers(who, **session)
        return httpx2.delete(gateway.mcp(upstream), headers=headers).status_code

    assert status() == 200
    assert status("analyst-2") == 404
    assert status("clinician") == 404
    assert status(upstream="clinic") == 404
    assert status(**{"mcp-session-id": session["mcp-session-id"][:-2] + "AA"}) == 404
    assert status(**{"mcp-session-id": "made-up"}) == 404
    assert status(accept=gateway.headers("analyst")["accept"]) == 400  # No session at all.
    assert delete("analyst-2") == 404
    assert delete(upstream="clinic") == 404
    assert status() == 200
    assert delete() == 204
    assert status() == 404
    assert httpx2.get(gateway.mcp("ward"), headers=gateway.headers("analyst", **session), timeout=60).status_code == 404
    assert delete() == 204  # Again: there is nothing left to end.


@pytest.mark.parametrize("upstream", ["ward", "files"])
def test_a_legacy_session_is_served_by_whichever_worker_takes_the_connection(gateway, upstream):
    """Over HTTP the upstream knows its session; over stdio the other worker starts and greets a program of its own."""
    one, other = gateway.workers()
    listing = request("tools/list")
    with paused(gateway, one):
        session = in_session(greeted(gateway, upstream, "analyst"))
        names = [
            tool["name"]
            for tool in events(post(gateway, upstream, "analyst", listing, **session))[-1]["result"]["tools"]
        ]
    with paused(gateway, other):
        again = events(post(gateway, upstream, "analyst", listing, **session))[-1]["result"]["tools"]
    assert names
    assert [tool["name"] for tool in again] == names


@contextmanager
def paused(gateway, worker):
    """One worker stands still while the block runs, so that the other serves."""
    try:
        gateway.pause(worker)
        yield
    finally:
        os.kill(worker, signal.SIGCONT)
