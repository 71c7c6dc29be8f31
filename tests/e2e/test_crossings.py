"""No stickiness: a client's next message comes to another worker than the one that has its call."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conformance import parts
from tests.e2e import harness, workers
from tests.e2e.harness import Upstream
from tests.e2e.ledger import APPROVAL, opened
from tests.e2e.workers import CAPABILITIES, accepted, call, greeted

PROGRAM = Path(__file__).parents[1] / "upstream" / "program.py"
NEEDS = "test_input_required_result_elicitation"
"""A tool of the modern upstream that asks for a name."""
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": CAPABILITIES,
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, people):
    with parts.everything_server() as url:
        upstreams = [
            *harness.in_both_eras(url),
            Upstream("program", {"command": sys.executable, "args": [str(PROGRAM)], "era": "legacy"}),
        ]
        place = tmp_path_factory.mktemp("crossings")
        with harness.running(place, people, upstreams, workers=2, policy=parts.opened) as running:
            yield running


@pytest.fixture
def both(gateway):
    """A connection to each worker."""
    with workers.each(gateway, parts.WHO, [parts.WHO]) as found:
        yield found


def question(heard):
    """The first request of the upstream's among what is heard."""
    return next(message for message in heard if "method" in message and "id" in message)


def test_a_legacy_client_answers_a_modern_upstreams_question_at_the_other_worker(both):
    one, other = both
    headers = greeted(one, "modern")
    heard = workers.messages(one.post("modern", call(NEEDS), **headers))
    ident = question(heard)["id"]
    answer = {"action": "accept", "content": {"name": "Ada"}}
    accepted(other, "modern", {"jsonrpc": "2.0", "id": ident, "result": answer}, headers)

    (done,) = heard
    assert "Hello, Ada!" in done["result"]["content"][0]["text"]


def test_a_legacy_client_answers_its_programs_question_at_the_other_worker(both):
    one, other = both
    headers = greeted(one, "program")
    heard = workers.messages(one.post("program", call("ask"), **headers))
    ident = question(heard)["id"]
    accepted(other, "program", {"jsonrpc": "2.0", "id": ident, "result": {"roots": [{"uri": "file:///x"}]}}, headers)

    (done,) = heard
    assert done["result"]["answered"]["id"] == "ask-1"
    assert done["result"]["answered"]["result"] == {"roots": [{"uri": "file:///x"}]}


def modern_call(worker, **more):
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "test_elicitation"}
    message = call("test_elicitation", {"message": "Who?"}, _meta=META, **more)
    *_, last = workers.messages(worker.post("legacy", message, **headers))
    return last


def test_a_modern_client_brings_its_answer_to_the_other_worker(both):
    one, other = both
    asked = modern_call(one)["result"]
    assert asked["resultType"] == "input_required"

    answers = {"inputResponses": {"answer": {"action": "decline"}}, "requestState": asked["requestState"]}
    done = modern_call(other, **answers)

    assert "action=decline" in done["result"]["content"][0]["text"]
    assert modern_call(one, **answers)["error"]["code"] == -32602


@pytest.mark.parametrize(("upstream", "tool"), [("modern", NEEDS), ("program", "ask")])
def test_a_legacy_client_cancels_at_the_other_worker_what_it_called_at_one(both, upstream, tool):
    one, other = both
    headers = greeted(one, upstream)
    heard = workers.messages(one.post(upstream, call(tool, ident="c"), **headers))
    question(heard)
    taken_back = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "c"}}
    accepted(other, upstream, taken_back, headers)

    (done,) = heard
    assert "the client cancelled this call" in done["error"]["message"]


def test_a_log_level_that_was_set_at_one_worker_holds_at_the_other(both):
    one, other = both
    headers = greeted(one, "modern")

    def heard(worker):
        return [
            each.get("method")
            for each in workers.messages(worker.post("modern", call("test_tool_with_logging"), **headers))
        ]

    assert "notifications/message" not in heard(other)
    message = {"jsonrpc": "2.0", "id": 2, "method": "logging/setLevel", "params": {"level": "debug"}}
    assert next(workers.messages(one.post("modern", message, **headers)))["result"] == {}
    assert "notifications/message" in heard(other)


def test_a_call_that_waits_for_reviewers_is_withdrawn_at_the_other_worker(tmp_path, people):
    with opened(tmp_path / "gateway", people, tmp_path / "ledger.db", hold_s=30, keepalive_s=1) as ledger:
        sql = ledger.bulk()
        with workers.each(ledger.gateway, "analyst") as (one, other):
            headers = greeted(one, "ledger")
            response = one.post("ledger", call("query", {"sql": sql}, ident=5, _meta={"progressToken": "t"}), **headers)
            heard = workers.messages(response)
            waiting = next(heard)
            assert APPROVAL.search(waiting["params"]["message"])
            taken_back = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
            accepted(other, "ledger", taken_back, headers)
            assert [message for message in heard if "method" not in message] == []
        assert ledger.ran(sql) == 0
