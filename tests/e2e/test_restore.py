"""The restore drill, with a whole gateway: backed up under load, killed, restored elsewhere, serving on."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import trio

from tests.e2e import harness
from tests.e2e.ledger import Ledger, opened
from tests.e2e.test_approvals import ask, held, refusal

SMALL = "select ward from patient where id = {}"


@pytest.fixture
def ledger(tmp_path, people):
    with opened(tmp_path / "first", people, tmp_path / "ledger.db", hold_s=2, keepalive_s=1, drain_s=3) as running:
        yield running
        running.gateway.kill()  # It may have been killed already; what it left is checked all the same.


async def load(ledger: Ledger, answered: list[int], stop: trio.Event) -> None:
    """One client that asks small questions until it is told to stop, or hears no answer."""
    async with harness.client(ledger.gateway, "ledger", "analyst") as client:
        while not stop.is_set():
            done = await client.call_tool("query", {"sql": SMALL.format(len(answered) + 1)})
            assert not done.is_error
            answered.append(1)


def elsewhere(ledger: Ledger, place) -> harness.Gateway:
    """Another machine that has the keys, the policies and the configuration, and no evidence."""
    first = ledger.gateway
    place.mkdir()
    for name in ("keys", "policies"):
        shutil.copytree(first.place / name, place / name)
    shutil.copy(first.config, place / "phigate.toml")
    return harness.Gateway(place, first.issuer, first.port, first.phi)


async def test_a_gateway_is_backed_up_under_load_killed_and_restored_elsewhere_and_serves_on(ledger, tmp_path):
    first, copy = ledger.gateway, tmp_path / "copy.db"
    config = ("-c", str(first.config))
    sql, answered, stop = ledger.bulk(), [], trio.Event()
    async with held(first, "legacy", sql) as call:
        approval = call.approval
    await ledger.grant(approval)  # Its client has hung up: the grant waits to be used.

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(load, ledger, answered, stop)
        while len(answered) < 20:
            await trio.sleep(0.01)
        told = await trio.to_thread.run_sync(first.phigate, "evidence", "backup", str(copy), *config)
        during = len(answered)
        stop.set()
    assert " leaves, " in told
    assert during > 20, "it served while it was backed up"
    used = await ask(first, "legacy", sql)
    assert not used.is_error
    assert ledger.ran(sql) == 1
    kept = tmp_path / "kept.checkpoint"
    kept.write_text(await signed_beyond(first, size(told)))
    first.kill()
    second = elsewhere(ledger, tmp_path / "second")
    restore = ("evidence", "restore", str(copy), "-c", str(second.config), "--reason", "the drill")

    refused = second.phigate_fails(*restore, "--checkpoint", str(kept), code=1)
    restored = second.phigate(*restore, "--checkpoint", str(kept), "--accept-loss")

    assert "LEAVES ARE LOST" in refused
    assert "1 approvals were cancelled" in restored
    second.verify()
    second.replay()
    try:
        second.start()
        assert len(await serves_on(Ledger(second, ledger.db), sql, approval)) == 16 + 3
        second.stop()
        second.check()
        second.check_ends()
        second.replay()
    finally:
        second.kill()
    assert [leaf["members"]["lost"] > 0 for leaf in second.leaves() if leaf["type"] == "evidence.restored"] == [True]
    failed = json.loads(
        second._run(
            ["evidence", "verify", "-c", str(second.config), "--checkpoint", str(kept), "--format", "json"]
        ).stdout
    )
    assert [each["check"] for each in failed["checks"] if each["status"] == "FAIL"] == ["anchor"]


def size(told: str) -> int:
    """How many leaves a backup has, as it says."""
    return int(re.search(r"(\d+) leaves", told)[1])


async def signed_beyond(gateway: harness.Gateway, leaves: int) -> str:
    """A checkpoint of more than so many leaves: the log is signed within a second."""
    while True:
        told = await trio.to_thread.run_sync(gateway.phigate, "evidence", "checkpoint", "-c", str(gateway.config))
        if int(told.splitlines()[1]) > leaves + 5:  # As many as the call that was granted has left.
            return told


async def serves_on(ledger: Ledger, sql: str, before: str) -> str:
    """A call that was granted in the backup, and has run since, is held anew: the name of its new approval."""
    await harness.list_tools(ledger.gateway, "analyst", "ledger")
    again = await ask(ledger.gateway, "legacy", sql)
    assert again.is_error
    pending = str(refusal(again)["approval"])
    assert pending != before
    assert ledger.ran(sql) == 1, "a grant that was used after the backup is not used again"
    await ledger.grant(pending)
    assert not (await ask(ledger.gateway, "legacy", sql)).is_error
    assert ledger.ran(sql) == 2
    return pending
