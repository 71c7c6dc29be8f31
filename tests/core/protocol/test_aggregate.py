"""Names at an aggregate endpoint: whose a thing is, and that nobody's name can be read as another's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.protocol import aggregate, mcp, tasks
from gateway.core.protocol.aggregate import Names
from gateway.core.protocol.jsonrpc import Notification, Request, Success

MEMBERS = ("clinic", "files", "a", "a-b")
NAMES = Names(MEMBERS)
PLAIN = Names(MEMBERS, "clinic")
KEYS = st.sampled_from(["name", "uri", "uriTemplate", "taskId"])
THINGS = st.text(max_size=20) | st.builds(
    "".join, st.lists(st.sampled_from(["__", "+", "_", "clinic", "files", "a", ":", "ui://"]))
)


@given(st.sampled_from(MEMBERS), KEYS, THINGS)
def test_a_name_that_went_out_comes_back_to_its_own_upstream(member, key, name):
    assert NAMES.inward(key, NAMES.outward(member, key, name)) == (member, name)


@given(st.lists(st.tuples(st.sampled_from(MEMBERS), THINGS), min_size=2, max_size=2, unique=True), KEYS)
def test_two_things_never_have_one_name(things, key):
    assert len({NAMES.outward(member, key, name) for member, name in things}) == 2


@given(st.sampled_from(MEMBERS), KEYS, THINGS)
def test_what_a_plain_upstream_adds_takes_no_name_of_another(member, key, name):
    """Attack: the plain upstream lists a tool whose name reads as another one's."""
    told = PLAIN.outward(member, key, name)

    assert PLAIN.reachable(member, key, name) in (False, PLAIN.inward(key, told) == (member, name))
    if member != "clinic":
        assert PLAIN.inward(key, told) == (member, name)


@given(st.sampled_from(MEMBERS), KEYS, THINGS)
def test_an_upstream_that_joins_renames_nothing(member, key, name):
    assert Names((*MEMBERS, "newcomer")).outward(member, key, name) == NAMES.outward(member, key, name)


def test_a_plain_upstreams_tool_in_anothers_name_is_not_reachable_and_a_long_one_is_not_either():
    assert not PLAIN.reachable("clinic", "name", "files__read")
    assert NAMES.reachable("files", "name", "x" * 121)
    assert not NAMES.reachable("files", "name", "x" * 122)


@pytest.mark.parametrize(
    ("method", "params", "wanted"),
    [
        ("tools/call", {"name": "files__read", "arguments": {"a": 1}}, {"name": "read", "arguments": {"a": 1}}),
        ("resources/read", {"uri": "files+file:///a+b"}, {"uri": "file:///a+b"}),
        ("tasks/get", {"taskId": "files__7"}, {"taskId": "7"}),
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "files__p"}, "argument": {}},
            {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {}},
        ),
        (
            "completion/complete",
            {"ref": {"type": "ref/resource", "uri": "files+f:///{x}"}},
            {"ref": {"type": "ref/resource", "uri": "f:///{x}"}},
        ),
    ],
)
def test_a_request_about_one_thing_goes_to_its_upstream_under_its_own_name(method, params, wanted):
    assert aggregate.routed(Request(1, method, params), NAMES) == ("files", Request(1, method, wanted))


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/call", {"name": "read"}),
        ("tools/call", {"name": "stranger__read"}),
        ("tools/call", {"name": ["files__read"]}),
        ("tools/call", {}),
        ("resources/read", {"uri": "file:///a"}),
        ("completion/complete", {"ref": "files__p"}),
        ("tools/list", {"name": "files__read"}),
    ],
)
def test_what_is_nobodys_goes_nowhere(method, params):
    assert aggregate.routed(Request(1, method, params), NAMES) is None


def test_everything_that_names_a_resource_or_task_in_an_answer_is_renamed_and_nothing_else():
    link = {"type": "resource_link", "uri": "file:///a", "name": "a"}
    held = {"type": "resource", "resource": {"uri": "file:///b", "text": "see file:///a"}}
    related = {tasks.RELATED: {"taskId": "7"}}
    result = {
        "content": [link, held, {"type": "text", "text": "file:///a"}],
        "contents": [{"uri": "file:///c", "text": ""}],
        "messages": [{"role": "user", "content": link}],
        "structuredContent": {"uri": "file:///a"},
        "task": {"taskId": "8", "status": "working"},
        "_meta": related,
    }
    renamed = aggregate.renamed(Success(1, result), NAMES, "files").result

    assert [each.get("uri") for each in renamed["content"]] == ["files+file:///a", None, None]
    assert renamed["content"][1]["resource"] == {"uri": "files+file:///b", "text": "see file:///a"}
    assert renamed["contents"][0]["uri"] == "files+file:///c"
    assert renamed["messages"][0]["content"]["uri"] == "files+file:///a"
    assert renamed["structuredContent"] == {"uri": "file:///a"}
    assert renamed["task"]["taskId"] == "files__8"
    assert renamed["_meta"][tasks.RELATED]["taskId"] == "files__7"
    assert aggregate.renamed(Success(1, result), PLAIN, "clinic") == Success(1, result)


def test_a_subscription_names_to_each_upstream_its_own_resources_alone():
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["files+file:///a", "a+x:1", "nobody"]}
    message = Request(1, "subscriptions/listen", {"notifications": wanted})

    told = {name: aggregate.for_member(message, NAMES, name).params["notifications"] for name in MEMBERS}
    assert told["files"] == {"toolsListChanged": True, "resourceSubscriptions": ["file:///a"]}
    assert told["a"] == {"toolsListChanged": True, "resourceSubscriptions": ["x:1"]}
    assert told["clinic"] == {"toolsListChanged": True}
    back = Notification(aggregate.ACKNOWLEDGED, {"notifications": told["files"]})
    honoured = aggregate.renamed(back, NAMES, "files").params["notifications"]
    assert honoured["resourceSubscriptions"] == ["files+file:///a"]


def test_an_updated_resource_is_told_under_the_name_that_was_subscribed():
    told = Notification("notifications/resources/updated", {"uri": "file:///a"})
    assert aggregate.renamed(told, NAMES, "files").params == {"uri": "files+file:///a"}


def test_capabilities_are_what_any_of_them_can_do():
    one = {"tools": {"listChanged": False}, "x": [1]}
    other = {"tools": {"listChanged": True}, "prompts": {}, "x": [1, 2]}
    assert aggregate.union(one, other) == {"tools": {"listChanged": True}, "prompts": {}, "x": [1, 2]}


@given(st.sampled_from(MEMBERS), st.integers(-(2**53), 2**53) | st.text(max_size=20), st.sampled_from([NAMES, PLAIN]))
def test_progress_on_what_an_upstream_asked_goes_to_that_upstream_under_its_own_token(member, token, names):
    asked = Request(1, "sampling/createMessage", {"_meta": {"progressToken": token, "other": 1}})
    told = aggregate.renamed(asked, names, member)
    assert told.params["_meta"]["other"] == 1
    progress = Notification(mcp.PROGRESS, {"progressToken": told.params["_meta"]["progressToken"], "progress": 2})
    wanted = Notification(mcp.PROGRESS, {"progressToken": token, "progress": 2})
    assert aggregate.routed(progress, names) == (member, wanted)


@pytest.mark.parametrize("token", [7, "x", "nobody__n7", None, True, "files"])
def test_progress_under_a_token_that_was_not_given_here_goes_nowhere(token):
    assert aggregate.routed(Notification(mcp.PROGRESS, {"progressToken": token}), NAMES) is None


def test_an_apps_page_keeps_its_scheme_and_its_tool_names_it_as_clients_must():
    assert NAMES.outward("files", "uri", "ui://view/main") == "ui://files+view/main"
    assert NAMES.inward("uri", "ui://files+view/main") == ("files", "ui://view/main")
    tool = {"name": "t", "_meta": {"ui": {"resourceUri": "ui://v", "visibility": []}, "ui/resourceUri": "ui://v"}}
    others = [{"name": "u", "_meta": {"ui": 1}}, {"name": "v", "_meta": 2}]
    listed = {"tools": [tool, *others]}
    (found, *rest), _ = aggregate.items(Request(1, "tools/list", {}), NAMES, "files", listed)
    assert found["_meta"] == {
        "ui": {"resourceUri": "ui://files+v", "visibility": []},
        "ui/resourceUri": "ui://files+v",
    }
    assert [each["_meta"] for each in rest] == [{"ui": 1}, 2]
