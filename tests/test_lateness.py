"""Deadlines as numbers: whoever is late is told so, and nobody else, however often a deadline moves."""

import math

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from gateway import lateness
from gateway.lateness import REST_S, Lateness


class Waiter:
    """Notes when it is told that it is late, and waits for nothing from then on."""

    def __init__(self):
        self.due = math.inf
        self.told = []

    def late(self):
        self.told.append(trio.current_time())
        self.due = math.inf


async def test_it_is_told_when_its_time_is_up_and_once(autojump_clock):
    waiter, ours = Waiter(), lateness.here()
    ours.add(waiter)
    ours.expect(waiter, trio.current_time() + 5)
    await trio.sleep(4.9)
    assert waiter.told == []
    await trio.sleep(100)
    assert len(waiter.told) == 1
    assert 5 <= waiter.told[0] <= 5 + REST_S


async def test_what_is_put_off_is_not_late_when_it_would_have_been(autojump_clock):
    waiter, ours = Waiter(), lateness.here()
    ours.add(waiter)
    ours.expect(waiter, trio.current_time() + 5)
    await trio.sleep(4)
    waiter.due = math.inf
    await trio.sleep(100)
    assert waiter.told == []


async def test_whoever_does_not_react_is_told_again(autojump_clock):
    waiter, ours = Waiter(), lateness.here()
    told = []
    waiter.late = lambda: told.append(trio.current_time())
    ours.add(waiter)
    ours.expect(waiter, trio.current_time() + 1)
    await trio.sleep(2)
    assert len(told) > 1


async def test_who_has_left_is_told_nothing(autojump_clock):
    waiter, ours = Waiter(), lateness.here()
    ours.add(waiter)
    ours.expect(waiter, trio.current_time() + 1)
    ours.discard(waiter)
    await trio.sleep(2)
    assert waiter.told == []


async def test_there_is_one_for_each_event_loop():
    assert lateness.here() is lateness.here()
    assert isinstance(lateness.here(), Lateness)


MOVES = st.lists(st.tuples(st.integers(0, 3), st.floats(0.1, 30), st.floats(0, 10)), max_size=20)


@given(MOVES)
def test_each_is_told_between_its_deadline_and_a_moment_later_whatever_moves(moves):
    """As cancel scopes would: `moves` are who, how far ahead its deadline is put, and the pause after that."""

    async def play():
        ours, waiters = lateness.here(), [Waiter() for _ in range(4)]
        for waiter in waiters:
            ours.add(waiter)
        wanted = {}
        missed = []

        def settle(now):
            for index, due in list(wanted.items()):
                if now > due + REST_S:
                    del wanted[index]
                    told = waiters[index].told
                    if not (told and due <= told.pop() <= due + REST_S + 1e-6):
                        missed.append(index)

        for index, ahead, pause in [*moves, (0, 1.0, 100.0)]:
            if wanted.get(index, math.inf) > trio.current_time():
                wanted[index] = trio.current_time() + ahead
                ours.expect(waiters[index], wanted[index])
            await trio.sleep(pause)
            settle(trio.current_time())
        assert missed == []
        assert wanted == {}
        assert not any(waiter.told for waiter in waiters)

    trio.run(play, clock=MockClock(autojump_threshold=0))
