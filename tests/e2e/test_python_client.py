"""The official Python client, in both eras, through a whole gateway, to HTTP upstreams."""

from __future__ import annotations

import anyio
import mcp_types
import pytest
import trio
from mcp.shared.exceptions import MCPError

from tests.e2e import harness
from tests.e2e.sdk_server import SSN

MODES = ["auto", "legacy", "2026-07-28"]
GIVE_UP_S = 120


def text_of(result):
    return result.content[0].text


@pytest.mark.parametrize("mode", MODES)
async def test_a_patient_is_read_with_masks(gateway, patient, mode):
    gateway.phi |= {patient["mrn"], patient["ssn"], patient["phone"], patient["street"]}
    async with harness.client(gateway, "clinic", "analyst", mode=mode) as client:
        if mode != "2026-07-28":  # A client that is told the version asks for nothing before its first call.
            assert client.instructions.startswith("SYNTHETIC DATA. A clinic's records")
        result = await client.call_tool("read_patient", {"mrn": patient["mrn"]})
        missing = await client.call_tool("read_patient", {"mrn": "MRN-0000000"})
    said = result.model_dump_json()
    assert not result.is_error
    assert result.structured_content["patient"]["birth_date"] == patient["birth_date"][:4]
    assert not [secret for secret in (patient["mrn"], patient["ssn"], patient["family"]) if secret in said]
    assert missing.is_error
    assert text_of(missing).endswith("patient has this medical record number.")


@pytest.mark.parametrize("mode", MODES)
async def test_listings_show_what_policy_lets_this_person_see(gateway, mode):
    async with harness.client(gateway, "ward", "analyst", mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        resources = [str(resource.uri) for resource in (await client.list_resources()).resources]
        templates = [each.uri_template for each in (await client.list_resource_templates()).resource_templates]
        prompts = [prompt.name for prompt in (await client.list_prompts()).prompts]
    assert {"add", "stepwise", "shut_ward"} <= tools.keys()
    assert "withdrawn" not in tools
    assert tools["chart"].output_schema["properties"]["ssn"] == {"title": "Ssn", "type": "string"}
    assert (resources, templates, prompts) == (["ward://icu/chart"], ["ward://{name}/beds"], ["handover"])
    async with harness.client(gateway, "ward", "engineer", mode=mode) as client:
        assert (await client.list_tools()).tools == []
    with pytest.raises(BaseException) as raised:
        async with harness.client(gateway, "ward", "nobody", mode=mode) as client:
            await client.list_tools()
    assert raised.group_contains(MCPError) if isinstance(raised.value, BaseExceptionGroup) else raised.type is MCPError


@pytest.mark.parametrize("mode", MODES)
async def test_calls_are_answered_refused_and_failed_each_in_its_own_form(gateway, mode):
    async with harness.client(gateway, "ward", "analyst", mode=mode) as client:
        added = await client.call_tool("add", {"one": 2, "other": 3})
        chart = await client.call_tool("chart", {})
        failed = await client.call_tool("fails", {})
        refused = await client.call_tool("shut_ward", {"name": f"refused {mode}"})
        withdrawn = await client.call_tool("withdrawn", {})
        unknown = await client.call_tool("no_such_tool", {})
    assert (added.structured_content, text_of(added)) == ({"result": 5}, "5")
    assert chart.structured_content["beds"] == 7
    assert SSN not in chart.model_dump_json()
    assert (failed.is_error, SSN in text_of(failed), "No chart of" in text_of(failed)) == (True, False, True)
    assert [reason["code"] for reason in refused.meta["phigate/refusal"]["reasons"]] == ["write"]
    assert [reason["code"] for reason in withdrawn.meta["phigate/refusal"]["reasons"]] == ["tool_denied"]
    # A tool that no listing described is taken to write.
    assert [reason["code"] for reason in unknown.meta["phigate/refusal"]["reasons"]] == ["write"]
    assert (refused.is_error, withdrawn.is_error, unknown.is_error) == (True, True, True)


@pytest.mark.parametrize("mode", MODES)
async def test_resources_and_prompts_are_masked_like_results(gateway, mode):
    async with harness.client(gateway, "ward", "clinician", mode=mode) as client:
        chart = (await client.read_resource("ward://icu/chart")).contents[0].text
        beds = (await client.read_resource("ward://icu/beds")).contents[0].text
        prompt = await client.get_prompt("handover", {"ward": "icu"})
        with pytest.raises(MCPError):
            await client.read_resource("ward://none")
    assert SSN not in chart
    assert '"beds"' in chart
    assert SSN[-4:] in chart  # Whoever treats sees the last four digits.
    assert beds == "icu: 7 beds"
    assert SSN not in prompt.messages[0].content.text


@pytest.mark.parametrize("mode", MODES)
async def test_progress_arrives_while_the_call_runs_and_masked(gateway, mode):
    """The upstream takes no further step until the client has told it that it heard of the one before."""
    heard, told, all_told = [], [], trio.Event()
    async with harness.client(gateway, "ward", "analyst", mode=mode) as client:

        async def progress(done, total, message):
            heard.append((done, total, message))
            await client.call_tool("tell", {"event": f"progress {mode}/{int(done)}"})
            told.append(done)  # In any order: the client may not leave before the last of these answers is there.
            if len(told) == total:
                all_told.set()

        with trio.fail_after(GIVE_UP_S):
            result = await client.call_tool(
                "stepwise", {"key": f"progress {mode}", "steps": 3}, progress_callback=progress
            )
            await all_told.wait()
    assert text_of(result) == "3 steps"
    assert [(done, total) for done, total, _ in heard] == [(1, 3), (2, 3), (3, 3)]
    assert all(message.startswith("step ") and SSN not in message for _, _, message in heard)


@pytest.mark.parametrize("mode", MODES)
async def test_log_messages_of_a_call_arrive_masked(gateway, mode):
    logged = []

    async def on_log(params):
        logged.append(params)

    more = {"logging_callback": on_log, "log_level": "info"}
    async with harness.client(gateway, "ward", "analyst", mode=mode, **more) as client:
        assert text_of(await client.call_tool("logs", {})) == "logged"
    assert [(each.level, each.logger) for each in logged] == [("info", "ward")]
    assert "seen" in logged[0].data
    assert SSN not in logged[0].data


@pytest.mark.parametrize("mode", MODES)
async def test_cancelling_a_call_stops_the_work_upstream(gateway, mode):
    """A modern client closes the call's stream, a legacy one sends `notifications/cancelled`."""
    key = f"cancel {mode}"
    async with harness.client(gateway, "ward", "analyst", mode=mode) as client:
        with trio.fail_after(GIVE_UP_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.call_tool, "endless", {"key": key})
                assert (await client.call_tool("hear", {"event": f"{key}/begun"})).structured_content["result"]
                nursery.cancel_scope.cancel()
            assert (await client.call_tool("hear", {"event": f"{key}/cancelled"})).structured_content["result"]


async def test_what_the_user_would_be_asked_is_withheld_unless_policy_opens_it(gateway):
    asked = []

    async def on_elicitation(context, params):
        asked.append(params)
        return mcp_types.ElicitResult(action="accept", content={"name": "icu"})

    more = {"elicitation_callback": on_elicitation}
    async with harness.client(gateway, "ward", "analyst", mode="legacy", **more) as client:
        with pytest.raises(MCPError, match="the client may not be asked this"):  # The upstream is told, and gives up.
            await client.call_tool("ask_for_ward", {})
    async with harness.client(gateway, "ward", "analyst", mode="2026-07-28", **more) as client:
        modern = await client.call_tool("require_ward", {})
    assert (modern.is_error, asked) == (True, [])
    assert [reason["code"] for reason in modern.meta["phigate/refusal"]["reasons"]] == ["upstream_not_expected"]


async def test_where_policy_opens_it_the_upstream_may_ask_the_user_and_the_model(asking):
    asked = []

    async def on_elicitation(context, params):
        asked.append(params.message)
        return mcp_types.ElicitResult(action="accept", content={"name": "icu"})

    async def on_sampling(context, params):
        content = mcp_types.TextContent(type="text", text="the icu")
        return mcp_types.CreateMessageResult(role="assistant", content=content, model="synthetic")

    more = {"elicitation_callback": on_elicitation, "sampling_callback": on_sampling}
    async with harness.client(asking, "ward", "analyst", mode="legacy", **more) as client:
        assert text_of(await client.call_tool("ask_for_ward", {})) == "accept: icu"
        assert text_of(await client.call_tool("sample", {})) == "the icu"
    async with harness.client(asking, "ward", "analyst", mode="2026-07-28", **more) as client:
        assert text_of(await client.call_tool("require_ward", {})) == "accept: icu"
    assert asked == ["Which ward?", "Which ward?"]


async def test_a_legacy_client_that_listens_hears_what_concerns_no_call(gateway):
    changed = anyio.Event()

    async def on_message(message):
        if isinstance(message, mcp_types.ToolListChangedNotification):
            changed.set()

    async with harness.client(gateway, "ward", "analyst", mode="legacy", message_handler=on_message) as client:
        with trio.fail_after(GIVE_UP_S):
            while not changed.is_set():  # The client opens its stream at its leisure; what comes before is not heard.
                await client.call_tool("changes", {})
                with trio.move_on_after(0.2):
                    await changed.wait()


async def test_a_modern_client_that_subscribes_hears_of_changes(gateway):
    async with (
        harness.client(gateway, "ward", "analyst", mode="2026-07-28") as client,
        client.listen(tools_list_changed=True) as subscription,
    ):
        with trio.fail_after(GIVE_UP_S):
            await client.call_tool("changes", {})
            event = await anext(aiter(subscription))
    assert type(event).__name__ == "ToolsListChanged"
