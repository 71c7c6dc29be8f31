"""What MCP calls things, and where they stand in a message."""

import pytest

from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Notification, Request, Success


def test_every_method_of_the_official_sdks_types_is_known():
    from mcp_types import methods

    spoken = {
        method
        for name in ("CLIENT_REQUESTS", "CLIENT_NOTIFICATIONS", "SERVER_REQUESTS", "SERVER_NOTIFICATIONS")
        for method, _ in getattr(methods, name)
    }

    assert len(spoken) > 25
    assert spoken - mcp.METHODS == set()


def test_a_request_asks_for_progress_in_its_meta_and_a_notification_brings_it_in_its_params():
    assert mcp.progress_token(Request(1, "tools/call", {"_meta": {"progressToken": 0}})) == 0
    assert mcp.progress_token(Notification("notifications/progress", {"progressToken": "t"})) == "t"
    assert mcp.progress_token(Notification("notifications/message", {"progressToken": "t"})) is None
    assert mcp.progress_token(Request(1, "tools/call", {"progressToken": "t"})) is None


def test_what_is_no_string_or_integer_is_no_token_and_no_id():
    for value in (None, True, 1.0, [], {}):
        assert mcp.progress_token(Request(1, "m", {"_meta": {"progressToken": value}})) is None
        assert mcp.cancelled(Notification("notifications/cancelled", {"requestId": value})) is None


def test_only_a_cancellation_cancels():
    assert mcp.cancelled(mcp.cancel("a")) == "a"
    assert mcp.cancelled(Notification("notifications/progress", {"requestId": "a"})) is None
    assert mcp.cancelled(Request(1, "notifications/cancelled", {"requestId": "a"})) is None


def test_a_message_without_meta_or_with_an_odd_one_has_an_empty_one():
    assert mcp.meta(Request(1, "m")) == {}
    assert mcp.meta(Request(1, "m", {"_meta": [1]})) == {}
    assert mcp.meta(Success(1, {"_meta": {"a": 1}})) == {}


def test_the_name_of_a_request_is_where_its_method_has_it():
    assert mcp.name(Request(1, "tools/call", {"name": "query"})) == "query"
    assert mcp.name(Request(1, "resources/read", {"uri": "file:///a", "name": "b"})) == "file:///a"
    assert mcp.name(Request(1, "tools/list", {"name": "query"})) is None
    assert mcp.name(Request(1, "tools/call", {"name": 3})) is None


def test_a_subscription_is_named_in_a_notifications_meta():
    meta = {"_meta": {"io.modelcontextprotocol/subscriptionId": 4}}

    assert mcp.subscription(Notification("notifications/tools/list_changed", meta)) == 4
    assert mcp.subscription(Request(1, "m", meta)) is None


@pytest.mark.parametrize("result", [{"resultType": "task"}, {"task": {"taskId": "t", "status": "working"}}])
def test_a_promise_of_a_result_is_a_task_in_either_era(result):
    assert mcp.is_task(result)


@pytest.mark.parametrize("result", [{}, None, [], {"resultType": "complete"}, {"task": "t"}, {"task": {"name": "a"}}])
def test_any_other_result_is_none(result):
    assert not mcp.is_task(result)
