"""An upstream that is replaced while calls are on their way to it: none of them is lost."""

from __future__ import annotations

import trio
import trio.testing

from gateway.upstream.retiring import Retiring
from tests.upstream.scripted import MODERN, ask, modern, modern_server


async def test_a_call_that_came_before_and_is_sent_after_goes_to_the_successor():
    old, new = modern_server(), modern_server()
    before, after = Retiring(old), Retiring(new)
    before.retire(after)
    await before.over(0)  # Nothing ran through it, so by now it is gone.
    await ask(before, modern(), MODERN)
    assert (old.methods(), new.methods()) == ([], ["tools/call"])


async def test_however_often_it_was_replaced_meanwhile():
    old, newest = modern_server(), modern_server()
    first, second, third = Retiring(old), Retiring(modern_server()), Retiring(newest)
    first.retire(second)
    second.retire(third)
    await ask(first, modern(), MODERN)
    assert newest.methods() == ["tools/call"]


async def test_a_call_that_was_sent_before_ends_where_it_was_sent():
    go = trio.Event()

    async def waits(talk, message):
        await go.wait()
        talk.result(resultType="complete", content=[])

    old, new = modern_server(waits), modern_server()
    before = Retiring(old)
    over = trio.Event()

    async def wait_for_its_end():
        await before.over(60)
        over.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, before, modern(), MODERN)
        nursery.start_soon(wait_for_its_end)
        await trio.testing.wait_all_tasks_blocked()
        before.retire(Retiring(new))
        await trio.testing.wait_all_tasks_blocked()
        assert not over.is_set()
        go.set()
    assert over.is_set()
    assert (old.methods(), new.methods()) == (["tools/call"], [])
