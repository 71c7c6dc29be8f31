from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import Call
from gateway.core.held import Task
from gateway.core.masking.profile import Profile
from gateway.core.policy import input as policy_input
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, Success
from gateway.core.types import ApprovalId, Digest, Era, ExchangeId, Principal, SessionId, Tool, UpstreamRef

REQUEST = Request(1, "tools/call", {"name": "run", "arguments": {"a": 1}, "_meta": {"x": 1}, "task": {"ttl": 1}})
TOOL = Tool("run", Digest("0" * 64), {"annotations": {"readOnlyHint": True}, "description": "long prose"})


def call(message: Message = REQUEST, **members) -> Call:
    principal = Principal("https://issuer.example", "somebody", ("a",), "agent", "high", ("otp",), ("service",))
    upstream = UpstreamRef("clinic", {"phi": True})
    return Call(
        ExchangeId("e"), SessionId("s"), "actor", Era.LEGACY, "2025-11-25", principal, upstream, message, **members
    )


def test_a_call_is_told_whole_but_for_its_meta():
    document = policy_input.for_call(call(tool=TOOL, facts={"size": {"arguments": 7}}))

    assert document == {
        "phase": "call",
        "principal": {
            "iss": "https://issuer.example",
            "sub": "somebody",
            "groups": ["a"],
            "client": "agent",
            "acr": "high",
            "amr": ["otp"],
            "chain": ["service"],
            "kind": "person",
        },
        "session": {"id": "s", "era": "legacy", "version": "2025-11-25"},
        "upstream": {"name": "clinic", "labels": {"phi": True}},
        "purpose": "",
        "tool": {"name": "run", "pin": "0" * 64, "annotations": {"readOnlyHint": True}, "changed": False},
        "facts": {"size": {"arguments": 7}},
        "message": {
            "kind": "request",
            "method": "tools/call",
            "name": "run",
            "arguments": {"a": 1},
            "params": {"task": {"ttl": 1}},
        },
    }


def test_what_for_and_why_are_told_as_the_client_says_them():
    told = policy_input.for_call(call(purpose="TREAT", justification="ward round"))

    assert (told["purpose"], told["justification"]) == ("TREAT", "ward round")
    assert "justification" not in policy_input.for_call(call())
    assert policy_input.for_result(call(purpose="TREAT"), Success(1, {}), Profile())["purpose"] == "TREAT"
    assert policy_input.for_catalogue(call(purpose="TREAT"), "tools", [])["purpose"] == "TREAT"


def test_a_grant_is_told_only_when_there_is_one():
    assert "approval" not in policy_input.for_call(call())
    assert policy_input.for_call(call(), approval={"id": "x"})["approval"] == {"id": "x"}
    assert policy_input.for_result(call(), Success(1, {}), Profile(), approval={"id": "x"})["approval"] == {"id": "x"}


def test_asking_after_a_held_call_is_told_apart_from_asking_after_an_upstreams_task():
    asked = Request(7, "tasks/get", {"taskId": "phigate.t"})
    assert policy_input.for_call(call(asked, task=Task("phigate.t", ApprovalId("a"))))["message"]["held"] is True
    assert "held" not in policy_input.for_call(call(asked))["message"]


def test_an_unknown_tool_is_null():
    assert policy_input.for_call(call())["tool"] is None


@pytest.mark.parametrize(
    ("message", "about"),
    [
        (Request(1, "resources/read", {"uri": "x://y"}), ("request", "resources/read", "x://y")),
        (Notification("notifications/cancelled", {"requestId": 1}), ("notification", "notifications/cancelled", "")),
        (Success(1, {"secret": 1}), ("response", "sampling/createMessage", "")),
        (Failure(1, -1, "no", {"b": 2}), ("response", "sampling/createMessage", "")),
        (Request(1, "tools/call", {"name": 5}), ("request", "tools/call", "")),
    ],
)
def test_each_message_says_what_it_is_about(message, about):
    told = policy_input.for_call(call(message, answers="sampling/createMessage"))["message"]

    assert (told["kind"], told["method"], told["name"]) == about


def test_a_clients_answer_is_told_with_its_content():
    success = policy_input.for_call(call(Success(1, {"model": "x"}), answers="ping"))["message"]
    failure = policy_input.for_call(call(Failure(1, -1, "no", 2), answers="ping"))["message"]

    assert success["params"] == {"result": {"model": "x"}}
    assert failure["params"] == {"error": {"code": -1, "message": "no", "data": 2}}


@pytest.mark.parametrize(
    ("message", "result"),
    [
        (
            Success(1, {"content": ["Jane"]}),
            {"kind": "success", "method": "", "is_error": False, "asks": [], "opens": []},
        ),
        (Success(1, {"isError": True}), {"kind": "success", "method": "", "is_error": True, "asks": [], "opens": []}),
        (
            Success(1, {"resultType": "task", "taskId": "t"}),
            {"kind": "success", "method": "", "is_error": False, "task": True, "asks": [], "opens": []},
        ),
        (
            Success(1, {"task": {"taskId": "t"}}),
            {"kind": "success", "method": "", "is_error": False, "task": True, "asks": [], "opens": []},
        ),
        (Success(1, None), {"kind": "success", "method": "", "is_error": False, "asks": [], "opens": []}),
        (
            Failure(1, -5, "Jane"),
            {"kind": "error", "method": "", "is_error": True, "code": -5, "asks": [], "opens": []},
        ),
        (Request(9, "roots/list", {}), {"kind": "request", "method": "roots/list", "is_error": False, "opens": []}),
        (
            Notification("a/b", {}),
            {"kind": "notification", "method": "a/b", "is_error": False, "asks": [], "opens": []},
        ),
    ],
)
def test_a_result_is_told_by_its_form_and_its_profile_never_its_content(message, result):
    document = policy_input.for_result(call(), message, Profile({"rows": 3}))

    assert document["result"] == result
    assert document["profile"] == {"rows": 3}
    assert document["message"] == {"kind": "request", "method": "tools/call", "name": "run"}
    assert "Jane" not in str(document)


@pytest.mark.parametrize(
    ("requests", "asks"),
    [
        (
            {"a": {"method": "sampling/createMessage"}, "b": {"method": "roots/list"}},
            ["roots/list", "sampling/createMessage"],
        ),
        ({"a": {"method": "x"}, "b": {"method": "x"}}, ["x"]),
        ({"a": {"method": 5}}, ["(malformed)"]),
        ({"a": "Jane"}, ["(malformed)"]),
        (["Jane"], ["(malformed)"]),
        ("Jane", ["(malformed)"]),
        ({}, []),
        (None, []),
    ],
)
def test_what_a_modern_result_asks_of_the_client_is_told_by_method(requests, asks):
    document = policy_input.for_result(call(), Success(1, {"inputRequests": requests}), Profile())

    assert document["result"]["asks"] == asks


def test_a_listing_is_told_by_its_items():
    document = policy_input.for_catalogue(call(), "tools", [{"name": "run", "annotations": {}}])

    assert document["phase"] == "catalogue"
    assert document["catalogue"] == {"kind": "tools", "items": [{"name": "run", "annotations": {}}]}


@pytest.mark.parametrize("method", ["resources/read", "resources/subscribe", "resources/unsubscribe"])
def test_a_decoy_name_beside_a_uri_is_not_what_policy_judges(method):
    told = policy_input.for_call(call(Request(1, method, {"name": "notes://open", "uri": "notes://sealed"})))["message"]

    assert told["name"] == "notes://sealed"
    assert told["params"]["name"] == "notes://open"  # Forwarded, so policy and reviewers see it.


def test_a_decoy_uri_beside_a_name_is_not_what_policy_judges():
    told = policy_input.for_call(call(Request(1, "tools/call", {"uri": "x://y", "name": 5})))["message"]

    assert (told["name"], told["params"]) == ("", {"uri": "x://y", "name": 5})


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        ({"type": "ref/prompt", "name": "discharge", "uri": "notes://open"}, "discharge"),
        ({"type": "ref/resource", "name": "open", "uri": "notes://{mrn}"}, "notes://{mrn}"),
        ({"type": "ref/resource", "name": "open"}, ""),
        ("notes://open", ""),
    ],
)
def test_a_completion_is_about_what_it_completes(ref, name):
    message = Request(1, "completion/complete", {"ref": ref, "name": "decoy"})

    assert policy_input.for_call(call(message))["message"]["name"] == name


@pytest.mark.parametrize(
    ("failure", "asks"),
    [
        (Failure(1, -32000, "no"), []),
        (Failure(1, -32042, "sign in first"), ["elicitation/create"]),
        (Failure(1, -32000, "sign in first", {"elicitations": [{"mode": "url"}]}), ["elicitation/create"]),
    ],
)
def test_an_elicitation_dressed_as_an_error_is_told_as_what_it_asks(failure, asks):
    assert policy_input.for_result(call(), failure, Profile())["result"]["asks"] == asks


def test_messages_whose_profile_is_no_json_are_each_a_question_of_its_own():
    line = Notification("notifications/message", {})
    odd, plain = (Profile({"paths": ["$.message.ssn\ud800"]}) for _ in range(2)), Profile({"paths": []})
    keys = [key for key, _ in policy_input.for_results(call(), [line] * 4, [*odd, plain, plain])]

    assert len(set(keys)) == 3


LINES = [
    Notification(method, params)
    for method in ("notifications/progress", "notifications/message")
    for params in (
        {"progress": 1},
        {"progress": 2},
        {"task": {"error": {"data": {"elicitations": []}}}},
        {"code": -32042},
    )
]


@given(st.lists(st.tuples(st.sampled_from([*LINES, Request(1, "roots/list")]), st.integers(0, 2)), max_size=8))
def test_several_messages_have_the_inputs_that_each_has_alone_under_keys_that_tell_them_apart(asked):
    profiles = [Profile({"bytes": size}) for size in (1, 2)] + [Profile({"bytes": 1})]
    messages, seen = [message for message, _ in asked], [profiles[number] for _, number in asked]
    found = list(policy_input.for_results(call(), messages, seen))

    alone = [policy_input.for_result(call(), message, profile) for message, profile in zip(messages, seen, strict=True)]
    assert [document for _, document in found] == alone
    for (key, document), (other, another) in product(found, repeat=2):
        assert (key == other) == (document == another)
