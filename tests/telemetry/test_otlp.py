"""Traces of a whole gateway as a real collector gets them, and as its upstream is told of them."""

from __future__ import annotations

import json
import re
import secrets

import httpx2
import pytest
import trio

from tests.e2e import harness
from tests.telemetry import watched as watching

SERVER, CLIENT, INTERNAL = 2, 3, 1
ERROR = 2
STEPS = ["decide call", "append exchange.intent", "forward", "decide result", "mask", "append exchange.outcome"]
NAMES = re.compile(
    r"tools/(call|list)|ping|initialize|notifications/initialized|\(unknown\)"
    r"|forward|mask|wait for approval|decide (call|result|catalogue)"
    r"|append (exchange|approval|emergency)\.[a-z]+"
)
TOLD = {
    "mcp.method.name", "phigate.upstream", "phigate.era", "phigate.exchange", "phigate.outcome", "phigate.effect",
    "phigate.reasons", "phigate.approval", "error.type",
}  # fmt: skip


def traceparent(*, sampled: bool = True) -> tuple[str, str, str]:
    """A caller's context: the header, and the trace and span that it names."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    return f"00-{trace}-{span}-0{int(sampled)}", trace, span


async def test_a_call_is_a_span_of_its_callers_trace_and_each_step_of_it_is_one_below(watched):
    said, trace, parent = traceparent()
    watched.query(watched.few(), meta={"traceparent": said})

    own, *steps = await watched.trace(trace, least=7)
    assert (own["name"], own["kind"], own["parent"], own["status"]) == ("tools/call", SERVER, parent, 0)
    assert [step["name"] for step in steps] == STEPS
    assert {step["parent"] for step in steps} == {own["span"]}
    assert [step["kind"] for step in steps] == [INTERNAL, INTERNAL, CLIENT, INTERNAL, INTERNAL, INTERNAL]
    assert len({span["span"] for span in (own, *steps)}) == 7
    times = [time for step in steps for time in (step["began"], step["ended"])]
    assert [own["began"], *times, own["ended"]] == sorted([own["began"], *times, own["ended"]])
    assert own["told"]["phigate.outcome"] == "replied"
    [leaf] = [leaf for leaf in watched.gateway.leaves() if leaf.get("exchange") == own["told"]["phigate.exchange"]][:1]
    assert leaf["type"] == "exchange.intent"
    assert own["of"]["service.name"] == "phigate-tests"
    assert own["authorization"] == watching.COLLECTOR_TOKEN


async def test_what_the_http_header_says_is_the_parent_where_meta_says_nothing_and_a_link_where_it_does(watched):
    said, trace, span = traceparent()
    watched.header = {"traceparent": said}
    watched.query(watched.few())
    [own] = [each for each in await watched.trace(trace) if each["kind"] == SERVER]
    assert own["parent"] == span

    other, inner, _ = traceparent()
    watched.query(watched.few(), meta={"traceparent": other})
    [own] = [each for each in await watched.trace(inner) if each["kind"] == SERVER]
    assert own["links"] == [[trace, span]]


async def test_a_refusal_is_an_error_with_its_reasons_and_nothing_is_forwarded(watched):
    said, trace, _ = traceparent()
    watched.query("drop table patient", meta={"traceparent": said})
    own, *steps = await watched.trace(trace, least=3)
    assert (own["status"], own["told"]["error.type"]) == (ERROR, "refused")
    assert [step["name"] for step in steps] == ["decide call", "append exchange.refused"]
    assert steps[0]["told"] == {"phigate.effect": "deny", "phigate.reasons": "sql_schema_change,write"}


async def test_a_call_that_waits_shows_how_long_it_waited(watched):
    said, trace, _ = traceparent()
    watched.query(watched.bulk(), meta={"traceparent": said})
    [wait] = [span for span in await watched.trace(trace, least=5) if span["name"] == "wait for approval"]
    assert wait["told"] == {"phigate.approval": "pending"}
    assert wait["ended"] - wait["began"] > 0.9e9


async def test_an_upstream_that_fails_is_seen_where_it_failed(watched):
    said, trace, _ = traceparent()
    watched.query(watched.few(), upstream="nobody", meta={"traceparent": said})
    [sent] = [span for span in await watched.trace(trace, least=5) if span["kind"] == CLIENT]
    assert (sent["status"], sent["told"]["error.type"]) == (ERROR, "unreachable")


async def test_a_trace_that_its_caller_does_not_record_is_not_recorded(watched):
    quiet, trace, _ = traceparent(sampled=False)
    watched.query(watched.few(), meta={"traceparent": quiet})
    said, loud, _ = traceparent()
    for _ in range(4):  # Either worker exports in order: once it has exported this, the other would be there too.
        watched.query(watched.few(), meta={"traceparent": said})
    await watched.trace(loud, least=28)
    assert [span for span in watched.spans() if span["trace"] == trace] == []


async def test_no_span_says_anything_of_what_was_asked_and_answered(watched):
    ssn = "917-36-5284"
    said, trace, _ = traceparent()
    baggage = {"traceparent": said, "tracestate": f"ehr={ssn}", "baggage": f"patient={ssn}"}
    watched.ask("tools/call", name=f"patient {ssn}", arguments={ssn: ssn}, meta=baggage)
    watched.query(watched.few(), meta=baggage)
    await watched.trace(trace, least=9)

    for span in watched.spans():
        assert set(span["told"]) <= TOLD
        assert NAMES.fullmatch(span["name"]), span["name"]
    whole = str(watched.spans())
    assert [word for word in (ssn, *watched.gateway.phi - {watching.COLLECTOR_TOKEN}, "analyst") if word in whole] == []


@pytest.mark.parametrize("manner", ["never", "badly"])
async def test_a_collector_that_does_not_answer_or_refuses_holds_up_no_call(watched, manner):
    watched.manner(manner)
    failed = watched.value("phigate_spans_total", result="failed")
    try:
        with trio.fail_after(60):  # An export is given up after 5 s: calls that waited for it would take 100.
            for _ in range(20):
                assert "[SSN]" in str(await trio.to_thread.run_sync(watched.query, watched.few()))
        await watched.until("phigate_spans_total", failed + 7, result="failed")
    finally:
        watched.manner("well")
    assert "a secret of the collector's" not in watched.gateway.log.read_text()
    assert "traces cannot be exported, and are dropped" in watched.gateway.log.read_text()


async def test_the_upstream_is_told_the_span_that_it_is_called_from_and_all_else_as_the_caller_said_it(watched):
    said, trace, _ = traceparent()
    more = {"tracestate": "congo=t61rcWkgMzE", "baggage": "ward=icu", "ward.example/own": [1, None]}
    answer = watched.ask("tools/call", upstream="plain", name="echo", arguments={}, meta={"traceparent": said, **more})
    meta = _told(answer)["params"]["_meta"]
    [sent] = [span for span in await watched.trace(trace, least=7) if span["kind"] == CLIENT]
    assert meta["traceparent"] == f"00-{trace}-{sent['span']}-01"
    assert {name: meta[name] for name in more} == more


async def test_a_callers_trace_that_is_not_recorded_goes_on_as_it_came(watched):
    said, _, _ = traceparent(sampled=False)
    answer = watched.ask("tools/call", upstream="plain", name="echo", arguments={}, meta={"traceparent": said})
    assert _told(answer)["params"]["_meta"]["traceparent"] == said


async def test_a_legacy_client_is_traced_by_its_header_and_its_upstream_is_told(watched):
    said, trace, parent = traceparent()
    url, headers = watched.gateway.mcp("plain"), {**watched.gateway.headers("analyst"), "traceparent": said}
    about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "old", "version": "1"}}
    greeting = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about}
    headers["mcp-session-id"] = httpx2.post(url, json=greeting, headers=headers, timeout=60).headers["mcp-session-id"]
    done = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert httpx2.post(url, json=done, headers=headers, timeout=60).status_code == 202
    message = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "echo", "arguments": {}}}
    answer = harness.post(watched.gateway, "plain", message, headers)

    spans = await watched.trace(trace, least=16)
    # Each worker exports for itself: the spans of several requests come in any order.
    servers = {span["name"]: span for span in spans if span["kind"] == SERVER}
    assert servers.keys() == {"initialize", "notifications/initialized", "tools/call"}
    assert {span["parent"] for span in servers.values()} == {parent}
    [sent] = [span for span in spans if span["kind"] == CLIENT and span["parent"] == servers["tools/call"]["span"]]
    assert _told(answer)["params"]["_meta"]["traceparent"] == f"00-{trace}-{sent['span']}-01"


def test_the_public_side_says_nothing_of_traces(watched):
    said, trace, _ = traceparent()
    watched.header = {"traceparent": said}
    url, headers = watched.gateway.mcp("plain"), {**watched.gateway.headers("analyst"), "traceparent": said}
    response = httpx2.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers=headers, timeout=60)
    assert trace not in response.text + str(response.headers)


def _told(answer):
    assert "result" in answer, answer
    return json.loads(answer["result"]["content"][0]["text"])
