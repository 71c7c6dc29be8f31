"""Upstreams that we did not write, behind a whole gateway: what they return is decided and masked like all else."""

from __future__ import annotations

import pytest
import trio

from tests.e2e import harness
from tests.e2e.conftest import CONFIDENTIAL

GIVE_UP_S = 120


def text_of(result):
    return result.content[0].text


@pytest.fixture(scope="module")
def letter(served):
    """The one file that npm's filesystem server serves."""
    (path,) = [line for line in served.config.read_text().splitlines() if "directory = " in line]
    return path.partition('directory = "')[2].partition('"')[0] + "/letter.txt"


@pytest.mark.parametrize("who", ["analyst", "clinician"])
async def test_a_file_with_a_social_security_number_leaves_masked(gateway, letter, who):
    async with harness.client(gateway, "files", who, mode="legacy") as client:
        result = await client.call_tool("read_text_file", {"path": letter})
        outside = await client.call_tool("read_text_file", {"path": "/etc/hostname"})
    assert not result.is_error
    assert text_of(result).startswith("Synthetic. ")
    assert CONFIDENTIAL not in result.model_dump_json()
    assert (CONFIDENTIAL[-4:] in text_of(result)) == (who == "clinician")
    assert outside.is_error


async def test_writing_a_file_is_for_those_whose_role_writes(gateway, letter):
    async with harness.client(gateway, "files", "analyst", mode="legacy") as client:
        refused = await client.call_tool("write_file", {"path": letter, "content": "synthetic"})
        result = await client.call_tool("read_text_file", {"path": letter})
    assert [reason["code"] for reason in refused.meta["phigate/refusal"]["reasons"]] == ["write"]
    assert text_of(result) != "synthetic"


async def test_a_client_that_knows_both_eras_speaks_the_newer_one_whatever_the_program_speaks(gateway):
    async with harness.client(gateway, "everything", "analyst", mode="auto") as client:
        assert client.protocol_version == "2026-07-28"
        assert "echo" in text_of(await client.call_tool("echo", {"message": "echo"})).lower()


@pytest.mark.parametrize("upstream", ["everything", "everything-http"])
async def test_the_everything_server_over_stdio_and_http(gateway, upstream):
    heard = []

    async def progress(done, total, message):
        heard.append(done)

    with trio.fail_after(GIVE_UP_S):
        async with harness.client(gateway, upstream, "clinician", mode="legacy") as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            echoed = await client.call_tool("echo", {"message": f"SSN {CONFIDENTIAL}"})
            worked = await client.call_tool(
                "trigger-long-running-operation", {"duration": 0.3, "steps": 3}, progress_callback=progress
            )
            resources = (await client.list_resources()).resources
            prompts = (await client.list_prompts()).prompts
    assert {"echo", "trigger-long-running-operation"} <= set(tools)
    assert CONFIDENTIAL not in text_of(echoed)
    assert CONFIDENTIAL[-4:] in text_of(echoed)
    assert not worked.is_error
    assert heard == [1, 2, 3]
    assert resources
    assert prompts


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_database_through_mcp_alchemy(gateway, mode):
    gateway.phi.add("select ssn from visit")
    async with harness.client(gateway, "database", "analyst", mode=mode) as client:
        tables = await client.call_tool("all_table_names", {})
        one = await client.call_tool("execute_query", {"query": "select ssn from visit where id = 1"})
        dropped = await client.call_tool("execute_query", {"query": "drop table visit"})
        deleted = await client.call_tool("execute_query", {"query": "delete from visit where id = 1"})
        again = await client.call_tool("execute_query", {"query": "select count(*) as n from visit"})
    assert text_of(tables) == "visit"
    assert not one.is_error
    assert CONFIDENTIAL not in one.model_dump_json()
    assert [reason["code"] for reason in dropped.meta["phigate/refusal"]["reasons"]] == ["sql_schema_change", "write"]
    assert [reason["code"] for reason in deleted.meta["phigate/refusal"]["reasons"]] == ["write"]
    assert "60" in text_of(again)
