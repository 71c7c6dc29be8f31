"""Ids of an upstream's tasks are good for the principal that they were given to, and for nobody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.protocol import tasks
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Success

KEY = b"k" * 32
META = {tasks.RELATED: {"taskId": "t1"}, "other": 1}


def mark(ident):
    return f"<{ident}>"


@given(st.text(), st.text(), st.text())
def test_an_id_is_its_owners_alone(ident, mine, yours):
    told = tasks.sealed(ident, KEY, mine)
    assert told == tasks.sealed(ident, KEY, mine)
    assert tasks.own(told, KEY, mine) == ident
    assert (tasks.own(told, KEY, yours) is None) == (mine != yours)
    assert tasks.own(told, b"x" * 32, mine) is None


@given(st.text(), st.text())
def test_an_id_that_nobody_was_given_is_nobodys(ident, mine):
    assert tasks.own(ident, KEY, mine) is None


def test_a_task_that_an_upstream_makes_is_renamed_in_both_eras():
    legacy = tasks.outward(Success(1, {"task": {"taskId": "t1", "status": "working"}}), mark)
    assert legacy == Success(1, {"task": {"taskId": "<t1>", "status": "working"}})
    modern = tasks.outward(Success(1, {"resultType": "task", "taskId": "t1"}), mark)
    assert modern == Success(1, {"resultType": "task", "taskId": "<t1>"})


def test_what_belongs_to_a_task_says_so_under_its_name_here():
    related = {tasks.RELATED: {"taskId": "<t1>"}, "other": 1}
    assert tasks.outward(Success(1, {"content": [], "_meta": META}), mark).result["_meta"] == related
    assert tasks.outward(Request(1, "elicitation/create", {"_meta": META}), mark).params["_meta"] == related
    assert tasks.outward(Notification("notifications/message", {"_meta": META}), mark).params["_meta"] == related
    told = tasks.outward(Notification("notifications/tasks/status", {"taskId": "t1"}), mark)
    assert told.params == {"taskId": "<t1>"}
    assert tasks.inward(Success(1, {"action": "accept", "_meta": META}), mark).result["_meta"] == related


@pytest.mark.parametrize(
    ("result", "status"),
    [
        ({"task": {"taskId": "t", "status": "working"}}, "working"),
        ({"resultType": "task", "taskId": "t", "status": "failed"}, "failed"),
        ({"taskId": "t", "status": "Jane Doe"}, None),
        ({"status": "working"}, None),
        ({"task": "t", "taskId": 1, "status": 2}, None),
        (["working"], None),
    ],
)
def test_how_a_task_stands_is_said_in_words_of_the_protocol_alone(result, status):
    assert tasks.stands(Success(1, result)) == status
    assert tasks.stands(Failure(1, -32602, "working")) is None


def test_a_question_about_a_task_goes_on_under_its_name_there():
    for method in sorted(tasks.ASKING):
        message = Request(1, method, {"taskId": "t1", "_meta": META})
        assert tasks.asked(message) == "t1"
        told = tasks.inward(message, mark).params
        assert (told["taskId"], told["_meta"][tasks.RELATED]) == ("<t1>", {"taskId": "<t1>"})


def own(ident):
    """The name there of what is the client's; any other keeps its own."""
    return {"mine": "t1"}.get(ident, ident)


@pytest.mark.parametrize("related", [{"taskId": "t2"}, {"taskId": ["mine"]}, {"taskId": None}, {}, ["t2"], "t2"])
def test_attack_a_request_cannot_be_made_to_belong_to_a_task_of_somebody_else(related):
    for method, params in (
        ("tools/call", {"name": "echo"}),
        ("tasks/get", {"taskId": "mine"}),
        ("subscriptions/listen", {"notifications": {}}),
    ):
        message = Request(1, method, {**params, "_meta": {tasks.RELATED: related, "other": 1}})
        assert tasks.inward(message, own).params["_meta"] == {"other": 1}
        message = Request(1, method, {**params, "_meta": {tasks.RELATED: {"taskId": "mine"}}})
        assert tasks.inward(message, own).params["_meta"] == {tasks.RELATED: {"taskId": "t1"}}


@pytest.mark.parametrize("ident", [["t1"], {"taskId": "t1"}, 1, None, True])
def test_attack_a_question_about_what_is_no_id_is_still_a_question_about_a_task(ident):
    for method in sorted(tasks.ASKING):
        message = Request(1, method, {"taskId": ident})
        assert tasks.asks(message)
        assert tasks.asked(message) is None


def test_what_an_upstream_runs_for_everybody_gets_no_names_in_a_list():
    listed = Success(1, {"tasks": [{"taskId": "t1"}]})
    assert tasks.outward(listed, mark) == listed


def test_a_clients_own_tasks_keep_their_ids():
    for message in (Request(1, "tasks/get", {"taskId": "c1"}), Request(1, "tasks/result", {"taskId": "c1"})):
        assert tasks.outward(message, mark) == message
    for message in (
        Success(1, {"task": {"taskId": "c1"}}),
        Notification("notifications/tasks/status", {"taskId": "c1"}),
    ):
        assert tasks.inward(message, mark) == message


def test_everything_else_is_left_as_it_is():
    for message in (
        Success(1, {"structuredContent": {"taskId": "t1"}}),
        Success(1, "text"),
        Failure(1, -32602, "no"),
        Request(1, "tools/call", {"name": "taskId", "arguments": {"taskId": "t1"}}),
        Notification("notifications/progress", {"progressToken": "taskId", "progress": 1}),
    ):
        assert tasks.outward(message, mark) == message
        assert tasks.inward(message, mark) == message
        assert tasks.asked(message) is None


def test_a_client_is_told_of_its_own_tasks_alone_under_their_names_here():
    wanted = {"toolsListChanged": True, "taskIds": ["ours-mine", "theirs", 7]}
    asked = Request(1, "subscriptions/listen", {"notifications": wanted})
    sent = tasks.inward(asked, lambda ident: ident.removesuffix("-mine"))
    assert sent.params["notifications"] == {"toolsListChanged": True, "taskIds": ["ours"]}
    told = Notification("notifications/subscriptions/acknowledged", {"notifications": {"taskIds": ["ours"]}})
    found = tasks.outward(told, lambda ident: f"{ident}-mine")
    assert found.params["notifications"] == {"taskIds": ["ours-mine"]}
    assert tasks.concerned(asked)
    assert not tasks.concerned(Request(1, "subscriptions/listen", {"notifications": {"taskIds": []}}))
    assert [tasks.concerned(Request(1, method)) for method in ("tasks/get", "tools/call")] == [True, False]
    assert not tasks.concerned(told)
    assert tasks.inward(Request(1, "subscriptions/listen", {"notifications": 1}), str).params == {"notifications": 1}
