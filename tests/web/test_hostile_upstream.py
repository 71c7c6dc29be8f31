"""What an upstream does with its place behind the gateway, each attack by name, through a whole gateway."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import orjson
import pytest

from gateway.core.protocol import mcp
from tests.e2e import issuer
from tests.fuzz import asking, parts
from tests.fuzz.asking import HEADERS, SESSION
from tests.fuzz.grammar import LEGACY, META, MODERN, called
from tests.fuzz.parts import SSN, Answer, Question
from tests.upstream.wires import STREAM, chunk, event

TASKS = {**META, mcp.CLIENT_CAPABILITIES: {"extensions": {mcp.TASKS: {}}}}


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """Somebody with a session at each upstream of a gateway that is checked when all is over."""
    with issuer.running() as people, parts.running(tmp_path_factory.mktemp("hostile"), people) as house:
        yield asking.arrive(house)


def modern(method: str, params: dict[str, Any], name: str = "") -> Question:
    message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, "_meta": deepcopy(TASKS)}}
    named = [(b"mcp-name", name.encode())] if name else []
    headers = (*HEADERS, (b"mcp-protocol-version", MODERN.encode()), (b"mcp-method", method.encode()), *named)
    return Question("POST", "/mcp/modern", headers, (json.dumps(message).encode(),))


def legacy(message: dict[str, Any]) -> Question:
    session = ((b"mcp-session-id", SESSION % b"legacy"), (b"mcp-protocol-version", LEGACY.encode()))
    return Question("POST", "/mcp/legacy", (*HEADERS, *session), (json.dumps(message).encode(),))


def told(answer: Answer, method: str) -> list[Any]:
    return [message for message in answer.messages() if message.get("method") == method]


def test_attack_a_task_that_is_told_unasked_on_a_subscription_is_not_its_hearers(person):
    heard = []

    def script(asked):
        heard.append(orjson.loads(asked.body)["method"])
        if heard[-1] != mcp.LISTEN:
            return [b""]
        meta = {"io.modelcontextprotocol/subscriptionId": 7}
        agreed = {"notifications": {"toolsListChanged": True}, "_meta": meta}
        news = {"taskId": "victims", "status": "completed", "_meta": meta}
        return [
            STREAM,
            event({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": agreed}),
            event({"jsonrpc": "2.0", "method": "notifications/tasks", "params": news}),
        ]

    answer = person.ask(modern(mcp.LISTEN, {"notifications": {"toolsListChanged": True}}), script)
    (notice,) = told(answer, "notifications/tasks")
    ident = notice["params"]["taskId"]
    (refused,) = person.ask(modern(mcp.TASK_GET, {"taskId": ident}, ident), script).messages()
    assert "no such task" in refused["error"]["message"]
    assert heard == [mcp.LISTEN]


def test_attack_no_line_of_a_flood_leaves_unmasked_or_out_of_its_turn(person):
    lines = 600

    def script(asked):
        ident = orjson.loads(asked.body)["id"]
        said = [f"line {number}" + (f" SSN {SSN}" if number % 3 == 0 else "") for number in range(lines)]
        flood = [
            {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": data}}
            for data in said
        ]
        whole = b"".join(b"data: " + orjson.dumps(each) + b"\n\n" for each in flood)
        cuts = range(0, len(whole), 7919)  # Anywhere: no cut is where an event ends.
        done = event({"jsonrpc": "2.0", "id": ident, "result": {"content": []}})
        return [STREAM, *[chunk(whole[at : at + 7919]) for at in cuts], done, b"0\r\n\r\n"]

    answer = person.ask(legacy(called("tools/call", modern=False)), script)
    assert SSN.encode() not in answer.body
    data = [message["params"]["data"] for message in told(answer, "notifications/message")]
    wanted = [f"line {number}" + (" SSN [SSN]" if number % 3 == 0 else "") for number in range(lines)]
    assert data == wanted


@pytest.mark.parametrize("pause", [b"9" * 400, b"9" * 5000], ids=["400 digits", "5000 digits"])
def test_attack_a_pause_that_is_no_number_is_the_upstreams_fault_and_not_ours(person, pause):
    def script(asked):
        return [STREAM, chunk(b"retry: " + pause + b"\n\n"), b"0\r\n\r\n", b""]

    (answer,) = person.ask(legacy(called("tools/call", modern=False)), script).messages()
    assert "ended the stream" in answer["error"]["message"]
