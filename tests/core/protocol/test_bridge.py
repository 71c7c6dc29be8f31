"""What a message of one era is in the other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.protocol import bridge, mcp
from gateway.core.protocol.jsonrpc import Failure, Notification, Request

INTRODUCTION = {
    mcp.PROTOCOL_VERSION: "2026-07-28",
    mcp.CLIENT_INFO: {"name": "agent", "version": "3"},
    mcp.CLIENT_CAPABILITIES: {"sampling": {}},
}
GREETED = {
    "protocolVersion": "2025-11-25",
    "clientInfo": {"name": "agent", "version": "3"},
    "capabilities": {"roots": {}},
}
WORDS = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=4)


@given(WORDS, WORDS)
def test_a_request_comes_back_as_it_was_from_the_other_era(params, meta):
    legacy = Request(1, "tools/call", {**params, **({mcp.META: meta} if meta else {})})

    assert bridge.legacy_request(bridge.modern_request(legacy, GREETED, "2026-07-28", "debug")) == legacy


def test_a_modern_request_says_what_the_legacy_greeting_had_said():
    meta = mcp.meta(bridge.modern_request(Request(1, "tools/list", {}), GREETED, "2026-07-28", "info"))

    assert meta == {
        mcp.PROTOCOL_VERSION: "2026-07-28",
        mcp.CLIENT_INFO: {"name": "agent", "version": "3"},
        mcp.CLIENT_CAPABILITIES: {"roots": {}},
        mcp.LOG_LEVEL: "info",
    }


def test_a_client_is_greeted_as_what_it_says_of_itself():
    assert bridge.greeting(INTRODUCTION) == {
        "protocolVersion": "2025-11-25",
        "clientInfo": {"name": "agent", "version": "3"},
        "capabilities": {"sampling": {}},
    }


def test_greetings_and_discoveries_say_the_same():
    greeted = {"capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}, "instructions": "Ask."}

    discovery = bridge.discovered({"protocolVersion": "2025-06-18", **greeted})

    assert discovery["supportedVersions"] == ["2026-07-28"]
    assert (discovery["ttlMs"], discovery["cacheScope"]) == (0, "private")
    assert bridge.initialized(discovery, "2025-06-18") == {"protocolVersion": "2025-06-18", **greeted}


def test_no_result_of_an_upstream_that_cannot_say_so_is_shared_between_clients():
    assert bridge.modern_result("tools/list", {"tools": []})["cacheScope"] == "private"
    assert bridge.modern_result("tools/call", {"content": []}) == {"resultType": "complete", "content": []}


@given(WORDS)
def test_a_result_comes_back_as_it_was_from_the_other_era(result):
    assert bridge.legacy_result(bridge.modern_result("resources/read", result)) == result


def test_a_resource_that_is_not_there_has_each_eras_own_code():
    assert bridge.modern_failure("resources/read", Failure(1, -32002, "gone")).code == -32602
    assert bridge.modern_failure("tools/call", Failure(1, -32002, "gone")).code == -32002


def test_a_question_and_its_answer_cross():
    question = Request("q", "elicitation/create", {"message": "Who?"})

    result = bridge.input_required(question, "state")

    assert bridge.questions(result) == {"answer": ("elicitation/create", {"message": "Who?"})}
    again = bridge.resumed(Request(1, "tools/call", {"name": "x"}), result, {"answer": {"action": "accept"}})
    assert again.params["requestState"] == "state"
    assert bridge.answer(again) == {"action": "accept"}


def test_questions_that_cannot_be_read_are_still_counted():
    assert bridge.questions({"resultType": "input_required", "inputRequests": {"a": 1}}) == {"a": ("", {})}
    assert bridge.questions({"resultType": "input_required", "inputRequests": 1}) == {}
    assert bridge.questions({"content": []}) is None


ABLE = {"tools": {"listChanged": True}, "resources": {"subscribe": True}}


def test_a_subscription_hears_what_it_asked_for_and_the_upstream_can_say_under_its_own_id():
    wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourceSubscriptions": ["a:b", 3, "a:b"]}
    listen = Request(7, mcp.LISTEN, {"notifications": wanted})

    methods, uris = bridge.subscription(listen, ABLE)

    assert methods == {"notifications/tools/list_changed"}
    assert uris == ("a:b",)
    begun = bridge.acknowledged(listen, methods, uris)
    assert begun.params["notifications"] == {"toolsListChanged": True, "resourceSubscriptions": ["a:b"]}
    assert mcp.subscription(begun) == 7
    told = bridge.of_subscription(Notification("notifications/tools/list_changed", {}), 7)
    assert mcp.subscription(told) == 7
    assert bridge.outside(told) == Notification("notifications/tools/list_changed", {})
    assert bridge.subscription(Request(7, mcp.LISTEN, bridge.listening(("a:b",))), ABLE)[1] == ("a:b",)


def test_an_upstream_that_can_say_nothing_is_subscribed_to_for_nothing():
    assert bridge.subscription(Request(7, mcp.LISTEN, bridge.listening(("a:b",))), None) == (frozenset(), ())


def test_a_legacy_result_cannot_pass_for_one_that_asks_or_may_be_shared():
    posing = {"resultType": "input_required", "inputRequests": {}, "ttlMs": 9, "cacheScope": "public"}

    assert bridge.questions(bridge.modern_result("tools/list", posing)) is None
    assert bridge.modern_result("tools/list", posing)["cacheScope"] == "private"


@pytest.mark.parametrize(
    ("method", "params", "capabilities", "may"),
    [
        ("roots/list", {}, {"roots": {}}, True),
        ("roots/list", {}, {"sampling": {}}, False),
        ("roots/list", {}, {"roots": True}, False),
        ("roots/list", {}, None, False),
        ("ping", {}, {"ping": {}}, False),
        ("elicitation/create", {}, {"elicitation": {}}, True),
        ("elicitation/create", {"mode": "form"}, {"elicitation": {}}, True),
        ("elicitation/create", {"mode": "url"}, {"elicitation": {}}, False),
        ("elicitation/create", {"mode": "url"}, {"elicitation": {"url": {}}}, True),
        ("sampling/createMessage", {}, {"sampling": {}}, True),
        ("sampling/createMessage", {"tools": []}, {"sampling": {}}, False),
        ("sampling/createMessage", {"tools": []}, {"sampling": {"tools": {}}}, True),
    ],
)
def test_only_what_a_client_declared_may_be_asked_of_it(method, params, capabilities, may):
    assert bridge.may_ask(method, params, capabilities) is may


def test_of_two_log_levels_the_one_that_lets_more_through_wins():
    assert bridge.louder("error", "debug") == "debug"
    assert bridge.louder(None, "error") == "error"
    assert bridge.louder(None, "shout") is None


def test_a_log_message_reaches_only_requests_that_asked_for_as_much():
    told = Notification("notifications/message", {"level": "warning", "data": ""})

    assert [level for level in bridge.LEVELS if bridge.loud_enough(told, level)] == [
        "debug",
        "info",
        "notice",
        "warning",
    ]
    assert not bridge.loud_enough(told, None)
    assert not bridge.loud_enough(Notification("notifications/message", {"level": "shout"}), "debug")
