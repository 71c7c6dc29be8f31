"""Waiting for what any process may change, with one look for all who wait."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gateway.core.errors import EvidenceFault
from gateway.core.types import ApprovalId
from gateway.store.watch import POLL_S, Watch

ONE, TWO, THREE = (ApprovalId(name) for name in ("ap_1", "ap_2", "ap_3"))


class Table:
    """What has moved, how often somebody looked, and whether looking fails."""

    def __init__(self) -> None:
        self.moved: set[ApprovalId] = set()
        self.looks: list[frozenset[ApprovalId]] = []
        self.fault: EvidenceFault | None = None

    async def look(self, names: frozenset[ApprovalId]) -> frozenset[ApprovalId]:
        await trio.lowlevel.checkpoint()
        self.looks.append(names)
        if self.fault is not None:
            raise self.fault
        return names & self.moved


async def test_another_process_change_is_seen_within_a_quarter_second(autojump_clock):
    table = Table()
    watch = Watch(table.look)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.moved, ONE)
        await trio.sleep(10)
        table.moved.add(ONE)
        changed = trio.current_time()

    assert trio.current_time() - changed <= POLL_S


async def test_a_change_in_this_process_is_seen_at_once(autojump_clock):
    table = Table()
    watch = Watch(table.look)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.moved, ONE)
        await trio.sleep(10.01)
        table.moved.add(ONE)
        watch.nudge(ONE)
        changed = trio.current_time()

    assert trio.current_time() == changed


async def test_a_change_in_this_process_costs_a_look_at_what_was_changed_and_at_nothing_else(autojump_clock):
    table = Table()
    watch = Watch(table.look)
    async with trio.open_nursery() as nursery:
        for name in (ONE, TWO, THREE):
            nursery.start_soon(watch.moved, name)
        await trio.sleep(POLL_S / 2)
        seen = len(table.looks)
        watch.nudge(ApprovalId("ap_nobody_waits_for"))
        watch.nudge(TWO)
        await wait_all_tasks_blocked()
        assert table.looks[seen:] == [{TWO}]
        table.moved.update((ONE, TWO, THREE))


async def test_changes_in_this_process_do_not_keep_those_of_others_from_being_seen(autojump_clock):
    table = Table()
    watch = Watch(table.look)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.moved, ONE)
        nursery.start_soon(watch.moved, TWO)
        with trio.move_on_after(2 * POLL_S):
            while True:
                watch.nudge(ONE)
                await trio.sleep(POLL_S / 50)
        assert {ONE, TWO} in table.looks[1:]
        table.moved.update((ONE, TWO))


async def test_one_look_serves_everybody_who_waits(autojump_clock):
    table = Table()
    watch = Watch(table.look)
    with trio.move_on_after(10 * POLL_S + POLL_S / 2):
        async with trio.open_nursery() as nursery:
            for name in (ONE, TWO, THREE) * 10:
                nursery.start_soon(watch.moved, name)

    assert len(table.looks) <= 12
    assert table.looks[-1] == {ONE, TWO, THREE}


async def test_when_the_one_who_looks_leaves_another_takes_over(autojump_clock):
    table = Table()
    watch = Watch(table.look)
    async with trio.open_nursery() as nursery:
        scopes = []

        async def wait(name: ApprovalId) -> None:
            with trio.CancelScope() as scope:
                scopes.append(scope)
                await watch.moved(name)

        for name in (ONE, TWO, THREE):
            nursery.start_soon(wait, name)
        await trio.sleep(1)
        # Whoever looks leaves, and in the same moment whoever would inherit from it.
        for scope in scopes[:2]:
            scope.cancel()
        await trio.sleep(1)
        table.moved.update((ONE, TWO, THREE))

    assert [scope.cancelled_caught for scope in scopes] == [True, True, False]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_an_heir_that_is_cancelled_before_it_looks_passes_the_duty_on(order, autojump_clock):
    table = Table()
    watch = Watch(table.look)
    scopes = {}

    async def wait(name: ApprovalId) -> None:
        with trio.CancelScope() as scopes[name]:
            await watch.moved(name)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for name in (ONE, TWO, THREE):
                nursery.start_soon(wait, name)
                await wait_all_tasks_blocked()
            table.moved.add((ONE, TWO)[order[0]])
            watch.nudge((ONE, TWO)[order[0]])
            scopes[(ONE, TWO)[order[1]]].cancel()
            await trio.sleep(1)
            table.moved.add(THREE)

    assert not scopes[THREE].cancelled_caught


async def test_when_nobody_can_look_everybody_who_waits_is_told(autojump_clock):
    table = Table()
    watch = Watch(table.look)
    told = []

    async def wait(name: ApprovalId) -> None:
        try:
            await watch.moved(name)
        except EvidenceFault as fault:
            told.append((name, fault.detail))

    async with trio.open_nursery() as nursery:
        for name in (ONE, TWO, THREE):
            nursery.start_soon(wait, name)
        await trio.sleep(1)
        table.fault = EvidenceFault("the disk is gone")

    assert sorted(told) == [(name, "the disk is gone") for name in (ONE, TWO, THREE)]
