"""Upstreams that come, change and go while the gateway serves: nobody else notices."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import httpx2
import pytest
import trio

from tests.e2e import harness

BEDS = str(Path(__file__).with_name("upstream_server.py"))
MORE = f"""
[[upstream]]
name = "beds"
command = "{sys.executable}"
args = ["{BEDS}"]
connect_s = 30
"""
GIVE_UP_S = 120


@pytest.fixture
def gateway(tmp_path, people, ward_upstream):
    settings = {"gateway": {"reload_s": 0.2}}
    aggregates = [{"name": "all"}]
    with harness.running(
        tmp_path, people, [ward_upstream], workers=2, settings=settings, aggregates=aggregates
    ) as running:
        yield running


def edit(gateway, text, *, hup=False):
    """Write the file as an editor does, in one piece."""
    beside = gateway.config.with_suffix(".new")
    beside.write_text(text)
    os.replace(beside, gateway.config)
    if hup:
        gateway.process.send_signal(signal.SIGHUP)


def told(gateway):
    return httpx2.get(f"{gateway.url}/readyz", timeout=60).json()["configuration"]


def eventually(holds, what):
    """Both workers answer on one port, so what holds must hold a few times in a row."""
    deadline = time.monotonic() + GIVE_UP_S
    times = 0
    while times < 8:
        times = times + 1 if holds() else 0
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def leaves(gateway):
    return [leaf["members"]["config"] for leaf in gateway.leaves() if leaf["type"] == "config.changed"]


async def test_an_upstream_joins_and_leaves_and_a_running_call_and_session_stay(gateway):
    before = gateway.config.read_text()
    async with harness.client(gateway, "ward", "analyst", mode="legacy") as client:
        await client.list_tools()
        async with trio.open_nursery() as nursery:
            heard = []

            async def hear():
                heard.append(await client.call_tool("hear", {"event": "joined"}))

            nursery.start_soon(hear)
            edit(gateway, before + MORE)
            await trio.to_thread.run_sync(eventually, lambda: told(gateway)["upstreams"] == 2, "nothing joined")
            async with harness.client(gateway, "beds", "analyst") as beds:
                await beds.list_tools()
                found = await beds.call_tool("census", {"ward": "icu"})
            async with harness.client(gateway, "all", "analyst") as everybody:
                names = {tool.name for tool in (await everybody.list_tools()).tools}
            await client.call_tool("tell", {"event": "joined"})
        edit(gateway, before)
        await trio.to_thread.run_sync(eventually, lambda: told(gateway)["upstreams"] == 1, "nothing left")
        gone = [(await anybody(gateway, "beds")).status_code for _ in range(4)]
        again = await client.call_tool("add", {"one": 1, "other": 1})

    assert found.content[0].text == "icu: 7 beds"
    assert {"beds__census", "ward__add"} <= names
    assert heard[0].content[0].text == "true"
    assert again.content[0].text == "2"
    assert gone == [404] * 4
    recorded = leaves(gateway)
    assert len(recorded) == 3, "the file as it was, as it became, and as it was again: each once, for both workers"
    assert recorded[0] == recorded[2] != recorded[1]


async def anybody(gateway, name):
    async with httpx2.AsyncClient(timeout=30) as http:
        return await http.get(gateway.mcp(name), headers=gateway.headers("analyst"))


def test_a_call_that_runs_when_its_upstream_is_replaced_ends_on_the_old_one(gateway):
    before = gateway.config.read_text()

    async def through():
        with trio.fail_after(GIVE_UP_S):
            async with harness.client(gateway, "ward", "analyst") as client, trio.open_nursery() as nursery:
                await client.list_tools()
                heard = []

                async def hear():
                    heard.append(await client.call_tool("hear", {"event": "replaced"}))

                nursery.start_soon(hear)
                edit(gateway, before.replace("[[upstream]]", "[[upstream]]\nidle_s = 59", 1))
                await trio.to_thread.run_sync(
                    eventually, lambda: len(leaves(gateway)) == 2 and told(gateway)["newest"] == "in force", "not taken"
                )
                async with harness.client(gateway, "ward", "analyst") as other:
                    await other.call_tool("tell", {"event": "replaced"})
        return heard[0].content[0].text

    assert trio.run(through) == "true"


def test_a_file_with_faults_changes_nothing_and_says_so(gateway):
    before = gateway.config.read_text()
    edit(gateway, before + '\n[[upstream]]\nname = "no way"\nurl = "http://127.0.0.1:1/mcp"\n', hup=True)
    eventually(lambda: told(gateway) == {"upstreams": 1, "newest": "refused"}, "the fault is not told")
    edit(gateway, before, hup=True)
    eventually(lambda: told(gateway) == {"upstreams": 1, "newest": "in force"}, "the fault stays")

    log = gateway.log.read_text()
    assert "what was in force stays" in log
    assert "upstream[2].name" in log
    assert len(leaves(gateway)) == 1


def test_what_needs_a_restart_is_said_and_not_half_done(gateway):
    before = gateway.config.read_text()
    edit(gateway, before.replace("drain_s = 10", "drain_s = 11") + MORE)
    eventually(lambda: told(gateway) == {"upstreams": 1, "newest": "refused"}, "it was taken over")
    assert "restart to have that in force" in gateway.log.read_text()
    edit(gateway, before)
    eventually(lambda: told(gateway)["newest"] == "in force", "the fault stays")


async def test_a_standing_stream_ends_when_its_upstream_goes_and_that_is_on_record(gateway):
    before = gateway.config.read_text()
    greeting = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": greeting}
    with trio.fail_after(GIVE_UP_S):
        async with httpx2.AsyncClient(timeout=30) as http:
            begun = await http.post(gateway.mcp("ward"), json=message, headers=gateway.headers("analyst"))
            headers = gateway.headers("analyst", **{"mcp-session-id": begun.headers["mcp-session-id"]})
            ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            await http.post(gateway.mcp("ward"), json=ready, headers=headers)
            async with http.stream("GET", gateway.mcp("ward"), headers=headers) as stream:
                assert stream.status_code == 200
                edit(gateway, before.replace('name = "ward"', 'name = "ward"\nidle_s = 58', 1))
                rest = b"".join([chunk async for chunk in stream.aiter_raw()])

    assert b"data: " not in rest, "something was said"  # The event that only says its id has no data.
    intents = [leaf["exchange"] for leaf in gateway.leaves() if leaf["members"].get("method") == "(listen)"]
    ends = [leaf for leaf in gateway.leaves() if leaf["type"] == "exchange.outcome" and leaf["exchange"] in intents]
    assert [leaf["members"]["status"] for leaf in ends] == ["ended"]
