"""Policies at their worst, through the whole gateway: what is not plainly allowed is denied on record and not sent."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
import trio

from gateway.cli.serve import HEARTBEAT_S
from gateway.core.policy.decision import Entrypoint
from tests.chaos import audit, upstream, wire
from tests.chaos.conftest import QUIET_S, in_force
from tests.chaos.wire import Agent, Lost
from tests.e2e import harness
from tests.e2e.harness import Upstream

CALLS = """package gateway.call

default decision := {"effect": "deny", "reasons": [{"code": "no_rule", "message": "No rule.", "rule": "chaos"}]}

decision := {"effect": "allow"} if {
	input.principal.sub
	input.message.method != "tools/call"
}

mood := input.message.arguments.mood

many := input.message.arguments.many

decision := {"effect": "allow"} if mood == "good"

decision := {"effect": "allow"} if {
	mood == "undefined"
	input.message.arguments.nothing.there
}

# Two answers at once: the engine raises.
decision := {"effect": "allow"} if mood == "torn"

decision := {"effect": "deny"} if mood == "torn"

decision := {"effect": "yes"} if mood == "nonsense"

decision := {"effect": "allow", "obligations": []} if mood == "inventive"

decision := {"effect": "allow"} if {
	mood == "slow"
	count({1 | some a in many; some b in many}) == 1
}

decision := {"effect": "allow"} if {
	mood == "stuck"
	count({1 | some a in many; some b in many; some c in many; some d in many}) == 1
}
"""
OTHERS = """package {package}

default decision := {{"effect": "deny"}}
"""
RESULTS = """
decision := {"effect": "allow"} if {
	input.principal.sub
	input.result.kind
}
"""

MOODS = {
    "undefined": "no_rule",
    "torn": "policy_error",
    "nonsense": "policy_malformed",
    "inventive": "policy_malformed",
    "slow": "policy_slow",
}
"""What is wrong with the policy for a call, and the reason code of the denial."""


def moody(policies):
    """Replace the library: calls are decided by the mood that they name."""
    for file in policies.rglob("*.rego"):
        file.unlink()
    for entrypoint in Entrypoint:
        package = entrypoint.value.replace("/", ".").removesuffix(".decision")
        text = CALLS if entrypoint is Entrypoint.CALL else OTHERS.format(package=package)
        more = RESULTS if entrypoint is Entrypoint.RESULT else ""
        (policies / f"{package}.rego").write_text(text + more)


@pytest.fixture(scope="module")
def ward():
    """An upstream of its own: the one of the other tests counts for their audit."""
    with upstream.ward_in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def governed(tmp_path_factory, people, ward):
    """A gateway with two workers and that policy."""
    place = tmp_path_factory.mktemp("moody")
    settings = {"policy": {"deadline_s": 0.25}}
    upstreams = [Upstream("ward", ward.settings)]
    with harness.running(place, people, upstreams, workers=2, policy=moody, settings=settings) as gateway:
        gateway.phi |= upstream.identifiers()
        in_force(gateway, workers=2)
        yield gateway


@pytest.fixture
def agent(governed):
    return lambda modern: Agent(governed.port, "ward", governed.issuer.token("analyst"), modern)


@pytest.mark.parametrize("modern", [True, False], ids=["modern", "legacy"])
@pytest.mark.parametrize("mood", MOODS)
async def test_a_policy_at_fault_denies_on_record_and_nothing_is_forwarded(governed, ward, agent, mood, modern):
    ident = f"{mood}-{modern}"
    many = list(range(1500)) if mood == "slow" else []
    answer = await wire.once(agent(modern), "note", ident=ident, token=ident, mood=mood, many=many)
    after = await wire.once(agent(modern), "note", ident=f"{ident}-after", token=f"{ident}-after", mood="good")

    (recorded,) = audit.read(governed).with_ident(ident)
    assert recorded.ends == ["exchange.refused"]
    assert answer.messages[-1] in recorded.said
    result = answer.last["result"]
    assert result["isError"]
    assert MOODS[mood] in str(result["_meta"])
    assert not ward.calls[ident]
    assert not after.last["result"]["isError"]


@pytest.mark.parametrize(
    "broken",
    ["package gateway.call\n\ndecision := {", CALLS.replace("default decision", "wanted"), "package gateway.call\n"],
    ids=["not Rego", "no default", "no decision"],
)
async def test_a_policy_that_cannot_decide_is_not_taken_and_the_one_before_goes_on(governed, ward, agent, broken):
    file = governed.place / "policies" / "gateway.call.rego"
    logged = governed.log.stat().st_size
    file.write_text(broken)
    try:
        with trio.fail_after(QUIET_S):
            while governed.log.read_bytes()[logged:].count(b"is not used and the one before stays") < 2:
                await trio.sleep(0.05)
        token = f"kept-{len(broken)}"
        answer = await wire.once(agent(True), "note", ident=token, token=token, mood="good")
    finally:
        file.write_text(CALLS)
    assert not answer.last["result"]["isError"]
    assert ward.calls[token] == 1


def cpu_s(gateway):
    """The CPU time of the workers: proc(5), stat fields 14 and 15."""
    stats = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in gateway.workers())
    return sum(int(fields[11]) + int(fields[12]) for fields in stats) / os.sysconf("SC_CLK_TCK")


async def test_a_policy_that_never_ends_costs_its_worker_and_its_call_and_nobody_else(governed, ward, agent):
    logged = governed.log.stat().st_size
    waited = {}

    async def stuck():
        with pytest.raises(Lost):
            await wire.once(agent(True), "note", ident="stuck", token="stuck", mood="stuck", many=list(range(4000)))
        waited["s"] = trio.current_time() - began

    began = trio.current_time()
    served = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stuck)
        idle = cpu_s(governed)
        with trio.fail_after(QUIET_S):
            while cpu_s(governed) < idle + 1:  # Until then its worker may still accept others, who then share its fate.
                await trio.sleep(0.05)
        while not waited:
            token = f"beside-{served}"
            with trio.fail_after(QUIET_S):
                answer = await wire.once(agent(True), "note", ident=token, token=token, mood="good")
            assert not answer.last["result"]["isError"]
            served += 1
            await trio.sleep(0.2)
    await trio.to_thread.run_sync(partial(in_force, governed, workers=1, since=logged))

    assert waited["s"] > HEARTBEAT_S - 1  # It beat for the last time a moment before it was stuck.
    assert b"is stuck: no heartbeat" in governed.log.read_bytes()[logged:]
    assert served > 3
    assert not ward.calls["stuck"]
    assert audit.read(governed).with_ident("stuck") == []
    assert len(governed.workers()) == 2
