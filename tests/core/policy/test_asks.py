"""What upstreams want of the client is told by method and origin, whichever way they want it."""

import pytest

from gateway.core.policy import asks
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Success

URL = "https://login.example/start?patient=Ann"


def wanting(*params):
    requests = {str(number): {"method": "elicitation/create", "params": each} for number, each in enumerate(params)}
    return Success(1, {"inputRequests": requests})


@pytest.mark.parametrize(
    "message",
    [
        Request(1, "elicitation/create", {"mode": "url", "url": URL}),
        wanting({"mode": "url", "url": URL}),
        Failure(1, -32042, "open", {"elicitations": [{"mode": "url", "url": URL}]}),
        Failure(1, -1, "other code", {"elicitations": [{"url": URL}]}),
    ],
)
def test_a_page_to_open_is_told_by_its_origin_alone(message):
    assert asks.of(message)["opens"] == ["https://login.example"]


def test_pages_are_told_once_each_and_sorted():
    message = wanting({"url": "https://b.example/1"}, {"url": "https://b.example/2"}, {"url": "https://a.example"})

    assert asks.of(message)["opens"] == ["https://a.example", "https://b.example"]


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("HTTPS://Login.Example:443/x", "https://login.example"),
        ("http://login.example:80", "http://login.example"),
        ("https://login.example:8443", "https://login.example:8443"),
        ("https://[2001:db8::1]/x", "https://[2001:db8::1]"),
        ("https://login.example@evil.example/", "(malformed)"),
        ("https://login.example\\@evil.example/", "(malformed)"),
        ("https://lögin.example/", "(malformed)"),
        ("https://login.example\n.evil.example/", "(malformed)"),
        ("https://login.example:x/", "(malformed)"),
        ("https://[::1/", "(malformed)"),
        ("//login.example/", "(malformed)"),
        ("javascript:alert(1)", "(malformed)"),
        ("", "(malformed)"),
        (None, "(malformed)"),
        ({"a": 1}, "(malformed)"),
    ],
)
def test_an_origin_is_plain_or_it_is_malformed(url, origin):
    assert asks.of(wanting({"url": url}))["opens"] == [origin]


@pytest.mark.parametrize(
    "message",
    [
        Request(1, "elicitation/create", {"mode": "form", "requestedSchema": {}}),
        Request(1, "sampling/createMessage", {"url": URL}),
        wanting({"mode": "form"}),
        Success(1, {"url": URL}),
        Success(1, None),
        Failure(1, -32042, "open", None),
        Notification("notifications/message", {"url": URL}),
    ],
)
def test_where_no_page_is_to_be_opened_there_is_no_origin(message):
    assert asks.of(message)["opens"] == []


def test_an_error_that_hides_its_pages_in_another_shape_is_malformed():
    assert asks.of(Failure(1, -32042, "open", {"elicitations": {"url": URL}}))["opens"] == ["(malformed)"]


def test_an_error_that_names_pages_elicits():
    assert asks.of(Failure(1, -32042, "open", None))["asks"] == ["elicitation/create"]
    assert asks.of(Failure(1, -1, "other", {"elicitations": []}))["asks"] == ["elicitation/create"]
    assert asks.of(Failure(1, -1, "other", {"a": 1}))["asks"] == []


def test_a_message_that_is_no_answer_asks_nothing_beside_itself():
    assert asks.of(Request(1, "roots/list", {})) == {"opens": []}
    assert asks.of(Notification("a/b", {}))["asks"] == []


OPENS = {"method": "elicitation/create", "params": {"mode": "url", "url": URL}}
WANTS = {"inputRequests": {"a": OPENS, "b": {"method": "sampling/createMessage"}}}
FAILED = {"code": -32042, "message": "open", "data": {"elicitations": [{"url": URL}]}}


@pytest.mark.parametrize("task", [WANTS, {"result": WANTS}, {"task": WANTS}, {"task": {"result": WANTS}}])
@pytest.mark.parametrize(
    "around", [lambda task: Success(1, task), lambda task: Notification("notifications/tasks", task)]
)
def test_a_task_that_wants_input_asks_wherever_it_carries_it(task, around):
    message = around({"taskId": "t", "status": "input_required", **task})

    assert asks.of(message)["asks"] == ["elicitation/create", "sampling/createMessage"]
    assert asks.of(message)["opens"] == ["https://login.example"]


@pytest.mark.parametrize("task", [{"error": FAILED}, {"task": {"error": FAILED}}])
@pytest.mark.parametrize(
    "around", [lambda task: Success(1, task), lambda task: Notification("notifications/tasks", task)]
)
def test_a_task_that_failed_for_want_of_a_page_asks_for_it(task, around):
    message = around({"taskId": "t", "status": "failed", **task})

    assert asks.of(message) == {"asks": ["elicitation/create"], "opens": ["https://login.example"]}
