"""A candidate in the shadow of a real gateway: it decides nothing, and what it would change is on record."""

from __future__ import annotations

import json
import shutil

import httpx2
import pytest
import trio

from tests.e2e import harness

GIVE_UP_S = 120


def withdraw(settings):
    settings["tools"]["ward"] = {"chart": "deny"}


def copied(policies):
    """The policy in force, but for one tool that it denies."""
    candidate = policies.parent / "candidate"
    shutil.copytree(policies, candidate)
    file = candidate / "gateway" / "settings" / "data.json"
    document = json.loads(file.read_text())
    withdraw(document)
    file.write_text(json.dumps(document))


@pytest.fixture(scope="module")
def shadowed(tmp_path_factory, people, ward_upstream):
    """A gateway with a shadow."""
    place = tmp_path_factory.mktemp("shadowed")
    settings = {"policy": {"shadow": "candidate", "reload_s": 0.2}}
    with harness.running(place, people, [ward_upstream], settings=settings, policy=copied) as gateway:
        trio.run(harness.list_tools, gateway, "analyst", "ward")
        yield gateway


async def until(condition):
    with trio.fail_after(GIVE_UP_S):
        while not condition():
            await trio.sleep(0.05)


def status(gateway):
    answer = httpx2.get(f"{gateway.url}/readyz", timeout=60)
    assert answer.status_code == 200
    return answer.json()["shadow"]


async def chart(gateway):
    async with harness.client(gateway, "ward", "analyst", mode="2026-07-28") as client:
        return not (await client.call_tool("chart", {})).is_error


def differences(gateway):
    """The calls that the candidate would have decided otherwise; in lists it hides the tool as well."""
    told = [leaf["members"] for leaf in gateway.leaves() if leaf["type"] == "policy.shadow"]
    return [members for members in told if members.get("entrypoint") == "gateway/call/decision"]


async def test_a_candidate_decides_nothing_survives_its_own_death_is_reloaded_and_is_reported(shadowed):
    gateway = shadowed
    await until(lambda: status(gateway)["state"] == "comparing")

    assert await chart(gateway)  # The candidate would deny it.

    await until(lambda: differences(gateway))
    (difference,) = differences(gateway)
    assert difference["kinds"] == ["newly-denied"]
    intents = [leaf for leaf in gateway.leaves() if leaf.get("exchange") == difference["exchange"]]
    assert intents[0]["members"]["tool"] == "chart"

    # A candidate that is no policy is refused, the one before stays, and the gateway is ready all the time.
    rule = gateway.place / "candidate" / "gateway" / "call" / "call.rego"
    good = rule.read_text()
    rule.write_text(good + "\nallow if {")
    await until(lambda: status(gateway)["newest_refused"])
    assert await chart(gateway)
    await until(lambda: len(differences(gateway)) == 2)
    rule.write_text(good)
    await until(lambda: not status(gateway)["newest_refused"])

    gateway.stop()
    report = json.loads(gateway.phigate("policy", "shadow", "-c", str(gateway.config), "--format", "json"))
    (told,) = report["candidates"]
    assert told["kinds"]["newly-denied"] == 2
    assert told["compared"] > 2
    assert difference["exchange"] in told["rules"][0]["samples"] + told["rules"][-1]["samples"]
    assert told["principals"][0]["principal"] == intents[0]["members"]["actor"]
    assert "newly-denied" in gateway.phigate("policy", "shadow", "-c", str(gateway.config))
    gateway.start()
