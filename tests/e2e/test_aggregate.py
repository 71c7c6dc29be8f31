"""Several upstreams behind one address, through a whole gateway and with the official client of both eras."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import httpx2
import mcp_types as types
import pytest
import trio
from mcp import MCPError

from tests.e2e import harness, sdk_server
from tests.e2e.harness import Upstream

ERAS = ["legacy", "2026-07-28"]
GIVE_UP_S = 120


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, people, clinic_upstream, ward_upstream, files_upstream):
    """Two upstreams over HTTP, two programs of which one knows the legacy era alone, and one that is away."""
    beds = Upstream(
        "beds",
        {"command": sys.executable, "args": [str(Path(__file__).with_name("upstream_server.py"))], "connect_s": 30},
    )
    away = Upstream("away", {"url": f"http://127.0.0.1:{harness.free_port()}/mcp"})
    upstreams = [clinic_upstream, ward_upstream, files_upstream, beds, away]
    change = lambda policies: harness.change_settings(policies, _open_questions)  # noqa: E731
    aggregates = [{"name": "all"}, {"name": "one", "upstreams": ["ward"], "plain": "ward"}]
    place = tmp_path_factory.mktemp("aggregate")
    with harness.running(place, people, upstreams, workers=2, policy=change, aggregates=aggregates) as running:
        running.phi |= {sdk_server.SSN}
        yield running
        running.check()


def _open_questions(settings):
    settings["from_upstream"]["requests"] += ["elicitation/create", "sampling/createMessage"]


def leaves_of(gateway, kind, since):
    """The members of the leaves of one kind, with their exchange and the names of their bodies."""
    return [
        {
            **leaf["members"],
            "exchange": leaf.get("exchange"),
            "bodies": [body["name"] for body in leaf.get("bodies", [])],
        }
        for leaf in gateway.leaves()[since:]
        if leaf["type"] == kind
    ]


@pytest.mark.parametrize("mode", ERAS)
async def test_each_tool_is_listed_once_under_its_upstreams_name_and_runs_as_that_upstreams(gateway, mode):
    since = len(gateway.leaves())
    with trio.fail_after(GIVE_UP_S):
        async with harness.client(gateway, "all", "analyst", mode=mode) as client:
            listed = await client.list_tools()
            names = {tool.name for tool in listed.tools}
            added = await client.call_tool("ward__add", {"one": 2, "other": 3})
            census = await client.call_tool("beds__census", {"ward": "icu"})

    assert {"clinic__read_patient", "ward__add", "beds__census", "files__read_text_file"} <= names
    assert added.content[0].text == "5"
    assert census.content[0].text == "icu: 7 beds"
    assert [each["upstream"] for each in listed.meta["phigate/aggregate"]["missing"]] == ["away"]
    calls = [leaf for leaf in leaves_of(gateway, "exchange.intent", since) if leaf.get("method") == "tools/call"]
    assert [(leaf["upstream"], leaf["tool"]) for leaf in calls] == [("ward", "add"), ("beds", "census")]


@pytest.mark.parametrize("mode", ERAS)
async def test_what_leaves_merged_is_on_record_with_the_exchanges_that_it_is_made_of(gateway, mode):
    since = len(gateway.leaves())
    with trio.fail_after(GIVE_UP_S):
        async with harness.client(gateway, "all", "analyst", mode=mode) as client:
            await client.list_tools()

    (merged,) = [leaf for leaf in leaves_of(gateway, "exchange.merged", since) if leaf["method"] == "tools/list"]
    outcomes = {leaf["exchange"] for leaf in leaves_of(gateway, "exchange.outcome", since)}
    assert merged["upstream"] == "all"
    assert len(merged["of"]) >= 4
    assert set(merged["of"]) <= outcomes
    assert set(merged["bodies"]) == {"request", "response"}


@pytest.mark.parametrize("mode", ERAS)
async def test_a_resource_is_read_under_the_name_that_its_list_gave_it(gateway, mode):
    with trio.fail_after(GIVE_UP_S):
        async with harness.client(gateway, "all", "analyst", mode=mode) as client:
            listed = await client.list_resources()
            mine = [resource.uri for resource in listed.resources if str(resource.uri).startswith("ward+")]
            read = await client.read_resource(mine[0])

    assert [content.uri for content in read.contents] == mine[:1]


@pytest.mark.parametrize("mode", ERAS)
async def test_prompts_and_completions_go_where_they_belong(gateway, mode):
    with trio.fail_after(GIVE_UP_S):
        async with harness.client(gateway, "all", "analyst", mode=mode) as client:
            prompts = {prompt.name: prompt for prompt in (await client.list_prompts()).prompts}
            (name,) = [name for name in prompts if name.startswith("ward__")][:1]
            wanted = {argument.name: "icu" for argument in prompts[name].arguments or []}
            got = await client.get_prompt(name, wanted)

    assert got.messages


@pytest.mark.parametrize("mode", ERAS)
async def test_an_unknown_name_is_refused_by_the_gateway_itself(gateway, mode):
    with trio.fail_after(GIVE_UP_S):
        async with harness.client(gateway, "all", "analyst", mode=mode) as client:
            with pytest.raises(MCPError, match="Nothing here has this name"):
                await client.call_tool("add", {"one": 2, "other": 3})


@pytest.mark.parametrize("mode", ERAS)
async def test_an_aggregate_whose_only_upstream_is_plain_keeps_every_name(gateway, mode):
    with trio.fail_after(GIVE_UP_S):
        async with (
            harness.client(gateway, "one", "analyst", mode=mode) as client,
            harness.client(gateway, "ward", "analyst", mode=mode) as direct,
        ):
            here, there = await client.list_tools(), await direct.list_tools()
            added = await client.call_tool("add", {"one": 2, "other": 3})

    assert [tool.name for tool in here.tools] == [tool.name for tool in there.tools]
    assert added.content[0].text == "5"


@pytest.mark.parametrize(("mode", "tool"), [("legacy", "ward__ask_for_ward"), ("2026-07-28", "ward__require_ward")])
async def test_an_upstream_asks_the_client_through_the_aggregate(gateway, mode, tool):
    async def elicited(context, params):
        return types.ElicitResult(action="accept", content={"name": "icu"})

    with trio.fail_after(GIVE_UP_S):
        async with harness.client(gateway, "all", "analyst", mode=mode, elicitation_callback=elicited) as client:
            await client.list_tools()  # A tool that nobody has listed counts as one that writes.
            answer = await client.call_tool(tool, {})

    assert answer.content[0].text == "accept: icu"


async def test_a_session_of_one_aggregate_is_none_of_anothers_or_of_an_upstream(gateway):
    greeting = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": greeting}
    async with httpx2.AsyncClient(timeout=30) as http:
        begun = await http.post(gateway.mcp("all"), json=message, headers=gateway.headers("analyst"))
        session = {"mcp-session-id": begun.headers["mcp-session-id"]}
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        mine = await http.post(gateway.mcp("all"), json=ping, headers=gateway.headers("analyst", **session))
        statuses = {}
        for name, who in [("one", "analyst"), ("ward", "analyst"), ("all", "analyst-two")]:
            reply = await http.post(gateway.mcp(name), json=ping, headers=gateway.headers(who, **session))
            statuses[name, who] = reply.status_code
        ended = await http.delete(gateway.mcp("all"), headers=gateway.headers("analyst", **session))
        after = await http.post(gateway.mcp("all"), json=ping, headers=gateway.headers("analyst", **session))

    assert json.loads(mine.content)["result"] == {}
    assert set(statuses.values()) == {404}
    assert (ended.status_code, after.status_code) == (204, 404)
