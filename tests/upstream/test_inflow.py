"""One task reads for all who wait for a time: who has enough goes on at once, and who waits loses nothing."""

import socket
from math import inf

import trio
import trio.testing

from gateway.upstream import inflow
from gateway.upstream.inflow import Inflow


class Reader:
    """One end of a pair of sockets, and what was taken in there; has enough at a full stop."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.taken: list[bytes] = []

    def take(self) -> bool:
        self.taken.append(self.ours.recv(100))
        return self.taken[-1] in (b"", b".")

    async def wait(self, until: float = inf) -> None:
        await inflow.here().wait(self.ours.fileno(), self.take, until)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


async def test_those_who_have_enough_go_on_and_the_others_wait():
    one, other = Reader(), Reader()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.wait)
            one.theirs.send(b"a")
            other.theirs.send(b"b")
            async with trio.open_nursery() as inner:
                inner.start_soon(one.wait)
                while not (one.taken and other.taken):
                    await trio.lowlevel.checkpoint()
                one.theirs.send(b".")
            assert (one.taken, other.taken) == ([b"a", b"."], [b"b"])
            other.theirs.close()
        assert other.taken == [b"b", b""]
    one.close()
    other.close()


async def test_who_waits_goes_on_when_the_time_is_up(autojump_clock):
    reader = Reader()
    began = trio.current_time()
    await reader.wait(began + 3)
    assert trio.current_time() == began + 3
    await reader.wait(began)
    assert trio.current_time() == began + 3
    reader.close()


async def test_what_comes_afterwards_is_left_to_who_reads_next():
    reader = Reader()
    await reader.wait(trio.current_time())
    reader.theirs.send(b"x")
    await trio.testing.wait_all_tasks_blocked()
    assert reader.taken == []
    assert reader.ours.recv(100) == b"x"
    reader.close()


async def test_a_descriptor_that_is_closed_under_its_reader_may_be_anothers_at_once():
    closed = Reader()
    ours = inflow.here()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(closed.wait)
        await trio.testing.wait_all_tasks_blocked()
        number = closed.ours.fileno()
        ours.wake(number)
        closed.close()
        again = Reader()
        assert number in (again.ours.fileno(), again.theirs.fileno())
        if again.theirs.fileno() == number:
            again.ours, again.theirs = again.theirs, again.ours
            again.ours.setblocking(False)
        nursery.start_soon(again.wait)
        again.theirs.send(b".")
    assert (closed.taken, again.taken) == ([], [b"."])
    ours.wake(number)  # Nobody waits: nothing happens.
    again.close()


async def test_who_is_cancelled_is_forgotten():
    reader = Reader()
    with trio.move_on_after(0):
        await reader.wait()
    reader.theirs.send(b"x")
    await trio.testing.wait_all_tasks_blocked()
    assert reader.taken == []
    await reader.wait(trio.current_time())
    reader.close()


async def test_each_event_loop_has_one():
    assert inflow.here() is inflow.here()
    assert isinstance(inflow.here(), Inflow)
