"""The log of a whole gateway as JSON: one object a line, and nothing in it of what anybody sent."""

from __future__ import annotations

import json
import secrets

import httpx2
import trio

from tests.telemetry.watched import PATIENCE_S

SSN = "917-36-5284"


def lines(watched):
    return [json.loads(line) for line in watched.gateway.log.read_text().splitlines()]


async def test_every_line_is_an_object_that_says_when_how_bad_and_who(watched):
    watched.query(watched.few())
    for line in lines(watched):
        assert {"time", "level", "logger", "message"} <= line.keys()
        assert line["level"] in {"INFO", "WARNING", "ERROR", "CRITICAL"}
        assert line.get("worker", 0) in (0, 1)


async def told(watched, logger, **wanted):
    """The lines of a logger with these fields, once there is one."""
    with trio.fail_after(PATIENCE_S):
        while True:
            found = [line for line in lines(watched) if line["logger"] == logger and wanted.items() <= line.items()]
            if found:
                return found
            await trio.sleep(0.05)


async def test_a_request_is_a_line_that_says_what_it_was_for_and_how_it_was_answered(watched):
    watched.query(watched.few())
    wanted = {"method": "POST", "for": "mcp", "upstream": "ledger", "status": 200}
    for line in await told(watched, "phigate.access", **wanted):
        assert line.keys() == {"time", "level", "logger", "message", "worker", "seconds", *wanted}
        assert line["message"].startswith("POST mcp ledger 200 ")


async def test_nothing_of_a_path_a_query_or_a_header_is_logged(watched):
    marks = [secrets.token_hex(8) for _ in range(6)]
    watched.gateway.phi |= {*marks, SSN}
    base, headers = watched.gateway.url, watched.gateway.headers("analyst", **{"x-mark": marks[0]})
    for path in (f"/mcp/{marks[1]}", f"/mcp/ledger?patient={marks[2]}", f"/approvals/{marks[3]}", f"/{marks[4]}/{SSN}"):
        httpx2.get(base + path, headers=headers, timeout=60)
    httpx2.request("PROPFIND", f"{base}/mcp/ledger", headers=headers, timeout=60)
    httpx2.post(
        f"{base}/mcp/ledger", content=SSN, headers={**headers, "authorization": f"Bearer {marks[5]}"}, timeout=60
    )
    await told(watched, "phigate.access", upstream="(unknown)")
    await told(watched, "phigate.access", method="(other)")
    log = watched.gateway.log.read_text()
    assert [mark for mark in (*marks, SSN) if mark in log] == []


async def test_no_token_and_no_phi_of_a_session_full_of_them_is_in_the_log(watched):
    watched.gateway.phi |= {SSN}
    watched.ask("tools/call", name=f"patient {SSN}", arguments={"sql": SSN}, meta={"baggage": SSN, "traceparent": SSN})
    watched.query(f"select '{SSN}'; drop table patient")
    watched.query(watched.few())
    watched.query(watched.few(), upstream="nobody")
    watched.ask(f"ward/{SSN}")
    await told(watched, "phigate.access", upstream="nobody")
    log = watched.gateway.log.read_text()
    token = watched.gateway.issuer.token("analyst")
    secret = {*watched.gateway.phi, *token.split(".")[:1], "select", "patient ", "analyst"}
    assert [word for word in secret if word in log] == []


async def test_what_is_logged_within_a_call_says_which_call_and_which_trace(watched):
    trace = secrets.token_hex(16)
    meta = {
        "traceparent": f"00-{trace}-{secrets.token_hex(8)}-01",
        "phigate/emergency": True,
        "phigate/justification": "a synthetic reason",
    }
    watched.query(watched.bulk(), meta=meta)
    [line] = await told(watched, "phigate.emergency", trace=trace)
    assert line["level"] == "CRITICAL"
    assert line["exchange"] in line["message"]
