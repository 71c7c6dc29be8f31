"""Emergencies: opened by the access's own leaf, joined for a while, and closed by a review."""

import pytest

from gateway.core import records
from gateway.core.call import Call
from gateway.core.commands import Decided
from gateway.core.evidence.record import LeafType
from gateway.core.policy.decision import Decision, Effect, Reason
from gateway.core.protocol.jsonrpc import Request
from gateway.core.types import Digest, Era, ExchangeId, Principal, UpstreamRef
from gateway.store import emergencies
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog
from gateway.store.standing import Standing
from tests.fakes.evidence import Clock, intent, make_keys, outcome, report

ALICE = Principal("https://id.example", "alice", ("clinicians",), "agent-1")
BOB = Principal("https://id.example", "bob", ("clinicians",), "agent-1")
WHY = "Jane Roe is unconscious and her chart is needed"


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


@pytest.fixture
def clock():
    return Clock()


def decided(lasts):
    labels = {"emergency": True} | ({} if lasts is None else {"emergency_s": lasts})
    return Decided(
        Decision(Effect.ALLOW, (Reason("too_many_rows", "more than your role may have"),), labels=labels),
        b'{"decision_id":"d"}',
        Digest("b" * 64),
    )


async def breaks_glass(log, name, principal=ALICE, lasts=3600):
    session = await log.session(principal.subject, members={}, idle_s=1e6)
    call = Call(
        ExchangeId(name),
        session,
        log.keys.actor(principal),
        Era.LEGACY,
        "2025-11-25",
        principal,
        UpstreamRef("clinic"),
        Request(1, "tools/call", {"name": "read"}),
        justification=WHY,
    )
    await log.append(intent(session, name))
    index = await log.append(records.emergency(call, decided(lasts)))
    await log.append(outcome(session, name))
    return index


def listed(store, *, open_only=False):
    with Reader.open(store) as reader:
        return emergencies.listed(reader.connection, open_only=open_only)


def claim(principal=ALICE, phase="call"):
    return {
        "phase": phase,
        "principal": {"iss": principal.issuer, "sub": principal.subject},
        "emergency": {"requested": True, "justified": True},
    }


async def review(log, each, by="f" * 32):
    def job(transaction):
        leaf = transaction.append(emergencies.review_record(each, by, {"reason": b"it was one"}))
        emergencies.close(transaction.connection, each, leaf)

    await log.transact(job)


async def test_an_access_opens_a_review_and_what_follows_soon_belongs_to_it(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        first = await breaks_glass(log, "x1")
        clock.passes(3599)
        second = await breaks_glass(log, "x2")
        clock.passes(1)
        third = await breaks_glass(log, "x3")

    newer, older = listed(store)
    assert (older.id, older.accesses, older.actor) == ("x1", 2, keys.actor(ALICE))
    assert (newer.id, newer.leaf, newer.accesses) == ("x3", third, 1)
    with Reader.open(store) as reader:
        assert emergencies.accesses(reader.connection, "x1") == [first, second]
    assert report(store, keys).passed


async def test_two_people_have_an_emergency_each(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        await breaks_glass(log, "x1")
        await breaks_glass(log, "x2", BOB)

    assert len(listed(store)) == 2


@pytest.mark.parametrize("lasts", [None, 0, -5, "3600", True])
async def test_an_emergency_that_does_not_say_how_long_it_lasts_is_one_access(store, keys, clock, lasts):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        await breaks_glass(log, "x1", lasts=lasts)
        clock.passes(2)
        await breaks_glass(log, "x2", lasts=lasts)

    assert len(listed(store)) == 2


async def test_an_emergency_lasts_a_day_at_most_whatever_policy_says(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        await breaks_glass(log, "x1", lasts=10**15)
        clock.passes(86_401)
        await breaks_glass(log, "x2", lasts=10**15)

    assert len(listed(store)) == 2


async def test_after_its_review_an_emergency_is_over(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        await breaks_glass(log, "x1")
        await review(log, listed(store)[0])
        await breaks_glass(log, "x2")

    assert [each.id for each in listed(store)] == ["x2", "x1"]
    assert [each.id for each in listed(store, open_only=True)] == ["x2"]
    with Reader.open(store, keys) as reader:
        closed = reader.leaf(listed(store)[1].closed)
        assert closed.type is LeafType.ACTIVITY_REVIEW
        assert closed.members == {"emergency": "x1", "of": keys.actor(ALICE), "actor": "f" * 32, "accesses": 1}
        assert reader.body(closed, "reason") == b"it was one"


async def test_who_claims_an_emergency_is_told_to_policy_with_the_reviews_it_owes(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        standing = Standing(log, lambda: ())
        before = await standing.stamp(claim())
        await breaks_glass(log, "x1")
        clock.passes(4000)
        await breaks_glass(log, "x2")
        await breaks_glass(log, "x3", BOB)
        after = await standing.stamp(claim())
        result = await standing.stamp(claim(phase="result"))

    claimed = {"requested": True, "justified": True}
    assert before["emergency"] == {**claimed, "began": None, "open_reviews": 0, "unreviewed": 0}
    began = "2026-11-22T13:06:40.000000Z"
    assert after["emergency"] == {**claimed, "began": began, "open_reviews": 2, "unreviewed": 3}
    assert result == claim(phase="result")


async def test_the_leaf_says_what_was_overridden_and_the_reason_is_sealed(file, keys, clock):
    async with EvidenceLog.open(file, keys, now=clock) as log:
        index = await breaks_glass(log, "x1")

    with Reader.open(file, keys) as reader:
        leaf = reader.leaf(index)
        assert leaf.type is LeafType.EMERGENCY_ACCESS
        assert leaf.members["reasons"] == ["too_many_rows"]
        assert b"Jane" not in leaf.entry
        assert reader.body(leaf, "justification").decode() == WHY
    assert b"Jane" not in file.read_bytes()
