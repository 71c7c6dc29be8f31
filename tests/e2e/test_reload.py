"""The policy is changed while the gateway serves: the new one decides from one call to the next, or the old stays."""

from __future__ import annotations

import pytest
import trio

from tests.e2e import harness

GIVE_UP_S = 120


@pytest.fixture(scope="module")
def watching(tmp_path_factory, people, ward_upstream):
    """A gateway with two workers: each watches the policy by itself."""
    place = tmp_path_factory.mktemp("watching")
    settings = {"policy": {"reload_s": 0.2}}
    with harness.running(place, people, [ward_upstream], workers=2, settings=settings, tested=True) as gateway:
        trio.run(harness.list_tools, gateway, "analyst", "ward")
        yield gateway


@pytest.fixture
def gateway(watching):
    """The same, checked after the test."""
    yield watching
    watching.check()


def deny(tool, access="deny"):
    def change(settings):
        settings["tools"]["ward"] = {tool: access}

    return change


async def verdicts(gateway, tool, calls=8):
    """What so many calls in a row, each over a connection of its own, were told: True for an answer."""
    told = set()
    for _ in range(calls):
        async with harness.client(gateway, "ward", "analyst", mode="2026-07-28") as client:
            told.add(not (await client.call_tool(tool, {})).is_error)
    return told


async def until(condition):
    with trio.fail_after(GIVE_UP_S):
        while not await condition():
            await trio.sleep(0.1)


async def activated(gateway):
    return [leaf["members"]["bundle"] for leaf in gateway.leaves() if leaf["type"] == "bundle.activated"]


async def test_a_changed_policy_decides_without_a_restart_and_a_bad_one_never_does(gateway):
    policies = gateway.place / "policies"
    before = len(set(await activated(gateway)))
    assert await verdicts(gateway, "chart") == {True}

    harness.change_settings(policies, deny("chart"))

    async def denied():
        return await verdicts(gateway, "chart") == {False}

    await until(denied)

    # One that would allow all, but fails its own tests, one that is not even Rego, and one that takes all memory.
    rule = policies / "gateway" / "call" / "call.rego"
    good = rule.read_text()
    bomb = 'decision := {"effect": "allow"} if count(x31) > 1\nx0 := "x"\n'
    bomb += "".join(f"x{n + 1} := concat(x{n}, [x{n}, x{n}, x{n}])\n" for n in range(31))
    for bad in (good.replace('"effect": "deny"', '"effect": "allow"'), good + "\nallow if {", f"{good}\n{bomb}"):
        assert bad != good
        refusals = gateway.log.read_text().count("is not used and the one before stays")
        rule.write_text(bad)

        async def refused(known=refusals):
            return gateway.log.read_text().count("is not used and the one before stays") >= known + 2

        await until(refused)
        assert await verdicts(gateway, "chart") == {False}
        assert await verdicts(gateway, "logs") == {True}

    rule.write_text(good)
    harness.change_settings(policies, deny("chart", "read"))

    async def allowed():
        return await verdicts(gateway, "chart") == {True}

    await until(allowed)
    assert len(set(await activated(gateway))) == before + 2  # Each that decided is on record, and no other.


async def test_calls_under_way_while_the_policy_changes_all_get_a_whole_answer(gateway):
    policies = gateway.place / "policies"
    answers = []

    async def keep_calling():
        async with harness.client(gateway, "ward", "analyst", mode="2026-07-28") as client:
            while True:
                answers.append(await client.call_tool("add", {"one": 1, "other": 1}))
                await trio.sleep(0.05)  # Leaves some of the machine to the admission of the new policy.

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_calling)
        for number in range(2):
            before = len(await activated(gateway))
            harness.change_settings(policies, deny(f"tool_{number}"))

            async def swapped(before=before):
                return len(await activated(gateway)) > before

            await until(swapped)
        nursery.cancel_scope.cancel()
    assert len(answers) > 10
    assert all(answer.structured_content == {"result": 2} for answer in answers)


def test_a_gateway_whose_first_policy_is_bad_does_not_start_and_says_why(tmp_path, people, ward_upstream):
    gateway = harness.prepare(tmp_path, people, [ward_upstream])
    rule = gateway.place / "policies" / "gateway" / "call" / "call.rego"
    rule.write_text(rule.read_text().replace('"effect": "deny"', '"effect": "allow"'))
    said = gateway.phigate_fails("serve", "-c", str(gateway.config))
    assert "call.rego" in said
    assert "Traceback" not in said
