"""The evidence log as the gateway uses it: durable on return, one end for each exchange, one job's failure its own."""

import sqlite3
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.core.errors import EvidenceFault, InternalFault, SessionEnded, UpstreamFault
from gateway.core.evidence import checkpoint
from gateway.core.evidence.leaf import LIMIT
from gateway.core.evidence.record import LeafType, Record
from gateway.store import keys as keystore
from gateway.store import sessions, sqlite, writer
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import (
    Clock,
    Fails,
    Heard,
    intent,
    locked,
    make_keys,
    now,
    outcome,
    report,
    set_version,
    types,
    writers_of,
)

HEARTBEAT = Record(LeafType.HEARTBEAT, {})


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def log(store, keys, clock):
    async with EvidenceLog.open(store, keys, now=clock) as opened:
        yield opened


async def test_what_was_appended_is_durable_when_append_returns(log, store, keys):
    session = await log.session("client", members={"era": "modern"}, idle_s=60)
    index = await log.append(intent(session, "x1"))

    with Reader.open(store, keys) as reader:
        found = reader.leaf(index)
        assert (index, session, "x1", {"effect": "allow"}) == (
            found.index,
            found.session,
            found.exchange,
            found.members,
        )
        assert intent(session, "x1").bodies["request"] == reader.body(found, "request")
        assert reader.open_exchanges() == {"x1"}
    await log.append(outcome(session, "x1"))


async def test_whoever_looks_on_is_told_of_each_commit_and_of_what_is_not_signed_yet(store, keys, clock):
    told = []
    async with EvidenceLog.open(store, keys, now=clock, committed=told.append) as log:
        session = await log.session("client", members={}, idle_s=60)
        for name in ("x1", "x2", "x3"):
            await log.append(intent(session, name))
        assert [commit.leaves for commit in told] == sorted(commit.leaves for commit in told)
        assert told[-1].leaves == 4
        assert all(commit.seconds >= 0 and commit.jobs >= 0 for commit in told)
        assert not told[-1].signed
        assert 0 < log.unsigned_s < 60
        with trio.fail_after(10):
            while log.unsigned_s:
                await trio.sleep(0.01)
        assert told[-1].signed


async def test_records_that_are_appended_together_are_durable_together_in_order(log, store, keys):
    session = await log.session("client", members={}, idle_s=60)
    await log.append(intent(session, "x1"))
    told = [Record(LeafType.EXCHANGE_MESSAGE, {"n": n}, session, "x1", bodies={"message": b"%d" % n}) for n in range(5)]
    await log.append_all(told)

    with Reader.open(store, keys) as reader:
        found = [reader.leaf(index) for index in range(2, 7)]
        assert [(leaf.members["n"], reader.body(leaf, "message")) for leaf in found] == [
            (n, b"%d" % n) for n in range(5)
        ]
    await log.append(outcome(session, "x1"))


@pytest.mark.parametrize(
    "broken",
    [{"session": "no-such-session"}, {"members": {"x": "y" * LIMIT}}, {"bodies": {"x": "no bytes"}}],
    ids=["of no session", "too long", "not to be sealed"],
)
async def test_of_records_that_are_appended_together_none_is_kept_where_one_breaks_a_rule(log, store, keys, broken):
    session = await log.session("client", members={}, idle_s=60)
    await log.append(intent(session, "x1"))
    fine = Record(LeafType.EXCHANGE_MESSAGE, {"status": "relayed"}, session, "x1", bodies={"message": b"{}"})
    with pytest.raises(InternalFault):
        await log.append_all([fine, replace(fine, **broken), fine])
    await log.append(outcome(session, "x1"))

    assert LeafType.EXCHANGE_MESSAGE not in types(store)
    assert report(store, keys).passed


async def test_records_that_are_appended_together_while_the_store_fails_are_none_of_them_on_record(store, keys):
    fails = Fails(0, "lost")
    async with EvidenceLog.open(store, keys, now=now, connect=fails) as log:
        session = await log.session("client", members={}, idle_s=60)
        fails.at = fails.count + 1
        with pytest.raises(EvidenceFault):
            await log.append_all([Record(LeafType.EXCHANGE_MESSAGE, {}, session)] * 3)


async def test_leaves_carry_the_time_that_was_given(log, store):
    await log.append(HEARTBEAT)

    with Reader.open(store) as reader:
        assert reader.leaf(0).place.time == "2026-11-22T12:00:00.000000Z"


async def test_many_callers_at_once_each_get_their_own_place(log, store, keys):
    session = await log.session("client", members={}, idle_s=60)
    places = {}

    async def call(number):
        places[await log.append(intent(session, f"x{number}"))] = number
        places[await log.append(outcome(session, f"x{number}"))] = number

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(call, number)

    assert sorted(places) == list(range(1, 201))
    with Reader.open(store) as reader:
        assert all(reader.leaf(index).exchange == f"x{number}" for index, number in places.items())
    assert report(store, keys).passed


async def test_a_cancelled_append_is_durable_all_the_same(log, store):
    with trio.CancelScope() as scope:
        scope.cancel()
        await log.append(HEARTBEAT)

    assert types(store) == [LeafType.HEARTBEAT]


async def test_a_job_that_fails_takes_no_other_along(log, store, keys):
    said = []

    async def fail(error):
        def job(transaction):
            transaction.append(Record(LeafType.KEY_EVENT, {}))
            raise error

        with pytest.raises((UpstreamFault, InternalFault, EvidenceFault)) as caught:
            await log.transact(job)
        said.append(str(caught.value))

    async def append():
        await log.append(HEARTBEAT)

    async with trio.open_nursery() as nursery:
        for error in (
            UpstreamFault("ours", kind="closed"),
            ZeroDivisionError("Jane"),
            sqlite3.IntegrityError("a rule"),
        ):
            nursery.start_soon(fail, error)
            nursery.start_soon(append)

    assert types(store) == [LeafType.HEARTBEAT] * 3
    assert log.fault is None
    assert not any("Jane" in text for text in said)
    assert report(store, keys).passed


async def test_records_of_one_group_break_rules_alone_whatever_else_is_in_it(log, store, keys):
    session = await log.session("client", members={}, idle_s=60)
    await log.append(intent(session, "x1"))
    refused = []

    async def append(record):
        try:
            await log.append(record)
        except InternalFault:
            refused.append((record.type, record.exchange))

    async with trio.open_nursery() as nursery:
        for record in (
            outcome(session, "x1"),
            outcome(session, "x1"),
            intent(session, "x2"),
            intent(session, "x2"),
            intent(session, "x3"),
            outcome(session, "never begun"),
            Record(LeafType.EXCHANGE_INTENT, {}, session),
        ):
            nursery.start_soon(append, record)
    await log.append(outcome(session, "x2"))
    await log.append(outcome(session, "x3"))

    assert sorted(refused, key=str) == sorted(
        [
            (LeafType.EXCHANGE_OUTCOME, "x1"),
            (LeafType.EXCHANGE_INTENT, "x2"),
            (LeafType.EXCHANGE_OUTCOME, "never begun"),
            (LeafType.EXCHANGE_INTENT, None),
        ],
        key=str,
    )
    assert report(store, keys).passed


async def test_after_a_job_was_undone_its_session_goes_on_where_it_was(log, store, keys):
    session = await log.session("client", members={}, idle_s=60)
    await log.append(intent(session, "x1"))

    def job(transaction):
        transaction.append(outcome(session, "x1"))
        transaction.append(intent(session, "x2"))
        raise UpstreamFault("ours", kind="closed")

    async def undone():
        with pytest.raises(UpstreamFault):
            await log.transact(job)

    async with trio.open_nursery() as nursery:
        for name in ("x3", "x4"):
            nursery.start_soon(log.append, intent(session, name))
            nursery.start_soon(undone)
    for name in ("x1", "x3", "x4"):
        await log.append(outcome(session, name))

    with pytest.raises(InternalFault):
        await log.append(outcome(session, "x2"))
    await log.close_session(session, why="client")
    with Reader.open(store) as reader:
        assert reader.leaf(reader.size() - 1).members == {"why": "client", "exchanges": 3}
    assert report(store, keys).passed


async def test_what_a_job_reads_includes_what_its_group_wrote(log):
    async def count():
        query = "SELECT (SELECT count(*) FROM leaf), (SELECT count(*) FROM open_exchange)"
        return await log.transact(
            lambda transaction: (transaction.size, *transaction.connection.execute(query).fetchone())
        )

    seen = []

    async def look():
        seen.append(await count())

    async with trio.open_nursery() as nursery:
        for name in ("x1", "x2", "x3"):
            nursery.start_soon(log.append, intent(None, name))
            nursery.start_soon(look)

    assert all(size == leaves == opened for size, leaves, opened in seen)
    assert await count() == (3, 3, 3)


async def test_processes_that_take_turns_in_a_session_keep_one_chain(log, store, keys, clock):
    session = await log.session("client", members={}, idle_s=60)
    async with EvidenceLog.open(store, keys, now=clock) as other:
        for number in range(6):
            one, two = (log, other) if number % 2 else (other, log)
            await one.append(intent(session, f"x{number}"))
            await two.append(intent(session, f"y{number}"))
            await one.append(outcome(session, f"x{number}"))
            await two.append(outcome(session, f"y{number}"))
        await other.close_session(session, why="client")
        with pytest.raises(SessionEnded):
            await log.append(intent(session, "x"))

    assert report(store, keys).passed


async def test_the_result_of_a_job_comes_back(log):
    index = await log.transact(
        lambda transaction: transaction.append(Record(LeafType.KEY_EVENT, {}, bodies={"b": b"x"}))
    )

    assert await log.transact(lambda transaction: transaction.unseal(index, "b")) == b"x"


@pytest.mark.parametrize(
    "records",
    [
        [outcome(None, "x1")],
        [intent(None, "x1"), intent(None, "x1")],
        [intent(None, "x1"), outcome(None, "x1"), outcome(None, "x1")],
        [intent("no such session", "x1")],
        [Record(LeafType.HEARTBEAT, {"why": "x" * LIMIT})],
        [Record(LeafType.HEARTBEAT, {}, bodies={f"b{number}": b"" for number in range(17)})],
        [Record(LeafType.HEARTBEAT, {"bytes": b"are not JSON"})],
    ],
)
async def test_a_record_that_breaks_a_rule_is_refused_alone(log, store, keys, records):
    *sound, last = records
    for record in sound:
        await log.append(record)

    with pytest.raises(InternalFault):
        await log.append(last)

    assert log.fault is None
    assert len(types(store)) == len(sound)
    await log.append(HEARTBEAT)


async def test_an_exchange_whose_outcome_was_refused_is_ended_as_unknown(log, store, keys):
    await log.append(intent(None, "x1"))
    with pytest.raises(InternalFault):
        await log.append(Record(LeafType.EXCHANGE_OUTCOME, {"why": "x" * LIMIT}, None, "x1"))
    await log.probe()

    assert types(store) == [LeafType.EXCHANGE_INTENT, LeafType.HEARTBEAT, LeafType.EXCHANGE_UNKNOWN]
    assert report(store, keys).passed


async def test_an_abandoned_exchange_is_ended_as_unknown_and_an_ended_one_is_not(log, store):
    await log.append(intent(None, "x1"))
    await log.append(intent(None, "x2"))
    await log.append(outcome(None, "x2"))
    log.abandon("x1")
    log.abandon("x2")
    await log.probe()

    assert types(store)[-2:] == [LeafType.HEARTBEAT, LeafType.EXCHANGE_UNKNOWN]
    with Reader.open(store) as reader:
        last = reader.leaf(reader.size() - 1)
    assert (last.exchange, last.members) == ("x1", {"why": "not_recorded", "intent": 0, "forwarded": "maybe"})


async def test_a_process_ends_only_its_own_exchanges(log, store, keys, clock):
    await log.append(intent(None, "x1"))
    async with EvidenceLog.open(store, keys, now=clock) as other:
        other.abandon("x1")
        await other.probe()
    await log.append(outcome(None, "x1"))

    assert LeafType.EXCHANGE_UNKNOWN not in types(store)


async def test_what_is_open_when_the_log_closes_is_ended_as_unknown(store, keys):
    async with EvidenceLog.open(store, keys, now=now) as log:
        await log.append(intent(None, "x1"))

    assert types(store) == [LeafType.EXCHANGE_INTENT, LeafType.EXCHANGE_UNKNOWN]
    assert writers_of(store) == []


async def test_a_closed_log_takes_nothing(store, keys):
    async with EvidenceLog.open(store, keys, now=now) as log:
        pass

    with pytest.raises(EvidenceFault, match="closed"):
        await log.append(HEARTBEAT)
    with pytest.raises(EvidenceFault, match="closed"):
        await log.probe()


async def test_a_log_that_grew_is_signed_within_the_interval_and_when_it_closes(store, keys, monkeypatch):
    monkeypatch.setattr(writer, "CHECKPOINT_S", 0.05)
    async with EvidenceLog.open(store, keys, now=now) as log:
        for _ in range(3):
            await log.append(HEARTBEAT)
        with trio.fail_after(5):
            while not covers(store, keys, 3):
                await trio.sleep(0.01)
        await log.append(HEARTBEAT)

    assert covers(store, keys, 4)


def covers(store, keys, size):
    with Reader.open(store) as reader:
        signed = [checkpoint.verify(data, [keys.signer.verifier]).size for data in reader.checkpoints()]
    return max(signed, default=0) == size


async def test_a_log_of_another_name_is_not_written_to(store, keys, tmp_path):
    async with EvidenceLog.open(store, keys, now=now):
        pass

    with pytest.raises(EvidenceFault, match="belongs to the log"):
        async with EvidenceLog.open(store, keystore.generate(tmp_path / "other", origin="example.org/other"), now=now):
            pass


async def test_a_file_that_is_no_evidence_store_is_left_alone(file, keys):
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE patient (name)")

    with pytest.raises(EvidenceFault, match="not an evidence store"):
        async with EvidenceLog.open(file, keys, now=now):
            pass


async def test_a_store_of_a_newer_release_is_not_written_to(store, keys):
    async with EvidenceLog.open(store, keys, now=now):
        pass
    set_version(store, 99)

    with pytest.raises(EvidenceFault, match="schema version 99"):
        async with EvidenceLog.open(store, keys, now=now):
            pass


async def test_a_log_that_failed_refuses_at_once_until_it_is_probed(store, keys):
    fails = Fails(0, "lost")
    async with EvidenceLog.open(store, keys, now=now, connect=fails) as log:
        fails.at = fails.count + 1
        with pytest.raises(EvidenceFault, match="failed while writing"):
            await log.append(HEARTBEAT)
        count = fails.count
        with pytest.raises(EvidenceFault, match="failed while writing"):
            await log.append(HEARTBEAT)
        with pytest.raises(EvidenceFault):
            await log.tool("clinic", "run_sql")
        assert count == fails.count
        await log.probe()
        assert log.fault is None
        await log.append(HEARTBEAT)


async def test_a_slow_disk_is_waited_for_by_the_thread_and_a_quick_one_on_the_loop(file, keys, monkeypatch):
    committed = []

    def hear(statement, run):
        if statement == "COMMIT":
            committed.append(threading.current_thread() is threading.main_thread())
        return run()

    async with EvidenceLog.open(file, keys, now=now, connect=lambda engine: Heard(engine.connect(), hear)) as log:
        for quick_s in (3600.0, -1.0):
            monkeypatch.setattr("gateway.store.writer.QUICK_S", quick_s)
            committed.clear()
            await log.append(HEARTBEAT)
            assert committed[0] is (quick_s > 0)


async def test_an_append_on_the_loop_asks_the_store_for_its_last_leaf_and_changes_no_head(file, keys, monkeypatch):
    monkeypatch.setattr("gateway.store.writer.QUICK_S", 3600.0)
    monkeypatch.setattr("gateway.store.writer.CHECKPOINT_S", 3600.0)
    heard = []

    def hear(statement, run):
        heard.append(statement.split(" ", 2)[:2])
        return run()

    async with EvidenceLog.open(file, keys, now=now, connect=lambda engine: Heard(engine.connect(), hear)) as log:
        session = await log.session("client", members={}, idle_s=60)
        for name in ("x1", "x2"):
            heard.clear()
            await log.append(intent(session, name))
            await log.append(outcome(session, name))

    done = heard[: heard.index(["COMMIT"])]
    assert [words for words in done if words[0] == "SELECT"] == [["SELECT", "idx,"]]
    assert ["UPDATE", "head"] not in done
    assert ["SELECT", "kek,"] not in heard


async def test_what_was_committed_is_put_away_beside_the_appends_and_the_wal_begins_anew(file, keys, monkeypatch):
    monkeypatch.setattr("gateway.store.writer.QUICK_S", 3600.0)
    monkeypatch.setattr("gateway.store.writer.SETTLED_LEAVES", 8)
    wal = file.with_name(f"{file.name}-wal")
    sizes = []

    async with EvidenceLog.open(file, keys, now=now) as log:
        for _ in range(12):
            for _ in range(8):
                await log.append(HEARTBEAT)
            for _ in range(2):  # The thread takes up the second one when it is done with what it was called for.
                await log.read(lambda connection: connection.execute("SELECT 1").fetchone())
            sizes.append(wal.stat().st_size)

    assert sizes[-1] <= max(sizes[:3])
    assert report(file, keys).passed


def descriptors(file):
    """How often this process has a file open."""
    held = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # That of looking.
            held += entry.readlink() == file
    return held


async def test_putting_away_opens_the_file_once_more_and_never_again(file, keys, monkeypatch):
    monkeypatch.setattr("gateway.store.writer.SETTLED_LEAVES", 2)
    async with EvidenceLog.open(file, keys, now=now) as log:
        for _ in range(20):
            for _ in range(2):
                await log.append(HEARTBEAT)
            for _ in range(2):  # As above.
                await log.read(lambda connection: connection.execute("SELECT 1").fetchone())
        # SQLite keeps the second: to close it would drop the locks that this process has on the file (POSIX).
        assert descriptors(file) == 2
        assert descriptors(file.with_name(f"{file.name}-wal")) == 1

    assert descriptors(file) == 0


async def test_a_store_that_cannot_be_put_away_at_the_moment_is_no_fault(tmp_path):
    sqlite.Sqlite(tmp_path / "nowhere" / "evidence.db").settle()


async def test_an_append_waits_for_another_process_in_the_thread(log, store):
    await log.append(HEARTBEAT)
    async with trio.open_nursery() as nursery:
        with locked(store):
            nursery.start_soon(log.append, HEARTBEAT)
            await trio.testing.wait_all_tasks_blocked()

    assert types(store).count(LeafType.HEARTBEAT) == 2


async def test_a_disk_that_hangs_makes_the_log_not_ready(log, monkeypatch):
    monkeypatch.setattr("gateway.store.sequencer.STALL_S", 0.0)
    faults = await log.transact(lambda _: log.fault)

    assert "has not answered" in faults


async def test_one_key_has_one_session_until_it_is_idle(log, clock, store, keys):
    first = await log.session("alice|agent|clinic", members={}, idle_s=60)
    assert first == await log.session("alice|agent|clinic", members={}, idle_s=60)
    assert first != await log.session("bob|agent|clinic", members={}, idle_s=60)
    clock.passes(59)
    assert first == await find(log, "alice|agent|clinic")
    clock.passes(61)
    second = await find(log, "alice|agent|clinic")

    assert first != second
    assert types(store).count(LeafType.SESSION_CLOSE) == 1
    assert report(store, keys).passed


async def find(log, key):
    """The session as a process sees it that does not remember any."""
    hidden = log.keys.session_key(key)
    return await log.transact(lambda transaction: sessions.find_or_open(transaction, hidden, {}, 60))


async def test_idle_sessions_are_closed_with_their_count_unless_something_runs_in_them(log, clock, store, keys):
    idle = await log.session("idle", members={}, idle_s=60)
    await log.append(Record(LeafType.EXCHANGE_REFUSED, {}, idle, "x1"))
    busy = await log.session("busy", members={}, idle_s=60)
    await log.append(intent(busy, "x2"))
    clock.passes(61)

    assert await log.close_idle(60) == 1
    with Reader.open(store) as reader:
        last = reader.leaf(reader.size() - 1)
        assert (idle, {"why": "idle", "exchanges": 1}) == (last.session, last.members)
    await log.append(outcome(busy, "x2"))
    clock.passes(61)
    assert await log.close_idle(60) == 1
    assert report(store, keys).passed


async def test_a_closed_session_takes_what_it_began_and_begins_nothing(log, store, keys):
    session = await log.session("client", members={}, idle_s=60)
    await log.append(intent(session, "x1"))
    await log.close_session(session, why="client")
    await log.close_session(session, why="again")
    await log.append(outcome(session, "x1"))

    with pytest.raises(SessionEnded):
        await log.append(intent(session, "x2"))
    assert log.fault is None
    assert session != await log.session("client", members={}, idle_s=60)
    assert types(store).count(LeafType.SESSION_CLOSE) == 1
    assert report(store, keys).passed


async def test_another_process_finds_the_same_session(log, store, keys, clock):
    session = await log.session("client", members={}, idle_s=60)

    async with EvidenceLog.open(store, keys, now=clock) as other:
        assert session == await other.session("client", members={}, idle_s=60)
        await other.append(Record(LeafType.EXCHANGE_REFUSED, {}, session, "x1"))
    await log.append(Record(LeafType.EXCHANGE_REFUSED, {}, session, "x2"))

    assert report(store, keys).passed


async def test_a_tool_is_remembered_as_its_upstream_last_listed_it(log, store, keys, clock):
    await log.learn("clinic", [{"name": "run_sql", "inputSchema": {"type": "object"}}, {"title": "nameless"}])
    first = await log.tool("clinic", "run_sql")
    async with EvidenceLog.open(store, keys, now=clock) as other:
        assert first == await other.tool("clinic", "run_sql")
    await log.learn("clinic", [{"inputSchema": {"type": "array"}, "name": "run_sql"}])
    second = await log.tool("clinic", "run_sql")

    assert first.pin != second.pin
    assert second.definition == {"name": "run_sql", "inputSchema": {"type": "array"}}
    assert await log.tool("clinic", "no such tool") is None
    assert await log.tool("other", "run_sql") is None


async def test_a_bundle_is_archived_once_and_for_ever(log, store):
    for data in (b"bundle", b"another under the same digest"):
        await log.transact(lambda transaction, data=data: transaction.archive_bundle("d1", data))

    with Reader.open(store) as reader:
        assert reader.bundle("d1") == b"bundle"
        with pytest.raises(EvidenceFault, match="not in this store"):
            reader.bundle("d2")


async def test_a_writer_waits_its_turn_and_no_longer_than_it_must(log, store, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_MS", 5_000)
    async with trio.open_nursery() as nursery:
        with locked(store):
            nursery.start_soon(log.append, HEARTBEAT)
            await trio.testing.wait_all_tasks_blocked()

    assert types(store) == [LeafType.HEARTBEAT]
