"""Tasks of real upstreams of one era for real clients of the other.

npm's server-everything has the tasks of 2025-11-25, fastmcp-tasks is a server with the tasks extension of 2026-07-28.
ext-tasks is the official client of both, the TypeScript SDK 1 has the older; of these two only the latter opens a
`tasks/result` for what a legacy task asks.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import mcp_types as types
import pytest

from tests import real_parts
from tests.conformance import parts
from tests.e2e import harness, jobs, workers
from tests.e2e.harness import Upstream

CLIENT = Path(__file__).parents[1] / "node" / "clients" / "tasks.mjs"
RESEARCH = "simulate-research-query"
MAY_TAKE_S = 60


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, people, everything_http_upstream):
    with jobs.server() as url:
        upstreams = [everything_http_upstream, Upstream("jobs", {"url": url, "era": "modern"})]
        place = tmp_path_factory.mktemp("tasks")
        more = {"workers": 2, "policy": parts.opened, "aggregates": [{"name": "all"}]}
        with harness.running(place, people, upstreams, **more) as running:
            running.phi.add(jobs.SSN)
            yield running


@pytest.fixture(params=["own", "all"])
def door(request):
    """The endpoint and the tool's name there, of an upstream's tool: at its own endpoint, and at the aggregate."""
    own = lambda upstream, tool: (upstream, tool)  # noqa: E731
    return own if request.param == "own" else lambda upstream, tool: ("all", f"{upstream}__{tool}")


def told(gateway, upstream, era, tool, arguments=None, **more):
    """What the client saw, and how it ended."""
    token = gateway.issuer.token(parts.WHO, [parts.WHO])
    command = [str(real_parts.node()), str(CLIENT), era, tool, json.dumps(arguments or {})]
    done = subprocess.run(
        command,
        cwd=real_parts.npm_set("clients"),
        env={**real_parts.environment(), "MCP_URL": gateway.mcp(upstream), "TOKEN": token, **more},
        capture_output=True,
        timeout=MAY_TAKE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines[:-1], lines[-1]


def test_a_modern_client_polls_a_task_of_a_legacy_upstream(gateway, door):
    at, tool = door("everything-http", RESEARCH)
    seen, end = told(gateway, at, "modern", tool, {"topic": "synthetic"})
    assert {"kind": "task", "era": "modern"} in seen
    assert end["ended"] == "completed"
    assert "# Research Report: synthetic" in end["result"]["content"][0]["text"]


def test_a_modern_client_answers_what_a_legacy_upstreams_task_asks(gateway, door):
    at, tool = door("everything-http", RESEARCH)
    seen, end = told(gateway, at, "modern", tool, {"topic": "synthetic", "ambiguous": True})
    (question,) = (line for line in seen if "asked" in line)
    assert question["asked"] == "elicitation"
    assert "multiple interpretations" in question["message"]
    assert "# Research Report: synthetic (Ada)" in end["result"]["content"][0]["text"]


async def elicited(context, params):
    return types.ElicitResult(action="accept", content={"interpretation": "Ada"})


@pytest.mark.parametrize("ambiguous", [False, True])
async def test_a_modern_client_that_knows_no_tasks_gets_what_a_tool_comes_to_that_must_be_one(gateway, door, ambiguous):
    at, tool = door("everything-http", RESEARCH)
    more = {"mode": "auto", "elicitation_callback": elicited}
    async with harness.client(gateway, at, parts.WHO, groups=[parts.WHO], **more) as client:
        result = await client.call_tool(tool, {"topic": "synthetic", "ambiguous": ambiguous})
    assert "# Research Report: synthetic" in result.content[0].text
    assert ("(Ada)" in result.content[0].text) == ambiguous


async def test_a_legacy_client_that_knows_no_tasks_gets_what_a_tool_comes_to_that_must_be_one(gateway, door):
    at, tool = door("jobs", "must")
    async with harness.client(gateway, at, parts.WHO, groups=[parts.WHO], mode="legacy") as client:
        result = await client.call_tool(tool, {})
    assert result.content[0].text == "done, as it must"


@pytest.mark.parametrize(
    ("upstream", "era", "tool"),
    [
        ("everything-http", "modern", RESEARCH),
        ("jobs", "legacy", "slow"),
        ("jobs", "modern", "slow"),
    ],
)
def test_a_task_is_taken_back(gateway, door, upstream, era, tool):
    arguments = {"topic": "synthetic"} if tool == RESEARCH else {"seconds": 30}
    at, name = door(upstream, tool)
    _, end = told(gateway, at, era, name, arguments, CANCEL="1")
    assert end["ended"] == "cancelled"


def test_a_legacy_client_polls_a_task_of_a_modern_upstream(gateway, door):
    at, tool = door("jobs", "slow")
    seen, end = told(gateway, at, "legacy", tool)
    assert {"kind": "task", "era": "legacy"} in seen
    assert end["ended"] == "completed"
    assert end["result"]["content"][0]["text"].startswith("done; SSN")
    assert jobs.SSN not in json.dumps(end)


def test_a_legacy_client_answers_what_a_modern_upstreams_task_asks(gateway, door):
    at, tool = door("jobs", "named")
    seen, end = told(gateway, at, "v1", tool)
    assert [line["message"] for line in seen if "asked" in line] == ["Who is it for?"]
    assert end["result"]["content"][0]["text"] == "for Ada"


def test_a_legacy_client_that_wants_a_task_gets_one_where_the_upstream_answers_at_once(gateway, door):
    at, tool = door("jobs", "quick")
    seen, end = told(gateway, at, "legacy", tool)
    assert {"kind": "task", "era": "legacy"} in seen
    assert (end["ended"], end["result"]["content"][0]["text"]) == ("completed", "at once")


def test_a_task_that_goes_wrong_says_so_to_a_legacy_client(gateway, door):
    at, tool = door("jobs", "wrong")
    _, end = told(gateway, at, "legacy", tool)
    assert end["ended"] == "failed"


async def test_a_modern_upstreams_tools_say_to_legacy_clients_that_they_may_be_tasks_and_are_pinned_as_they_came(
    gateway, door
):
    at, tool = door("jobs", "quick")
    support = {}
    for mode in ("legacy", "2026-07-28"):
        async with harness.client(gateway, at, parts.WHO, groups=[parts.WHO], mode=mode) as client:
            (found,) = [each for each in (await client.list_tools()).tools if each.name == tool]
            support[mode] = found.execution.task_support if getattr(found, "execution", None) else None
    assert support == {"legacy": "optional", "2026-07-28": None}
    assert [leaf for leaf in gateway.leaves() if leaf["type"] == "tool.changed"] == []


META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
}


def modern(worker, method, header, meta=META, **params):
    headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": method, "mcp-name": header}
    message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, "_meta": meta}}
    *_, answer = workers.messages(worker.post("everything-http", message, **headers))
    return answer


def test_a_task_is_asked_after_at_another_worker_by_those_who_declare_tasks_alone(gateway):
    with workers.each(gateway, parts.WHO, [parts.WHO]) as (one, other):
        called = {"name": RESEARCH, "arguments": {"topic": "synthetic"}}
        task = modern(one, "tools/call", RESEARCH, **called)["result"]
        ident = task["taskId"]
        polled = modern(other, "tasks/get", ident, taskId=ident)["result"]
        assert (polled["taskId"], polled["status"], polled["resultType"]) == (ident, "working", "complete")
        bare = {**META, "io.modelcontextprotocol/clientCapabilities": {}}
        assert modern(one, "tasks/get", ident, bare, taskId=ident)["error"]["code"] == -32021
