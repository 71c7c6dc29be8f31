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
def gateway(tmp_path, people, everything_http_upstream, everything_upstream):
    with parts.everything_server() as url:
        upstreams = [everything_http_upstream, everything_upstream, Upstream("legacy", {"url": url, "era": "legacy"})]
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


TAKING = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
CALLED = {"name": RESEARCH, "arguments": {"topic": "synthetic"}}


def begun(worker, door):
    """The id of a task that was made at this worker."""
    message, headers = asked("tools/call", RESEARCH, TAKING, **CALLED)
    return answer(worker.post(door, message, **headers))["result"]["taskId"]


def polled(worker, door, task):
    """How it stands, as this worker says."""
    message, headers = asked("tasks/get", task, TAKING, taskId=task)
    return answer(worker.post(door, message, **headers))["result"]


def test_a_call_under_way_in_a_worker_that_dies_is_on_record_as_unknown_and_its_tasks_go_on_or_are_said_to_be_lost(
    gateway,
):
    called = CALLED
    with workers.each(gateway, parts.WHO, [parts.WHO]) as (one, other):
        task, of_program = begun(one, "everything-http"), begun(one, "everything")
        made = set(exchanges(gateway, "exchange.intent"))

        message, headers = asked("tools/call", RESEARCH, {}, **called)
        body = json.dumps(message)
        one.connection.request("POST", "/mcp/everything-http", body, {**one.headers, **JSON, **headers})
        (lost,) = until(lambda: set(exchanges(gateway, "exchange.intent")) - made)
        os.kill(one.pid, signal.SIGKILL)
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            one.connection.getresponse().read()
        assert until(lambda: exchanges(gateway, "exchange.unknown")) == [lost]

        # The task of a server goes on, at another worker; that of a program went with the worker, and is told so.
        began = time.monotonic()
        gone = polled(other, "everything", of_program)
        assert (gone["status"], "is not known" in gone["error"]["message"]) == ("failed", True)
        assert polled(other, "everything-http", task)["status"] in ("working", "completed")
        assert time.monotonic() - began < CLEAR_S
        done = until(lambda: (found := polled(other, "everything-http", task))["status"] == "completed" and found)
        assert "# Research Report" in done["result"]["content"][0]["text"]
        assert polled(other, "everything", of_program)["status"] == "failed"


def test_a_gateway_that_is_restarted_goes_on_with_the_tasks_of_its_servers(gateway):
    with workers.each(gateway, parts.WHO, [parts.WHO]) as (one, _):
        task, of_program = begun(one, "everything-http"), begun(one, "everything")
    gateway.stop()
    gateway.start()
    with workers.each(gateway, parts.WHO, [parts.WHO]) as (one, other):
        assert polled(one, "everything", of_program)["status"] == "failed"
        assert polled(other, "everything-http", task)["status"] in ("working", "completed")
