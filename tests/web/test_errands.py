"""What goes on beside the requests: it outlives whoever began it, and its faults end nothing else."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gateway.core.errors import EvidenceFault, InternalFault
from gateway.web.errands import Away, Errands


@pytest.fixture
async def errands(nursery):
    found = Errands()
    nursery.start_soon(found.run)
    await trio.testing.wait_all_tasks_blocked()
    return found


async def test_an_errand_brings_back_what_it_found(errands):
    async def work():
        await trio.lowlevel.checkpoint()
        return 7

    assert await errands.do(work) == 7


async def test_an_errand_goes_on_when_nobody_waits_for_it_any_more(errands):
    go, done = trio.Event(), trio.Event()

    async def work():
        await go.wait()
        done.set()

    with trio.move_on_after(0):
        await errands.do(work)
    go.set()
    with trio.fail_after(5):
        await done.wait()


async def test_an_errand_that_fails_is_its_callers_fault_alone(errands):
    async def broken():
        await trio.lowlevel.checkpoint()
        raise EvidenceFault("the store is gone")

    async def sound():
        await trio.lowlevel.checkpoint()
        return True

    with pytest.raises(EvidenceFault, match="the store is gone"):
        await errands.do(broken)
    assert await errands.do(sound)


async def test_an_errand_that_is_cut_short_says_so():
    errands, waits = Errands(), trio.Event()
    heard = []

    async def ask():
        with pytest.raises(InternalFault):
            await errands.do(waits.wait)
        heard.append(True)

    async with trio.open_nursery() as nursery, trio.open_nursery() as running:
        running.start_soon(errands.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        running.cancel_scope.cancel()
    assert heard == [True]


async def test_nobody_runs_errands_before_the_gateway_does():
    with pytest.raises(InternalFault):
        await Errands().do(trio.lowlevel.checkpoint)


async def test_a_client_that_is_away_hears_nothing_waits_for_nothing_and_hangs_up_on_nothing():
    away = Away()
    with away.interruptible() as scope:
        await trio.lowlevel.checkpoint()
    assert not scope.cancelled_caught
    with trio.fail_after(5), away.patience(45) as patience:
        await trio.sleep_forever()
    assert patience.cancelled_caught
    await away.relay(b"{}")
    await away.open_stream("exchange")
    assert away.gone
