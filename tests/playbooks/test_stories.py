"""The stories of one call, each from its first question to its reply."""

from __future__ import annotations

import orjson
import pytest

from gateway.core.call import LISTEN, Call, Emergency
from gateway.core.commands import (
    Append,
    AppendAll,
    Burst,
    Decided,
    Forward,
    Hold,
    Inspect,
    InspectAll,
    Learn,
    Listen,
    Mask,
    MaskAll,
    Present,
    Receive,
    Relay,
    Resolution,
    Respond,
    Seal,
    Settled,
    Spend,
)
from gateway.core.errors import ClientGone, EvidenceFault, InternalFault, MaskFault, UpstreamFault
from gateway.core.evidence.record import LeafType
from gateway.core.masking.plan import Masked
from gateway.core.masking.profile import Profile
from gateway.core.policy import approval
from gateway.core.policy.decision import Decision, Effect, Entrypoint, MaskRule, Operator, Reason, Selector
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Success
from gateway.core.types import ApprovalId, Digest, Document, Era, Json, Tool
from tests.playbooks.playbook import Playbook, allow, ask_first, call, decided, deny, result

SSN = MaskRule(Selector("class", "SSN"), Operator("redact"))
APPROVAL = ApprovalId("0198-approval")
GRANT = {"id": APPROVAL, "grants": 1}


def forwarded(about: Call) -> Playbook:
    """A playbook of a call that policy allowed and that is on its way to the upstream."""
    play = Playbook(about)
    play.decides(Entrypoint.CALL, allow())
    play.records(LeafType.EXCHANGE_INTENT)
    play.expects(Forward)
    return play


def asked(about: Call) -> Playbook:
    """A playbook of a call that needs approval and is about to be held."""
    play = Playbook(about)
    play.decides(Entrypoint.CALL, ask_first())
    play.records(LeafType.EXCHANGE_INTENT)
    return play


def test_an_allowed_call_is_on_record_before_it_is_forwarded_and_its_reply_before_it_is_sent() -> None:
    play = Playbook(call())
    play.decides(Entrypoint.CALL, allow())
    play.records(LeafType.EXCHANGE_INTENT, effect="allow", method="tools/call", tool="read_patient")
    play.expects(Forward)
    play.expects(Receive, result("fine"))
    play.expects(Inspect, Profile())
    play.decides(Entrypoint.RESULT, allow())
    play.expects(Mask, Masked({"content": []}))
    play.expects(Present, True)
    outcome = play.records(LeafType.EXCHANGE_OUTCOME, status="replied", effect="allow")
    reply = play.ends()

    assert outcome.bodies["response"] == reply.data


@pytest.mark.parametrize("kept", [{}, {"progressToken": 1, "phigate": 2}])
def test_what_the_client_says_to_the_gateway_is_on_record_and_not_forwarded(kept: Document) -> None:
    said: Document = {"phigate/justification": "Jane Doe is unconscious", "phigate/purpose": "ETREAT"}
    arguments: Document = {"name": "read_patient", "arguments": {"phigate/purpose": "kept"}}
    play = Playbook(call(Request(7, "tools/call", {**arguments, "_meta": {**said, **kept}})))
    play.decides(Entrypoint.CALL, allow())
    intent = play.records(LeafType.EXCHANGE_INTENT)
    sent = play.expects(Forward)

    assert b"unconscious" in intent.bodies["request"]
    assert sent.message == Request(7, "tools/call", {**arguments, "_meta": kept} if kept else arguments)


@pytest.mark.parametrize("meta", [None, "text", {"progressToken": 1}])
def test_what_is_not_said_to_the_gateway_is_forwarded_as_it_came(meta: Json) -> None:
    came = Request(7, "tools/call", {"name": "read_patient", "_meta": meta})

    assert call(came).outgoing is came


def test_a_denied_call_never_reaches_the_upstream() -> None:
    play = Playbook(call())
    play.decides(Entrypoint.CALL, deny("not_on_this_ward"))
    refused = play.records(LeafType.EXCHANGE_REFUSED, effect="deny", reasons=["not_on_this_ward"])
    reply = play.ends()

    told = orjson.loads(reply.data)
    assert told["result"]["isError"] is True
    assert "not on this ward" in told["result"]["content"][0]["text"]
    assert refused.bodies["response"] == reply.data


def test_a_denied_request_that_is_no_tool_call_gets_a_json_rpc_error() -> None:
    play = Playbook(call(Request("a", "resources/read", {"uri": "file:///x"}), tool=None))
    play.decides(Entrypoint.CALL, deny())
    play.records(LeafType.EXCHANGE_REFUSED, method="resources/read")

    assert orjson.loads(play.ends().data)["error"]["code"] == -32010


def test_a_denied_request_of_a_method_that_mcp_does_not_have_is_not_found() -> None:
    play = Playbook(call(Request("a", "no/such", {}), tool=None))
    play.decides(Entrypoint.CALL, deny())
    play.records(LeafType.EXCHANGE_REFUSED, method="(unknown)")

    assert orjson.loads(play.ends().data)["error"]["code"] == -32601


def test_only_masked_bytes_leave_and_the_evidence_holds_exactly_those() -> None:
    play = forwarded(call())
    play.expects(Receive, result("SSN 123-45-6789"))
    play.expects(Inspect, Profile({"classes": {"SSN": 1}}))
    play.decides(Entrypoint.RESULT, allow(SSN))
    masked = Masked({"content": [{"type": "text", "text": "SSN [SSN]"}]}, {"counts": {"SSN": 1}})
    assert play.expects(Mask, masked).plan == (SSN,)
    play.expects(Present, True)
    outcome = play.records(LeafType.EXCHANGE_OUTCOME, status="replied", masked={"SSN": 1})
    reply = play.ends()

    assert b"123-45-6789" not in reply.data
    assert outcome.bodies["response"] == reply.data
    assert all(b"123-45-6789" not in body for body in outcome.bodies.values())


def test_a_mask_that_cannot_be_carried_out_keeps_the_whole_result_in() -> None:
    play = forwarded(call())
    play.expects(Receive, result("SSN 123-45-6789"))
    play.expects(Inspect, Profile())
    play.decides(Entrypoint.RESULT, allow(SSN))
    play.faults(Mask, MaskFault("the schema forbids it"))
    play.records(LeafType.EXCHANGE_OUTCOME, status="withheld", why="unmaskable")

    assert b"123-45-6789" not in play.ends().data


@pytest.mark.parametrize("answer", [deny("too_many_rows"), ask_first()])
def test_a_result_that_policy_does_not_plainly_allow_is_withheld(answer: object) -> None:
    play = forwarded(call())
    play.expects(Receive, result("secret"))
    play.expects(Inspect, Profile())
    play.decides(Entrypoint.RESULT, answer)  # type: ignore[arg-type] # parametrised
    play.records(LeafType.EXCHANGE_OUTCOME, status="withheld")

    assert b"secret" not in play.ends().data


def test_a_granted_call_is_decided_again_spent_and_then_forwarded_once() -> None:
    play = Playbook(call())
    play.decides(Entrypoint.CALL, ask_first())
    play.records(LeafType.EXCHANGE_INTENT, effect="require_approval")
    play.expects(Hold, Resolution(APPROVAL, Settled.GRANTED, GRANT))
    assert play.decides(Entrypoint.CALL, allow()).input["approval"] == GRANT
    assert play.expects(Spend, True).record.type is LeafType.APPROVAL_RESOLVED
    assert play.expects(Forward).detached is True
    play.expects(Receive, result())
    play.expects(Inspect, Profile())
    assert play.decides(Entrypoint.RESULT, allow()).input["approval"] == GRANT
    play.expects(Mask, Masked({}))
    play.expects(Present, True)
    play.records(LeafType.EXCHANGE_OUTCOME, status="replied")
    play.ends()


def test_a_call_too_large_to_read_is_not_put_to_reviewers() -> None:
    arguments = {"id": "p1", "note": "x" * approval.REVIEWABLE_BYTES}
    play = Playbook(call(Request(7, "tools/call", {"name": "read_patient", "arguments": arguments})))
    play.decides(Entrypoint.CALL, ask_first())
    play.records(LeafType.EXCHANGE_INTENT)
    play.records(LeafType.EXCHANGE_OUTCOME, status="refused", why="unreviewable")

    assert b"too large for anybody to review" in play.ends().data


@pytest.mark.parametrize("again", [deny(), ask_first(quorum=2)], ids=["deny", "a second approver"])
def test_a_grant_that_policy_has_come_to_deny_or_find_too_little_is_not_used(again: Decided) -> None:
    play = asked(call())
    play.expects(Hold, Resolution(APPROVAL, Settled.GRANTED, GRANT))
    play.decides(Entrypoint.CALL, again)
    play.records(LeafType.EXCHANGE_OUTCOME, status="refused", approval=APPROVAL)
    play.ends()


def test_a_grant_that_another_exchange_spent_releases_nothing() -> None:
    play = asked(call())
    play.expects(Hold, Resolution(APPROVAL, Settled.GRANTED, GRANT))
    play.decides(Entrypoint.CALL, allow())
    play.expects(Spend, False)
    play.records(LeafType.EXCHANGE_OUTCOME, status="refused", approval=APPROVAL)

    assert b"approval_spent" in play.ends().data


@pytest.mark.parametrize(
    "state", [Settled.PENDING, Settled.REFUSED, Settled.EXPIRED, Settled.CANCELLED], ids=lambda state: state.value
)
def test_a_hold_without_a_grant_ends_in_a_tool_error_that_names_the_approval(state: Settled) -> None:
    play = asked(call())
    play.expects(Hold, Resolution(APPROVAL, state))
    play.records(LeafType.EXCHANGE_OUTCOME, status=state.value, approval=APPROVAL)

    told = orjson.loads(play.ends().data)
    assert told["result"]["isError"] is True
    assert APPROVAL in told["result"]["content"][0]["text"]


@pytest.mark.parametrize(
    ("why", "says"),
    [("no_justification", "phigate/justification"), ("denied_by_policy", "refuses"), ("restored", "look before")],
)
def test_a_hold_that_was_cancelled_says_why_and_what_to_do(why: str, says: str) -> None:
    play = asked(call())
    play.expects(Hold, Resolution(APPROVAL, Settled.CANCELLED, {"why": why}))
    play.records(LeafType.EXCHANGE_OUTCOME, status="cancelled", approval=APPROVAL)

    assert says in orjson.loads(play.ends().data)["result"]["content"][0]["text"]


def test_a_retry_is_given_the_reply_that_was_kept_for_it_under_its_own_id() -> None:
    kept = {"jsonrpc": "2.0", "id": 1, "result": {"content": []}}
    play = asked(call())
    play.expects(Hold, Resolution(APPROVAL, Settled.KEPT, reply=kept))
    play.records(LeafType.EXCHANGE_OUTCOME, status="joined", approval=APPROVAL)

    assert orjson.loads(play.ends().data) == {**kept, "id": 7}


def test_an_approved_call_whose_client_has_gone_keeps_its_reply_for_the_retry() -> None:
    play = asked(call())
    play.expects(Hold, Resolution(APPROVAL, Settled.GRANTED, GRANT))
    play.decides(Entrypoint.CALL, allow())
    play.expects(Spend, True)
    play.expects(Forward)
    play.expects(Receive, result())
    play.expects(Inspect, Profile())
    play.decides(Entrypoint.RESULT, allow())
    play.expects(Mask, Masked({}))
    play.expects(Present, False)
    play.records(LeafType.EXCHANGE_OUTCOME, status="kept", approval=APPROVAL)
    play.ends()


def test_a_client_that_hangs_up_while_held_leaves_its_approval_open_and_its_exchange_ended() -> None:
    play = asked(call())
    play.faults(Hold, ClientGone("gone"))
    play.records(LeafType.EXCHANGE_OUTCOME, status="abandoned", why="client_gone")

    assert play.ends().data == b""


def test_a_modern_client_that_hangs_up_after_the_forward_still_gets_its_outcome_on_record() -> None:
    play = Playbook(call(era=Era.MODERN, version="2026-07-28"))
    play.decides(Entrypoint.CALL, allow())
    play.records(LeafType.EXCHANGE_INTENT)
    assert play.expects(Forward).detached is False
    play.faults(Receive, ClientGone("gone"))
    play.records(LeafType.EXCHANGE_OUTCOME, status="abandoned")
    play.ends()


@pytest.mark.parametrize("kind", ["unreachable", "timeout", "closed", "malformed", "oversize", "status"])
def test_an_upstream_that_fails_is_an_error_that_says_so_and_an_outcome(kind: str) -> None:
    play = forwarded(call())
    play.faults(Receive, UpstreamFault("it broke", kind=kind))
    play.records(LeafType.EXCHANGE_OUTCOME, status="failed", why=kind)

    assert orjson.loads(play.ends().data)["error"]["data"]["code"] == f"upstream_{kind}"


def test_evidence_that_cannot_be_written_before_the_forward_stops_the_exchange() -> None:
    play = Playbook(call())
    play.decides(Entrypoint.CALL, allow())
    play.faults(Append, EvidenceFault("disk full"))

    with pytest.raises(EvidenceFault):
        play.ends()


def test_evidence_that_cannot_be_written_after_the_forward_keeps_the_reply_in() -> None:
    play = forwarded(call())
    play.expects(Receive, result())
    play.expects(Inspect, Profile())
    play.decides(Entrypoint.RESULT, allow())
    play.expects(Mask, Masked({}))
    play.expects(Present, True)
    play.faults(Append, EvidenceFault("disk full"))

    with pytest.raises(EvidenceFault):
        play.ends()


def test_a_bug_of_ours_after_the_forward_is_an_internal_error_with_an_outcome() -> None:
    play = forwarded(call())
    play.faults(Receive, InternalFault("a bug"))
    play.records(LeafType.EXCHANGE_OUTCOME, status="failed", why="internal")

    assert orjson.loads(play.ends().data)["error"]["code"] == -32603


def test_a_notification_from_upstream_is_decided_masked_and_recorded_before_it_is_relayed() -> None:
    progress = Notification("notifications/progress", {"progressToken": 1, "progress": 1, "message": "Ada Doe"})
    play = forwarded(call())
    play.expects(Receive, progress)
    play.expects(InspectAll, (Profile(),))
    play.decides(Entrypoint.RESULT, allow(SSN))
    done = Masked({"progressToken": 1, "progress": 1, "message": "[NAME]"}, {"counts": {"NAME": 1}})
    assert play.expects(MaskAll, (done,)).plan == (SSN,)
    (recorded,) = play.records_all("relayed")
    (relayed,) = play.expects(Relay).messages

    assert recorded.members["method"] == "notifications/progress"
    assert recorded.bodies["message"] == relayed
    assert b"Ada" not in relayed


def burst(*said: Document) -> tuple[Notification, ...]:
    return tuple(Notification("notifications/progress", each) for each in said)


def profiles(*sizes: int) -> tuple[Profile, ...]:
    return tuple(Profile({"bytes": size}) for size in sizes)


def test_notifications_that_came_together_are_each_decided_and_leave_together_once_all_are_on_record() -> None:
    play = forwarded(call())
    play.expects(Receive, Burst(burst({"progress": 0}, {"progress": 1}, {"progress": 2})))
    assert play.expects(InspectAll, profiles(1, 2, 3)).values == ({"progress": 0}, {"progress": 1}, {"progress": 2})
    for number, decision in enumerate((allow(), deny(), allow())):
        asked = play.decides(Entrypoint.RESULT, decision).input
        assert asked["profile"] == {"bytes": number + 1}
        if number != 1:
            play.expects(MaskAll, (Masked({"progress": number}),))
    recorded = play.records_all("relayed", "withheld", "relayed")
    relayed = play.expects(Relay).messages

    assert relayed == (recorded[0].bodies["message"], recorded[2].bodies["message"])
    assert [orjson.loads(data)["params"] for data in relayed] == [{"progress": 0}, {"progress": 2}]


def test_of_a_burst_what_asks_the_same_is_asked_once_and_neighbours_share_a_record() -> None:
    play = forwarded(call())
    play.expects(Receive, Burst(burst({"progress": 0}, {"progress": 1}, {"of": 2}, {"progress": 3})))
    play.expects(InspectAll, profiles(1, 1, 2, 1))
    play.decides(Entrypoint.RESULT, allow())
    play.expects(MaskAll, (Masked({"progress": 0}), Masked({"progress": 1})))
    play.decides(Entrypoint.RESULT, allow())
    play.expects(MaskAll, (Masked({"of": 2}),))
    play.expects(MaskAll, (Masked({"progress": 3}),))
    recorded = play.records_all("relayed", "relayed", "relayed")
    relayed = play.expects(Relay).messages

    assert [record.members.get("count", 1) for record in recorded] == [2, 1, 1]
    assert [list(record.bodies) for record in recorded] == [
        ["decision", "manifest", "messages"],
        ["decision", "manifest", "message"],
        ["decision", "manifest", "message"],
    ]
    assert b"\n".join(relayed) == b"\n".join(list(record.bodies.values())[-1] for record in recorded)
    assert [orjson.loads(data)["params"] for data in relayed] == [
        {"progress": 0},
        {"progress": 1},
        {"of": 2},
        {"progress": 3},
    ]


def test_no_answer_of_policy_outlives_the_burst_that_it_was_given_for() -> None:
    play = forwarded(call())
    for decision in (allow(), deny()):
        play.expects(Receive, Burst(burst({"progress": 0}, {"progress": 1})))
        play.expects(InspectAll, profiles(1, 1))
        play.decides(Entrypoint.RESULT, decision)
        if decision.decision.effect is Effect.ALLOW:
            play.expects(MaskAll, (Masked({"progress": 0}), Masked({"progress": 1})))
            play.records_all("relayed")
            play.expects(Relay)
    (withheld,) = play.records_all("withheld")

    assert withheld.members["count"] == 2
    assert list(withheld.bodies) == ["decision", "manifest"]


def test_messages_of_one_question_that_were_masked_otherwise_have_records_of_their_own() -> None:
    play = forwarded(call())
    play.expects(Receive, Burst(burst({"a": 0}, {"a": 1}, {"a": 2}, {"a": 3})))
    play.expects(InspectAll, profiles(1, 1, 1, 1))
    play.decides(Entrypoint.RESULT, allow(SSN))
    found = Masked({"a": 1}, {"counts": {"SSN": 1}})
    play.expects(MaskAll, (Masked({"a": 0}), found, found, None))
    recorded = play.records_all("relayed", "relayed", "withheld")
    relayed = play.expects(Relay).messages

    assert len(relayed) == 3
    assert recorded[1].bodies["messages"] == relayed[1] + b"\n" + relayed[2]
    assert recorded[1].bodies["manifest"] == b'{"counts":{"SSN":1}}'


def test_of_notifications_that_came_together_none_leaves_when_they_cannot_be_recorded() -> None:
    play = forwarded(call())
    play.expects(Receive, Burst((Notification("notifications/progress"), Notification("notifications/progress"))))
    play.expects(InspectAll, (Profile(), Profile()))
    play.decides(Entrypoint.RESULT, allow())
    play.expects(MaskAll, (Masked({}), Masked({})))
    play.faults(AppendAll, EvidenceFault("full"))

    with pytest.raises(EvidenceFault):
        play.ends()


@pytest.mark.parametrize("how", ["denied", "unmaskable"])
def test_a_request_from_upstream_that_may_not_reach_the_client_is_answered_in_its_stead(how: str) -> None:
    sampling = Request("s-1", "sampling/createMessage", {"messages": []})
    play = forwarded(call())
    play.expects(Receive, sampling)
    play.expects(InspectAll, (Profile(),))
    play.decides(Entrypoint.RESULT, deny() if how == "denied" else allow())
    if how == "unmaskable":
        play.expects(MaskAll, (None,))
    play.records_all("withheld")
    answer = play.expects(Respond).message

    assert isinstance(answer, Failure)
    assert answer.id == "s-1"


def test_a_listing_shows_only_what_policy_lets_this_principal_see() -> None:
    tools = [{"name": "read_patient", "inputSchema": {"$defs": {}}}, {"name": "drop_all"}, {"nameless": True}]
    play = Playbook(call(Request(7, "tools/list"), tool=None))
    play.decides(Entrypoint.CALL, allow())
    play.records(LeafType.EXCHANGE_INTENT, method="tools/list")
    play.expects(Forward)
    play.expects(Receive, Success(7, {"tools": tools, "nextCursor": "c"}))
    assert play.expects(Learn, frozenset()).tools == tuple(tools[:2])
    only = decided(Decision(Effect.ALLOW, visible=frozenset({"read_patient", "never_listed"})))
    play.decides(Entrypoint.CATALOGUE, only)
    seen = play.expects(Inspect, Profile()).value
    play.decides(Entrypoint.RESULT, allow())
    play.expects(Mask, Masked(seen))
    cursor = play.expects(Seal, "sealed")
    play.expects(Present, True)
    outcome = play.records(LeafType.EXCHANGE_OUTCOME, status="replied")

    assert seen == {"tools": tools[:1]}
    assert cursor.document == {"cursor": "c"}
    assert {"decision", "catalogue"} <= outcome.bodies.keys()
    assert orjson.loads(play.ends().data)["result"] == {**seen, "nextCursor": "sealed"}


def test_the_outcome_says_how_a_task_stands() -> None:
    play = forwarded(call(Request(7, "tasks/get", {"taskId": "t"}), era=Era.MODERN, tool=None))
    stands: Document = {"taskId": "t", "status": "failed", "resultType": "complete"}
    play.expects(Receive, Success(7, stands))
    play.expects(Inspect, Profile())
    play.decides(Entrypoint.RESULT, allow())
    play.expects(Mask, Masked(stands))
    play.expects(Present, True)
    play.records(LeafType.EXCHANGE_OUTCOME, status="replied", task="failed")
    play.ends()


@pytest.mark.parametrize("makes_tasks", [False, True])
def test_what_a_legacy_client_is_told_of_tasks_is_no_part_of_what_is_pinned(makes_tasks: bool) -> None:
    tools = [{"name": "read_patient"}]
    play = forwarded(call(Request(7, "tools/list"), tool=None, makes_tasks=makes_tasks))
    play.expects(Receive, Success(7, {"tools": tools}))
    assert play.expects(Learn, frozenset()).tools == tuple(tools)
    play.decides(Entrypoint.CATALOGUE, decided(Decision(Effect.ALLOW, visible=frozenset({"read_patient"}))))
    seen = play.expects(Inspect, Profile()).value
    play.decides(Entrypoint.RESULT, allow())
    play.expects(Mask, Masked(seen))
    play.expects(Present, True)
    outcome = play.records(LeafType.EXCHANGE_OUTCOME, status="replied")
    reply = play.ends()

    (told,) = orjson.loads(reply.data)["result"]["tools"]
    assert told.get("execution") == ({"taskSupport": "optional"} if makes_tasks else None)
    assert outcome.bodies["response"] == reply.data


@pytest.mark.parametrize(("labels", "scope"), [({}, "private"), ({"cache": "public"}, "public")])
def test_what_an_upstream_lets_everybody_cache_is_its_principals_alone(labels: Document, scope: str) -> None:
    play = forwarded(call(Request(7, "resources/read", {"uri": "file:///x"}), era=Era.MODERN, tool=None))
    told = {"contents": [], "ttlMs": 60_000, "cacheScope": "public"}
    play.expects(Receive, Success(7, told))
    play.expects(Inspect, Profile())
    play.decides(Entrypoint.RESULT, decided(Decision(Effect.ALLOW, labels=labels)))
    play.expects(Mask, Masked(told))
    play.expects(Present, True)
    play.records(LeafType.EXCHANGE_OUTCOME, status="replied")

    assert orjson.loads(play.ends().data)["result"] == {**told, "cacheScope": scope}


def test_a_listing_that_policy_denies_shows_nothing() -> None:
    play = forwarded(call(Request(7, "tools/list"), tool=None))
    play.expects(Receive, Success(7, {"tools": [{"name": "read_patient"}]}))
    play.expects(Learn, frozenset())
    play.decides(Entrypoint.CATALOGUE, deny())

    assert play.expects(Inspect, Profile()).value == {"tools": []}


def test_a_notification_that_the_upstream_accepted_is_accepted() -> None:
    play = forwarded(call(Notification("notifications/initialized"), tool=None))
    play.expects(Receive, None)
    play.records(LeafType.EXCHANGE_OUTCOME, status="accepted")

    assert play.ends().status == 202


def test_the_stream_outside_any_call_is_decided_opened_and_ended_like_a_call() -> None:
    play = Playbook(call(LISTEN, tool=None))
    play.decides(Entrypoint.CALL, allow())
    play.records(LeafType.EXCHANGE_INTENT, method="(listen)")
    play.expects(Listen)
    play.expects(Receive, Notification("notifications/tools/list_changed"))
    play.expects(InspectAll, (Profile(),))
    play.decides(Entrypoint.RESULT, allow())
    play.expects(MaskAll, (Masked({}),))
    play.records_all("relayed")
    play.expects(Relay)
    play.expects(Receive, None)
    play.records(LeafType.EXCHANGE_OUTCOME, status="ended")
    play.ends()


def test_no_leaf_member_can_carry_what_a_client_made_up() -> None:
    forged = Request("x", "Ada Doe 123-45-6789", {"name": "Ada Doe 123-45-6789"})
    play = Playbook(call(forged, tool=None))
    play.decides(Entrypoint.CALL, deny("Ada Doe 123-45-6789"))
    record = play.records(LeafType.EXCHANGE_REFUSED)

    assert b"123-45-6789" not in orjson.dumps(record.members)
    assert "123-45-6789" not in repr(record)


def emergency(**labels: object) -> Decided:
    """What policy answers when it lets an emergency override a refusal."""
    reasons = (Reason("too_many_rows", "more rows than your role may have", "gateway.receipt"),)
    return decided(Decision(Effect.ALLOW, reasons, labels={"emergency": True, "emergency_s": 600, **labels}))


CLAIMED = call(emergency=Emergency.CLAIMED, justification="Jane Roe is unconscious")


def test_break_glass_the_access_is_on_record_to_be_reviewed_before_anything_is_forwarded() -> None:
    play = Playbook(CLAIMED)
    asked = play.decides(Entrypoint.CALL, emergency())
    play.records(LeafType.EXCHANGE_INTENT)
    alarm = play.records(LeafType.EMERGENCY_ACCESS, reasons=["too_many_rows"], joins_s=600, actor="a" * 32)
    play.expects(Forward)
    play.expects(Receive, result("fine"))
    play.expects(Inspect, Profile())
    answered = play.decides(Entrypoint.RESULT, allow())

    assert asked.input["emergency"] == {"requested": True, "justified": True}
    assert answered.input["emergency"] == {"granted": True}
    assert alarm.bodies["justification"] == b"Jane Roe is unconscious"
    assert "Jane" not in repr(alarm)


def test_a_claim_that_policy_does_not_need_breaks_no_glass() -> None:
    play = Playbook(CLAIMED)
    play.decides(Entrypoint.CALL, allow())
    play.records(LeafType.EXCHANGE_INTENT)
    play.expects(Forward)
    play.expects(Receive, result("fine"))
    play.expects(Inspect, Profile())

    assert "emergency" not in play.decides(Entrypoint.RESULT, allow()).input


def test_an_emergency_that_policy_sees_where_none_is_claimed_is_on_record_all_the_same() -> None:
    play = Playbook(call())
    asked = play.decides(Entrypoint.CALL, emergency())
    play.records(LeafType.EXCHANGE_INTENT)
    play.records(LeafType.EMERGENCY_ACCESS)
    play.expects(Forward)

    assert "emergency" not in asked.input


def test_an_emergency_that_cannot_be_put_on_record_does_not_run() -> None:
    play = Playbook(CLAIMED)
    play.decides(Entrypoint.CALL, emergency())
    play.records(LeafType.EXCHANGE_INTENT)
    play.faults(Append, EvidenceFault("the disk is full"))

    with pytest.raises(EvidenceFault):
        play.ends()


def test_an_emergency_that_follows_a_grant_is_on_record_before_the_call_runs() -> None:
    play = asked(CLAIMED)
    play.expects(Hold, Resolution(APPROVAL, Settled.GRANTED, GRANT))
    play.decides(Entrypoint.CALL, emergency())
    play.expects(Spend, True)
    play.records(LeafType.EMERGENCY_ACCESS)
    play.expects(Forward)


@pytest.mark.parametrize("label", ["true", 1, {"on": True}, None, False])
def test_only_the_plain_label_makes_an_emergency(label: object) -> None:
    play = Playbook(CLAIMED)
    play.decides(Entrypoint.CALL, emergency(emergency=label))
    play.records(LeafType.EXCHANGE_INTENT)
    play.expects(Forward)


def test_a_claim_without_a_justification_says_so_to_policy() -> None:
    play = Playbook(call(emergency=Emergency.CLAIMED, justification=" "))

    assert play.decides(Entrypoint.CALL, deny()).input["emergency"] == {"requested": True, "justified": False}


def test_a_tool_that_changed_is_told_to_policy_in_calls_and_in_listings() -> None:
    changed = Tool("read_patient", Digest("e" * 64), {"name": "read_patient"}, changed=True)
    assert Playbook(call(tool=changed)).decides(Entrypoint.CALL, deny()).input["tool"]["changed"] is True

    play = forwarded(call(Request(7, "tools/list"), tool=None))
    play.expects(Receive, Success(7, {"tools": [{"name": "read_patient"}, {"name": "list_wards"}]}))
    play.expects(Learn, frozenset({"read_patient"}))
    listing = play.decides(Entrypoint.CATALOGUE, deny()).input["catalogue"]

    assert [item["changed"] for item in listing["items"]] == [True, False]
