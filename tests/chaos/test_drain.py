"""An operator stops the gateway under load."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import suppress
from functools import partial

import pytest
import trio

from tests.chaos import audit, upstream, wire
from tests.chaos.audit import Seen
from tests.chaos.conftest import QUIET_S, in_force
from tests.chaos.wire import Agent, Lost
from tests.e2e import harness
from tests.e2e.harness import Upstream

DRAIN_S = 20.0


@pytest.fixture(scope="module")
def ward():
    """An upstream of its own: the one of the other tests counts for their audit."""
    with upstream.ward_in_thread() as running:
        yield running


@pytest.fixture
def doomed(tmp_path, people, ward):
    """A gateway of its own, which holds calls for longer than it drains."""
    settings = {"gateway": {"hold_s": 60, "drain_s": DRAIN_S, "keepalive_s": 1}}
    gateway = harness.prepare(tmp_path, people, [Upstream("ward", ward.settings)], workers=2, settings=settings)
    gateway.phi |= upstream.identifiers()
    try:
        gateway.start()
        in_force(gateway, workers=2)
        yield gateway
    finally:
        gateway.kill()


async def test_a_drain_under_load_answers_what_it_can_and_records_the_rest(doomed, ward):
    seen, finished = Seen(), Counter()
    token = doomed.issuer.token
    make = partial(Agent, doomed.port, "ward")
    await wire.listed(make(token("analyst"), True))
    ward.slow_s = 1.5
    heard = Counter()

    async def one(agent, tool, name):
        try:
            answer = await wire.once(agent, tool, ident=name, token=name)
        except Lost as lost:
            answer = lost.answer
        seen.note(name, answer)
        finished[tool, answer.whole] += 1

    async def listen(agent):
        async with wire.connected(agent.port) as connection:
            await agent.greet(connection)
            with suppress(Lost):
                await agent.listen(connection, lambda: heard.update(["pieces"]))
            finished["listen", True] += 1

    process = doomed.process
    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(one, make(token("analyst"), number % 2 == 0), "slow", f"slow-{number}")
            nursery.start_soon(one, make(token("clinician"), number % 2 == 0), "amend", f"held-{number}")
        for _ in range(4):
            nursery.start_soon(listen, make(token("analyst"), False))
        with trio.fail_after(QUIET_S):
            while sum(ward.calls[f"slow-{n}"] for n in range(8)) < 8 or heard["pieces"] < 4 or held(doomed) < 8:
                await trio.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        with trio.fail_after(DRAIN_S / 2):
            while await accepted(doomed.port):
                await trio.sleep(0.05)
        with trio.fail_after(DRAIN_S + 10):
            code = await trio.to_thread.run_sync(process.wait)

    assert code == 0
    assert finished["slow", True] == 8
    assert finished["amend", True] + finished["amend", False] == 8
    assert finished["listen", True] == 4
    told = audit.audit(doomed, seen, ward.calls, at_rest=True)
    for number in range(8):
        (slow,) = told.with_ident(f"slow-{number}")
        (waited,) = told.with_ident(f"held-{number}")
        assert slow.ends == ["replied"]
        assert seen.replies[f"slow-{number}"] in slow.said
        assert waited.ends[0] in ("pending", "abandoned")
        assert not ward.calls[f"held-{number}"]
    assert told.kinds["exchange.unknown"] == 0
    doomed.check()


def held(gateway):
    """How many calls wait for an approval."""
    return audit.read(gateway).kinds["approval.request"]


async def accepted(port):
    """Whether a new connection is accepted."""
    try:
        async with wire.connected(port):
            return True
    except Lost:
        return False
