"""The shadow candidate: a real process beside the active policy, whose end, hang or hunger harms nobody."""

import math
from contextlib import asynccontextmanager

import pytest
import trio

from gateway.core.errors import EvidenceFault, PolicyFault
from gateway.core.policy.decision import Entrypoint
from gateway.core.types import ExchangeId
from gateway.pdp import shadow
from gateway.pdp.engine import Pdp
from gateway.pdp.shadow import Shadow
from tests.cli.traffic import policy

AT = "2026-01-05T12:00:00.000000Z"
WHOLE = "    input.principal.sub\n    input.message.method\n"
ALLOWING = policy(f'decision := {{"effect": "allow"}} if {{\n{WHOLE}}}\n')
EVE = '{"effect": "deny", "reasons": [{"code": "not_eve", "message": "m", "rule": "gateway.grants"}]}'
NO_EVE = policy(
    f'decision := {EVE} if {{\n    input.principal.sub == "eve"\n}} else := {{"effect": "allow"}} if {{\n{WHOLE}}}\n'
)
EACH = "".join(f"    some {name} in input.message.arguments.list\n" for name in "abcde")
BETWEEN = """
default fine := true

"""
HANGING = policy(
    f'decision := {{"effect": "allow"}} if {{\n{WHOLE}    fine\n}}\n{BETWEEN}'
    f"fine := false if {{\n{EACH}    a + b + c + d + e < 0\n}}\n"
)
BOMB = "replace(input.message.arguments.text, input.message.arguments.sign, input.message.arguments.text)"
HUNGRY = policy(
    f'decision := {{"effect": "allow"}} if {{\n{WHOLE}    fine\n}}\n{BETWEEN}'
    f"fine := false if {{\n    is_string(input.message.arguments.text)\n    is_string(input.message.arguments.sign)\n"
    f'    {BOMB} == "y"\n}}\n'
)
DEADLY = {"list": list(range(1000)), "text": "x" * 60_000, "sign": "x"}
"""Arguments at which the one takes years and the other 3.6 GB."""
GIVE_UP_S = 120


class Source:
    """Where candidates come from, as the loader has it: what is `put` there is found once."""

    label, remote = "candidates", False

    def __init__(self, found=None):
        self.found = found

    def put(self, found):
        self.found = found

    async def look(self):
        found, self.found = self.found, None
        if isinstance(found, Exception):
            raise found
        return found

    def pause_s(self):
        return 0.0


class Watched:
    """A shadow that runs, and what it records."""

    def __init__(self, running, received):
        self.shadow = running
        self.received = received
        self.pdp = Pdp(ALLOWING)

    def decide(self, exchange, who="ann", **arguments):
        asked = {"principal": {"sub": who}, "message": {"method": "tools/call", "arguments": arguments}}
        decided = self.pdp.decide(Entrypoint.CALL, asked, at=AT)
        self.shadow.note(ExchangeId(exchange), decided)

    async def told(self, what):
        """The members of the next leaf of this sort."""
        with trio.fail_after(GIVE_UP_S):
            while True:
                members = await self.received.receive()
                if members["what"] == what:
                    return members

    async def until(self, **wanted):
        """Return once the status says so."""
        with trio.fail_after(GIVE_UP_S):
            while not wanted.items() <= self.shadow.status.items():
                await trio.sleep(0.01)


@asynccontextmanager
async def watching(candidate, *, record=None, summary_s=0.0):
    source = Source(candidate)
    send, receive = trio.open_memory_channel(math.inf)
    running = Shadow(source, record or send.send, summary_s=summary_s)
    watched = Watched(running, receive)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.run)
        try:
            yield watched, source
        finally:
            watched.pdp.close()
            nursery.cancel_scope.cancel()


async def test_what_the_candidate_would_change_is_recorded_one_by_one_and_summed_up():
    async with watching(NO_EVE) as (watched, _):
        await watched.until(state="comparing")
        watched.decide("first")
        watched.decide("second", who="eve")

        assert await watched.told("difference") == {
            "what": "difference",
            "candidate": NO_EVE.digest,
            "active": ALLOWING.digest,
            "exchange": "second",
            "entrypoint": "gateway/call/decision",
            "kinds": ["newly-denied"],
            "causes": ["newly-denied: gateway.grants: not_eve"],
        }
        assert await watched.told("summary") == {
            "what": "summary",
            "candidate": NO_EVE.digest,
            "revision": NO_EVE.manifest.revision,
            "active": ALLOWING.digest,
            "compared": 2,
            "differing": 1,
            "dropped": 0,
            "stopped": 0,
            "untold": 0,
            "kinds": {"newly-denied": 1},
            "causes": {"newly-denied: gateway.grants: not_eve": 1},
        }
        status = {"compared": 2, "differing": 1, "dropped": 0, "newest_refused": False}
        assert watched.shadow.status == {"state": "comparing", "revision": NO_EVE.manifest.revision, **status}


@pytest.mark.parametrize("candidate", [HANGING, HUNGRY], ids=["hangs", "grows"])
async def test_a_candidate_that_hangs_or_outgrows_its_memory_costs_its_own_process_and_is_counted(candidate):
    async with watching(candidate) as (watched, _):
        await watched.until(state="comparing")
        for number in range(20):
            watched.decide(f"before-{number}")
        watched.decide("deadly", **DEADLY)
        for number in range(20):
            watched.decide(f"after-{number}")

        difference = await watched.told("difference")
        assert (difference["exchange"], difference["causes"]) == ("deadly", ["fails: policy_stopped"])
        await watched.until(compared=41, differing=1, dropped=0, state="comparing")


async def test_what_would_be_decided_after_the_candidate_had_denied_is_no_change_of_its_own():
    async with watching(NO_EVE) as (watched, _):
        await watched.until(state="comparing")
        watched.decide("one", who="eve")
        watched.decide("one", who="eve")
        watched.decide("other", who="eve")

        await watched.until(compared=3, differing=2)


async def test_noting_never_waits_and_what_does_not_fit_is_counted_as_dropped():
    async with watching(NO_EVE) as (watched, _):
        await watched.until(state="comparing")

        for number in range(shadow.BACKLOG + 7):  # The candidate has no turn in between: nobody waits here.
            watched.decide(f"x-{number}")

        assert watched.shadow.status["dropped"] == 7
        await watched.until(compared=shadow.BACKLOG)
        assert (await watched.told("summary"))["dropped"] == 7


async def test_decisions_too_large_for_the_backlog_are_dropped():
    async with watching(NO_EVE) as (watched, _):
        await watched.until(state="comparing")

        watched.decide("large", text="x" * shadow.BACKLOG_BYTES)
        watched.decide("small")

        await watched.until(compared=1, dropped=1)


async def test_only_so_many_differences_a_minute_are_told_one_by_one():
    async with watching(NO_EVE, summary_s=3600.0) as (watched, _):
        await watched.until(state="comparing")
        for number in range(shadow.TOLD_A_MINUTE + 5):
            watched.decide(f"x-{number}", who="eve")
        await watched.until(differing=shadow.TOLD_A_MINUTE + 5)
        await watched.shadow.finish()

        summary = await watched.told("summary")
        assert (summary["differing"], summary["untold"]) == (shadow.TOLD_A_MINUTE + 5, 5)


async def test_a_refused_candidate_leaves_the_one_before_and_a_good_one_takes_its_place():
    async with watching(PolicyFault("It cannot be read.")) as (watched, source):
        await watched.until(state="refused", newest_refused=True)
        watched.decide("unseen")
        source.put(NO_EVE)
        await watched.until(state="comparing", newest_refused=False)
        source.put(policy('decision := {"effect": "allow"} if true\n'))  # Admission refuses it.
        await watched.until(state="comparing", newest_refused=True)

        watched.decide("seen", who="eve")

        assert (await watched.told("difference"))["candidate"] == NO_EVE.digest


async def test_a_candidate_that_keeps_ending_its_process_is_given_up_until_it_is_changed(monkeypatch):
    monkeypatch.setattr(shadow, "LIVES", 2)
    async with watching(HUNGRY) as (watched, source):
        await watched.until(state="comparing")
        for number in range(shadow.LIVES):
            watched.decide(f"deadly-{number}", **DEADLY)
        await watched.until(state="stopped", differing=shadow.LIVES)
        watched.decide("unseen")
        assert watched.shadow.status["dropped"] == 1

        source.put(NO_EVE)
        await watched.until(state="comparing")
        watched.decide("seen")
        await watched.until(compared=shadow.LIVES + 1)


async def test_what_cannot_be_recorded_is_kept_for_the_next_summary():
    send, receive = trio.open_memory_channel(math.inf)
    broken = [True]

    async def record(members):
        if broken:
            raise EvidenceFault("The disk is full.")
        await send.send(members)

    async with watching(NO_EVE, record=record) as (watched, _):
        await watched.until(state="comparing")
        watched.decide("first", who="eve")
        await watched.until(differing=1)
        await watched.shadow.finish()
        broken.clear()
        watched.received = receive

        summary = await watched.told("summary")
        assert (summary["compared"], summary["differing"], summary["untold"]) == (1, 1, 1)


async def test_a_bug_in_the_shadow_stops_the_shadow_and_nothing_else(caplog):
    async def record(members):
        raise LookupError("Jane Roe")

    async with watching(NO_EVE, record=record) as (watched, _):
        await watched.until(state="comparing")
        watched.decide("first", who="eve")
        await watched.until(state="stopped")

        watched.decide("second", who="eve")

    assert "no longer asked: LookupError" in caplog.text
    assert "Jane Roe" not in caplog.text


async def test_a_shadow_that_is_cancelled_leaves_no_process():
    async with watching(NO_EVE) as (watched, _):
        await watched.until(state="comparing")
        process = watched.shadow._process._process

    assert process.returncode is not None
