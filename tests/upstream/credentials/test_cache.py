"""Tokens while they are good: one fetch however many wait, early renewal, and no storm when the endpoint fails."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gateway.core.errors import UpstreamFault
from gateway.upstream.credentials.cache import Cache, Fetched


class Source:
    """Fetches token-1, token-2, …, or raises what the test says."""

    def __init__(self, lifetime_s=300.0):
        self.count = 0
        self.lifetime_s = lifetime_s
        self.fault = None
        self.gate = trio.Event()
        self.gate.set()

    async def __call__(self):
        self.count += 1
        mine = self.count
        await self.gate.wait()
        if self.fault is not None:
            raise UpstreamFault(self.fault, kind="credentials_unavailable")
        return Fetched(f"token-{mine}", self.lifetime_s)


async def test_many_who_wait_share_one_fetch(autojump_clock):
    cache, source, found = Cache(), Source(), []
    source.gate = trio.Event()

    async def ask():
        found.append(await cache.get(b"k", source))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        source.gate.set()
    assert (set(found), source.count) == ({"token-1"}, 1)


async def test_a_token_is_renewed_before_it_ends(autojump_clock):
    cache, source = Cache(), Source(lifetime_s=300)
    await cache.get(b"k", source)
    await trio.sleep(269)
    assert await cache.get(b"k", source) == "token-1"
    await trio.sleep(2)
    assert await cache.get(b"k", source) == "token-2"


async def test_a_short_lived_token_is_used_for_most_of_its_life(autojump_clock):
    cache, source = Cache(), Source(lifetime_s=8)
    await cache.get(b"k", source)
    await trio.sleep(5)
    assert await cache.get(b"k", source) == "token-1"
    await trio.sleep(2)
    assert await cache.get(b"k", source) == "token-2"


async def test_nobody_gets_the_token_of_another_key(autojump_clock):
    cache, source = Cache(), Source()
    assert await cache.get(b"alice", source) != await cache.get(b"bob", source)
    assert (cache.known(b"alice"), cache.known(b"bob"), cache.known(b"eve")) == ("token-1", "token-2", None)


async def test_a_failure_is_told_to_all_who_wait_and_not_tried_again_for_a_moment(autojump_clock):
    cache, source, faults = Cache(), Source(), []
    source.fault, source.gate = "the endpoint is down", trio.Event()

    async def ask():
        with pytest.raises(UpstreamFault) as fault:
            await cache.get(b"k", source)
        faults.append(fault.value.detail)

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        source.gate.set()
    assert (set(faults), len(faults), source.count) == ({"the endpoint is down"}, 50, 1)
    source.fault = None
    await trio.sleep(1.1)
    assert await cache.get(b"k", source) == "token-2"


async def test_a_token_that_was_refused_is_not_used_again(autojump_clock):
    cache, source = Cache(), Source()
    await cache.get(b"k", source)
    await trio.sleep(6)
    cache.forget("token-1")
    assert await cache.get(b"k", source) == "token-2"


async def test_an_upstream_that_refuses_every_token_does_not_make_us_fetch_without_end(autojump_clock):
    cache, source = Cache(), Source()
    for _ in range(20):
        cache.forget(await cache.get(b"k", source))
    assert source.count == 1


async def test_no_more_are_kept_than_allowed(autojump_clock):
    cache, source = Cache(most=3), Source()
    for name in (b"a", b"b", b"c", b"d"):
        await cache.get(name, source)
    assert cache.known(b"a") is None
    assert cache.known(b"d") == "token-4"


def test_a_token_is_in_no_repr():
    assert "synthetic" not in repr(Fetched("synthetic-token", 1))
