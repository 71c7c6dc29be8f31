"""Clients and upstreams that do not speak the same era, through a whole gateway."""

from __future__ import annotations

import mcp_types as types
import pytest
import trio

from tests import real_parts
from tests.conformance import parts
from tests.e2e import harness
from tests.e2e.harness import Upstream

GIVE_UP_S = 120


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, people):
    server = str(real_parts.npm_tool("mcp-server-everything"))
    node = str(real_parts.node())
    with parts.everything_server() as url:
        upstreams = [
            *harness.in_both_eras(url),
            Upstream("program", {"command": node, "args": [server, "stdio"], "connect_s": 30}),
        ]
        place = tmp_path_factory.mktemp("bridging")
        with harness.running(place, people, upstreams, policy=parts.opened) as running:
            yield running


async def elicited(context, params):
    """Fill in what the form wants, and nothing else."""
    known = {"name": "Ada", "color": "blue", "ok": True, "response": "yes"}
    content = {field: known[field] for field in params.requested_schema["properties"]}
    return types.ElicitResult(action="accept", content=content)


async def sampled(context, params):
    content = types.TextContent(type="text", text="Paris")
    return types.CreateMessageResult(role="assistant", content=content, model="none")


async def rooted(context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///synthetic")])


ABLE = {"elicitation_callback": elicited, "sampling_callback": sampled, "list_roots_callback": rooted}


def connected(gateway, upstream, mode, **more):
    return harness.client(gateway, upstream, parts.WHO, groups=[parts.WHO], mode=mode, **more)


async def call(gateway, upstream, mode, name, arguments=None, **more):
    with trio.fail_after(GIVE_UP_S):
        async with connected(gateway, upstream, mode, **more) as client:
            result = await client.call_tool(name, arguments or {})
    return result.content[0].text


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ("test_input_required_result_elicitation", "Hello, Ada!"),
        ("test_input_required_result_sampling", "Model said: Paris"),
        ("test_input_required_result_list_roots", "Client exposed 1 root(s)."),
        ("test_input_required_result_request_state", "state-ok: confirmation received"),
        ("test_input_required_result_multiple_inputs", "All inputs received."),
        ("test_input_required_result_multi_round", "Ada"),
    ],
)
async def test_what_a_modern_upstream_needs_is_asked_of_a_legacy_client_by_requests(gateway, tool, said):
    assert said in await call(gateway, "modern", "legacy", tool, **ABLE)


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("test_elicitation", {"message": "Who?"}, "action=accept"),
        ("test_sampling", {"prompt": "Which?"}, "LLM response: Paris"),
    ],
)
async def test_what_a_legacy_upstream_asks_becomes_the_result_of_a_modern_clients_call(gateway, tool, arguments, said):
    assert said in await call(gateway, "legacy", "2026-07-28", tool, arguments, **ABLE)


async def test_a_client_that_cannot_be_asked_is_not_asked(gateway):
    assert "not supported" in await call(gateway, "legacy", "2026-07-28", "test_sampling", {"prompt": "Which?"})


@pytest.mark.parametrize(
    ("upstream", "mode"), [("modern", "legacy"), ("legacy", "2026-07-28"), ("program", "2026-07-28")]
)
async def test_lists_calls_and_progress_cross_the_bridge(gateway, upstream, mode):
    heard = []

    async def progress(done, total, message):
        heard.append(done)

    slow, arguments = ("test_tool_with_progress", {})
    if upstream == "program":
        slow, arguments = "trigger-long-running-operation", {"duration": 1, "steps": 3}
    with trio.fail_after(GIVE_UP_S):
        async with connected(gateway, upstream, mode) as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            resources = (await client.list_resources()).resources
            prompts = (await client.list_prompts()).prompts
            await client.call_tool(slow, arguments, progress_callback=progress)
    assert slow in names
    assert resources
    assert prompts
    assert heard == sorted(heard)
    assert heard


async def test_an_old_program_is_found_out_by_asking_another_copy_of_it(gateway):
    async with connected(gateway, "program", "auto") as client:
        assert client.protocol_version == "2026-07-28"
        assert "echo" in (await client.call_tool("echo", {"message": "echo"})).content[0].text.lower()


async def test_nobody_else_can_take_up_a_call_that_waits_for_its_clients_answer(gateway):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    params = {"name": "test_elicitation", "arguments": {"message": "Who?"}}

    def post(who, **more):
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "e2e", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
        }
        headers = {
            "authorization": f"Bearer {gateway.issuer.token(who, [parts.WHO])}",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": "test_elicitation",
        }
        return harness.post(gateway, "legacy", {**body, "params": {**params, **more, "_meta": meta}}, headers)

    asked = post("conformance-1")["result"]
    assert asked["resultType"] == "input_required"
    answer = {"inputResponses": {"answer": {"action": "decline"}}, "requestState": asked["requestState"]}
    assert post("conformance-2", **answer)["error"]["code"] == -32602
    changed = {**answer, "arguments": {"message": "Another?"}}
    assert post("conformance-1", **changed)["error"]["code"] == -32602
    assert "action=decline" in post("conformance-1", **answer)["result"]["content"][0]["text"]
    assert post("conformance-1", **answer)["error"]["code"] == -32602
