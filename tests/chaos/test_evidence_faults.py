"""The running gateway cannot write its evidence: it refuses, forwards nothing, and goes on by itself when it can."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
from contextlib import closing, contextmanager, suppress
from functools import partial

import pytest
import trio

from tests.chaos import audit, wire
from tests.chaos.conftest import QUIET_S, in_force

RECOVERS_S = 60.0
REPLACED_S = 30.0
"""A worker was started anew, on a busy machine."""
ROUNDS = 8
"""Calls at a time: enough that each of two workers gets some."""


@contextmanager
def full_disk(gateway):
    """No process of the gateway can make any file longer, or write to one at all."""
    pids = [gateway.process.pid, *gateway.workers()]
    before = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, -1)) for pid in pids}
    try:
        yield
    finally:
        for pid, limits in before.items():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def locked(gateway):
    """Another program holds the database for longer than a writer waits."""
    with closing(sqlite3.connect(gateway.store, isolation_level=None)) as other:
        other.execute("begin exclusive")
        yield
        other.execute("rollback")


async def readiness_is(gateway, wanted):
    """Whether both workers say that they are (not) ready: so many answers in a row say so."""
    for _ in range(10):
        status, document = await wire.fetch(gateway.port, "GET", "/readyz")
        if (status == 200) is not wanted:
            return False
        if status != 200:
            assert (status, document["parts"]["evidence"]) == (503, "not ready")
        await trio.sleep(0.02)
    return True


async def until_ready(gateway):
    with trio.fail_after(RECOVERS_S):
        while not await readiness_is(gateway, True):
            await trio.sleep(0.1)


async def calls(agents, name, rounds=ROUNDS):
    """So many calls at once, each on a connection of its own; their answers by their tokens."""
    answers = {}

    async def one(number):
        token = f"{name}-{number}"
        answers[token] = await wire.once(agents[number % len(agents)], "note", ident=token, token=token)

    async with trio.open_nursery() as nursery:
        for number in range(rounds):
            nursery.start_soon(one, number)
    return answers


@pytest.mark.parametrize("fault", [full_disk, locked])
async def test_what_cannot_be_put_on_record_is_refused_and_never_forwarded(gateway, ward, agent, seen, fault):
    name = fault.__name__
    known, greeted, new = (
        agent("analyst", modern=True),
        agent("analyst", modern=False),
        agent(f"analyst-{name}", modern=True),
    )
    agents = [known, greeted, new]
    async with wire.connected(gateway.port) as connection:
        await greeted.greet(connection)
    cut = f"{name}-cut"  # Forwarded while all was well; its outcome cannot be recorded.
    ward.slow_s = 1.0
    answers = {}
    async with trio.open_nursery() as nursery:

        async def begin():
            answers[cut] = await wire.once(agent("analyst", modern=True), "slow", ident=cut, token=cut)

        nursery.start_soon(begin)
        with trio.fail_after(QUIET_S):
            while not ward.calls[cut]:
                await trio.sleep(0.01)
        with fault(gateway):
            with trio.fail_after(RECOVERS_S):
                while not await readiness_is(gateway, False):  # A worker finds out with its first write.
                    answers |= await calls(agents, f"{name}-{len(answers)}")
            with trio.fail_after(QUIET_S):
                while cut not in answers:
                    await trio.sleep(0.01)
    await until_ready(gateway)
    after = await calls(agents, f"{name}-after")

    for token, answer in answers.items():
        assert answer.status == 503
        assert answer.last["id"] == token
        assert "evidence" in answer.last["error"]["message"]
        assert ward.calls[token] == (token == cut)
    for token, answer in after.items():
        seen.note(token, answer)
        assert answer.status == 200
        assert ward.calls[token] == 1
    (ended,) = audit.read(gateway).with_ident(cut)
    assert (ended.ends, ended.why) == (["exchange.unknown"], "not_recorded")


async def test_a_worker_that_dies_while_the_store_is_locked_is_back_when_it_is_not(gateway, agent, ward):
    logged = gateway.log.stat().st_size
    victim = gateway.workers()[0]
    with locked(gateway):
        os.kill(victim, signal.SIGKILL)
        with trio.fail_after(REPLACED_S):
            while b"ended: exit code 2" not in gateway.log.read_bytes()[logged:]:
                await trio.sleep(0.05)
        (refused,) = (await calls([agent("analyst", modern=True)], "dying", rounds=1)).values()
    await trio.to_thread.run_sync(partial(in_force, gateway, workers=1, since=logged))
    await until_ready(gateway)
    after = await calls([agent("analyst", modern=True)], "revived")

    assert refused.status == 503
    assert {answer.status for answer in after.values()} == {200}
    assert len(gateway.workers()) == 2
