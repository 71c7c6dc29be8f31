"""What a modern client is told of a call whose worker has died, and what is on record of it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time

import pytest

from tests.conformance import parts
from tests.e2e import harness, workers
from tests.e2e.harness import Upstream
from tests.e2e.workers import CAPABILITIES, call

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": CAPABILITIES,
}
JSON = {"content-type": "application/json"}
CLEAR_S = 15
"""How soon who comes back for a call that is lost must be told so."""


@pytest.fixture
def gateway(tmp_path, people, everything_http_upstream):
    with parts.everything_server() as url:
        upstreams = [everything_http_upstream, Upstream("legacy", {"url": url, "era": "legacy"})]
        with harness.running(tmp_path, people, upstreams, workers=2, policy=parts.opened) as running:
            yield running


def sent(worker, **more):
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "test_elicitation"}
    return worker.post("legacy", call("test_elicitation", {"message": "Who?"}, _meta=META, **more), **headers)


def answer(response):
    *_, last = workers.messages(response)
    return last


def exchanges(gateway, kind):
    return [leaf["exchange"] for leaf in gateway.leaves() if leaf["type"] == kind]


def test_a_call_that_waits_for_its_client_in_a_worker_that_dies_is_said_to_be_lost(gateway):
    with workers.each(gateway, parts.WHO, [parts.WHO]) as (one, other):
        asked = answer(sent(one))["result"]
        assert asked["resultType"] == "input_required"
        os.kill(one.pid, signal.SIGKILL)

        began = time.monotonic()
        answers = {"inputResponses": {"answer": {"action": "decline"}}, "requestState": asked["requestState"]}
        lost = answer(sent(other, **answers))
        assert time.monotonic() - began < CLEAR_S
        assert lost["error"]["code"] == -32602
        assert "process that had this call has ended" in lost["error"]["message"]

        assert answer(sent(other))["result"]["resultType"] == "input_required"  # Made anew, it begins anew.
    assert exchanges(gateway, "exchange.unknown") == []  # Each request had its answer, and has it on record.


RESEARCH = "simulate-research-query"
"""A tool that takes some seconds, as a task."""


def asked(method, header, capabilities, **params):
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": method, "mcp-name": header}
    meta = {**META, "io.modelcontextprotocol/clientCapabilities": capabilities}
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, "_meta": meta}}, headers


def until(found):
    """Whatever `found` finds, as soon as that is something."""
    deadline = time.monotonic() + CLEAR_S
    while not (things := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return things


def test_a_call_under_way_in_a_worker_that_dies_is_on_record_as_unknown_and_its_task_too_is_lost(gateway):
    called = {"name": RESEARCH, "arguments": {"topic": "synthetic"}}
    with workers.each(gateway, parts.WHO, [parts.WHO]) as (one, other):
        taking = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
        message, headers = asked("tools/call", RESEARCH, taking, **called)
        task = answer(one.post("everything-http", message, **headers))["result"]["taskId"]
        (made,) = exchanges(gateway, "exchange.intent")

        message, headers = asked("tools/call", RESEARCH, {}, **called)
        body = json.dumps(message)
        one.connection.request("POST", "/mcp/everything-http", body, {**one.headers, **JSON, **headers})
        (lost,) = until(lambda: set(exchanges(gateway, "exchange.intent")) - {made})
        os.kill(one.pid, signal.SIGKILL)
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            one.connection.getresponse().read()
        assert until(lambda: exchanges(gateway, "exchange.unknown")) == [lost]

        message, headers = asked("tasks/get", task, taking, taskId=task)
        gone = answer(other.post("everything-http", message, **headers))["error"]
        assert (gone["code"], "no such task any more" in gone["message"]) == (-32602, True)
