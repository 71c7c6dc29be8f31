"""Usage: what a principal used of its budgets, counted with the outcome, in every process, and forgotten in time."""

import sqlite3
from dataclasses import replace

import pytest
import trio

from gateway.core.call import Call
from gateway.core.evidence.record import LeafType, Record
from gateway.core.evidence.used import Used, window
from gateway.core.masking import profile
from gateway.core.protocol.jsonrpc import Request
from gateway.core.types import Era, ExchangeId, Principal, UpstreamRef
from gateway.store import usage
from gateway.store.sequencer import EvidenceLog
from gateway.store.standing import Standing
from tests.fakes.evidence import Clock, edited, intent, make_keys, outcome, report

HOUR, DAY = window("PT1H"), window("P1D")
ALICE = Principal("https://id.example", "alice", ("clinicians",), "agent-1")
NOTHING = {"calls": 0, "rows": 0, "patients": 0, "phi_fields": 0, "frees_up": None}


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


@pytest.fixture
def clock():
    return Clock()


def asked(principal=ALICE, phase="call"):
    return {"phase": phase, "principal": {"iss": principal.issuer, "sub": principal.subject}}


def patients(*names):
    """A result with a row for each patient."""
    return {"structuredContent": {"rows": [{"mrn": name, "ssn": f"900-00-{1000 + n}"} for n, name in enumerate(names)]}}


def seen(keys, *names):
    return profile.inspect(patients(*names), patient_key=keys.patient_key)


class Gate:
    """One gateway process with budgets, and calls of Alice's."""

    def __init__(self, log, keys, held=(HOUR, DAY)):
        self.log, self.keys = log, keys
        self.windows = held
        self.standing = Standing(log, lambda: self.windows)
        self.calls = 0

    async def used(self, principal=ALICE):
        return (await self.standing.stamp(asked(principal))).get("usage")

    async def call(self, *names, status="replied", principal=ALICE, method="tools/call", client="agent-1"):
        self.calls += 1
        exchange = ExchangeId(f"x-{id(self)}-{self.calls}")
        session = await self.log.session(principal.subject, members={}, idle_s=1e6)
        about = Call(
            exchange,
            session,
            "a" * 32,
            Era.LEGACY,
            "2025-11-25",
            replace(principal, client=client),
            UpstreamRef("clinic"),
            Request(1, method, {"name": "read"}),
        )
        await self.log.append(intent(session, exchange))
        ended = replace(outcome(session, exchange), members={"status": status})
        await self.log.append(self.standing.charge(about, ended, seen(self.keys, *names)))


async def test_what_left_is_counted_in_every_window(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        gate = Gate(log, keys)
        assert await gate.used() == {"PT1H": NOTHING, "P1D": NOTHING}
        await gate.call("p1", "p2")
        await gate.call("p2", "p3")
        found = await gate.used()

    assert found["P1D"] == {**found["PT1H"], "frees_up": "2026-11-23T13:00:00.000000Z"}
    assert found["PT1H"]["frees_up"] == "2026-11-22T13:02:30.000000Z"
    assert (found["P1D"]["calls"], found["P1D"]["rows"], found["P1D"]["phi_fields"]) == (2, 4, 8)
    assert found["P1D"]["patients"] == 3
    assert report(store, keys).passed


async def test_another_worker_and_a_restart_count_on(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as one, EvidenceLog.open(store, keys, now=clock) as other:
        await Gate(one, keys).call("p1")
        await Gate(other, keys).call("p1", "p2")
    async with EvidenceLog.open(store, keys, now=clock) as log:
        found = await Gate(log, keys).used()

    assert (found["P1D"]["calls"], found["P1D"]["patients"]) == (2, 2)


async def test_calls_at_once_are_all_counted(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        gate = Gate(log, keys)
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(gate.call, f"p{number % 5}")
        found = await gate.used()

    assert (found["PT1H"]["calls"], found["PT1H"]["rows"], found["PT1H"]["patients"]) == (20, 20, 5)


async def test_budget_splitting_another_agent_of_the_same_person_uses_the_same_budget(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        gate = Gate(log, keys)
        await gate.call("p1", client="agent-1")
        await gate.call("p2", client="agent-2")
        await gate.call("p3", principal=replace(ALICE, subject="bob"))
        found = await gate.used()

    assert found["P1D"]["calls"] == 2


@pytest.mark.parametrize("status", ["withheld", "abandoned", "refused", "failed", "pending"])
async def test_what_did_not_leave_counts_as_a_call_and_nothing_more(store, keys, clock, status):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        gate = Gate(log, keys)
        await gate.call("p1", "p2", status=status)
        found = await gate.used()

    assert found["P1D"] == {**NOTHING, "calls": 1, "frees_up": found["P1D"]["frees_up"]}


async def test_what_speaks_of_the_protocol_itself_counts_nothing(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        gate = Gate(log, keys)
        await gate.call("p1", method="tools/list")
        assert await gate.used() == {"PT1H": NOTHING, "P1D": NOTHING}


async def test_what_was_used_frees_up_when_its_window_has_passed(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        gate = Gate(log, keys)
        await gate.call("p1", "p2")
        clock.passes(1800)
        await gate.call("p2")
        clock.passes(1800 + HOUR.bucket)
        found = await gate.used()

    assert found["PT1H"]["calls"] == 1
    assert found["PT1H"]["patients"] == 1
    assert found["P1D"]["calls"] == 2


async def test_what_is_used_counts_for_at_least_the_window(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        gate = Gate(log, keys)
        for _ in range(7):
            await gate.call("p1")
            clock.passes(577)
        clock.passes(3600 - 7 * 577)
        assert (await gate.used())["PT1H"]["calls"] == 7


async def test_a_result_is_told_how_many_of_its_patients_are_new_in_the_window(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        gate = Gate(log, keys)
        await gate.call("p1", "p2")
        clock.passes(2 * 3600)
        stamped = await gate.standing.stamp(asked(phase="result"), seen(keys, "P2 ", "p3"))

    assert stamped["usage"]["P1D"]["new_patients"] == 1
    assert stamped["usage"]["PT1H"]["new_patients"] == 2


async def test_patients_beyond_those_that_are_known_again_count_anew_each_time(store, keys, clock, monkeypatch):
    monkeypatch.setattr(profile, "PATIENTS_KEPT", 3)
    many = seen(keys, *(f"p{n}" for n in range(5)))
    assert (len(many.patients), many.uncounted) == (3, 2)
    async with EvidenceLog.open(store, keys, now=clock) as log:
        gate = Gate(log, keys)
        await gate.call(*(f"p{n}" for n in range(5)))
        assert (await gate.used())["P1D"]["patients"] == 5


async def test_many_new_patients_are_told_from_those_seen(store, keys, clock):
    names = [f"patient-{number}" for number in range(1300)]
    async with EvidenceLog.open(store, keys, now=clock) as log:
        gate = Gate(log, keys)
        await gate.call(*names[:900])
        stamped = await gate.standing.stamp(asked(phase="result"), seen(keys, *names))

    assert stamped["usage"]["P1D"]["new_patients"] == 400


async def test_no_patient_and_no_person_is_in_the_tables(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        await Gate(log, keys).call("MRN-4711")
    with edited(store) as connection:
        rows = [row for table in ("usage", "usage_patient") for row in connection.execute(f"SELECT * FROM {table}")]

    assert len(rows) == 3
    assert all(word not in repr(rows) for word in ("4711", "alice", "agent-1"))


async def test_a_record_that_is_refused_counts_nothing(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        gate = Gate(log, keys)
        session = await log.session("alice", members={}, idle_s=1e6)
        used = Used(keys.usage_key(ALICE), (HOUR,), 1)
        with pytest.raises(Exception, match="not open"):
            await log.append(replace(outcome(session, "never-begun"), used=used))
        await log.append(Record(LeafType.HEARTBEAT, {}))
        assert (await gate.used())["PT1H"] == NOTHING


async def test_without_budgets_nothing_is_counted_and_nothing_is_asked_of_the_store(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        gate = Gate(log, keys, held=())
        assert gate.standing.patient_key is None
        question = asked()
        assert await gate.standing.stamp(question) is question
        await gate.call("p1")
    with edited(store) as connection:
        assert connection.execute("SELECT count(*) FROM usage").fetchone() == (0,)


async def test_counts_that_no_window_needs_any_more_are_swept(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as log:
        gate = Gate(log, keys)
        await gate.call("p1")
        assert await gate.standing.sweep() == 0
        clock.passes(DAY.seconds + DAY.bucket)
        assert await gate.standing.sweep() == 3
        assert (await gate.used())["P1D"] == NOTHING


def test_charging_nobody_is_nothing():
    connection = sqlite3.connect(":memory:")
    usage.charge(connection, [], Clock()())
    connection.close()
