"""Tasks of a real upstream (npm's server-everything, 2025-11-25, over HTTP and as a program) are those of the principal
they were made for, at each worker."""

from __future__ import annotations

import json
from itertools import takewhile

import httpx2
import pytest
import trio

from tests.e2e import harness, workers
from tests.e2e.workers import greeted

TOOL = "simulate-research-query"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, people, everything_http_upstream, everything_upstream):
    def permit(settings):
        settings["tools"]["everything-http"] = settings["tools"]["everything"] = {TOOL: "read"}

    change = lambda policies: harness.change_settings(policies, permit)  # noqa: E731
    place = tmp_path_factory.mktemp("tasks")
    aggregates = [{"name": "all"}]
    more = {"workers": 2, "policy": change, "aggregates": aggregates}
    with harness.running(place, people, [everything_http_upstream, everything_upstream], **more) as running:
        for upstream in ("everything-http", "everything"):
            trio.run(harness.list_tools, running, "analyst", upstream)
        yield running


def asked(worker, door, headers, method, **params):
    message = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    *_, answer = workers.messages(worker.post(door, message, **headers))
    return answer


@pytest.mark.parametrize(
    ("door", "prefix"),
    [("everything-http", ""), ("all", "everything-http__"), ("everything", ""), ("all", "everything__")],
)
def test_a_task_is_its_principals_alone(gateway, door, prefix):
    with workers.each(gateway, "analyst") as (one, other), workers.each(gateway, "clinician") as (somebody, _):
        mine = greeted(one, door)
        call = {"name": prefix + TOOL, "arguments": {"topic": "synthetic"}, "task": {"ttl": 60_000}}
        made = asked(one, door, mine, "tools/call", **call)["result"]["task"]
        ident = made["taskId"]
        assert ident.startswith(prefix)

        polled = asked(other, door, mine, "tasks/get", taskId=ident)
        assert "result" in polled, polled
        assert polled["result"]["taskId"] == ident
        done = asked(other, door, mine, "tasks/result", taskId=ident)["result"]
        assert done["content"]
        assert done["_meta"]["io.modelcontextprotocol/related-task"]["taskId"] == ident

        bare = ident[:-2]
        theirs = greeted(somebody, door)
        for headers, worker, name in ((theirs, somebody, ident), (theirs, somebody, bare), (mine, one, bare)):
            refused = asked(worker, door, headers, "tasks/get", taskId=name)
            assert (refused["error"]["code"], "no such task" in refused["error"]["message"]) == (-32602, True)


def test_who_listens_hears_how_its_task_stands_under_the_id_that_it_has(gateway):
    with workers.each(gateway, "analyst") as (one, _):
        mine = greeted(one, "everything-http")
        listening = gateway.headers("analyst", **mine) | {"accept": "text/event-stream"}
        with httpx2.stream("GET", gateway.mcp("everything-http"), headers=listening, timeout=30) as stream:
            assert stream.status_code == 200
            call = {"name": TOOL, "arguments": {"topic": "synthetic"}, "task": {"ttl": 60_000}}
            ident = asked(one, "everything-http", mine, "tools/call", **call)["result"]["task"]["taskId"]
            told = (
                json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line.startswith("data: {")
            )
            news = (each["params"] for each in told if each["method"] == "notifications/tasks/status")
            heard = list(takewhile(lambda each: each["status"] != "completed", news))
    assert {each["taskId"] for each in heard} == {ident}
    assert {each["status"] for each in heard} == {"working"}
