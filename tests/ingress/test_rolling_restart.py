"""A gateway behind each ingress is restarted under load: no call is lost, and none runs twice.

Both, one after the other, by `make ingress`.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import httpx2
import pytest
import trio

from tests.e2e import harness, ledger_server
from tests.e2e.harness import Upstream
from tests.ingress import parts
from tests.ingress.load import UNLIMITED, Load, grant, pending, query, restarted, tool
from tests.ingress.parts import DRAIN_DELAY_S, KINDS
from tests.ingress.talk import answer, headers

GIVE_UP_S = 120
HELD = ("01", "08")
"""ESTABLISHED and CLOSE_WAIT: its program has not closed it."""


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    """An upstream that counts what ran: its database, and how gateways reach it."""
    db = tmp_path_factory.mktemp("ledger") / "ledger.db"
    with harness.python_program("-m", "tests.e2e.ledger_server", "--db", str(db)) as said:
        yield db, Upstream("ledger", {"url": said["mcp"], "sql": {"query": "sql"}, "sql_dialect": "sqlite"})


@pytest.fixture(scope="module")
def pair(tmp_path_factory, people, ledger):
    """Two gateways that go on serving for a while after they were told to stop."""
    ports = [harness.free_port() for _ in KINDS]
    settings = {"drain_delay_s": DRAIN_DELAY_S, "drain_s": 10, "hold_s": 20, "keepalive_s": 1}
    place = tmp_path_factory.mktemp("pair")
    with parts.gateways(place, people, [ledger[1]], ports, "client-cert", "client-cert", settings=settings) as found:
        trio.run(harness.list_tools, found[0], "analyst", "ledger")
        yield found, dict(zip(KINDS, ports, strict=True))


@pytest.fixture
def rolling(kind, pair, tmp_path):
    """Each ingress before them."""
    gateways, ports = pair
    with parts.in_front(kind, tmp_path / "ingress", gateways, ports[kind.name], UNLIMITED[kind.name]) as ingress:
        yield ingress


async def test_a_restart_loses_no_call_runs_none_twice_and_leaves_its_held_ones_to_the_other(rolling, ledger):
    first, second = rolling.replicas
    held = query(f"select ssn, ward from patient where id > -{1 + list(KINDS).index(rolling.kind.name)}")
    given, ends = headers(rolling, "analyst", held), []

    async def ask():
        async with httpx2.AsyncClient(timeout=60) as direct:
            ends.append(await direct.post(first.mcp("ledger"), json=held, headers=given))

    async with rolling.client() as http, Load(rolling, ledger[0]) as load, trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        with trio.fail_after(GIVE_UP_S):
            while not (waits := await pending(http, rolling)):
                await trio.sleep(0.05)
        await load.more()
        await restarted(first)
        await load.more()
        os.kill(second.process.pid, signal.SIGHUP)  # A reload is not noticed.
        await load.more()
        # Its gateway told it to come again; whoever it meets now joins it to the same approval.
        put_off = answer(ends[0])["result"]
        assert put_off["resultType"] == "input_required"
        held["params"]["requestState"] = put_off["requestState"]
        nursery.start_soon(grant, http, rolling, waits[0])
        result = answer(await http.post(rolling.mcp("ledger"), json=held, headers=given))["result"]
    assert load.refused == []
    assert set(load.ran().values()) == {1}
    assert len(result["structuredContent"]["rows"]) == ledger_server.PATIENTS
    assert ledger_server.ran(ledger[0], held["params"]["arguments"]["sql"]) == 1


@pytest.fixture
def unaware(kind, pair, tmp_path):
    """Each ingress before them, which does not see in time that one of them is gone."""
    gateways, ports = pair
    changes = [*UNLIMITED[kind.name], *kind.unnoticed]
    with parts.in_front(kind, tmp_path / "ingress", gateways, ports[kind.name], changes) as ingress:
        yield ingress


async def test_the_calls_of_a_gateway_that_is_killed_are_not_sent_to_the_other_and_all_that_come_are(unaware):
    first, outcomes = unaware.replicas[0], {}
    # So many that either gateway has some; and calls enough to meet whatever happens to one in twenty.
    events, more = [f"{unaware.kind.name}-{number}" for number in range(10)], 100

    async def send(http, message):
        given = headers(unaware, "analyst", message)
        return (await http.post(unaware.mcp("ledger"), json=message, headers=given)).status_code

    async def ask(event):
        async with unaware.client() as http:
            try:
                outcomes[event] = await send(http, query("select ward from patient where id = 1", until=event))
            except httpx2.TransportError:
                outcomes[event] = None

    before = intents(first)
    try:
        async with unaware.client() as http, trio.open_nursery() as nursery:
            for event in events:
                nursery.start_soon(ask, event)
            for event in events:
                assert await send(http, tool("hear", event=f"{event}/begun")) == 200
            await trio.to_thread.run_sync(first.kill)
            # What is sent into a connection whose end the ingress has not seen yet is lost: it may have been heard.
            with trio.fail_after(GIVE_UP_S):
                while not outcomes or connected(first.port):
                    await trio.sleep(0.01)
            # The other is busy with its held calls: whoever prefers the one with least to do prefers the dead one.
            for _ in range(more):
                assert await send(http, tool("tell", event="nobody's")) == 200
            for event in events:
                assert await send(http, tool("tell", event=event)) == 200
        assert intents(first) - before == 3 * len(events) + more
        assert set(outcomes.values()) <= {200, 502, 503, None}
        assert 200 in outcomes.values()
    finally:
        await trio.to_thread.run_sync(first.start)


def connected(port):
    """Whether anybody on this machine still holds a connection to this port."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    remotes = [int(remote.partition(":")[2], 16) for _, _, remote, state, *_ in map(str.split, lines) if state in HELD]
    return port in remotes


def intents(gateway):
    """How many messages were about to be forwarded, ever."""
    return sum(leaf["type"] == "exchange.intent" for leaf in gateway.leaves())
