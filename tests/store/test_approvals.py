"""Approvals on the real evidence log: asked, joined, reviewed, spent once, and never forgotten."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.core.call import Call
from gateway.core.commands import Resolution, Settled
from gateway.core.errors import EvidenceFault
from gateway.core.evidence.record import LeafType
from gateway.core.policy import approval
from gateway.core.policy.approval import KEPT_S, Approval, Ground, Objection, State, Verdict
from gateway.core.policy.decision import Decision, Effect, Entrypoint, Reason
from gateway.core.records import Status
from gateway.core.types import ApprovalId, Digest, ExchangeId, Tool, UpstreamRef
from gateway.store import approvals as store
from gateway.store.approvals import Approvals
from tests.fakes.evidence import Clock, edited, locked
from tests.fakes.house import ALICE, BOB, CAROL, EVE, ISSUER, SECRET, TERMS, House, asked, edit, process

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def house(tmp_path, clock):
    async with process(tmp_path, clock) as opened:
        yield opened


def ground(heard: Approval | Objection | None) -> Ground:
    assert isinstance(heard, Objection)
    return heard.ground


# Asking and joining.


async def test_a_question_is_on_record_before_anybody_waits_for_it(house):
    held = await house.hold(await house.call())

    assert held.state is Settled.PENDING
    assert held.detail == {"url": f"https://gate.example/approvals/{held.approval}"}
    (asking,) = house.leaves(LeafType.APPROVAL_REQUEST)
    assert (asking["reasons"], asking["quorum"]) == (["bulk_select"], 1)


async def test_the_arguments_and_their_plain_digest_are_in_no_leaf_and_no_row(house, tmp_path):
    call = await house.call(justification="for 900-45-6789")
    held = await house.hold(call)
    await house.approvals.resolve(held.approval, BOB, Verdict.GRANT, reason="seen 900-45-6789")

    with edited(house.store) as connection:
        tables = [
            connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("approval", "approval_vote", "leaf")
        ]
    files = [file.read_bytes() for file in tmp_path.glob("evidence.db*") if file.is_file()]
    stored = repr(tables).encode() + b"".join(files)
    assert b"900-45-6789" not in stored
    assert approval.binding(call).encode() not in stored


async def test_a_retry_joins_the_question_that_is_open(house):
    first = await house.hold(await house.call())
    second = await house.hold(await house.call())

    assert second == first
    assert len(house.leaves(LeafType.APPROVAL_REQUEST)) == 1


async def test_a_grant_cannot_be_spent_on_changed_arguments(house):
    granted = await house.granted(await house.call())
    changed = await house.hold(await house.call(SECRET + " OR 1=1"))

    assert granted.state is Settled.GRANTED
    assert changed.state is Settled.PENDING
    assert changed.approval != granted.approval


@pytest.mark.parametrize(
    "other",
    [
        {"principal": replace(ALICE, subject="mallory")},
        {"principal": replace(ALICE, client="another agent")},
        {"upstream": UpstreamRef("billing")},
        {"tool": Tool("run_sql", Digest("c" * 64), {})},
    ],
    ids=["subject", "client", "upstream", "pin"],
)
async def test_a_grant_is_not_joined_by_another_principal_upstream_or_tool(house, other):
    await house.granted(await house.call())

    assert (await house.hold(await house.call(**other))).state is Settled.PENDING


async def test_a_grant_tells_policy_who_gave_it_and_until_when(house):
    granted = await house.granted(await house.call())

    assert granted.detail == {
        "id": granted.approval,
        "reviewers": [{"iss": ISSUER, "sub": "bob", "groups": ["privacy"]}],
        "quorum": 1,
        "created": "2026-11-22T12:00:00.000000Z",
        "granted": "2026-11-22T12:00:00.000000Z",
        "expires": "2026-11-22T12:15:00.000000Z",
    }


async def test_a_question_without_its_demanded_justification_ends_at_once(house):
    terms = replace(TERMS, justification_required=True)
    silent = await house.hold(await house.call(), terms=terms)
    spoken = await house.hold(await house.call(justification="quarterly audit"), terms=terms)

    assert (silent.state, silent.detail) == (Settled.CANCELLED, {"why": approval.UNJUSTIFIED})
    assert spoken.state is Settled.PENDING


async def test_a_reviewer_reads_back_exactly_what_was_asked(house):
    call = await house.call(justification="quarterly audit")
    held = await house.hold(call)
    read = await house.approvals.get(held.approval)

    assert read is not None
    assert read.ask == asked(call)


# Reviewing.


async def test_a_refusal_ends_the_question_and_the_next_call_asks_anew(house):
    held = await house.hold(await house.call())
    heard = await house.approvals.resolve(held.approval, BOB, Verdict.REFUSE, reason="too many rows")
    again = await house.hold(await house.call())

    assert isinstance(heard, Approval)
    assert heard.state is State.REFUSED
    assert (await house.approvals.wait(held.approval)).state is Settled.REFUSED
    assert again.approval != held.approval


async def test_the_requester_cannot_grant_even_as_a_reviewer_and_admin_and_the_attempt_is_on_record(house):
    held = await house.hold(await house.call())
    boss = replace(ALICE, groups=("privacy", "admins"), client="browser")
    heard = await house.approvals.resolve(held.approval, boss, Verdict.GRANT, reason="trust me")

    assert ground(heard) is Ground.SELF_APPROVAL
    (attempt,) = house.leaves(LeafType.APPROVAL_RESOLVED)
    assert (attempt["state"], attempt["objection"]) == ("pending", "self_approval")
    assert attempt["reviewer"] == house.log.keys.actor(ALICE)


async def test_who_is_no_reviewer_is_not_heard(house):
    held = await house.hold(await house.call())

    assert ground(await house.approvals.resolve(held.approval, EVE, Verdict.GRANT, reason="")) is Ground.DENIED
    assert (await house.hold(await house.call())).state is Settled.PENDING


async def test_a_quorum_of_two_is_two_people_in_two_processes(house, tmp_path, clock):
    held = await house.hold(await house.call(), terms=replace(TERMS, quorum=2))
    async with process(tmp_path, clock) as other:
        one = await house.approvals.resolve(held.approval, BOB, Verdict.GRANT, reason="")
        twice = await other.approvals.resolve(held.approval, BOB, Verdict.GRANT, reason="")
        two = await other.approvals.resolve(held.approval, CAROL, Verdict.GRANT, reason="")

    assert isinstance(one, Approval)
    assert one.state is State.PENDING
    assert ground(twice) is Ground.ALREADY_VOTED
    assert isinstance(two, Approval)
    assert two.state is State.GRANTED
    assert [vote["grants"] for vote in house.leaves(LeafType.APPROVAL_RESOLVED)] == [1, 2]


async def test_policy_is_asked_again_when_another_vote_came_in_between(house):
    held = await house.hold(await house.call(), terms=replace(TERMS, quorum=2))

    async with trio.open_nursery() as nursery:
        for reviewer in (BOB, CAROL):
            nursery.start_soon(
                lambda who: house.approvals.resolve(held.approval, who, Verdict.GRANT, reason=""), reviewer
            )

    documents = [document for entrypoint, document in house.policy.asked if entrypoint is Entrypoint.APPROVAL]
    assert [len(document["approval"]["votes"]) for document in documents] == [0, 0, 1]
    assert (await house.hold(await house.call())).state is Settled.GRANTED


async def test_a_grant_is_impossible_once_policy_denies_the_call(house):
    call = await house.call()
    held = await house.hold(call)
    house.policy.call = Decision(Effect.DENY, (Reason("upstream_closed", "closed for maintenance"),))
    heard = await house.approvals.resolve(held.approval, BOB, Verdict.GRANT, reason="")

    assert isinstance(heard, Approval)
    assert (heard.state, heard.why) == (State.CANCELLED, approval.DENIED_NOW)
    assert (Entrypoint.CALL, asked(call).input) in house.policy.asked
    assert (await house.approvals.wait(held.approval)).detail == {"why": approval.DENIED_NOW}


async def test_a_grant_is_decided_on_what_the_requester_has_used_by_then(house):
    async def stamp(document):
        return {**document, "usage": {"PT1H": {"calls": 7}}}

    call = await house.call()
    held = await house.hold(call)
    reviewing = Approvals(house.log, house.policy.decide, url=str, stamp=stamp)
    heard = await reviewing.resolve(held.approval, BOB, Verdict.GRANT, reason="checked")

    assert isinstance(heard, Approval)
    assert (Entrypoint.CALL, {**asked(call).input, "usage": {"PT1H": {"calls": 7}}}) in house.policy.asked
    assert "usage" not in heard.ask.input


async def test_who_is_no_reviewer_cannot_end_a_question_that_policy_now_denies(house):
    held = await house.hold(await house.call())
    house.policy.call = Decision(Effect.DENY)

    assert ground(await house.approvals.resolve(held.approval, EVE, Verdict.GRANT, reason="")) is Ground.DENIED
    assert (await house.approvals.get(held.approval)).state is State.PENDING


async def test_what_waits_for_reviewers_is_counted_with_how_long_the_oldest_has(house):
    assert await house.approvals.waiting() == (0, 0.0)
    first = await house.hold(await house.call())
    house.clock.passes(40)
    await house.hold(await house.call("select 2"))
    assert await house.approvals.waiting() == (2, 40.0)
    await house.approvals.resolve(first.approval, BOB, Verdict.GRANT, reason="checked")
    assert (await house.approvals.waiting())[0] == 1


async def test_only_the_requester_withdraws_and_only_while_it_is_pending(house):
    held = await house.hold(await house.call())

    assert ground(await house.approvals.cancel(held.approval, BOB)) is Ground.NOT_THE_REQUESTER
    withdrawn = await house.approvals.cancel(held.approval, replace(ALICE, client="browser"))
    assert isinstance(withdrawn, Approval)
    assert withdrawn.why == approval.WITHDRAWN
    assert ground(await house.approvals.cancel(held.approval, ALICE)) is Ground.NOT_PENDING


async def test_an_approval_that_never_was_is_none(house):
    unknown = ApprovalId("ap_nothing")

    assert await house.approvals.get(unknown) is None
    assert await house.approvals.resolve(unknown, BOB, Verdict.GRANT, reason="") is None
    assert await house.approvals.cancel(unknown, ALICE) is None
    with pytest.raises(EvidenceFault):
        await house.approvals.wait(unknown)


async def test_a_listing_is_newest_first_and_of_one_state(house, clock):
    first = await house.hold(await house.call("SELECT 1"))
    clock.passes(1)
    second = await house.hold(await house.call("SELECT 2"))
    await house.approvals.resolve(first.approval, BOB, Verdict.REFUSE, reason="")

    assert [each.id for each in await house.approvals.list()] == [second.approval, first.approval]
    assert [each.id for each in await house.approvals.list(State.REFUSED)] == [first.approval]


async def test_a_client_that_lists_in_a_loop_never_asks_for_the_writers_lock(house):
    held = await house.hold(await house.call())
    with locked(house.store):
        with trio.fail_after(1):  # Whoever wanted the lock would wait for 2 s, and be told that there is none.
            assert [each.id for each in await house.approvals.list()] == [held.approval]


async def test_listings_wait_for_each_other_and_calls_for_none_of_them(house):
    held = await house.hold(await house.call())
    listed = []

    async def listing():
        listed.extend(await house.approvals.list())

    async with trio.open_nursery() as nursery, house.approvals._listing:
        for _ in range(3):
            nursery.start_soon(listing)
        await trio.testing.wait_all_tasks_blocked()
        await house.hold(await house.call("SELECT 2"))
        assert listed == []
        assert house.approvals._listing.statistics().tasks_waiting == 3

    assert [each.id for each in listed].count(held.approval) == 3


# Time.


async def test_a_question_lapses_and_the_one_who_notices_puts_it_on_record(house, clock):
    held = await house.hold(await house.call())
    clock.passes(900)

    assert (await house.approvals.wait(held.approval)).state is Settled.EXPIRED
    assert await house.approvals.list(State.PENDING) == ()
    assert house.leaves(LeafType.APPROVAL_RESOLVED) == [{"state": "expired", "was": "pending"}]


async def test_an_expired_question_cannot_be_granted(house, clock):
    held = await house.hold(await house.call())
    clock.passes(901)

    heard = await house.approvals.resolve(held.approval, BOB, Verdict.GRANT, reason="")
    assert ground(heard) is Ground.NOT_PENDING
    assert (await house.hold(await house.call())).state is Settled.PENDING


async def test_an_expired_grant_is_unusable(house, clock):
    call = await house.call()
    granted = await house.granted(call)
    clock.passes(900)

    assert not await house.spend(call, granted)
    assert (await house.hold(await house.call())).approval != granted.approval
    assert house.leaves(LeafType.APPROVAL_RESOLVED)[-1] == {"state": "expired", "was": "granted"}


# Spending.


async def test_a_grant_is_spent_once(house):
    call, rival = await house.call(), await house.call()
    granted = await house.granted(call)

    assert await house.spend(call, granted)
    assert not await house.spend(rival, granted)
    states = [each["state"] for each in house.leaves(LeafType.APPROVAL_RESOLVED)]
    assert states == ["granted", "spent"]


async def test_a_tool_that_was_redefined_while_its_call_was_held_is_not_what_was_granted(house):
    call = await house.call()
    granted = await house.granted(call)
    await house.log.learn(call.upstream.name, [{"name": "run_sql", "description": "now does something else"}])

    assert not await house.spend(call, granted)


async def test_of_two_racing_processes_exactly_one_spends(tmp_path):
    async with process(tmp_path, Clock(datetime.now(UTC))) as house:
        granted = await house.granted(await house.call())
    command = [sys.executable, "-m", "tests.fakes.spender", str(tmp_path), granted.approval]
    racers = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 2
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()

    assert sorted(racer.communicate(timeout=30)[0] for racer in racers) == ["False\n", "True\n"]


async def test_of_many_racing_exchanges_on_two_logs_exactly_one_spends(house, tmp_path, clock):
    async with process(tmp_path, clock) as other:
        calls = [(each, await each.call()) for each in (house, other) * 4]
        granted = await house.granted(calls[0][1])
        won: list[bool] = []

        async def race(each: House, call: Call) -> None:
            won.append(await each.spend(call, granted))

        async with trio.open_nursery() as nursery:
            for each, call in calls:
                nursery.start_soon(race, each, call)

    assert sorted(won) == [False] * 7 + [True]


async def test_what_is_still_pending_cannot_be_spent(house):
    call = await house.call()

    assert not await house.spend(call, await house.hold(call))


# The retry of a call whose client went away.


async def test_a_retry_is_given_the_kept_reply_once_under_the_same_approval(house):
    call = await house.call()
    granted = await house.granted(call)
    assert await house.spend(call, granted)
    await house.end(call, Status.KEPT, granted, said=b'{"jsonrpc":"2.0","id":1,"result":{"rows":3}}')

    second = await house.call()
    retry = await house.hold(second)
    assert (retry.state, retry.approval) == (Settled.KEPT, granted.approval)
    assert retry.reply == {"jsonrpc": "2.0", "id": 1, "result": {"rows": 3}}

    await house.end(second, Status.JOINED, retry, said=b"{}")
    assert (await house.hold(await house.call())).state is Settled.PENDING


async def test_a_retry_that_hangs_up_leaves_the_kept_reply_for_the_next(house):
    call, hasty = await house.call(), await house.call()
    granted = await house.granted(call)
    assert await house.spend(call, granted)
    await house.end(call, Status.KEPT, granted, said=b"{}")
    assert (await house.hold(hasty)).state is Settled.KEPT
    await house.end(hasty, Status.ABANDONED)

    assert (await house.hold(await house.call())).state is Settled.KEPT


async def test_a_kept_reply_does_not_answer_the_same_question_much_later(house, clock):
    call = await house.call()
    granted = await house.granted(call)
    assert await house.spend(call, granted)
    await house.end(call, Status.KEPT, granted, said=b"{}")
    clock.passes(KEPT_S)

    assert (await house.hold(await house.call())).state is Settled.PENDING


async def test_a_retry_that_comes_while_the_call_runs_waits_for_its_reply(house):
    call = await house.call()
    granted = await house.granted(call)
    assert await house.spend(call, granted)
    joined = await house.hold(await house.call())
    assert (joined.state, joined.approval) == (Settled.PENDING, granted.approval)

    waited: list[Resolution] = []
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            waited.append(await house.approvals.wait(joined.approval))

        nursery.start_soon(wait)
        await house.end(call, Status.KEPT, granted, said=b'{"result":1}')

    assert [(each.state, each.reply) for each in waited] == [(Settled.KEPT, {"result": 1})]


async def test_a_twin_that_waited_while_the_grant_was_used_learns_it_when_it_spends(house):
    call, twin = await house.call(), await house.call()
    granted = await house.granted(call)
    assert await house.spend(call, granted)
    await house.end(call, Status.REPLIED, said=b"{}")

    told = await house.approvals.wait(granted.approval)
    assert told.state is Settled.GRANTED
    assert not await house.spend(twin, told)


# Those who come back with what they were given for an approval.


async def test_who_comes_back_for_an_approval_hears_what_became_of_it_and_opens_no_other(house):
    asked_for = await house.hold(await house.call())
    await house.approvals.resolve(asked_for.approval, BOB, Verdict.REFUSE, reason="no")

    told = await house.approvals.request(asked(await house.call()), asked_for.approval)
    assert (told.state, told.approval) == (Settled.REFUSED, asked_for.approval)
    assert len(await house.approvals.list()) == 1


async def test_an_approval_is_not_joined_by_another_call_that_names_it(house):
    granted = await house.granted(await house.call())
    for other in (await house.call("SELECT 1"), await house.call(principal=CAROL)):
        told = await house.approvals.request(asked(other), granted.approval)
        assert (told.state, told.detail) == (Settled.CANCELLED, {"why": "changed"})


@pytest.mark.parametrize("status", [Status.KEPT, Status.REPLIED, Status.FAILED, Status.WITHHELD])
async def test_whoever_comes_back_is_given_the_calls_own_end_as_often_as_they_ask(house, clock, status):
    call = await house.call()
    granted = await house.granted(call)
    assert await house.spend(call, granted)
    assert (await house.approvals.look(granted.approval)).state is Settled.PENDING
    await house.end(call, status, granted, said=b'{"jsonrpc":"2.0","id":1,"result":{"rows":3}}')

    for _ in range(2):
        retry = await house.call()
        told = await house.approvals.request(asked(retry), granted.approval)
        assert (told.state, told.reply["result"]) == (Settled.KEPT, {"rows": 3})
        await house.end(retry, Status.JOINED, told, said=b"{}")
    assert (await house.hold(await house.call())).approval != granted.approval
    clock.passes(KEPT_S)
    assert (await house.approvals.look(granted.approval)).state is Settled.LOST


async def test_who_comes_back_for_a_call_that_was_killed_is_told_that_nobody_knows(tmp_path, clock):
    async with process(tmp_path, clock) as first:
        call = await first.call()
        granted = await first.granted(call)
        assert await first.spend(call, granted)
    async with process(tmp_path, clock) as second:
        assert (await second.approvals.look(granted.approval)).state is Settled.LOST


async def test_what_runs_for_a_task_is_the_very_message_that_was_put_to_reviewers(house):
    call = await house.call("SELECT 1.0, 'ä'")
    held = await house.hold(call)
    assert await house.approvals.asked(held.approval) == call.message
    assert held.lives_s == 2 * TERMS.expires_s + KEPT_S


async def test_a_question_whose_intent_is_not_on_record_runs_nothing(house):
    held = await house.hold(replace(await house.call(), exchange=ExchangeId("another")))
    with pytest.raises(EvidenceFault):
        await house.approvals.asked(held.approval)


# Other processes, restarts, and failures.


async def test_a_waiter_sees_what_another_process_resolved(house, tmp_path, clock):
    held = await house.hold(await house.call())
    told: list[Resolution] = []
    async with process(tmp_path, clock) as other, trio.open_nursery() as nursery:

        async def wait() -> None:
            told.append(await house.approvals.wait(held.approval))

        nursery.start_soon(wait)
        await other.approvals.resolve(held.approval, BOB, Verdict.GRANT, reason="")

    assert [each.state for each in told] == [Settled.GRANTED]


async def test_questions_votes_and_grants_survive_restarts(tmp_path, clock):
    terms = replace(TERMS, quorum=2)
    async with process(tmp_path, clock) as first:
        held = await first.hold(await first.call(), terms=terms)
        await first.approvals.resolve(held.approval, BOB, Verdict.GRANT, reason="first shift")
    async with process(tmp_path, clock) as second:
        assert (await second.hold(await second.call(), terms=terms)).approval == held.approval
        await second.approvals.resolve(held.approval, CAROL, Verdict.GRANT, reason="second shift")
    async with process(tmp_path, clock) as third:
        call = await third.call()
        granted = await third.hold(call, terms=terms)
        assert granted.state is Settled.GRANTED
        assert await third.spend(call, granted)


async def test_an_approved_call_that_was_killed_is_not_run_again_by_its_retry(tmp_path, clock):
    async with process(tmp_path, clock) as first:
        call = await first.call()
        granted = await first.granted(call)
        assert await first.spend(call, granted)
    async with process(tmp_path, clock) as second:
        assert len(second.leaves(LeafType.EXCHANGE_UNKNOWN)) >= 1
        again = await second.hold(await second.call())

    assert again.state is Settled.PENDING
    assert again.approval != granted.approval


async def test_waiters_are_told_when_the_store_fails(house):
    held = await house.hold(await house.call())
    edit(house, "ALTER TABLE approval RENAME TO gone")

    with trio.fail_after(5), pytest.raises(EvidenceFault):
        await house.approvals.wait(held.approval)

    edit(house, "ALTER TABLE gone RENAME TO approval")
    await house.log.probe()
    assert (await house.hold(await house.call())).approval == held.approval


# Somebody edits the database.


async def test_a_row_edited_to_granted_releases_nothing(house):
    call = await house.call()
    held = await house.hold(call)
    edit(house, "UPDATE approval SET state = 'granted' WHERE id = ?", held.approval)

    with pytest.raises(EvidenceFault):
        await house.spend(call, held)
    with pytest.raises(EvidenceFault):
        await house.hold(call)


async def test_a_vote_moved_to_another_approval_grants_nothing(house):
    wanted, decoy = await house.hold(await house.call()), await house.granted(await house.call("SELECT 1"))
    edit(house, "UPDATE approval_vote SET approval = ?", wanted.approval)
    edit(house, "UPDATE approval SET state = 'granted' WHERE id = ?", wanted.approval)

    assert decoy.state is Settled.GRANTED
    with pytest.raises(EvidenceFault):
        await house.spend(await house.call(), wanted)


async def test_a_grant_moved_to_another_call_is_not_joined(house):
    granted = await house.granted(await house.call("SELECT 1"))
    wanted = await house.hold(await house.call())
    with edited(house.store) as connection:
        (binding,) = connection.execute("SELECT binding FROM approval WHERE id = ?", (wanted.approval,)).fetchone()
        connection.execute("DELETE FROM approval WHERE id = ?", (wanted.approval,))
        connection.execute("UPDATE approval SET binding = ? WHERE id = ?", (binding, granted.approval))

    with pytest.raises(EvidenceFault):
        await house.hold(await house.call())


async def test_a_grant_whose_life_was_lengthened_in_the_database_is_still_over(house, clock):
    call = await house.call()
    granted = await house.granted(call)
    edit(house, "UPDATE approval SET expires = '2036-01-01T00:00:00.000000Z' WHERE id = ?", granted.approval)
    clock.passes(900)

    assert not await house.spend(call, granted)


async def test_a_grant_that_was_used_is_not_used_again_after_its_row_was_set_back(house):
    call, again = await house.call(), await house.call()
    granted = await house.granted(call)
    assert await house.spend(call, granted)
    edit(house, "UPDATE approval SET state = 'granted', spent_exchange = NULL WHERE id = ?", granted.approval)

    with pytest.raises(EvidenceFault):
        await house.spend(again, granted)
    with pytest.raises(EvidenceFault):
        await house.hold(again)


async def test_a_state_that_no_approval_has_is_a_fault(house):
    held = await house.hold(await house.call())
    edit(house, "UPDATE approval SET state = 'approved' WHERE id = ?", held.approval)

    with pytest.raises(EvidenceFault):
        await house.approvals.get(held.approval)


def test_ids_are_easy_to_read_out_and_do_not_repeat():
    made = {store.fresh_id() for _ in range(100)}

    assert len(made) == 100
    assert all(len(name) == 19 and name.startswith("ap_") for name in made)
