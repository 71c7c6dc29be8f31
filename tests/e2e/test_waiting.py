"""The four ways in which a call that is held keeps its caller: on the wire, and with clients that we did not write."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import trio
from mcp import types

from tests import real_parts
from tests.e2e import harness, ledger_server
from tests.e2e.harness import ACCEPT
from tests.e2e.ledger import APPROVAL, opened

WAITING = Path(__file__).parents[1] / "node" / "clients" / "waiting.mjs"
VERSION = "2026-07-28"
TASKS = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
URLS = {"elicitation": {"form": {}, "url": {}}}
GIVE_UP_S = 120
NAMED = {"tools/call": "name", "tasks/get": "taskId", "tasks/cancel": "taskId", "tasks/update": "taskId"}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory, people):
    """Its evidence is checked, and all its decisions made again, when it has ended."""
    place, db = tmp_path_factory.mktemp("waited"), tmp_path_factory.mktemp("ledger") / "ledger.db"
    with opened(place, people, db, hold_s=1, keepalive_s=1, drain_s=5) as ledger:
        yield ledger


@dataclass
class Wire:
    """A modern client that sends what it is told to; `capabilities` go along with each request."""

    gateway: harness.Gateway
    capabilities: dict
    who: str = "analyst"

    async def ask(self, method, **params):
        """The answer to one request, on a connection of its own, so that any worker may give it."""
        meta = {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientInfo": {"name": "wire", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": self.capabilities,
        }
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
        headers = self.gateway.headers(self.who, **{"mcp-protocol-version": VERSION, "mcp-method": method})
        if method in NAMED:
            headers["mcp-name"] = str(params[NAMED[method]])
        async with httpx2.AsyncClient(timeout=GIVE_UP_S) as http:
            response = await http.post(self.gateway.mcp("ledger"), json=message, headers={**headers, **ACCEPT})
        if response.headers["content-type"].startswith("text/event-stream"):
            data = [line for line in response.text.splitlines() if line.startswith("data: ")]
            return json.loads(data[-1].removeprefix("data: "))
        return response.json()

    async def query(self, sql, until="", **more):
        arguments = {"sql": sql, "until": until} if until else {"sql": sql}
        return await self.ask("tools/call", name="query", arguments=arguments, **more)

    async def task(self, ident, method="tasks/get", **more):
        return await self.ask(method, taskId=ident, **more)

    async def ended(self, ident):
        """The task when it has ended."""
        with trio.fail_after(GIVE_UP_S):
            while (task := (await self.task(ident))["result"])["status"] == "working":
                await trio.sleep(0.05)
        return task


async def begun(wire, sql, until=""):
    """The task that a call was answered by, and its approval."""
    task = (await wire.query(sql, until))["result"]
    assert (task["resultType"], task["status"]) == ("task", "working")
    return task["taskId"], APPROVAL.search(task["statusMessage"])[0]


async def test_a_client_that_declares_tasks_polls_one_until_its_call_was_granted_and_has_run(ledger):
    sql, wire = ledger.bulk(), Wire(ledger.gateway, TASKS)
    task, approval = await begun(wire, sql)
    polled = (await wire.task(task))["result"]
    assert (polled["resultType"], polled["status"], polled["taskId"]) == ("complete", "working", task)
    assert ledger.ran(sql) == 0
    await ledger.grant(approval)
    ended = await wire.ended(task)
    assert ended["status"] == "completed"
    assert len(ended["result"]["structuredContent"]["rows"]) == ledger_server.PATIENTS
    assert "219-09-90" not in json.dumps(ended)
    assert (await wire.ended(task))["result"] == ended["result"]  # Whoever lost the answer asks again.
    assert ledger.ran(sql) == 1
    again, other = await begun(wire, sql)  # Another call, though it is the same: it is reviewed by itself.
    assert (again == task, other == approval) == (False, False)


async def test_many_polls_of_a_granted_task_run_its_call_once_on_two_workers(ledger):
    sql, wire = ledger.bulk(), Wire(ledger.gateway, TASKS)
    other = Wire(ledger.gateway, {})
    task, approval = await begun(wire, sql, "slow")
    await ledger.grant(approval)
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(wire.ended, task)
        await other.ask("tools/call", name="hear", arguments={"event": "slow/begun"})
        assert (await wire.task(task))["result"]["status"] == "working"
        await other.ask("tools/call", name="tell", arguments={"event": "slow"})
    assert (await wire.ended(task))["status"] == "completed"
    assert ledger.ran(sql) == 1


@pytest.mark.parametrize(
    ("verb", "status", "code"), [("refuse", "failed", "approval_refused"), ("cancel", "cancelled", None)]
)
async def test_a_task_ends_with_its_approval(ledger, verb, status, code):
    sql, wire = ledger.bulk(), Wire(ledger.gateway, TASKS)
    task, approval = await begun(wire, sql)
    if verb == "refuse":
        await ledger.refuse(approval)
    else:
        assert (await wire.task(task, "tasks/cancel"))["result"] == {"resultType": "complete"}
    ended = await wire.ended(task)
    assert ended["status"] == status
    if code:
        assert (ended["error"]["code"], ended["error"]["data"]["code"]) == (-32010, code)
    assert ledger.ran(sql) == 0


async def test_a_task_is_nobody_elses_and_nothing_about_it_reaches_the_upstream(ledger):
    wire = Wire(ledger.gateway, TASKS)
    task, approval = await begun(wire, ledger.bulk())
    for who, ident in [("analyst-2", task), ("analyst", f"{task}A"), ("analyst", "phigate.made-up")]:
        for method in ("tasks/get", "tasks/cancel", "tasks/update"):
            answer = await Wire(ledger.gateway, TASKS, who).task(ident, method)
            assert answer["error"]["code"] == -32602
    for ident in (task, "made-up"):
        assert (await Wire(ledger.gateway, {}).task(ident))["error"]["code"] == -32021
    subscribed = await Wire(ledger.gateway, {}).ask("subscriptions/listen", notifications={"taskIds": [task]})
    assert subscribed["error"]["code"] == -32021
    assert approval in ledger.approvals("pending")
    updated = await wire.task(task, "tasks/update", inputResponses={})
    assert "result" in updated or updated["error"]["code"] == -32010


async def test_a_task_outlives_the_gateway_and_a_kill_between_grant_and_run_runs_its_call_once(ledger):
    sql, wire = ledger.bulk(), Wire(ledger.gateway, TASKS)
    task, approval = await begun(wire, sql)
    await ledger.grant(approval)
    await trio.to_thread.run_sync(ledger.gateway.kill)
    await trio.to_thread.run_sync(ledger.gateway.start)
    assert (await wire.ended(task))["status"] == "completed"
    assert ledger.ran(sql) == 1


async def test_a_call_that_was_killed_while_it_ran_is_not_run_again_and_its_task_says_so(ledger):
    sql, wire, other = ledger.bulk(), Wire(ledger.gateway, TASKS), Wire(ledger.gateway, {})
    task, approval = await begun(wire, sql, "killed")
    await ledger.grant(approval)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lost, wire, task)
        await other.ask("tools/call", name="hear", arguments={"event": "killed/begun"})
        await trio.to_thread.run_sync(ledger.gateway.kill)
        await trio.to_thread.run_sync(ledger.gateway.start)
        await other.ask("tools/call", name="tell", arguments={"event": "killed"})
    ended = await wire.ended(task)
    assert (ended["status"], ended["error"]["data"]["code"]) == ("failed", "approval_lost")
    assert ledger.ran(sql) <= 1


async def lost(wire, task):
    """A poll whose answer never comes."""
    with pytest.raises(httpx2.TransportError):
        await wire.task(task)


async def test_a_client_that_opens_pages_is_shown_the_approvals_and_its_retry_is_held(ledger):
    sql, wire = ledger.bulk(), Wire(ledger.gateway, URLS)
    first = (await wire.query(sql))["result"]
    asked = first["inputRequests"]["approval"]
    approval = APPROVAL.search(asked["params"]["message"])[0]
    assert (first["resultType"], asked["method"], asked["params"]["mode"]) == (
        "input_required",
        "elicitation/create",
        "url",
    )
    assert asked["params"]["url"] == f"{ledger.gateway.url}/approvals/{approval}"
    said = {"approval": {"action": "accept"}}
    held = (await wire.query(sql, inputResponses=said, requestState=first["requestState"]))["result"]
    assert held.keys() == {"resultType", "requestState"}  # Asked once, and then held.
    await ledger.grant(approval)
    result = (await wire.query(sql, requestState=held["requestState"]))["result"]
    assert len(result["structuredContent"]["rows"]) == ledger_server.PATIENTS
    assert ledger.ran(sql) == 1


async def test_who_declines_to_open_the_page_takes_the_call_back(ledger):
    sql, wire = ledger.bulk(), Wire(ledger.gateway, URLS)
    first = (await wire.query(sql))["result"]
    said = {"approval": {"action": "decline"}}
    told = (await wire.query(sql, inputResponses=said, requestState=first["requestState"]))["result"]
    assert told["_meta"]["phigate/refusal"]["code"] == "approval_cancelled"
    assert ledger.ran(sql) == 0


async def test_who_was_refused_between_two_rounds_is_told_so(ledger):
    sql, wire = ledger.bulk(), Wire(ledger.gateway, {})
    put_off = (await wire.query(sql))["result"]
    (approval,) = set(ledger.approvals("pending")) & {await the_approval(ledger, sql)}
    await ledger.refuse(approval)
    told = (await wire.query(sql, requestState=put_off["requestState"]))["result"]
    assert told["_meta"]["phigate/refusal"]["code"] == "approval_refused"


async def the_approval(ledger, sql):
    """The approval that a legacy caller of the same call would wait for."""
    newest = ledger.approvals("pending")[0]
    async with httpx2.AsyncClient(headers=ledger.gateway.headers("officer"), timeout=60) as http:
        shown = (await http.get(f"{ledger.gateway.url}/api/approvals/{newest}")).text
    assert sql in shown
    return newest


async def test_after_ten_rounds_the_last_word_is_one_that_no_driver_takes_for_a_failure(ledger):
    sql, wire = ledger.bulk(), Wire(ledger.gateway, {})
    answer = (await wire.query(sql))["result"]
    rounds = 1
    while answer["resultType"] == "input_required":
        answer = (await wire.query(sql, requestState=answer["requestState"]))["result"]
        rounds += 1
    assert rounds == 11
    assert (answer["isError"], answer["_meta"]["phigate/refusal"]["code"]) == (True, "approval_pending")


@pytest.mark.parametrize("attack", ["tampered", "made up", "of another call", "of somebody else", "of no kind"])
async def test_a_request_state_that_was_not_given_for_this_call_is_refused_and_recorded(ledger, attack):
    sql, wire = ledger.bulk(), Wire(ledger.gateway, {})
    good = (await wire.query(sql))["result"]["requestState"]
    other = (await wire.query(ledger.bulk()))["result"]["requestState"]
    theirs = (await Wire(ledger.gateway, {}, "analyst-2").query(sql))["result"]["requestState"]
    states = {
        "tampered": good[:-2] + ("AA" if good[-2:] != "AA" else "BB"), "made up": "e30", "of another call": other,
        "of somebody else": theirs, "of no kind": 7,
    }  # fmt: skip
    answer = await wire.query(sql, requestState=states[attack])
    assert answer["error"]["code"] == -32602
    assert ledger.gateway.leaves()[-1]["members"]["why"] == "request_state"
    assert ledger.ran(sql) == 0


# Clients that we did not write. What they are told is what their makers made of it; none is given more time than it
# takes by itself.


async def granted_by_and_by(ledger, before, rounds):
    """Grant the one approval that was not there before, when its call has been put off so many times."""
    with trio.fail_after(GIVE_UP_S):
        while not (new := [each for each in ledger.approvals("pending") if each not in before]):
            await trio.sleep(0.05)
        while put_off(ledger, new[0]) < rounds:
            await trio.sleep(0.05)
    await ledger.grant(new[0])
    return new[0]


def put_off(ledger, approval):
    """How many of the exchanges that waited for an approval have ended with it pending, and polls of its task."""
    leaves = [leaf["members"] for leaf in ledger.gateway.leaves() if leaf["type"] == "exchange.outcome"]
    return sum(each.get("approval") == approval and each["status"] in ("pending", "replied") for each in leaves)


@pytest.mark.parametrize("opens", [False, True], ids=["states", "pages"])
async def test_the_python_client_waits_for_its_reviewers(ledger, opens):
    sql, before, pages = ledger.bulk(), ledger.approvals("pending"), []

    async def open_page(context, params):
        pages.append(params.url)
        return types.ElicitResult(action="accept")

    more = {"elicitation_callback": open_page} if opens else {}
    results, approvals = [], []
    with trio.fail_after(GIVE_UP_S):
        async with trio.open_nursery() as nursery:

            async def call():
                async with harness.client(ledger.gateway, "ledger", "analyst", mode="auto", **more) as client:
                    results.append(await client.call_tool("query", {"sql": sql}))

            nursery.start_soon(call)
            approvals.append(await granted_by_and_by(ledger, before, 3))
    assert not results[0].is_error
    assert len(results[0].structured_content["rows"]) == ledger_server.PATIENTS
    assert pages == ([f"{ledger.gateway.url}/approvals/{approvals[0]}"] if opens else [])
    assert ledger.ran(sql) == 1


async def test_the_python_client_that_waited_in_vain_is_told_so_and_raises_nothing(ledger):
    sql = ledger.bulk()
    with trio.fail_after(GIVE_UP_S):
        async with harness.client(ledger.gateway, "ledger", "analyst", mode="auto") as client:
            result = await client.call_tool("query", {"sql": sql})
    assert (result.is_error, result.meta["phigate/refusal"]["code"]) == (True, "approval_pending")
    assert result.meta["phigate/refusal"]["approval"] in ledger.approvals("pending")


async def told_by(ledger, command, more, rounds):
    """What a program printed whose one call was granted after so many rounds, and which approval that was."""
    before, printed = ledger.approvals("pending"), []
    environment = real_parts.environment() | {"HOME": str(ledger.gateway.place)} | more
    with trio.fail_after(GIVE_UP_S):
        async with trio.open_nursery() as nursery:

            async def run():
                clients = real_parts.npm_set("clients")
                printed.append(await trio.run_process(command, cwd=clients, env=environment, capture_stdout=True))

            nursery.start_soon(run)
            approval = await granted_by_and_by(ledger, before, rounds)
    return [json.loads(line) for line in printed[0].stdout.splitlines() if line.startswith(b"{")], approval


@pytest.mark.parametrize(("which", "rounds"), [("v1", 0), ("v2-legacy", 0), ("v2-auto", 3), ("v2-page", 2)])
async def test_the_official_typescript_clients_wait_for_their_reviewers(ledger, which, rounds):
    sql = ledger.bulk()
    command = [real_parts.node(), WAITING, which]
    token = ledger.gateway.issuer.token("analyst")
    told, approval = await told_by(
        ledger, command, {"MCP_URL": ledger.gateway.mcp("ledger"), "TOKEN": token, "SQL": sql}, rounds
    )
    pages = [line["page"]["url"] for line in told if "page" in line]
    assert pages == ([f"{ledger.gateway.url}/approvals/{approval}"] if which == "v2-page" else [])
    assert len(told[-1]["ended"]["structuredContent"]["rows"]) == ledger_server.PATIENTS
    assert ledger.ran(sql) == 1


async def test_the_inspector_polls_its_task(ledger):
    sql = ledger.bulk()
    command = [
        *(real_parts.npm_tool("mcp-inspector"), "--cli", ledger.gateway.mcp("ledger"), "--transport", "http"),
        *("--protocol-era", "modern", "--header", f"Authorization: Bearer {ledger.gateway.issuer.token('analyst')}"),
        *("--format", "json", "--method", "tools/call", "--tool-name", "query", "--tool-arg", f"sql={sql}"),
    ]
    told, _ = await told_by(ledger, command, {}, 2)
    assert len(told[0]["result"]["structuredContent"]["rows"]) == ledger_server.PATIENTS
    asked = [leaf["members"]["method"] for leaf in ledger.gateway.leaves() if leaf["type"] == "exchange.intent"]
    assert "tasks/get" in asked
    assert ledger.ran(sql) == 1
