"""A legacy client whose connection breaks comes back for the rest, at another worker (MCP 2025-11-25, Transports)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx2
import pytest
import trio

from tests import real_parts
from tests.e2e import harness, sdk_server, workers
from tests.e2e.harness import Upstream
from tests.e2e.ledger import APPROVAL, opened
from tests.e2e.workers import call, greeted

ROLE = "analyst"
RESUMING = Path(__file__).parents[1] / "node" / "clients" / "resuming.mjs"


@pytest.fixture(scope="module")
def relay_port():
    """Where something stands between clients and the gateway."""
    return harness.free_port()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, people, ward_upstream, relay_port):
    place = tmp_path_factory.mktemp("resumption")
    twin = Upstream("twin", ward_upstream.settings)
    aggregates = [{"name": "all", "upstreams": ["ward"]}, {"name": "two", "upstreams": ["ward", "twin"]}]
    settings = {"gateway": {"allowed_hosts": [f"127.0.0.1:{relay_port}"]}}
    more = {"workers": 2, "aggregates": aggregates, "settings": settings}
    with harness.running(place, people, [ward_upstream, twin], **more) as running:
        running.phi |= {sdk_server.SSN}
        trio.run(harness.list_tools, running, ROLE, "ward", "twin")
        yield running


@pytest.fixture
def both(gateway):
    with workers.each(gateway, ROLE) as found:
        yield found


def events(response) -> Iterator[tuple[str, str]]:
    """Id and data of each event as it comes; comments are passed over."""
    ident = data = ""
    while line := response.readline():
        name, _, value = line.decode().rstrip("\r\n").partition(":")
        if name == "id":
            ident = value.strip()
        elif name == "data":
            data = value.strip()
        elif not line.strip() and (ident or data):
            yield ident, data
            ident = data = ""


def resumed(worker, headers, last, upstream="ward"):
    """What comes after an event; the first only says where the client is."""
    heard = events(worker.get(upstream, **headers, **{"last-event-id": last}))
    assert next(heard) == (last, "")
    return heard


def begun(worker, key, headers, upstream="ward", tool="stepwise"):
    """A call of three steps of which the first is reported: its stream, and what came on it up to there."""
    message = call(tool, {"key": key, "steps": 3}, ident="lost", _meta={"progressToken": "t"})
    heard = events(worker.post(upstream, message, **headers))
    return heard, [next(heard), next(heard)]


def tell(worker, event, headers, upstream="ward", tool="tell"):
    (answer,) = workers.messages(worker.post(upstream, call(tool, {"event": event}), **headers))
    assert "error" not in answer


def place(ident):
    exchange, _, said = ident.rpartition("_")
    return exchange, int(said)


def test_a_call_whose_stream_broke_is_told_to_its_end_at_the_other_worker_and_runs_once(gateway, both):
    one, other = both
    headers = greeted(one, "ward")
    _, (primed, first) = begun(one, "broke", headers)
    exchange = place(primed[0])[0]
    assert (place(primed[0])[1], primed[1]) == (0, "")
    assert place(first[0]) == (exchange, 1)
    one.hang_up()

    third = other.again()
    tell(third, "broke/1", headers)
    heard = resumed(other, headers, first[0])
    second = next(heard)
    tell(third, "broke/2", headers)
    rest = [second, next(heard)]
    tell(third, "broke/3", headers)
    *_, last = rest = [*rest, *heard]

    assert [place(ident) for ident, _ in rest] == [(exchange, 2), (exchange, 3), (exchange, 4)]
    answer = json.loads(last[1])
    assert (answer["id"], answer["result"]["content"][0]["text"]) == ("lost", "3 steps")
    assert sdk_server.SSN not in str(rest)
    again = [leaf for leaf in gateway.leaves() if leaf.get("members", {}).get("resumes") == exchange]
    assert len(again) == 1
    statuses = [
        leaf["members"]["status"]
        for leaf in gateway.leaves()
        if leaf.get("exchange") == again[0]["exchange"] and "status" in leaf["members"]
    ]
    assert statuses == ["retold", "retold", "retold", "resumed"]


def test_what_is_told_again_is_what_was_told_to_the_byte(both):
    one, other = both
    headers = greeted(one, "ward")
    third = other.again()
    for step in (1, 2, 3):
        tell(third, f"bytes/{step}", headers)
    message = call("stepwise", {"key": "bytes", "steps": 3}, _meta={"progressToken": "t"})
    told = list(events(one.post("ward", message, **headers)))
    assert len(told) == 5

    assert list(resumed(other, headers, told[0][0])) == told[1:]
    assert list(resumed(other, headers, told[3][0])) == told[4:]
    assert list(resumed(other, headers, told[4][0])) == []


def test_clients_of_older_revisions_get_no_event_without_data(both):
    one, _ = both
    headers = greeted(one, "ward", "2025-06-18")
    tell(one.again(), "older/1", headers)
    message = call("stepwise", {"key": "older", "steps": 1}, _meta={"progressToken": "t"})
    told = list(events(one.post("ward", message, **headers)))
    assert [place(ident)[1] for ident, _ in told] == [1, 2]
    assert all(data for _, data in told)


def test_a_modern_clients_events_have_no_ids(gateway):
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
        "progressToken": "t",
    }
    headers = gateway.headers(ROLE, **{"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call"})
    message = call("stepwise", {"key": "modern", "steps": 1}, _meta=meta)
    with workers.each(gateway, ROLE) as (one, other):
        tell(other, "modern/1", greeted(other, "ward"))
        response = one.post("ward", message, **headers, **{"mcp-name": "stepwise"})
        told = list(events(response))
    assert len(told) == 2
    assert all(not ident for ident, _ in told)


@pytest.mark.parametrize("last", ["1", "x_1", "01a2d1a4-0000-7000-8000-000000000000_1", "é", "_0", "../../etc_1"])
def test_an_event_id_that_was_never_given_is_refused(gateway, both, last):
    headers = greeted(both[0], "ward")
    reply = httpx2.get(
        gateway.mcp("ward"), headers={**gateway.headers(ROLE), **headers, "last-event-id": last.encode()}, timeout=60
    )
    assert reply.status_code == 400
    assert "Open the stream without one" in reply.text


def test_event_ids_of_another_session_or_person_bring_nothing(gateway, both):
    one, other = both
    headers = greeted(one, "ward")
    _, (primed, _) = begun(one, "foreign", headers)
    for step in (1, 2, 3):
        tell(other, f"foreign/{step}", headers)
    mine = {**greeted(other, "ward"), "last-event-id": primed[0]}
    assert httpx2.get(gateway.mcp("ward"), headers={**gateway.headers(ROLE), **mine}, timeout=60).status_code == 400
    theirs = {**gateway.headers("officer"), **headers, "last-event-id": primed[0]}
    assert httpx2.get(gateway.mcp("ward"), headers=theirs, timeout=60).status_code == 404
    one.hang_up()


def test_the_standing_stream_goes_on_after_what_was_missed(both):
    one, other = both
    headers = greeted(one, "ward")
    third = other.again()
    heard = events(one.get("ward", **headers))
    primed = next(heard)
    (_,) = workers.messages(third.post("ward", call("changes"), **headers))
    changed = next(heard)
    assert json.loads(changed[1])["method"] == "notifications/tools/list_changed"
    one.hang_up()

    heard = resumed(other, headers, primed[0])
    assert next(heard) == changed
    fresh = next(heard)
    assert place(fresh[0])[0] != place(primed[0])[0]
    assert place(fresh[0])[1] == 0
    (_,) = workers.messages(third.post("ward", call("changes"), **headers))
    assert place(next(heard)[0]) == (place(fresh[0])[0], 1)
    other.hang_up()


def test_an_aggregates_standing_stream_goes_on_after_what_was_missed_of_each_upstream(both):
    one, other = both
    headers = greeted(one, "two")
    third = other.again()

    def changes(*upstreams):
        for upstream in upstreams:
            (_,) = workers.messages(third.post("two", call(f"{upstream}__changes"), **headers))

    heard = events(one.get("two", **headers))
    primed = next(heard)
    assert (primed[1], primed[0].count(",")) == ("", 1)
    changes("ward")
    first = next(heard)
    assert json.loads(first[1])["method"] == "notifications/tools/list_changed"
    changes("twin", "ward")
    missed = [next(heard), next(heard)]
    one.hang_up()

    heard = events(other.get("two", **headers, **{"last-event-id": first[0]}))
    assert next(heard) == (first[0], "")
    again = [next(heard), next(heard)]
    assert [json.loads(data)["method"] for _, data in again] == ["notifications/tools/list_changed"] * 2
    assert again[-1][0] == missed[-1][0]  # Where the client is by then, whichever came first.
    changes("twin")
    assert next(heard)[0] != missed[-1][0]
    other.hang_up()

    for foreign in ("all:x_1", f"{first[0]},{first[0]},{first[0]}", "all:"):
        refused = third.get("two", **headers, **{"last-event-id": foreign})
        assert (refused.status, b"Open the stream" in refused.read()) == (400, True)


def test_an_aggregate_brings_the_client_back_to_the_stream_of_its_one_upstream(both):
    one, other = both
    headers = greeted(one, "all")
    _, (_, first) = begun(one, "several", headers, "all", "ward__stepwise")
    one.hang_up()
    third = other.again()
    for step in (1, 2, 3):
        tell(third, f"several/{step}", headers, "all", "ward__tell")
    told = list(resumed(other, headers, first[0], "all"))
    assert json.loads(told[-1][1])["result"]["content"][0]["text"] == "3 steps"
    refused = other.get("all", **headers, **{"last-event-id": "x_1"})
    assert (refused.status, b"Open the stream" in refused.read()) == (400, True)


def test_who_comes_back_for_a_call_whose_worker_was_killed_is_told_that_its_end_is_unknown(
    tmp_path, people, ward_upstream
):
    with harness.running(tmp_path / "killed", people, [ward_upstream], workers=1) as gateway:
        trio.run(harness.list_tools, gateway, ROLE, "ward")
        with workers.each(gateway, ROLE) as (one,):
            headers = greeted(one, "ward")
            _, (_, first) = begun(one, "killed", headers)
            (pid,) = gateway.workers()
            os.kill(pid, signal.SIGKILL)
            one.hang_up()
            (told,) = resumed(one.again(), headers, first[0])
        answer = json.loads(told[1])
        assert (answer["id"], answer["error"]["data"]["code"]) == ("lost", "unknown_end")


def test_a_held_call_that_its_client_comes_back_for_runs_once_it_is_granted(tmp_path, people):
    with opened(tmp_path / "gateway", people, tmp_path / "ledger.db", hold_s=30, keepalive_s=1) as ledger:
        sql = ledger.bulk()
        with workers.each(ledger.gateway, ROLE) as (one, other):
            headers = greeted(one, "ledger")
            message = call("query", {"sql": sql}, ident="held", _meta={"progressToken": "t"})
            heard = events(one.post("ledger", message, **headers))
            primed, waiting = next(heard), next(heard)
            approval = APPROVAL.search(waiting[1])
            assert approval is not None
            one.hang_up()
            while ledger.gateway.leaves()[-1]["type"] != "exchange.outcome":
                time.sleep(0.02)
            response = other.get("ledger", **headers, **{"last-event-id": primed[0]})
            trio.run(ledger.grant, approval[0])
            *_, last = events(response)
        answer = json.loads(last[1])
        assert (answer["id"], "error" in answer) == ("held", False)
        assert not answer["result"].get("isError")
        assert ledger.ran(sql) == 1


class Relay:
    """Passes bytes between clients and a port, until it cuts every connection that it has."""

    def __init__(self, port):
        self.port = port
        self.scopes = []

    async def serve(self, client):
        with trio.CancelScope() as scope:
            self.scopes.append(scope)
            async with (
                client,
                await trio.open_tcp_stream("127.0.0.1", self.port) as server,
                trio.open_nursery() as both,
            ):
                both.start_soon(self._copy, client, server, scope)
                both.start_soon(self._copy, server, client, scope)

    async def _copy(self, source, sink, scope):
        try:
            async for data in source:
                await sink.send_all(data)
        except trio.BrokenResourceError:
            pass  # One of them has left, and so does the other.
        scope.cancel()

    def cut(self):
        for scope in self.scopes:
            scope.cancel()


@pytest.mark.parametrize("which", ["v1", "v2"])
async def test_the_official_typescript_clients_come_back_by_themselves(gateway, relay_port, which):
    relay = Relay(gateway.port)
    token = gateway.issuer.token(ROLE)
    directory = real_parts.npm_set("clients")
    command = [str(real_parts.node()), str(RESUMING), which]
    with workers.each(gateway, ROLE) as (one, _), trio.fail_after(60):
        headers = greeted(one, "ward")
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(trio.serve_tcp, relay.serve, relay_port, host="127.0.0.1"))
            environ = real_parts.environment() | {
                "MCP_URL": f"http://127.0.0.1:{relay_port}/mcp/ward",
                "TOKEN": token,
                "KEY": which,
            }
            process = await nursery.start(
                partial(trio.run_process, command, cwd=directory, env=environ, stdout=subprocess.PIPE)
            )
            said = Lines(process.stdout)
            assert await said.next() == {"progress": 1}
            relay.cut()
            tell(one, f"{which}/1", headers)
            assert await said.next() == {"progress": 2}
            relay.cut()
            for step in (2, 3):
                tell(one, f"{which}/{step}", headers)
            assert await said.next() == {"progress": 3}
            ended = (await said.next())["ended"]
            nursery.cancel_scope.cancel()
    assert ended["content"][0]["text"] == "3 steps"


class Lines:
    """The JSON documents of a stream, one a line."""

    def __init__(self, stream):
        self.stream = stream
        self.data = b""

    async def next(self):
        while b"\n" not in self.data:
            self.data += await self.stream.receive_some()
        line, _, self.data = self.data.partition(b"\n")
        return json.loads(line)
