"""Several replicas on one PostgreSQL: any of them serves any request; some of them die, and so does the database."""

from __future__ import annotations

import itertools
import json

import httpx2
import pytest
import trio

from tests.e2e import harness, replicas
from tests.e2e.harness import Upstream
from tests.e2e.ledger import Ledger
from tests.e2e.test_approvals import GIVE_UP_S, MODES, held

_NUMBER = itertools.count(1)


def _budget(settings):
    settings["guards"]["budgets"] = {"treatment": {"P1D": {"calls": 3, "over": "deny"}}}


@pytest.fixture(scope="module")
def three(tmp_path_factory, people):
    db = tmp_path_factory.mktemp("ledger") / "ledger.db"
    with harness.python_program("-m", "tests.e2e.ledger_server", "--db", str(db)) as said:
        upstream = Upstream("ledger", {"url": said["mcp"], "sql": {"query": "sql"}, "sql_dialect": "sqlite"})
        change = lambda policies: harness.change_settings(policies, _budget)  # noqa: E731
        place = tmp_path_factory.mktemp("replicas")
        settings = {"hold_s": 8, "keepalive_s": 1, "drain_s": 5}
        phi = {"219-09-90", "select ward", "select ssn", "a synthetic reason"}
        with replicas.running(place, people, upstream, change, phi=phi, **settings) as running:
            trio.run(harness.list_tools, running.front, "analyst", "ledger")
            running.ledger = Ledger(running.front, db)
            yield running


def one_patient():
    """A statement that nobody has run yet, on one row."""
    return f"select ward from patient where id = 1 and {next(_NUMBER)} > 0"


@pytest.mark.parametrize("mode", MODES)
async def test_every_request_of_a_session_may_go_to_another_replica(three, mode):
    before = dict(three.balancer.given)
    async with three.client("analyst", mode) as client:
        for _ in range(6):
            result = await client.call_tool("query", {"sql": one_patient()})
            assert not result.is_error
    taken = [three.balancer.given.get(port, 0) - before.get(port, 0) for port in three.balancer.ports]
    assert min(taken) > 0


@pytest.mark.parametrize("mode", MODES)
async def test_an_approval_that_one_replica_holds_is_granted_at_another_and_the_call_runs_once(three, mode):
    holder, granter = three.gateways[:2]
    sql = three.ledger.bulk()
    async with held(holder, mode, sql) as call:
        reply = httpx2.post(
            f"{granter.url}/api/approvals/{call.approval}/grant",
            json={"reason": "a synthetic reason"},
            headers=granter.headers("officer"),
            timeout=GIVE_UP_S,
        )
        assert reply.status_code == 200, reply.text
        await call.done.wait()
    assert not call.result.is_error
    assert three.ledger.ran(sql) == 1


async def test_a_budget_is_used_up_by_all_replicas_together(three):
    ends = []
    for gateway in (*three.gateways, three.gateways[0]):
        async with harness.client(gateway, "ledger", "clinician") as client:
            ends.append((await client.call_tool("query", {"sql": one_patient()})).is_error)
    assert ends == [False, False, False, True]


async def test_the_policy_is_archived_once_and_each_configuration_is_on_record(three):
    assert three.rows("SELECT count(*) FROM bundle") == [(1,)]
    kinds = [leaf["type"] for leaf in three.gateways[0].leaves()]
    assert kinds.count("bundle.activated") == 1


async def test_every_command_that_reads_a_store_reads_this_one(three):
    gateway, config = three.gateways[1], ("-c", str(three.gateways[1].config))
    sessions = json.loads(gateway.phigate("sessions", "list", *config, "--format", "json"))
    shown = gateway.phigate("sessions", "show", sessions[0]["id"], *config, "--format", "json")
    assert sessions[0]["id"] in shown
    assert "query" in gateway.phigate("tools", "list", *config)
    gateway.phigate("emergency", "list", *config)
    assert "— " in gateway.phigate("evidence", "checkpoint", *config)
    gateway.phigate("policy", "diff", str(gateway.place / "policies"), *config, "-j", "1")
    url = three.server.url(three.database)
    gateway.phigate("evidence", "verify", "--store", url, "--key", str(gateway.place / "keys" / "log.vkey"))


async def calling(three, acknowledged, stop):
    """Calls one after the other through the balancer, until told to stop; failures are what the test is about."""
    while not stop.is_set():
        sql = one_patient()
        try:
            with trio.fail_after(20):
                async with three.client("analyst", "2026-07-28") as client:
                    result = await client.call_tool("query", {"sql": sql})
        except* (Exception, trio.TooSlowError):
            await trio.sleep(0.05)
        else:
            if not result.is_error:
                acknowledged.append(sql)


def recorded(three):
    """The exchanges on record, by how they ended."""
    ends = {"exchange.outcome": set(), "exchange.unknown": set()}
    for leaf in three.gateways[0].leaves():
        if leaf["type"] in ends:
            ends[leaf["type"]].add(leaf["exchange"])
    return ends


async def until(condition):
    with trio.fail_after(GIVE_UP_S):
        while not await trio.to_thread.run_sync(condition):
            await trio.sleep(0.1)


def readiness(gateway):
    return httpx2.get(f"{gateway.url}/readyz", timeout=GIVE_UP_S).status_code


async def test_a_replica_that_is_killed_under_load_loses_nothing_and_its_calls_are_picked_up(three):
    victim, other = three.gateways[2], three.gateways[0]
    acknowledged, stop, bulk = [], trio.Event(), three.ledger.bulk()
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(calling, three, acknowledged, stop)
        async with held(victim, "legacy", bulk) as call:
            await until(lambda: len(acknowledged) > 10)
            await trio.to_thread.run_sync(victim.kill)
            approval = call.approval
        before = len(acknowledged)
        await until(lambda: len(acknowledged) > before + 10)
        await three.ledger.grant(approval)
        async with harness.client(other, "ledger", "analyst", mode="legacy") as client:
            again = await client.call_tool("query", {"sql": bulk})
        stop.set()
    assert not again.is_error
    assert three.ledger.ran(bulk) == 1
    await until(lambda: three.rows("SELECT count(*) FROM open_exchange") == [(0,)])
    await trio.to_thread.run_sync(victim.start)

    assert [three.ledger.ran(sql) for sql in acknowledged] == [1] * len(acknowledged)
    await trio.to_thread.run_sync(other.verify)


async def test_a_database_that_is_killed_stops_all_replicas_and_they_heal_by_themselves(three):
    acknowledged, stop = [], trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(calling, three, acknowledged, stop)
        await until(lambda: len(acknowledged) > 5)
        await trio.to_thread.run_sync(three.server.kill)
        for gateway in three.gateways:
            await until(lambda gateway=gateway: readiness(gateway) == 503)
        known = len(acknowledged)
        ran = [three.ledger.ran(sql) for sql in acknowledged]
        await trio.to_thread.run_sync(three.server.start)
        for gateway in three.gateways:
            await until(lambda gateway=gateway: readiness(gateway) == 200)
        await until(lambda: len(acknowledged) > known + 5)
        stop.set()

    assert ran == [1] * known
    await until(lambda: three.rows("SELECT count(*) FROM open_exchange") == [(0,)])
    outcomes = recorded(three)["exchange.outcome"]
    assert len(outcomes) >= len(acknowledged)
    await trio.to_thread.run_sync(three.gateways[1].verify)
