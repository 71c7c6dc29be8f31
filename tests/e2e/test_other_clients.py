"""Clients that are not in Python: the official TypeScript SDKs and the MCP Inspector, through a whole gateway."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests import real_parts
from tests.e2e.sdk_server import SSN

STORY = Path(__file__).parents[1] / "node" / "clients" / "story.mjs"
TIME_S = 60


def tell(gateway, which):
    """The story as a TypeScript client met it."""
    extra = {
        "MCP_URL": gateway.mcp("ward"),
        "TOKEN": gateway.issuer.token("analyst"),
        "KEY": f"typescript {which} {gateway.port}",
    }
    done = subprocess.run(
        [real_parts.node(), STORY, which],
        cwd=real_parts.npm_set("clients"),
        env=real_parts.environment() | extra,
        capture_output=True,
        text=True,
        timeout=TIME_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("which", ["v1", "v2-legacy", "v2-auto"])
def test_the_official_typescript_clients(gateway, which):
    met = tell(gateway, which)
    assert met["instructions"].startswith("SYNTHETIC DATA")
    assert "add" in met["tools"]
    assert "withdrawn" not in met["tools"]
    assert (met["resources"], met["prompts"]) == (["ward://icu/chart"], ["handover"])
    assert met["add"] == {"result": 5}
    assert met["chart"]["structuredContent"]["beds"] == 7  # Masked, and the client's schema check is content with it.
    assert met["fails"]["isError"] is True
    assert met["refused"]["_meta"]["phigate/refusal"]["reasons"][0]["code"] == "write"
    assert '"beds"' in met["resource"]
    assert [each["progress"] for each in met["progress"]] == [1, 2, 3]
    assert met["stepwise"] == "3 steps"
    assert (met["begun"], met["cancelled"]) == (True, True)
    assert "name" in met["aborted"]
    assert SSN not in json.dumps(met)
    if which == "v2-auto":
        assert met["asked"]["_meta"]["phigate/refusal"]["reasons"][0]["code"] == "upstream_not_expected"
    else:
        assert "the client may not be asked this" in met["asked"]["message"]
        assert (met["heard"], met["terminated"]) == (True, 404)


@pytest.mark.parametrize("which", ["v1", "v2-auto"])
def test_where_policy_opens_it_a_typescript_client_answers_what_the_upstream_asks(asking, which):
    assert tell(asking, which)["asked"]["content"][0]["text"] == "accept: icu"


def inspect(gateway, era, *arguments):
    """What the Inspector's command line printed."""
    command = [
        *(real_parts.npm_tool("mcp-inspector"), "--cli", gateway.mcp("ward"), "--transport", "http"),
        *("--protocol-era", era, "--header", f"Authorization: Bearer {gateway.issuer.token('analyst')}"),
        *("--format", "json", *arguments),
    ]
    # It keeps a catalogue of servers in its user's home.
    environment = real_parts.environment() | {"HOME": str(gateway.place)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIME_S, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_inspector(gateway, era):
    tools = inspect(gateway, era, "--method", "tools/list")
    added = inspect(gateway, era, "--method", "tools/call", "--tool-name", "add", "--tool-arg", "one=2", "other=3")
    chart = inspect(gateway, era, "--method", "tools/call", "--tool-name", "chart")
    assert "add" in json.dumps(tools)
    assert "withdrawn" not in json.dumps(tools)
    assert '"5"' in json.dumps(added)
    assert SSN not in json.dumps(chart)
