"""The driver: what it does for each command, and that an exchange ends on record whatever interrupts it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import get_args

import orjson
import pytest
import trio
import trio.testing

from gateway.core.call import LISTEN, Call, Emergency
from gateway.core.commands import Answer, Command, Decided, Resolution, Settled
from gateway.core.errors import EvidenceFault, InternalFault, UpstreamFault
from gateway.core.evidence.record import LeafType, Record
from gateway.core.exchange import exchange
from gateway.core.held import Task
from gateway.core.masking.profile import Profile
from gateway.core.policy.decision import Decision, Effect, Entrypoint
from gateway.core.protocol.jsonrpc import Message, Notification, Request, Success
from gateway.core.replies import Reply
from gateway.core.types import ApprovalId, Document, Era, Json
from gateway.driver import PACE_S, PERFORMED, TICK_S, Driver
from gateway.upstream.base import Link
from tests.fakes.world import MOMENT, NoStanding, Scene
from tests.playbooks.playbook import allow, ask_first, call, decided, deny, result

PROGRESS = Notification("notifications/progress", {"progressToken": 1, "progress": 1})
ALLOWED = {Entrypoint.CALL: [allow()], Entrypoint.RESULT: [allow()]}
HELD = {Entrypoint.CALL: [ask_first(), allow()], Entrypoint.RESULT: [allow()]}
MODERN = call(era=Era.MODERN, version="2026-07-28")


async def drive(scene: Scene, about: Call) -> Reply:
    link = Link(about.session, about.era, about.version)
    return await Driver(about, scene.world(), link, scene.client).drive(exchange(about))


def ends(scene: Scene) -> list[object]:
    return [r.members["status"] for r in scene.evidence.records if r.type is LeafType.EXCHANGE_OUTCOME]


async def test_an_allowed_call_comes_back_and_its_conversation_is_closed() -> None:
    scene = Scene(ALLOWED, [PROGRESS, result("fine")])
    reply = await drive(scene, call())

    assert orjson.loads(reply.data)["result"]["content"][0]["text"] == "fine"
    assert (scene.upstream.opened, scene.upstream.closed) == (1, 1)
    assert len(scene.client.relayed) == 1
    assert ends(scene) == ["replied"]


async def test_notifications_that_came_together_share_one_time_and_arrive_in_order() -> None:
    burst = [Notification("notifications/progress", {"progressToken": 1, "progress": n}) for n in range(13)]
    scene = Scene(ALLOWED, [*burst, result("fine")])
    scene.upstream.conversation.together_most = 9
    seconds = iter(range(60))
    about, world = call(), replace(scene.world(), now=lambda: MOMENT.replace(second=next(seconds)))
    await Driver(about, world, Link(about.session, about.era, about.version), scene.client).drive(exchange(about))

    assert [orjson.loads(data)["params"]["progress"] for data in scene.client.relayed] == list(range(13))
    first, second, answered = scene.pdp.times[1:]
    assert first < second < answered
    assert [record.members.get("count") for record in scene.evidence.records[1:-1]] == [10, 3]
    assert ends(scene) == ["replied"]


async def test_a_stream_waits_for_nothing_after_a_pause_and_takes_turns_while_notifications_come(
    autojump_clock: object,
) -> None:
    scene = Scene(ALLOWED, [PROGRESS, PROGRESS, PROGRESS, result("fine")])
    talk, began, receive = scene.upstream.conversation, trio.current_time(), scene.upstream.conversation.receive
    rests = iter((0.0, PACE_S / 2, PACE_S * 3, 0.0))

    async def later() -> Message | None:
        await trio.sleep(next(rests))
        return await receive()

    talk.receive = later  # type: ignore[method-assign]
    await drive(scene, call())

    first, second, third = talk.waited_until
    assert first == -math.inf
    assert began + PACE_S - TICK_S < second <= began + PACE_S
    assert began + PACE_S * 1.5 - TICK_S < third <= began + PACE_S * 1.5
    assert third / TICK_S == pytest.approx(round(third / TICK_S))


async def test_streams_of_one_turn_are_decided_at_its_time_and_others_at_their_own(autojump_clock: object) -> None:
    await trio.sleep_until((trio.current_time() // TICK_S + 1.5) * TICK_S)
    began = trio.current_time()

    async def streaming(scene: Scene, late_s: float) -> list[str]:
        talk = scene.upstream.conversation

        async def together(until: float) -> tuple[Notification, ...]:
            await trio.sleep_until(max(until + late_s, trio.current_time() + late_s))
            return ()

        talk.together = together  # type: ignore[method-assign]
        about, world = (
            call(),
            replace(scene.world(), now=lambda: MOMENT + timedelta(seconds=trio.current_time() - began)),
        )
        await Driver(about, world, Link(about.session, about.era, about.version), scene.client).drive(exchange(about))
        return scene.pdp.times

    told: list[list[str]] = []
    async with trio.open_nursery() as nursery:
        for late_s in (0.0, 0.001, 0.009):
            scene = Scene(ALLOWED, [PROGRESS, PROGRESS, result("fine")])
            nursery.start_soon(lambda scene, late_s: _into(told, streaming(scene, late_s)), scene, late_s)
    first, second = ({times[number] for times in told} for number in (1, 2))
    assert len(first) == 3
    assert len(second) == 1
    assert max(first) < min(second)


async def _into(told: list[list[str]], streaming: Awaitable[list[str]]) -> None:
    told.append(await streaming)


async def test_where_policy_has_budgets_each_notification_is_counted_before_the_next_is_decided() -> None:
    burst = [Notification("notifications/progress", {"progressToken": 1, "progress": n}) for n in range(3)]
    scene = Scene(ALLOWED, [*burst, result("fine")])
    scene.upstream.conversation.together_most = 2
    seen: list[int] = []

    class Counting(NoStanding):
        patient_key = b"key"

        async def stamp(self, document: Document, profile: Profile) -> Document:
            seen.append(len(scene.evidence.records))
            return document

    scene.standing = Counting()
    await drive(scene, call())

    assert seen == [0, 1, 2, 3, 4]


async def test_a_denied_call_opens_no_conversation() -> None:
    scene = Scene({Entrypoint.CALL: [deny()]}, [])
    await drive(scene, call())

    assert scene.upstream.opened == 0
    assert scene.evidence.types() == [LeafType.EXCHANGE_REFUSED]


SUBSCRIBE = Request(9, "subscriptions/listen", {"notifications": {"toolsListChanged": True}})


@pytest.mark.parametrize("about", [call(LISTEN), call(SUBSCRIBE), call(SUBSCRIBE, era=Era.MODERN)], ids=str)
async def test_a_standing_stream_ends_so_that_an_expired_token_does_not_listen_for_ever(
    about: Call, autojump_clock: object
) -> None:
    scene = Scene(ALLOWED, [])
    began = trio.current_time()
    reply = await drive(scene, about)

    assert trio.current_time() - began == pytest.approx(900)
    assert ends(scene) == ["ended"]
    assert scene.upstream.closed == 1
    if about.message is SUBSCRIBE:
        assert orjson.loads(reply.data)["result"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": 9}


async def test_a_subscription_of_a_legacy_client_that_hangs_up_is_not_listened_to_any_more() -> None:
    scene = Scene(ALLOWED, [], on_step=lambda _, name: name == "receive" and scene.client.leave())
    with trio.fail_after(5):
        await drive(scene, call(SUBSCRIBE))

    assert ends(scene) == ["abandoned"]


async def test_a_hold_ends_when_reviewers_grant_and_the_call_runs_once() -> None:
    scene = Scene(HELD, [result("fine")], on_step=lambda _, name: name == "wait" and scene.approvals.resolved.set())
    reply = await drive(scene, call())

    assert b"fine" in reply.data
    assert len(scene.conversation.sent) == len(scene.approvals.spent) == 1


async def test_a_hold_that_nobody_answers_ends_as_pending_before_the_client_gives_up(autojump_clock: object) -> None:
    scene = Scene(HELD, [])
    began = trio.current_time()
    reply = await drive(scene, call())

    assert trio.current_time() - began < 60
    assert ends(scene) == ["pending"]
    assert orjson.loads(reply.data)["result"]["isError"] is True
    assert scene.client.waits == 1
    assert scene.upstream.opened == 0


async def test_a_hold_whose_approval_can_not_be_read_any_more_ends_as_a_fault_of_evidence() -> None:
    def fail(_: Scene, name: str) -> None:
        if name == "wait":
            raise EvidenceFault("the store is gone")

    scene = Scene(HELD, [], on_step=fail)

    with pytest.raises(EvidenceFault, match="the store is gone"):
        await drive(scene, call())
    assert scene.upstream.opened == 0


async def test_a_hold_is_cut_short_when_the_gateway_goes_down_and_the_client_told_to_ask_again() -> None:
    scene = Scene(HELD, [])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drive, scene, call())
        await trio.testing.wait_all_tasks_blocked()
        scene.client.waiting.cancel()

    assert ends(scene) == ["pending"]


@pytest.mark.parametrize("state", [Settled.REFUSED, Settled.EXPIRED, Settled.CANCELLED])
async def test_a_hold_that_is_already_settled_does_not_wait(state: Settled) -> None:
    scene = Scene(HELD, [])
    scene.approvals.at_request = state
    await drive(scene, call())

    assert "wait" not in scene.steps
    assert ends(scene) == [state.value]


@pytest.mark.parametrize("about", [call(), MODERN], ids=["legacy", "modern"])
@pytest.mark.parametrize("answers", [ALLOWED, HELD], ids=["allowed", "held"])
async def test_a_client_that_hangs_up_at_any_await_leaves_each_begun_exchange_with_one_end(
    about: Call, answers: dict[Entrypoint, list[Decided]], autojump_clock: object
) -> None:
    """Invariant 4, with the client gone at the first, second, … await point until there is none left."""
    for number in range(1, 30):
        scene = Scene(answers, [PROGRESS, Request("s", "sampling/createMessage"), result()])
        scene.approvals.resolved.set()

        def leave(at: int, name: str, scene: Scene = scene, number: int = number) -> None:
            if at == number:
                scene.client.leave()

        scene.on_step = leave
        await drive(scene, about)
        types = scene.evidence.types()
        assert types.count(LeafType.EXCHANGE_INTENT) == 1
        assert types.count(LeafType.EXCHANGE_OUTCOME) == 1
        assert scene.upstream.opened == scene.upstream.closed == len(scene.conversation.sent)
        if number > len(scene.steps):
            return
    raise AssertionError("the exchange has more await points than this test tries")


TASKS = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}
POLL = call(
    Request(7, "tasks/get", {"taskId": "phigate.t", "_meta": TASKS}),
    era=Era.MODERN,
    task=Task("phigate.t", ApprovalId("ap")),
)


@dataclass
class Runs:
    """See `driver.Tasks`: calls are run by `granted`, and nothing follows them."""

    scene: Scene
    granted: Callable[[ApprovalId], Awaitable[Json]]
    answered: list[Answer] = field(default_factory=list)

    async def look(self, approval: ApprovalId) -> Resolution:
        return await self.scene.approvals.look(approval)

    async def answer(self, answer: Answer) -> None:
        await trio.lowlevel.checkpoint()
        self.answered.append(answer)


async def nothing(_: ApprovalId) -> Json:
    raise AssertionError("nothing is to be run")


async def attended(scene: Scene, run: Callable[[ApprovalId], Awaitable[Json]], about: Call = POLL) -> Reply:
    link = Link(about.session, about.era, about.version)
    return await Driver(about, scene.world(), link, scene.client, Runs(scene, run)).drive(exchange(about))


async def polled(scene: Scene, run: Callable[[ApprovalId], Awaitable[Json]]) -> Document:
    """The task as a poll is told of it; `run` runs its call."""
    reply = await attended(scene, run)
    assert ends(scene) in (["replied"], ["joined"])
    assert scene.upstream.opened == 0
    told: Document = orjson.loads(reply.data)["result"]
    return told


async def test_a_poll_of_a_granted_task_waits_for_its_call_a_little() -> None:
    scene = Scene(ALLOWED, [])
    scene.approvals.seen = [Settled.GRANTED, Settled.LOST]
    ran = []

    async def run(approval: ApprovalId) -> Json:
        await trio.lowlevel.checkpoint()
        ran.append(approval)
        return {}

    assert (await polled(scene, run))["status"] == "failed"
    assert ran == ["ap"]


async def test_a_poll_is_answered_in_time_though_its_call_takes_longer(autojump_clock: object) -> None:
    scene = Scene(ALLOWED, [])
    scene.approvals.seen = [Settled.GRANTED, Settled.PENDING]
    began = trio.current_time()

    async def run(_: ApprovalId) -> Json:
        await trio.sleep_forever()

    assert (await polled(scene, run))["status"] == "working"
    assert trio.current_time() - began < 60


async def test_what_kept_a_granted_call_from_running_after_all_is_what_its_task_ends_with() -> None:
    scene = Scene(ALLOWED, [])
    scene.approvals.seen = [Settled.GRANTED]

    async def run(_: ApprovalId) -> Json:
        await trio.lowlevel.checkpoint()
        return {"jsonrpc": "2.0", "id": 1, "result": {"isError": True}}

    assert (await polled(scene, run))["result"] == {"isError": True}


async def test_a_poll_whose_client_hangs_up_ends_on_record() -> None:
    scene = Scene(ALLOWED, [])
    scene.approvals.seen = [Settled.GRANTED]

    async def run(_: ApprovalId) -> Json:
        scene.client.leave()
        await trio.sleep_forever()

    await attended(scene, run)
    assert ends(scene) == ["abandoned"]


async def test_a_task_is_cancelled_in_the_name_of_who_asks() -> None:
    scene = Scene(ALLOWED, [])
    scene.approvals.seen = [Settled.PENDING]
    cancel = replace(POLL, message=Request(7, "tasks/cancel", {"taskId": "phigate.t", "_meta": TASKS}))
    await attended(scene, nothing, cancel)
    assert scene.approvals.cancelled == [("ap", cancel.principal)]


async def test_a_call_that_is_answered_by_a_task_keeps_nobody_waiting() -> None:
    scene = Scene({Entrypoint.CALL: [ask_first()]}, [])
    about = replace(MODERN, message=Request(7, "tools/call", {"name": "t", "arguments": {}, "_meta": TASKS}))
    reply = await drive(scene, about)
    assert orjson.loads(reply.data)["result"]["taskId"].startswith("phigate.sealed")
    assert "wait" not in scene.steps


async def test_a_modern_client_that_hangs_up_cancels_what_the_upstream_does() -> None:
    scene = Scene(ALLOWED, [], on_step=lambda _, name: name == "receive" and scene.client.leave())
    await drive(scene, MODERN)

    assert ends(scene) == ["abandoned"]
    assert scene.upstream.closed == 1


async def test_an_approved_call_runs_to_its_end_without_its_client_and_keeps_the_reply() -> None:
    scene = Scene(HELD, [result("fine")], on_step=lambda _, name: name == "send" and scene.client.leave())
    scene.approvals.resolved.set()
    await drive(scene, MODERN)

    assert ends(scene) == ["kept"]
    assert b"fine" in scene.evidence.records[-1].bodies["response"]


async def test_cancelling_the_task_does_not_cut_an_exchange_short() -> None:
    scene = Scene(ALLOWED, [result()])
    with trio.CancelScope() as scope:
        scope.cancel()
        await drive(scene, call())

    assert ends(scene) == ["replied"]


@pytest.mark.parametrize("position", range(3))
async def test_evidence_that_fails_at_any_append_lets_nothing_out(position: int) -> None:
    """Invariants 1, 2 and 7."""
    scene = Scene(ALLOWED, [PROGRESS, result()], fails_at=position)
    with pytest.raises(EvidenceFault):
        await drive(scene, call())

    assert scene.upstream.opened == (position > 0)
    assert len(scene.client.relayed) == max(0, position - 1)
    assert scene.evidence.abandoned == ([call().exchange] if position > 0 else [])


async def test_an_upstream_fault_is_told_and_recorded() -> None:
    scene = Scene(ALLOWED, [UpstreamFault("it closed", kind="closed")])
    reply = await drive(scene, call())

    assert orjson.loads(reply.data)["error"]["data"]["code"] == "upstream_closed"
    assert ends(scene) == ["failed"]


async def test_a_bug_while_performing_a_command_still_ends_the_exchange_and_says_nothing_of_it() -> None:
    scene = Scene(ALLOWED, [ZeroDivisionError("078-05-1120")])
    with pytest.raises(InternalFault) as caught:
        await drive(scene, call())

    assert ends(scene) == ["failed"]
    assert "078-05-1120" not in str(caught.value)


async def test_what_is_large_is_inspected_off_the_loop_and_comes_back_the_same() -> None:
    text = "plain words " * 20_000
    scene = Scene(ALLOWED, [result(text)])
    reply = await drive(scene, call())

    assert orjson.loads(reply.data)["result"]["content"][0]["text"] == text


class Counting(NoStanding):
    """Counts one window, and adds to each question how often it was asked."""

    patient_key = b"k" * 32

    def __init__(self) -> None:
        self.stamped: list[int] = []
        self.charged: list[tuple[LeafType, int]] = []

    async def stamp(self, document: Document, profile: Profile) -> Document:
        self.stamped.append(len(profile.patients))
        return {**document, "usage": {"PT1H": {"calls": len(self.stamped)}}}

    def charge(self, call: Call, record: Record, profile: Profile) -> Record:
        self.charged.append((record.type, len(profile.patients)))
        return record


async def test_policy_is_told_in_both_phases_what_was_used_and_the_end_is_charged_with_what_the_result_holds() -> None:
    scene = Scene(ALLOWED, [PROGRESS, Success(7, {"structuredContent": {"rows": [{"mrn": "p1"}, {"mrn": "p2"}]}})])
    scene.standing = counting = Counting()
    await drive(scene, call())

    asked = [document["usage"] for _, document in scene.pdp.asked]
    assert asked == [{"PT1H": {"calls": number}} for number in (1, 2, 3)]
    assert counting.stamped == [0, 0, 2]
    assert counting.charged == [
        (LeafType.EXCHANGE_INTENT, 0),
        (LeafType.EXCHANGE_MESSAGE, 0),
        (LeafType.EXCHANGE_OUTCOME, 2),
    ]


async def test_a_grant_is_decided_on_what_was_used_by_then() -> None:
    scene = Scene(HELD, [result("fine")], on_step=lambda _, name: name == "wait" and scene.approvals.resolved.set())
    scene.standing = counting = Counting()
    await drive(scene, call())

    assert len(counting.stamped) == 3


async def test_break_glass_operators_are_alerted_at_once_and_without_phi(caplog: pytest.LogCaptureFixture) -> None:
    glass = decided(Decision(Effect.ALLOW, labels={"emergency": True, "emergency_s": 60}))
    scene = Scene({Entrypoint.CALL: [glass], Entrypoint.RESULT: [allow()]}, [result("fine")])
    await drive(scene, call(emergency=Emergency.CLAIMED, justification="Jane Roe is unconscious"))

    (line,) = [record for record in caplog.records if record.name == "phigate.emergency"]
    assert line.levelname == "CRITICAL"
    assert "a" * 32 in line.getMessage()
    assert "0198-exchange" in line.getMessage()
    assert not any(word in caplog.text for word in ("Jane", "ada", "p1"))
    assert scene.evidence.types()[:2] == [LeafType.EXCHANGE_INTENT, LeafType.EMERGENCY_ACCESS]


def test_every_command_that_a_script_can_give_is_performed() -> None:
    assert set(PERFORMED) == set(get_args(Command))
