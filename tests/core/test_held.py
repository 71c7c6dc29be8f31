"""Which way a held call's caller takes, what it carries, and what of that is believed when it comes back."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import held
from gateway.core.held import Claim, Opened, Way
from gateway.core.protocol.jsonrpc import Notification, Request, Success
from gateway.core.types import ApprovalId, Era, Principal

ADA = Principal("https://idp.example", "ada", ("clinicians",), "agent-1")
APPROVAL = ApprovalId("ap_aaaaaaaaaaaaaaaa")
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
TASKS = {"extensions": {"io.modelcontextprotocol/tasks": {}}}


def seal(document, purpose):
    """Stands in for AEAD: opens for its purpose only."""
    return orjson.dumps([purpose, document]).hex()


def unseal(text, purpose):
    try:
        sealed_for, document = orjson.loads(bytes.fromhex(text))
    except ValueError:
        return None
    return document if sealed_for == purpose else None


def call(method="tools/call", capabilities=None, **params):
    meta = {CAPABILITIES: capabilities or {}}
    return Request(7, method, {"name": "t", "arguments": {"q": 1}, "_meta": meta, **params})


def opened(message, principal=ADA, upstream="clinic", era=Era.MODERN):
    return held.opened(era, message, principal, upstream, unseal)


def state(message, rounds=1):
    return seal(held.state_of_call(message, APPROVAL, rounds), held.purpose("state", ADA, "clinic"))


@pytest.mark.parametrize(
    ("method", "capabilities", "way"),
    [
        ("tools/call", TASKS, Way.TASK),
        ("tools/call", {**TASKS, "elicitation": {"url": {}}}, Way.TASK),
        ("tools/call", {"extensions": {"io.modelcontextprotocol/tasks": True}}, Way.STATE),
        ("tools/call", {"elicitation": {"form": {}, "url": {}}}, Way.URL),
        ("tools/call", {"elicitation": {}}, Way.STATE),
        ("tools/call", {"elicitation": {"form": {}}}, Way.STATE),
        ("tools/call", {}, Way.STATE),
        ("resources/read", TASKS, Way.STATE),
        ("prompts/get", {"elicitation": {"url": {}}}, Way.URL),
        ("completion/complete", {**TASKS, "elicitation": {"url": {}}}, Way.HOLD),
    ],
)
def test_the_way_follows_what_the_client_declares(method, capabilities, way):
    assert held.way(Era.MODERN, call(method, capabilities), None) is way
    assert held.way(Era.LEGACY, call(method, capabilities), None) is Way.HOLD


@given(st.integers(0, 30), st.sampled_from([{}, TASKS, {"elicitation": {"url": {}}}]))
def test_no_driver_is_put_off_more_often_than_it_takes(rounds, capabilities):
    way = held.way(Era.MODERN, call(capabilities=capabilities), Claim(APPROVAL, rounds))
    assert way is (Way.STATE if rounds < held.ROUNDS else Way.HOLD)


def test_a_notification_is_only_ever_held():
    assert held.way(Era.MODERN, Notification("notifications/initialized"), None) is Way.HOLD


def test_a_retry_is_again_the_call_that_was_held_and_what_it_had_for_the_upstream():
    for first in (call(), call(requestState="theirs", inputResponses={"q": {"action": "accept"}})):
        said = {"approval": {"action": "accept"}}
        again = call(requestState=state(first, 3), inputResponses=said)
        assert opened(again) == Opened(first, Claim(APPROVAL, 3))


def test_who_declined_said_so_to_the_gateway():
    no = call(requestState=state(call()), inputResponses={"approval": {"action": "decline"}})
    away = call(requestState=state(call()), inputResponses={"approval": {"action": "cancel"}})
    assert (opened(no).claim.declined, opened(away).claim.declined) == (True, False)


def test_an_upstreams_own_state_comes_back_to_it_as_it_was():
    sealed = seal(held.state_of_upstream(call(), "theirs"), held.purpose("state", ADA, "clinic"))
    again = call(requestState=sealed, inputResponses={"q": {"action": "accept"}})
    assert opened(again) == Opened(call(requestState="theirs", inputResponses={"q": {"action": "accept"}}))


@pytest.mark.parametrize(
    ("principal", "upstream"),
    [
        (replace(ADA, subject="eve"), "clinic"),
        (replace(ADA, client="agent-2"), "clinic"),
        (replace(ADA, issuer="https://other.example"), "clinic"),
        (replace(ADA, chain=("robot",)), "clinic"),
        (ADA, "archive"),
    ],
)
def test_what_was_given_to_one_caller_at_one_upstream_is_worth_nothing_elsewhere(principal, upstream):
    again = call(requestState=state(call()))
    assert opened(again, principal, upstream) == Opened(call(), Claim(None))
    ident = held.TASK_PREFIX + seal({"approval": APPROVAL}, held.purpose("task", ADA, "clinic"))
    asked = Request(7, "tasks/get", {"taskId": ident})
    assert opened(asked).task.approval == APPROVAL
    assert opened(asked, principal, upstream).task.approval is None


@pytest.mark.parametrize(
    "forged",
    [
        "made up",
        7,
        None,
        {"approval": APPROVAL},
        seal({"approval": APPROVAL}, held.purpose("task", ADA, "clinic")),
        seal({"call": held.about(call())}, held.purpose("state", ADA, "clinic")),
        seal(held.state_of_call(call(arguments={"q": 2}), APPROVAL, 1), held.purpose("state", ADA, "clinic")),
        seal(held.state_of_call(call("prompts/get"), APPROVAL, 1), held.purpose("state", ADA, "clinic")),
    ],
    ids=["made up", "number", "null", "object", "task id", "of no kind", "other arguments", "other method"],
)
def test_a_state_that_was_not_given_for_this_call_is_not_believed_and_goes_no_further(forged):
    said = {"approval": {"action": "accept"}}
    assert opened(call(requestState=forged, inputResponses=said)) == Opened(call(), Claim(None))


def test_legacy_params_that_happen_to_be_called_so_are_the_upstreams():
    message = call(requestState="theirs")
    assert opened(message, era=Era.LEGACY) == Opened(message)


def test_an_upstreams_tasks_are_its_own():
    message = Request(7, "tasks/get", {"taskId": "786512e2"})
    assert opened(message) == Opened(message)


def test_an_upstreams_state_is_taken_out_before_anybody_looks_at_its_answer():
    asked = {"resultType": "input_required", "inputRequests": {}, "requestState": "078-05-1120"}
    response, taken = held.without_state(Era.MODERN, Success(7, asked))
    assert (response, taken) == (Success(7, {"resultType": "input_required", "inputRequests": {}}), "078-05-1120")
    assert held.with_state(response.result, "sealed") == {**asked, "requestState": "sealed"}
    plain = Success(7, {"content": [], "requestState": "a field of its own"})
    assert held.without_state(Era.MODERN, plain) == (plain, None)
    assert held.without_state(Era.LEGACY, Success(7, asked)) == (Success(7, asked), None)


def test_discovery_says_that_the_gateway_may_answer_with_tasks_and_keeps_what_the_upstream_says():
    discover = Request(7, "server/discover")
    said = {"capabilities": {"tools": {}, "extensions": {"x/y": {}}}, "serverInfo": {}}
    found = held.declared(Era.MODERN, discover, said)
    assert found["capabilities"] == {"tools": {}, "extensions": {"io.modelcontextprotocol/tasks": {}, "x/y": {}}}
    assert held.declared(Era.MODERN, call(), said) == said
    assert held.declared(Era.LEGACY, discover, said) == said
    assert held.declared(Era.MODERN, discover, {"content": []}) == {"content": []}


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=4))
def test_a_call_and_its_retries_are_about_the_same(arguments):
    first = call(arguments=arguments)
    retry = Request(8, first.method, {**first.params, "_meta": {}, "requestState": "s", "inputResponses": {}})
    assert held.about(first) == held.about(retry)
    assert held.about(first) != held.about(call(arguments={**arguments, "more": 1}))
