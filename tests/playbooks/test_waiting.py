"""How a held call's caller is told to come back, and what it is told when it does."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from gateway.core.call import Call
from gateway.core.commands import (
    Answer,
    Decided,
    Forward,
    Hold,
    Inspect,
    Look,
    Mask,
    Present,
    Receive,
    Resolution,
    Resume,
    Seal,
    Settled,
    Withdraw,
)
from gateway.core.evidence.record import LeafType
from gateway.core.held import ROUNDS, Claim, Task
from gateway.core.masking.plan import Masked
from gateway.core.masking.profile import Profile
from gateway.core.policy.decision import Entrypoint
from gateway.core.protocol.jsonrpc import Request, Success
from gateway.core.types import ApprovalId, Document, Era, Json
from tests.playbooks.playbook import Playbook, allow, ask_first, call, deny

APPROVAL = ApprovalId("ap_aaaaaaaaaaaaaaaa")
URL = "https://gate.example/approvals/ap_aaaaaaaaaaaaaaaa"
DAY = "2026-11-22T12:00:00.000000Z"
LATER = "2026-11-22T12:05:00.000000Z"
TASKS = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
URLS = {"elicitation": {"url": {}}}


def modern(capabilities: Document, method: str = "tools/call", **changes: object) -> Call:
    params: Document = {"name": "read_patient", "arguments": {"id": "p1"}}
    if method.startswith("tasks/"):
        params = {"taskId": "phigate.sealed"}
    meta: Document = {"io.modelcontextprotocol/clientCapabilities": capabilities}
    message = Request(7, method, {**params, "_meta": meta})
    return call(message, era=Era.MODERN, version="2026-07-28", **changes)


def poll(method: str = "tasks/get", approval: ApprovalId | None = APPROVAL, **params: Json) -> Call:
    about = modern(TASKS, method, task=Task("phigate.sealed", approval), tool=None)
    assert isinstance(about.message, Request)
    return replace(about, message=replace(about.message, params={**about.message.params, **params}))


def resolution(state: Settled, **more: object) -> Resolution:
    return Resolution(APPROVAL, state, {"url": URL}, created=DAY, changed=LATER, lives_s=5_400, **more)


def held(about: Call, *, waits: bool, joins: ApprovalId | None = None) -> Playbook:
    """A call that is still pending as its caller's time is up."""
    play = Playbook(about)
    play.decides(Entrypoint.CALL, ask_first())
    play.records(LeafType.EXCHANGE_INTENT)
    if about.claim is not None and about.claim.declined:
        assert play.expects(Withdraw).approval == APPROVAL
    hold = play.expects(Hold, resolution(Settled.PENDING))
    assert (hold.waits, hold.joins) == (waits, joins)
    return play


def result_of(play: Playbook) -> Document:
    return orjson.loads(play.ends().data)["result"]


def test_a_client_that_declares_tasks_is_answered_at_once_by_one() -> None:
    play = held(modern(TASKS), waits=False)
    seal = play.expects(Seal, "sealed")
    play.records(LeafType.EXCHANGE_OUTCOME, status="pending", why="task", approval=APPROVAL)
    assert (seal.document, seal.lives_s) == ({"approval": APPROVAL}, 5_400)
    assert result_of(play) == {
        "resultType": "task",
        "taskId": "phigate.sealed",
        "status": "working",
        "statusMessage": f"This call needs a reviewer's approval and is waiting for it (approval {APPROVAL}: {URL}).",
        "createdAt": DAY,
        "lastUpdatedAt": LATER,
        "ttlMs": 5_400_000,
        "pollIntervalMs": 2_000,
    }


def test_a_client_that_opens_pages_is_asked_to_open_the_approvals() -> None:
    play = held(modern(URLS), waits=False)
    seal = play.expects(Seal, "sealed")
    play.records(LeafType.EXCHANGE_OUTCOME, status="pending", why="url")
    result = result_of(play)
    assert (seal.document["approval"], seal.document["rounds"]) == (APPROVAL, 1)
    assert (result["resultType"], result["requestState"]) == ("input_required", "sealed")
    assert result["inputRequests"]["approval"]["params"]["url"] == URL


AGAIN = Claim(APPROVAL, 1)


@pytest.mark.parametrize(("capabilities", "claim"), [({}, None), ({}, AGAIN), (URLS, AGAIN), (TASKS, AGAIN)])
def test_any_other_modern_call_is_held_and_then_told_to_come_back(capabilities: Document, claim: Claim | None) -> None:
    play = held(modern(capabilities, claim=claim), waits=True, joins=claim and claim.approval)
    seal = play.expects(Seal, "sealed")
    play.records(LeafType.EXCHANGE_OUTCOME, status="pending", why="state")
    assert seal.document["rounds"] == (claim.rounds + 1 if claim else 1)
    assert result_of(play) == {"resultType": "input_required", "requestState": "sealed"}


@pytest.mark.parametrize(
    "about", [call(), modern({}, claim=Claim(APPROVAL, ROUNDS)), modern(TASKS, "completion/complete")], ids=str
)
def test_the_others_are_held_and_told_in_words(about: Call) -> None:
    joins = about.claim.approval if about.claim else None
    play = held(about, waits=True, joins=joins)
    play.records(LeafType.EXCHANGE_OUTCOME, status="pending")
    assert b"Call again with exactly the same arguments" in play.ends().data


def test_who_declines_to_open_the_page_takes_the_call_back() -> None:
    play = Playbook(modern(URLS, claim=Claim(APPROVAL, 1, declined=True)))
    play.decides(Entrypoint.CALL, ask_first())
    play.records(LeafType.EXCHANGE_INTENT)
    play.expects(Withdraw)
    play.expects(Hold, Resolution(APPROVAL, Settled.CANCELLED, {"why": "withdrawn"}))
    play.records(LeafType.EXCHANGE_OUTCOME, status="cancelled")
    assert b"withdrawn" in play.ends().data


def test_a_state_that_is_not_believed_is_decided_recorded_and_refused() -> None:
    play = Playbook(modern({}, claim=Claim(None)))
    play.decides(Entrypoint.CALL, allow())
    play.records(LeafType.EXCHANGE_INTENT)
    play.records(LeafType.EXCHANGE_OUTCOME, status="refused", why="request_state")
    reply = play.ends()
    assert (reply.status, orjson.loads(reply.data)["error"]["code"]) == (400, -32602)


def attended(about: Call) -> Playbook:
    play = Playbook(about)
    play.decides(Entrypoint.CALL, allow())
    play.records(LeafType.EXCHANGE_INTENT, method=about.message.method)
    return play


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        (Settled.PENDING, "working", None),
        (Settled.REFUSED, "failed", "approval_refused"),
        (Settled.EXPIRED, "failed", "approval_expired"),
        (Settled.CANCELLED, "cancelled", None),
        (Settled.LOST, "failed", "approval_lost"),
    ],
)
def test_a_poll_is_told_where_the_approval_stands(state: Settled, status: str, code: str | None) -> None:
    play = attended(poll())
    play.expects(Look, resolution(state))
    play.records(LeafType.EXCHANGE_OUTCOME, status="replied", approval=APPROVAL)
    result = result_of(play)
    assert (result["resultType"], result["taskId"], result["status"]) == ("complete", "phigate.sealed", status)
    assert result.get("error", {}).get("data", {}).get("code") == code


KEPT = {
    "completed": {"result": {"resultType": "complete", "content": [], "isError": False}},
    "failed": {"error": {"code": -32011, "message": "Upstream clinic failed"}},
}


@pytest.mark.parametrize("status", KEPT)
def test_a_poll_that_finds_a_grant_has_the_call_run_and_brings_its_reply(status: str) -> None:
    play = attended(poll())
    play.expects(Look, resolution(Settled.GRANTED))
    play.expects(Resume, resolution(Settled.KEPT, reply={"jsonrpc": "2.0", "id": 1, **KEPT[status]}))
    play.records(LeafType.EXCHANGE_OUTCOME, status="joined", approval=APPROVAL)
    result = result_of(play)
    assert result["status"] == status
    assert KEPT[status].items() <= result.items()


def test_a_call_that_takes_longer_than_a_poll_is_still_working() -> None:
    play = attended(poll())
    play.expects(Look, resolution(Settled.GRANTED))
    play.expects(Resume, resolution(Settled.PENDING))
    play.records(LeafType.EXCHANGE_OUTCOME, status="replied")
    assert result_of(play)["status"] == "working"


ASKING = {"who": {"method": "elicitation/create", "params": {"message": "Who?"}}, "where": {"method": "roots/list"}}


def asking(**result: Json) -> Resolution:
    reply = {"jsonrpc": "2.0", "id": 1, "result": {"resultType": "input_required", "requestState": "sealed", **result}}
    return replace(resolution(Settled.KEPT, reply=reply), place="run")


def test_what_an_upstream_asks_is_told_with_the_poll_under_keys_of_its_run() -> None:
    play = attended(poll())
    play.expects(Look, asking(inputRequests=ASKING))
    play.records(LeafType.EXCHANGE_OUTCOME, status="joined")
    told = result_of(play)
    assert (told["status"], told["resultType"]) == ("input_required", "complete")
    assert told["inputRequests"] == {f"run.{key}": question for key, question in ASKING.items()}


@pytest.mark.parametrize(
    ("responses", "given"),
    [
        ({"run.who": {"action": "accept"}, "who": {}, "other.who": {}}, {"who": {"action": "accept"}}),
        ({"run.who": 1, "run.where": 2}, {"who": 1, "where": 2}),
        ({"other": {}}, None),
        ({}, None),
        (None, None),
    ],
)
def test_an_answer_goes_on_with_the_call_and_what_answers_nothing_is_ignored(responses: Json, given: Json) -> None:
    play = attended(poll("tasks/update", inputResponses=responses))
    play.expects(Look, asking(inputRequests=ASKING))
    if given is not None:
        found = play.expects(Answer)
        assert (found.approval, found.place, found.given) == (APPROVAL, "run", given)
        assert (found.wanted, found.state) == (frozenset(ASKING), "sealed")
    play.records(LeafType.EXCHANGE_OUTCOME, status="replied", approval=APPROVAL)
    assert result_of(play) == {"resultType": "complete"}


def test_an_upstream_that_only_wants_to_be_asked_again_is_asked_with_the_poll() -> None:
    play = attended(poll())
    play.expects(Look, asking())
    assert play.expects(Answer).given == {}
    play.records(LeafType.EXCHANGE_OUTCOME, status="replied")
    assert result_of(play)["status"] == "working"


def test_a_task_is_cancelled_by_whoever_was_given_it_and_has_nothing_to_be_told() -> None:
    play = attended(poll("tasks/cancel"))
    play.expects(Look, resolution(Settled.PENDING))
    play.expects(Withdraw)
    play.records(LeafType.EXCHANGE_OUTCOME, status="replied", approval=APPROVAL)
    assert result_of(play) == {"resultType": "complete"}
    play = attended(poll("tasks/update"))
    play.expects(Look, resolution(Settled.PENDING))
    play.records(LeafType.EXCHANGE_OUTCOME, status="replied")
    assert result_of(play) == {"resultType": "complete"}


@pytest.mark.parametrize(
    ("about", "code"),
    [
        (poll(approval=None), -32602),
        (poll("tasks/cancel", approval=None), -32602),
        (modern({}, "tasks/get", task=Task("phigate.sealed", APPROVAL)), -32021),
        (call(Request(7, "tasks/get", {"taskId": "phigate.sealed"}), task=Task("phigate.sealed", APPROVAL)), -32021),
    ],
    ids=["no such task", "nothing to cancel", "not declared", "legacy"],
)
def test_a_request_about_no_task_of_this_caller_is_decided_recorded_and_refused(about: Call, code: int) -> None:
    play = attended(about)
    play.records(LeafType.EXCHANGE_OUTCOME, status="refused")
    assert orjson.loads(play.ends().data)["error"]["code"] == code


@pytest.mark.parametrize("decision", [deny(), ask_first()], ids=["deny", "require approval"])
def test_a_poll_needs_policys_plain_allow(decision: Decided) -> None:
    play = Playbook(poll())
    play.decides(Entrypoint.CALL, decision)
    if decision.decision.effect.value == "deny":
        play.records(LeafType.EXCHANGE_REFUSED)
    else:
        play.records(LeafType.EXCHANGE_INTENT)
        play.records(LeafType.EXCHANGE_OUTCOME, status="refused")
    assert orjson.loads(play.ends().data)["error"]["code"] == -32010


def test_an_upstreams_request_state_leaves_sealed_and_was_seen_by_nobody() -> None:
    play = Playbook(modern({}))
    play.decides(Entrypoint.CALL, allow())
    play.records(LeafType.EXCHANGE_INTENT)
    play.expects(Forward)
    asks = {"resultType": "input_required", "inputRequests": {}}
    play.expects(Receive, Success(7, {**asks, "requestState": "078-05-1120"}))
    assert play.expects(Inspect, Profile()).value == asks
    play.decides(Entrypoint.RESULT, allow())
    assert play.expects(Mask, Masked(asks, {})).value == asks
    seal = play.expects(Seal, "sealed")
    play.expects(Present, True)
    play.records(LeafType.EXCHANGE_OUTCOME, status="replied")
    assert seal.document["upstream"] == "078-05-1120"
    assert result_of(play) == {**asks, "requestState": "sealed"}
