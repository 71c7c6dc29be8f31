"""Calls that wait for a person, through a whole gateway: held, granted, refused, outlived, and run exactly once."""

from __future__ import annotations

import os
import signal
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from tests.e2e import harness, ledger_server
from tests.e2e.harness import Gateway
from tests.e2e.ledger import APPROVAL, opened

GIVE_UP_S = 120
MODES = ["legacy", "2026-07-28"]


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory, people):
    place, db = tmp_path_factory.mktemp("reviewed"), tmp_path_factory.mktemp("ledger") / "ledger.db"
    # Held for long enough that a reviewer is in time on a busy machine too; two tests wait in vain for so long.
    with opened(place, people, db, hold_s=8, keepalive_s=1, drain_s=5) as ledger:
        yield ledger


@pytest.fixture
def ledger(reviewed):
    yield reviewed
    reviewed.gateway.check()


class Held:
    """A call under way: the approval that it waits for, once that is known, and its result."""

    def __init__(self) -> None:
        self.approval = ""
        self.progress: list[float] = []
        self.known = trio.Event()
        self.again = trio.Event()
        self.result = None
        self.done = trio.Event()

    async def heard(self, done, total, message) -> None:
        self.progress.append(done)
        self.approval = APPROVAL.search(message)[0]
        (self.again if self.known.is_set() else self.known).set()


@asynccontextmanager
async def held(gateway, mode, sql, *, who="analyst", **more):
    """A call that has come as far as waiting for its reviewers. Hangs up at the end of the block."""
    call = Held()

    async def run():
        async with harness.client(gateway, "ledger", who, mode=mode) as client:
            call.result = await client.call_tool("query", {"sql": sql, **more}, progress_callback=call.heard)
        call.done.set()

    with trio.fail_after(GIVE_UP_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await call.known.wait()
            yield call
            nursery.cancel_scope.cancel()


async def ask(gateway, mode, sql, *, who="analyst", **more):
    """One call, to its end."""
    with trio.fail_after(GIVE_UP_S):
        async with harness.client(gateway, "ledger", who, mode=mode) as client:
            return await client.call_tool("query", {"sql": sql, **more})


def refusal(result):
    return result.meta["phigate/refusal"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_bulk_select_is_held_with_progress_and_completes_once_it_is_granted(ledger, mode):
    sql = ledger.bulk()
    async with held(ledger.gateway, mode, sql) as call:
        await call.again.wait()
        assert ledger.ran(sql) == 0
        await ledger.grant(call.approval)
        await call.done.wait()
    assert not call.result.is_error
    assert len(call.result.structured_content["rows"]) == ledger_server.PATIENTS
    assert "219-09-90" not in call.result.model_dump_json()
    assert call.progress[:2] == [0, 1]
    assert ledger.ran(sql) == 1
    assert call.approval in ledger.approvals("spent")


@pytest.mark.parametrize("mode", MODES)
async def test_a_refused_call_is_told_so_and_does_not_run(ledger, mode):
    sql = ledger.bulk()
    async with held(ledger.gateway, mode, sql) as call:
        assert (await ledger.act("refuse", call.approval, ledger.gateway.issuer.token("officer"))).status_code == 200
        await call.done.wait()
    assert call.result.is_error
    assert refusal(call.result)["code"] == "approval_refused"
    assert ledger.ran(sql) == 0


async def test_an_officer_grants_from_the_terminal(ledger):
    sql = ledger.bulk()
    token = ledger.gateway.issuer.token("officer")
    server = ("--server", ledger.gateway.url, "--token", token)
    async with held(ledger.gateway, "legacy", sql) as call:

        def review():
            return (
                ledger.gateway.phigate("approvals", "list", *server),
                ledger.gateway.phigate("approvals", "show", call.approval, *server),
                ledger.gateway.phigate("approvals", "grant", call.approval, "--reason", "synthetic", *server),
            )

        # The client may have been told to ask again by now: commands take their time to start.
        listed, shown, _ = await trio.to_thread.run_sync(review)
    assert call.approval in listed
    assert sql in shown
    await ask(ledger.gateway, "legacy", sql)
    assert ledger.ran(sql) == 1
    assert call.approval in ledger.approvals("spent")


async def test_nobody_grants_their_own_call_and_nobody_who_is_no_reviewer(ledger):
    sql, issuer = ledger.bulk(), ledger.gateway.issuer
    async with held(ledger.gateway, "legacy", sql) as call:
        own = await ledger.act("grant", call.approval, issuer.token("analyst", ["analysts", "privacy-officers"]))
        other = await ledger.act("grant", call.approval, issuer.token("clinician"))
        none = await ledger.act("grant", call.approval, "no token")
    assert own.status_code == 403
    assert own.json()["error"]["code"] != ""
    assert (other.status_code, none.status_code) == (404, 401)
    assert ledger.ran(sql) == 0
    assert call.approval in ledger.approvals("pending")


async def test_who_waited_in_vain_is_told_to_ask_again_and_joins_the_same_approval(ledger):
    sql, mode = ledger.bulk(), "legacy"  # A modern client goes on waiting by itself: test_waiting.py.
    async with held(ledger.gateway, mode, sql) as call:
        await call.done.wait()
    assert call.result.is_error
    told = refusal(call.result)
    assert (told["code"], told["approval"]) == ("approval_pending", call.approval)
    assert told["url"] == f"{ledger.gateway.url}/approvals/{call.approval}"
    async with held(ledger.gateway, mode, sql) as again:
        assert again.approval == call.approval
        await ledger.grant(call.approval)
        await again.done.wait()
    assert not again.result.is_error
    assert ledger.ran(sql) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_a_grant_that_came_while_the_client_was_away_is_used_by_its_retry_once(ledger, mode):
    sql = ledger.bulk()
    async with held(ledger.gateway, mode, sql) as call:
        pass
    await ledger.grant(call.approval)
    assert ledger.ran(sql) == 0
    first = await ask(ledger.gateway, mode, sql)
    assert not first.is_error
    assert ledger.ran(sql) == 1
    async with held(ledger.gateway, mode, sql) as third:  # Another call: it asks for an approval of its own.
        assert third.approval != call.approval
    assert ledger.ran(sql) == 1


@pytest.mark.parametrize("mode", MODES)
async def test_the_result_of_a_granted_call_is_kept_for_the_retry_of_a_client_that_left(ledger, mode):
    sql, until = ledger.bulk(), f"kept {mode}"
    async with harness.client(ledger.gateway, "ledger", "analyst", mode=mode) as other:
        async with held(ledger.gateway, mode, sql, until=until) as call:
            await ledger.grant(call.approval)
            assert (await other.call_tool("hear", {"event": f"{until}/begun"})).structured_content["result"]
        await other.call_tool("tell", {"event": until})
    result = await ask(ledger.gateway, mode, sql, until=until)
    assert not result.is_error
    assert len(result.structured_content["rows"]) == ledger_server.PATIENTS
    assert ledger.ran(sql) == 1


async def test_one_grant_releases_one_of_several_identical_calls(ledger):
    sql = ledger.bulk()
    async with held(ledger.gateway, "legacy", sql) as one, held(ledger.gateway, "legacy", sql) as other:
        assert one.approval == other.approval
        await ledger.grant(one.approval)
        await one.done.wait()
        await other.done.wait()
    assert sorted([one.result.is_error, other.result.is_error]) == [False, True]
    assert ledger.ran(sql) == 1


async def test_calls_that_differ_and_people_who_differ_share_no_approval(ledger):
    sql = ledger.bulk()
    async with (
        held(ledger.gateway, "legacy", sql) as mine,
        held(ledger.gateway, "legacy", sql, who="analyst-2") as theirs,
        held(ledger.gateway, "legacy", f"{sql} ") as spaced,
    ):
        assert len({mine.approval, theirs.approval, spaced.approval}) == 3
    assert ledger.ran(sql) == 0


async def test_a_grant_through_one_worker_releases_a_call_that_the_other_holds(ledger):
    sql = ledger.bulk()
    holder, other = ledger.gateway.workers()
    try:
        ledger.gateway.pause(other)
        async with held(ledger.gateway, "legacy", sql) as call:
            os.kill(other, signal.SIGCONT)
            ledger.gateway.pause(holder)
            try:
                await ledger.grant(call.approval)
            finally:
                os.kill(holder, signal.SIGCONT)
            await call.done.wait()
    finally:
        os.kill(other, signal.SIGCONT)
    assert not call.result.is_error
    assert ledger.ran(sql) == 1


@pytest.mark.parametrize("end", [Gateway.stop, Gateway.kill])
async def test_an_approval_outlives_the_gateway(ledger, end):
    """Ended as an operator does and as a power cut does; the client knows only that its connection broke."""
    sql = ledger.bulk()
    with suppress(Exception):  # Whatever the client makes of it.
        async with held(ledger.gateway, "2026-07-28", sql) as call:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(end, ledger.gateway)
                await trio.to_thread.run_sync(ledger.gateway.start)
    assert call.approval in ledger.approvals("pending")
    async with held(ledger.gateway, "2026-07-28", sql) as again:
        assert again.approval == call.approval
        await ledger.grant(call.approval)
        await again.done.wait()
    assert not again.result.is_error
    assert ledger.ran(sql) == 1
