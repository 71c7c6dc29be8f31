"""What a task of one era is in the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.protocol import bridge_tasks as wording
from gateway.core.protocol import mcp, tasks
from gateway.core.protocol.jsonrpc import Failure, Request, Success

LEGACY = {
    "taskId": "t", "status": "working", "statusMessage": "half", "createdAt": "2026-11-23T00:00:00Z",
    "lastUpdatedAt": "2026-11-23T00:00:01Z", "ttl": 60_000, "pollInterval": 500,
}  # fmt: skip
EXTENDED = {mcp.TASKS: {}}
WORDS = """_meta call code error execution extensions message name requests result status task taskId taskSupport tasks
    tools ttl ttlMs""".split()
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*WORDS, mcp.TASKS]), inner, max_size=4)
    ),
    max_leaves=12,
)


def test_a_task_has_the_words_of_the_extension_and_back_those_of_2025_11_25():
    modern = wording.modern(LEGACY, "ours", most_ms=90_000)
    assert modern == {
        **{key: LEGACY[key] for key in ("status", "statusMessage", "createdAt", "lastUpdatedAt")},
        "taskId": "ours",
        "ttlMs": 60_000,
        "pollIntervalMs": 500,
    }
    assert wording.legacy(modern) == {**LEGACY, "taskId": "ours"}


@pytest.mark.parametrize(("ttl", "lives"), [(60_000, 60_000), (None, 90_000), (10**9, 90_000), ("long", 90_000)])
def test_nobody_is_told_that_a_task_lives_longer_than_it_is_kept(ttl, lives):
    assert wording.modern({**LEGACY, "ttl": ttl}, "t", most_ms=90_000)["ttlMs"] == lives


def test_a_tool_that_says_that_it_failed_has_completed_by_the_extension_and_failed_before_it():
    said = {"content": [], "isError": True, "_meta": {tasks.RELATED: {"taskId": "t"}, "other": 1}}
    ended = wording.ended({"taskId": "t", "status": "failed"}, Success(1, said))
    assert (ended["status"], ended["result"]["isError"]) == ("completed", True)
    assert ended["result"]["_meta"] == {"other": 1}
    assert wording.legacy(ended)["status"] == "failed"


def test_an_error_of_the_protocol_is_a_failed_task_and_the_answer_to_the_legacy_question_for_its_result():
    ended = wording.ended({"taskId": "t"}, Failure(1, -32602, "no", {"why": 1}))
    assert ended == {"taskId": "t", "status": "failed", "error": {"code": -32602, "message": "no", "data": {"why": 1}}}
    asked = Request(5, "tasks/result", {"taskId": "t"})
    assert wording.outcome(asked, ended) == Failure(5, -32602, "no", {"why": 1})
    assert wording.outcome(asked, {"status": "failed", "error": {"code": "x"}}).code == -32603
    assert wording.outcome(asked, {"status": "cancelled"}).code == -32602


def test_a_result_names_its_task_towards_legacy_clients():
    found = wording.outcome(Request(5, "tasks/result", {"taskId": "t"}), {"status": "completed", "result": {"a": 1}})
    assert found == Success(5, {"a": 1, "_meta": {tasks.RELATED: {"taskId": "t"}}})


def test_who_can_make_tasks_is_said_in_each_eras_way():
    old = {"tools": {}, "tasks": {"list": {}, "requests": {"tools": {"call": {}}}}}
    assert wording.modern_capabilities(old) == {"tools": {}, "extensions": EXTENDED}
    assert wording.modern_capabilities({"tools": {}, "tasks": {"list": {}}}) == {"tools": {}}
    new = {"tools": {}, "extensions": EXTENDED}
    assert wording.legacy_capabilities(new, "2025-11-25")["tasks"] == {
        "cancel": {},
        "requests": {"tools": {"call": {}}},
    }
    assert wording.legacy_capabilities(new, "2025-06-18") == new
    assert wording.legacy_capabilities({"tools": {}}, "2025-11-25") == {"tools": {}}


def test_the_extension_is_declared_where_a_task_is_wanted_and_never_else():
    said = {"capabilities": {"roots": {}, "extensions": {**EXTENDED, "other": {}}}}
    assert wording.declaring(said, tasks=True) == said
    assert wording.declaring(said, tasks=False) == {"capabilities": {"roots": {}, "extensions": {"other": {}}}}
    assert wording.declaring({}, tasks=True) == {"capabilities": {"extensions": EXTENDED}}
    assert wording.declaring({"capabilities": {"extensions": EXTENDED}}, tasks=False) == {"capabilities": {}}


def test_tools_say_whether_they_may_or_must_be_tasks():
    listed = [
        {"name": "must", "execution": {"taskSupport": "required"}},
        {"name": "may", "execution": {"taskSupport": "optional"}},
        {"name": "not", "execution": {"taskSupport": "forbidden"}},
        {"name": "silent"},
        "none",
    ]
    assert wording.supports(Success(1, {"tools": listed})) == {"must": "required", "may": "optional"}
    assert wording.supports(Failure(1, -32601, "no")) == {}


def test_no_upstream_says_through_the_gateway_that_it_lists_tasks():
    said = {"capabilities": {"tools": {}, "tasks": {"list": {}, "cancel": {}}}, "serverInfo": {}}
    told = {"capabilities": {"tools": {}, "tasks": {"cancel": {}}}, "serverInfo": {}}
    assert wording.unlisted(said) == told
    for other in (told, {"capabilities": {"tasks": ["list"]}}, {"tasks": {"list": {}}}, None):
        assert wording.unlisted(other) == other


def test_each_tool_of_an_upstream_that_decides_by_itself_may_be_a_task_but_one_that_says_otherwise():
    said = {"taskSupport": "forbidden"}
    listed = [{"name": "silent"}, {"name": "other", "execution": {"at": 1}}, {"name": "own", "execution": said}, "none"]
    found = wording.supported({"tools": listed, "ttlMs": 0})
    assert found["tools"] == [
        {"name": "silent", "execution": {"taskSupport": "optional"}},
        {"name": "other", "execution": {"taskSupport": "optional", "at": 1}},
        {"name": "own", "execution": said},
        "none",
    ]
    assert wording.supports(Success(1, found)) == {"silent": "optional", "other": "optional"}


@given(ANY)
def test_whatever_an_upstream_says_is_read(value):
    told = value if isinstance(value, dict) else {}
    wording.created(value)
    wording.runs_tools(value)
    wording.offered(value)
    wording.legacy_capabilities(value, "2025-11-25")
    wording.supported(value)
    wording.unlisted(value)
    wording.modern_capabilities(value)
    wording.supports(Success(1, value))
    wording.ended(wording.modern(told, "t", most_ms=1), Success(1, value))
    wording.outcome(Request(1, "tasks/result", {"taskId": "t"}), wording.legacy(told) | told)
    wording.declaring(told, tasks=True)
