"""What only PostgreSQL can do to a log: connections that break, servers that stop, replicas that are taken for dead."""

import signal
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import trio

from gateway.core.errors import EvidenceFault
from gateway.core.evidence.record import LeafType, Record
from gateway.store import ddl, engines, postgres, schema
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog
from tests import postgresql as real
from tests.fakes.evidence import (
    Heard,
    database,
    edited,
    findings,
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

ROOT = Path(__file__).parents[2]
HEARTBEAT = Record(LeafType.HEARTBEAT, {})


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


@pytest.fixture
def store(database_url):
    return database(database_url)


@pytest.fixture(scope="module")
def hurt():
    with real.running() as server:
        yield server


@pytest.fixture
def own(hurt):
    """A server that a test may stop and kill; the next finds it started."""
    yield hurt
    if hurt.process is None:
        hurt.start()


class Cut:
    """Makes connections of which statement number `at` loses its connection: before it is done, or after it.

    Only statements that begin with `only` are counted.
    """

    def __init__(self, at, how, only=""):
        self.at, self.how, self.only, self.count = at, how, only, 0

    def __call__(self, engine):
        connection = engine.connect()

        def hear(statement, run):
            self.count += statement.startswith(self.only)
            if self.count != self.at or not statement.startswith(self.only):
                return run()
            if self.how == "after":
                run()
            connection.raw.pgconn.finish()
            return connection.execute("SELECT 1")

        return Heard(connection, hear)


@pytest.mark.parametrize("how", ["before", "after"])
async def test_a_connection_that_breaks_at_any_statement_loses_and_repeats_nothing(store, keys, how):
    async with EvidenceLog.open(store, keys, now=now):
        pass
    at, survived = 0, []
    while True:
        at += 1
        cut, exchange = Cut(at, how), f"x{at}"
        async with EvidenceLog.open(store, keys, now=now, connect=cut) as log:
            session = await log.session(f"client {at}", members={}, idle_s=60)
            await log.append(intent(session, exchange))
            await log.append(outcome(session, exchange))
        if cut.count < at:
            break
        survived.append(exchange)

    checked = report(store, keys)
    assert checked.passed, findings(checked)
    assert len(survived) > 40
    with Reader.open(store) as reader:
        told = [(leaf.exchange, leaf.type.value) for leaf in reader.leaves() if leaf.exchange in survived]
    ends = ("exchange.intent", "exchange.outcome")
    assert sorted(told) == sorted((exchange, kind) for exchange in survived for kind in ends)


@pytest.mark.parametrize("how", ["before", "after"])
async def test_a_commit_whose_reply_was_lost_is_found_under_its_leaf_or_done_again(store, keys, how):
    cut = Cut(0, how, "COMMIT")
    async with EvidenceLog.open(store, keys, now=now, connect=cut) as log:
        cut.at = cut.count + 1
        index = await log.append(HEARTBEAT)
        assert cut.count > cut.at - (how == "after")
        with Reader.open(store) as reader:
            assert [leaf.index for leaf in reader.leaves() if leaf.type is LeafType.HEARTBEAT] == [index]
        assert await log.append(HEARTBEAT) == index + 1

    assert report(store, keys).passed


async def test_a_commit_whose_reply_was_lost_and_that_no_leaf_tells_of_counts_as_not_kept(store, keys):
    cut = Cut(0, "after", "COMMIT")
    async with EvidenceLog.open(store, keys, now=now, connect=cut) as log:
        await log.append(HEARTBEAT)
        await log.probe()  # What was to be signed is signed.
        cut.at = cut.count + 1
        with pytest.raises(EvidenceFault):
            await log.transact(lambda transaction: transaction.archive_bundle("d" * 64, b"bundle"))
        await log.probe()
        await log.append(HEARTBEAT)


async def test_a_stopped_replica_is_buried_and_learns_it_before_it_writes_anything(store, keys, tmp_path):
    with replica(store, tmp_path) as stopped:
        stopped.send_signal(signal.SIGSTOP)
        async with EvidenceLog.open(store, keys, now=now) as log:
            with trio.fail_after(20):
                while not await log.recover():
                    await trio.sleep(0.1)
            assert types(store)[-1] is LeafType.EXCHANGE_UNKNOWN
            stopped.send_signal(signal.SIGCONT)
            stopped.stdin.write("go on\n")
            stopped.stdin.close()
            told = stopped.stdout.read().splitlines()
            assert stopped.wait(20) == 0
            assert len(writers_of(store)) == 1

    assert told[0].startswith("EvidenceFault This process was silent for so long")
    assert told[1].startswith("InternalFault An exchange was ended that is not open")
    assert len(told) == 2
    assert [kind for kind in types(store) if kind.value.startswith("exchange")] == [
        LeafType.EXCHANGE_INTENT,
        LeafType.EXCHANGE_UNKNOWN,
    ]
    assert report(store, keys).passed


async def test_a_replica_that_lives_is_not_buried_however_long_it_has_nothing_to_say(store, keys, tmp_path):
    with replica(store, tmp_path) as idle:
        async with EvidenceLog.open(store, keys, now=now) as log:
            for _ in range(25):  # Two leases and a half.
                await trio.sleep(0.1)
                assert await log.recover() == 0
        idle.stdin.write("go on\n")
        idle.stdin.close()
        assert idle.stdout.read().splitlines()[0] == "kept"
        idle.wait(20)


@contextmanager
def replica(store, place):
    """A process with one call under way."""
    command = [sys.executable, "-m", "tests.fakes.replica", store.url, str(place / "keys")]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


async def test_nobody_is_buried_by_who_was_away_as_well(own, keys, tmp_path):
    with own.database() as url:
        store = database(url)
        with replica(store, tmp_path) as other:
            async with EvidenceLog.open(store, keys, now=now) as log:
                own.kill()
                await trio.sleep(1.5)  # Longer than a lease.
                own.start()
                with trio.fail_after(20):
                    while not await heals(log):
                        await trio.sleep(0.05)
                assert await log.recover() == 0
                other.stdin.write("heal\n")
                other.stdin.close()
                told = other.stdout.read().splitlines()
                other.wait(20)
        assert "kept" in told
        assert LeafType.EXCHANGE_UNKNOWN not in types(store)


async def heals(log):
    try:
        await log.probe()
    except EvidenceFault:
        return False
    return True


async def test_a_server_that_restarts_is_not_noticed_by_those_who_write(own, keys):
    with own.database() as url:
        async with EvidenceLog.open(database(url), keys, now=now) as log:
            await log.append(intent(None, "x1"))
            own.stop()
            own.start()
            await log.append(outcome(None, "x1"))
            assert await log.read(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)
        assert types(database(url)).count(LeafType.EXCHANGE_OUTCOME) == 1


async def test_a_server_that_is_down_is_told_and_the_log_heals_by_itself(own, keys, monkeypatch):
    monkeypatch.setattr(postgres, "PATIENCE_S", 0.1)
    with own.database() as url:
        async with EvidenceLog.open(database(url), keys, now=now) as log:
            await log.append(intent(None, "x1"))
            own.kill()
            with pytest.raises(EvidenceFault, match="start the database"):
                await log.append(outcome(None, "x1"))
            assert not await heals(log)
            with pytest.raises(EvidenceFault):
                await log.append(intent(None, "x2"))
            own.start()
            assert await heals(log)
            await log.append(intent(None, "x3"))
            await log.append(outcome(None, "x3"))
        told = [leaf for leaf in leaves(database(url)) if leaf.exchange is not None]
        assert {leaf.exchange for leaf in told} == {"x1", "x3"}
        assert [leaf.type for leaf in told if leaf.exchange == "x1"][-1] is LeafType.EXCHANGE_UNKNOWN
        assert report(database(url), keys).passed


def leaves(store):
    with Reader.open(store) as reader:
        return list(reader.leaves())


async def test_a_server_that_hangs_is_waited_for_no_longer_than_its_bound(own, keys, monkeypatch):
    monkeypatch.setattr(postgres, "ANSWER_S", 0.5)
    monkeypatch.setattr(postgres, "PATIENCE_S", 0.1)
    with own.database() as url:
        async with EvidenceLog.open(database(url), keys, now=now) as log:
            own.pause()
            try:
                with trio.fail_after(10), pytest.raises(EvidenceFault, match="no answer within"):
                    await log.append(HEARTBEAT)
            finally:
                own.resume()
            assert await heals(log)
            await log.append(HEARTBEAT)
        assert report(database(url), keys).passed


async def test_a_lock_that_somebody_holds_refuses_in_bounded_time_and_heals(store, keys, monkeypatch):
    monkeypatch.setattr(postgres, "LOCK_S", 0.2)
    async with EvidenceLog.open(store, keys, now=now) as log:
        with locked(store), trio.fail_after(5), pytest.raises(EvidenceFault, match="lock was not to be had"):
            await log.append(HEARTBEAT)
        await log.probe()
        await log.append(HEARTBEAT)


async def test_a_writer_that_stops_inside_its_turn_does_not_hold_up_the_others(store, keys):
    async with EvidenceLog.open(store, keys, now=now) as log:
        with edited(store) as stopped:
            stopped.execute("BEGIN; SELECT 1 FROM head FOR UPDATE")
            await log.append(HEARTBEAT)
            with pytest.raises(psycopg.Error):
                stopped.execute("COMMIT")


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("ALTER ROLE guarded SET synchronous_commit = off", "synchronous_commit"),
        ("ALTER ROLE guarded SET synchronous_commit = local", "synchronous_commit"),
    ],
)
async def test_a_database_that_may_forget_what_it_acknowledged_is_refused_by_name(postgresql, keys, statement, named):
    postgresql.execute(psycopg.sql.SQL(statement))
    try:
        with postgresql.database() as url:
            store = replace(database(url.replace("postgres@", "guarded@")), password=real.PASSWORD)
            with pytest.raises(EvidenceFault, match=f"{named} off: what it acknowledges may be lost"):
                async with EvidenceLog.open(store, keys, now=now):
                    pass
    finally:
        postgresql.execute(psycopg.sql.SQL("ALTER ROLE guarded RESET synchronous_commit"))


async def test_a_server_without_fsync_is_refused_by_name(keys):
    with real.running("fsync=off", "full_page_writes=off") as careless, careless.database() as url:
        store = database(url)
        with pytest.raises(EvidenceFault, match="fsync and full_page_writes off"):
            async with EvidenceLog.open(store, keys, now=now):
                pass


async def test_durability_is_asked_for_in_the_session_so_that_no_reload_takes_it_away(own, keys):
    with own.database() as url, closing(engines.of(database(url)).connect()) as connection:
        own.execute(psycopg.sql.SQL("ALTER SYSTEM SET synchronous_commit = off"))
        own.execute(psycopg.sql.SQL("SELECT pg_reload_conf()"))
        with psycopg.connect(url) as fresh:
            while fresh.execute("SHOW synchronous_commit").fetchone() != ("off",):
                fresh.rollback()
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
        own.execute(psycopg.sql.SQL("ALTER SYSTEM RESET synchronous_commit"))
        own.execute(psycopg.sql.SQL("SELECT pg_reload_conf()"))


async def test_a_password_comes_from_a_file_that_may_change_and_is_in_no_text(postgresql, keys, tmp_path, monkeypatch):
    monkeypatch.setattr(postgres, "PATIENCE_S", 0.1)
    secret = tmp_path / "password"
    with postgresql.database() as url:
        store = replace(database(url.replace("postgres@", "guarded@")), password_file=secret)
        for given in (None, "wrong-" + real.PASSWORD):
            if given is not None:
                secret.write_text(given)
            with pytest.raises(EvidenceFault) as told:
                async with EvidenceLog.open(store, keys, now=now):
                    pass
            assert real.PASSWORD not in str(told.value) + repr(store)
        secret.write_text(real.PASSWORD + "\n")
        async with EvidenceLog.open(store, keys, now=now) as log:
            await log.append(HEARTBEAT)


async def test_replicas_do_not_make_tables_unless_they_were_told_to(store, keys):
    careful = replace(store, migrates=False)
    with pytest.raises(EvidenceFault, match="phigate store migrate"):
        async with EvidenceLog.open(careful, keys, now=now):
            pass
    with edited(store) as connection:
        assert engines.of(store).migrate(connection, keys.origin) is None
        assert engines.of(store).migrate(connection, keys.origin) == schema.VERSION
    async with EvidenceLog.open(careful, keys, now=now) as log:
        await log.append(HEARTBEAT)


async def test_why_a_store_could_not_be_made_is_told_though_the_connection_is_gone(store, keys):
    with edited(store) as connection:

        def hear(statement, run):
            if statement.startswith("INSERT INTO head"):
                return connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            return run()

        with pytest.raises(psycopg.errors.AdminShutdown):
            engines.of(store).migrate(Heard(connection, hear), keys.origin)

    async with EvidenceLog.open(store, keys, now=now) as log:
        await log.append(HEARTBEAT)


async def test_an_older_store_is_refused_until_it_is_brought_up_to_date_and_is_then_like_a_new_one(store, keys):
    async with EvidenceLog.open(store, keys, now=now):
        pass
    new = tables(store)
    with edited(store) as connection:
        for name in ("tool_pin", "usage", "usage_patient", "emergency", "emergency_access", "mail", "note", "kek"):
            connection.execute(f"DROP TABLE {name}")
    set_version(store, 1)

    with pytest.raises(EvidenceFault, match="schema version 1, and this needs"):
        async with EvidenceLog.open(replace(store, migrates=False), keys, now=now):
            pass
    async with EvidenceLog.open(store, keys, now=now):
        pass
    assert tables(store) == new


def tables(store):
    query = """SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
        WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"""
    with edited(store) as connection:
        columns = connection.execute(query).fetchall()
        indexes = connection.execute(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
        ).fetchall()
    return columns, indexes


async def test_many_may_be_the_first_to_open_a_log(store, keys):
    faults = []

    async def first():
        try:
            async with EvidenceLog.open(store, keys, now=now):
                pass
        except EvidenceFault as fault:
            faults.append(fault)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(first)
    assert faults == []


async def test_evidence_cannot_be_truncated(store, keys):
    async with EvidenceLog.open(store, keys, now=now) as log:
        await log.append(HEARTBEAT)
    with edited(store) as connection:
        for table in ddl.GUARDED:
            with pytest.raises(psycopg.IntegrityError, match="append-only"):
                connection.execute(f"TRUNCATE {table}")


async def test_what_cannot_be_stored_fails_its_own_job_and_not_the_log(store, keys):
    async with EvidenceLog.open(store, keys, now=now) as log:
        with pytest.raises(EvidenceFault, match="its own rules refuse"):
            await log.learn("clinic", [{"name": "nul\0"}])
        assert log.fault is None
        await log.append(HEARTBEAT)
