"""How a call that waits as a task goes on after what its upstream asked was answered."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import orjson
import pytest
import trio
import trio.testing

from gateway.core import held
from gateway.core.commands import Answer, Recalled, Resolution, Settled
from gateway.core.errors import EvidenceFault
from gateway.core.protocol.jsonrpc import Request
from gateway.core.replies import Reply
from gateway.core.types import Principal
from gateway.web.errands import Errands
from gateway.web.legs import LASTS_S, Legs
from tests.fakes.mail import FakeMail, Post

ASKED = Request(1, "tools/call", {"name": "read", "_meta": {}})
ASKS = {"result": {"resultType": "input_required", "inputRequests": {"a": {}, "b": {}}, "requestState": "sealed"}}
DONE = {"result": {"content": ["done"], "resultType": "complete"}}
WHO = Principal("iss", "sub", "client")


class World:
    """What a task's runs are made with, each told its reply."""

    def __init__(self, post, *replies):
        self.mail = FakeMail(post=post)
        self.replies = list(replies)
        self.ran = []
        self.recalled = {}
        self.at = datetime(2026, 11, 23, tzinfo=UTC)
        self.numbers = iter(range(1, 100))
        self.errands = Errands()
        self.fault = None
        """What the store says when it is next asked what was approved."""

    async def look(self, approval):
        return Resolution(approval, Settled.KEPT, reply=ASKS)

    async def asked(self, approval):
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        return ASKED

    async def recall(self, session, exchange, said, *, waits):
        return self.recalled.get(exchange, Recalled())

    async def run(self, opened, exchange):
        await trio.lowlevel.checkpoint()
        self.ran.append(opened.message)
        data = orjson.dumps(self.replies.pop(0))
        self.recalled[exchange] = Recalled(messages=(data,), ended=True, answered=True)
        return Reply(data)

    def unseal(self, text, purpose):
        return {"call": held.about(ASKED), "upstream": "its own"} if text == "sealed" else {"approval": text}

    def legs(self):
        return Legs(
            self, self, self.mail, self.errands, lambda: self.at, self.unseal, WHO, "clinic", "s",
            lambda: f"exchange-{next(self.numbers)}", self.run,
        )  # fmt: skip


def answer(**given):
    return Answer("ap_1", "ap_1", given, frozenset({"a", "b"}), "sealed")


@pytest.fixture
def world(nursery):
    found = World(Post(), DONE)
    nursery.start_soon(found.errands.run)
    return found


async def settled(world):
    await trio.testing.wait_all_tasks_blocked()
    return await world.legs().look("ap_1")


async def test_a_call_goes_on_once_when_all_is_answered_and_the_first_answer_counts(world):
    await trio.testing.wait_all_tasks_blocked()
    await world.legs().answer(answer(a=1))
    assert (await settled(world)).reply == ASKS
    await world.legs().answer(answer(a=2, b=3))
    await world.legs().answer(answer(a=2, b=3))
    found = await settled(world)
    assert (found.state, found.reply, found.place) == (Settled.KEPT, DONE, "exchange-2")
    (again,) = world.ran
    assert again.params == {**ASKED.params, "inputResponses": {"a": 1, "b": 3}, "requestState": "its own"}


async def test_answers_that_come_to_two_processes_at_once_go_on_with_the_call_once(nursery):
    post = Post()
    worlds = [World(post, DONE), World(post, DONE)]
    for each in worlds:
        each.numbers = iter(range(100 * worlds.index(each) + 1, 1000))
        nursery.start_soon(each.errands.run)
    await trio.testing.wait_all_tasks_blocked()
    async with trio.open_nursery() as both:
        for each in worlds:
            both.start_soon(each.legs().answer, answer(a=1, b=2))
    await trio.testing.wait_all_tasks_blocked()
    assert sum(len(each.ran) for each in worlds) == 1


async def test_what_could_not_be_begun_is_not_noted_as_begun(world):
    await trio.testing.wait_all_tasks_blocked()
    world.fault = EvidenceFault("The store is away.")
    with pytest.raises(EvidenceFault):
        await world.legs().answer(answer(a=1, b=2))
    assert (await settled(world)).reply == ASKS
    await world.legs().answer(answer(a=1, b=2))
    assert (await settled(world)).reply == DONE


async def test_attack_many_answers_at_once_and_all_of_it_is_asked_once(nursery):
    post = Post()
    worlds = [World(post, DONE) for _ in range(40)]
    for number, each in enumerate(worlds):
        each.numbers = iter(range(100 * number + 1, 100 * number + 100))
        nursery.start_soon(each.errands.run)
    await trio.testing.wait_all_tasks_blocked()
    ready = trio.Event()

    async def press(each, given):
        await ready.wait()
        await each.legs().answer(answer(**given))

    async with trio.open_nursery() as together:
        for number, each in enumerate(worlds):
            together.start_soon(press, each, {"a": number} if number % 2 else {"b": number})
        await trio.testing.wait_all_tasks_blocked()
        ready.set()
    await trio.testing.wait_all_tasks_blocked()
    (again,) = [message for each in worlds for message in each.ran]
    given = again.params["inputResponses"]
    assert (given["a"] % 2, given["b"] % 2) == (1, 0)


async def test_a_run_that_is_held_again_is_where_the_task_stands_then(world):
    world.replies = [{"result": {"resultType": "task", "taskId": "phigate.ap_2"}}]
    await trio.testing.wait_all_tasks_blocked()
    await world.legs().answer(answer(a=1, b=2))
    found = await settled(world)
    assert (found.approval, found.place) == ("ap_2", "ap_2")


async def test_a_run_that_asks_again_is_answered_as_another_run(world):
    world.replies = [ASKS, DONE]
    await trio.testing.wait_all_tasks_blocked()
    await world.legs().answer(answer(a=1, b=2))
    asked = await settled(world)
    assert (asked.reply, asked.place) == (ASKS, "exchange-1")
    await world.legs().answer(Answer("ap_1", asked.place, {"a": 5, "b": 6}, frozenset({"a", "b"}), "sealed"))
    assert (await settled(world)).reply == DONE


async def test_attack_a_task_that_is_asked_a_thousand_times_is_still_found(world):
    await trio.testing.wait_all_tasks_blocked()
    world.numbers = itertools.count(1)
    place = "ap_1"
    for number in range(1, 1500):
        world.replies = [ASKS]
        await world.legs().answer(Answer("ap_1", place, {"a": 1, "b": 2}, frozenset({"a", "b"}), "sealed"))
        await trio.testing.wait_all_tasks_blocked()
        place = f"exchange-{number}"
    assert (await world.legs().look("ap_1")).place == place


@pytest.mark.parametrize(
    ("recalled", "after_s", "state"),
    [
        (Recalled(), 0, Settled.PENDING),
        (Recalled(), LASTS_S + 1, Settled.LOST),
        (Recalled(ended=True), 0, Settled.LOST),
    ],
    ids=["under way", "its process died before it began", "its process died"],
)
async def test_a_run_that_is_not_over_works_and_one_that_never_ends_is_lost(world, recalled, after_s, state):
    await trio.testing.wait_all_tasks_blocked()
    await world.legs().answer(answer(a=1, b=2))
    await trio.testing.wait_all_tasks_blocked()
    world.recalled["exchange-1"] = recalled
    world.at += timedelta(seconds=after_s)
    assert (await world.legs().look("ap_1")).state is state


async def test_a_state_that_is_good_no_more_is_the_runs_own_refusal(world):
    world.unseal = lambda text, purpose: None
    opened = []
    run = world.run

    async def watched(found, exchange):
        opened.append(found)
        return await run(found, exchange)

    world.run = watched
    await trio.testing.wait_all_tasks_blocked()
    await world.legs().answer(answer(a=1, b=2))
    await trio.testing.wait_all_tasks_blocked()
    assert [found.claim for found in opened] == [held.Claim(None)]
