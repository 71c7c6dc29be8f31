"""An approved call that its client waits for by a task, whose upstream asks its user something in the middle of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import trio

from tests import real_parts
from tests.conformance import parts
from tests.e2e import harness
from tests.e2e.ledger import Ledger

CLIENT = Path(__file__).parents[1] / "node" / "clients" / "tasks.mjs"
MAY_TAKE_S = 90


def reviewed(policies):
    """As `parts.opened`, but what writes is reviewed."""
    parts.opened(policies)

    def change(settings):
        settings["roles"][parts.WHO]["writes"] = "require_approval"

    harness.change_settings(policies, change)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, people):
    with parts.everything_server() as url:
        upstreams = harness.in_both_eras(url)
        place = tmp_path_factory.mktemp("questions")
        with harness.running(place, people, upstreams, workers=2, policy=reviewed) as running:
            yield running


@pytest.mark.parametrize(
    ("upstream", "tool", "arguments", "said"),
    [
        ("modern", "test_input_required_result_elicitation", {}, "Hello, Ada!"),
        ("legacy", "test_elicitation", {"message": "Who?"}, "action=accept"),
    ],
)
async def test_its_user_answers_by_the_task_and_reviewers_see_each_run(gateway, upstream, tool, arguments, said):
    token = gateway.issuer.token(parts.WHO, [parts.WHO])
    ledger = Ledger(gateway, gateway.place / "none")
    before = len(ledger.approvals("spent"))
    command = [str(real_parts.node()), str(CLIENT), "modern", tool, json.dumps(arguments)]
    env = {**real_parts.environment(), "MCP_URL": gateway.mcp(upstream), "TOKEN": token}
    where = real_parts.npm_set("clients")
    with trio.fail_after(MAY_TAKE_S):
        async with trio.open_nursery() as nursery:

            async def review():
                while True:
                    for approval in ledger.approvals("pending"):
                        await ledger.grant(approval)
                    await trio.sleep(0.3)

            nursery.start_soon(review)
            done = await trio.run_process(
                command, env=env, cwd=where, capture_stdout=True, capture_stderr=True, check=False
            )
            nursery.cancel_scope.cancel()
    *seen, end = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 0, (subprocess.list2cmdline(command), done.stderr)
    assert [line["asked"] for line in seen if "asked" in line] == ["elicitation"], seen
    assert said in end["result"]["content"][0]["text"], end
    assert len(ledger.approvals("spent")) - before == 2
