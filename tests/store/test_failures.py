"""The failure matrix: every write fails, fails although it was kept, or is where the process dies.

Afterwards the log verifies, everything acknowledged is in it, and no exchange is left without an end.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
import trio

from gateway.core.errors import EvidenceFault
from gateway.core.evidence import checkpoint
from gateway.core.evidence.record import LeafType
from gateway.core.evidence.verify import Check
from gateway.store import engines, sqlite
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import (
    SECRET,
    Fails,
    Heard,
    edited,
    findings,
    intent,
    make_keys,
    now,
    outcome,
    report,
    tamper,
    types,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


def exchanges(store):
    """The exchanges on record with the kinds of leaf that they have."""
    found = {}
    with Reader.open(store) as reader:
        assert reader.open_exchanges() == frozenset()
        for leaf in reader.leaves():
            if leaf.exchange is not None:
                found.setdefault(leaf.exchange, []).append(leaf.type)
    return found


def start(*arguments):
    command = [sys.executable, "-m", "tests.fakes.writing", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


async def settle(store, keys):
    """Open the log as the next process would, which ends what dead ones left open, when their leases have run out."""
    async with EvidenceLog.open(store, keys, now=now) as log:
        with trio.fail_after(20):
            while await log.read(lambda connection: connection.execute("SELECT 1 FROM open_exchange").fetchone()):
                await trio.sleep(0.1)
                await log.recover()


async def one_exchange(store, keys, fails):
    """One exchange on a log that fails somewhere; what was acknowledged, and how it went on after a probe."""
    acknowledged = []
    async with EvidenceLog.open(store, keys, now=now, connect=fails) as log:
        for step in (intent, outcome):
            try:
                session = await log.session("client", members={}, idle_s=60)
                index = await log.append(step(session, "x1"))
                acknowledged.append((index, step))
            except EvidenceFault:
                assert log.fault is not None
                with pytest.raises(EvidenceFault):
                    await log.append(intent(None, "while it is failed"))
                await log.probe()
                assert log.fault is None
                break
        session = await log.session("client", members={}, idle_s=60)
        await log.append(intent(session, "x2"))
        await log.append(outcome(session, "x2"))
    return acknowledged


@pytest.mark.parametrize("quick_s", [3600.0, -1.0], ids=["at-once", "by-the-thread"])
@pytest.mark.parametrize("how", ["lost", "kept"])
async def test_whichever_statement_fails_nothing_acknowledged_is_lost(tmp_path, keys, how, quick_s, monkeypatch):
    monkeypatch.setattr("gateway.store.writer.QUICK_S", quick_s)
    at = failed = 0
    while True:
        at += 1
        store, fails = tmp_path / f"{at}.db", Fails(at, how)  # What PostgreSQL does: test_postgres.py.
        try:
            acknowledged = await one_exchange(store, keys, fails)
        except EvidenceFault:
            await settle(store, keys)  # It failed while opening or closing, and was refused as a whole.
            acknowledged = []
        if fails.count < at:
            break
        failed += 1
        checked = report(store, keys)
        assert checked.passed, (at, findings(checked))
        with Reader.open(store) as reader:
            assert all(reader.leaf(index).exchange == "x1" for index, _ in acknowledged)
        exchanges(store)

    assert failed > 50


def test_whichever_statement_a_process_dies_at_nothing_acknowledged_is_lost(store, keys, tmp_path):
    with start("die", store, tmp_path / "keys") as child:
        said = child.stdout.read().split("\n")
    trio.run(settle, store, keys)

    assert said.count("lived") == 2
    assert said.count("killed") > 90
    assert report(store, keys).passed
    found = exchanges(store)
    assert {line.partition(":")[0] for line in said if line.endswith("begun")} <= set(found)
    for line in said:
        if line.endswith("ended"):
            assert found[line.partition(":")[0]] == [LeafType.EXCHANGE_INTENT, LeafType.EXCHANGE_OUTCOME]
    assert LeafType.EXCHANGE_UNKNOWN in {ends[-1] for ends in found.values()}


def test_two_processes_killed_under_load_again_and_again_lose_nothing(store, keys, tmp_path):
    acknowledged = set()
    for round_number in range(4):
        children = [start(store, tmp_path / "keys", f"w{round_number}{name}", 100_000) for name in "ab"]
        for child in children:
            for _ in range(60):
                acknowledged.add(child.stdout.readline().strip())
        for child in children:
            os.kill(child.pid, signal.SIGKILL)
        for child in children:
            acknowledged |= set(child.stdout.read().split("\n")[:-1])
            child.wait()
            child.stdout.close()
        trio.run(settle, store, keys)
        checked = report(store, keys)
        assert checked.passed, findings(checked)

    found = exchanges(store)
    assert len(acknowledged) >= 480
    assert acknowledged <= {name for name, kinds in found.items() if kinds[-1] is LeafType.EXCHANGE_OUTCOME}


def test_two_processes_share_one_log_without_gaps(store, keys, tmp_path):
    with start(store, tmp_path / "keys", "a", 40) as one, start(store, tmp_path / "keys", "b", 40) as two:
        said = one.stdout.read().split() + two.stdout.read().split()

    checked = report(store, keys)
    assert checked.passed, findings(checked)
    assert set(said) == set(exchanges(store))
    assert len(said) == 320


def test_many_processes_may_be_the_first_to_open_a_log(tmp_path):
    for number in range(40):
        file, faults, together = tmp_path / f"{number}.db", [], threading.Barrier(4)

        def open_first(file=file, faults=faults, together=together):
            together.wait()
            try:
                with closing(sqlite.connect(file)) as connection:
                    sqlite.create_or_check(connection, "example.org/log")
            except (sqlite3.Error, EvidenceFault) as fault:
                faults.append(fault)

        threads = [threading.Thread(target=open_first) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []


def test_a_full_disk_stops_the_log_and_loses_nothing(file, keys, tmp_path):
    with start(file, tmp_path / "keys", "a", 100_000, 600_000) as child:
        said = child.stdout.read().strip().split("\n")
    fault = said.pop()
    assert fault.startswith("fault The evidence store failed while writing")
    trio.run(settle, file, keys)

    assert report(file, keys).passed
    assert set(said) <= {name for name, kinds in exchanges(file).items() if kinds[-1] is LeafType.EXCHANGE_OUTCOME}


async def test_why_a_store_could_not_be_made_is_told_though_it_was_rolled_back_already(file, keys):
    def connect(engine):
        def hear(statement, run):
            if statement.startswith("INSERT INTO head"):
                connection.execute("ROLLBACK")  # As SQLite may do by itself (Response To Errors Within A Transaction).
                raise sqlite3.OperationalError("database or disk is full")
            return run()

        connection = engine.connect()
        return Heard(connection, hear)

    with pytest.raises(EvidenceFault, match="free space"):
        async with EvidenceLog.open(file, keys, now=now, connect=connect):
            pass

    await settle(file, keys)
    assert report(file, keys).passed


async def test_a_full_disk_is_told_and_a_probe_goes_on_when_there_is_room(file, keys):
    room = [200]

    def connect(engine):
        connection = engine.connect()
        connection.execute(f"PRAGMA max_page_count = {room[0]}")
        return connection

    async with EvidenceLog.open(file, keys, now=now, connect=connect) as log:
        session = await log.session("client", members={}, idle_s=60)
        with pytest.raises(EvidenceFault, match="free space"):
            await log.append(intent(session, "x1", {"request": b"x" * 2_000_000}))
        with pytest.raises(EvidenceFault, match="free space"):
            await log.append(intent(session, "x2"))
        room[0] = 100_000
        await log.probe()
        await log.append(intent(session, "x3", {"request": b"x" * 2_000_000}))
        await log.append(outcome(session, "x3"))

    assert report(file, keys).passed
    assert set(exchanges(file)) == {"x3"}


async def test_a_locked_store_refuses_in_bounded_time_and_recovers_by_probe(file, keys, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_MS", 150)
    async with EvidenceLog.open(file, keys, now=now) as log:
        session = await log.session("client", members={}, idle_s=60)
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with trio.fail_after(5), pytest.raises(EvidenceFault, match="holds the database locked"):
                await log.append(intent(session, "x1"))
            with trio.fail_after(5), pytest.raises(EvidenceFault, match="holds the database locked"):
                await log.probe()
        assert "locked" in log.fault
        with pytest.raises(EvidenceFault):
            await log.append(intent(session, "x1"))
        await log.probe()
        await log.append(intent(session, "x2"))
        await log.append(outcome(session, "x2"))

    assert report(file, keys).passed
    assert set(exchanges(file)) == {"x2"}


async def filled(store, keys, count=5):
    async with EvidenceLog.open(store, keys, now=now) as log:
        session = await log.session("client", members={}, idle_s=60)
        for _ in range(count):
            exchange = f"{session} {await log.transact(lambda transaction: transaction.size)}"
            await log.append(intent(session, exchange))
            await log.append(outcome(session, exchange))


async def test_a_flipped_byte_in_a_copy_is_found_and_named(file, keys, tmp_path):
    await filled(file, keys)
    with Reader.open(file) as reader:
        entry, sealed = reader.leaf(4).entry, reader.sealed(reader.leaf(7), 1)
    for name, target, check, at in (("leaf", entry, Check.LEAVES, 4), ("body", sealed, Check.BODIES, 7)):
        copy = tmp_path / f"{name}.db"
        data = bytearray(file.read_bytes())
        position = data.index(target) + len(target) // 2
        data[position] ^= 1
        copy.write_bytes(bytes(data))

        found = findings(report(copy, keys))
        assert check is found[0][0]
        assert {at} == {finding.leaf for _, finding in found}
    assert report(file, keys).passed


async def test_a_rolled_back_and_a_forked_copy_contradict_an_older_checkpoint(file, keys, tmp_path):
    await filled(file, keys)
    old = tmp_path / "old.db"
    shutil.copy(file, old)
    await filled(file, keys)
    with Reader.open(file) as reader:
        anchor = checkpoint.verify(reader.checkpoint()[1], [keys.signer.verifier])

    assert report(file, keys, anchor=anchor).passed
    assert [check for check, _ in findings(report(old, keys, anchor=anchor))] == [Check.ANCHOR]
    await filled(old, keys, 9)  # The fork grows past the size that was signed before.
    assert [check for check, _ in findings(report(old, keys, anchor=anchor))] == [Check.ANCHOR]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE head SET size = size - 1",
        "UPDATE head SET frontier = zeroblob(length(frontier))",
        "DELETE FROM leaf WHERE idx = (SELECT max(idx) FROM leaf)",
        "UPDATE checkpoint SET frontier = zeroblob(length(frontier))",
        "UPDATE checkpoint SET note = replace(note, 'example', 'elpmaxe')",
    ],
)
async def test_a_log_that_was_tampered_with_is_not_extended_nor_signed(store, keys, statement):
    await filled(store, keys)
    tamper(store, statement)
    with Reader.open(store) as reader:
        before = list(reader.checkpoints()), len(list(reader.entries()))

    with pytest.raises(EvidenceFault, match="altered or damaged"):
        await filled(store, keys)

    with Reader.open(store) as reader:
        assert before == (list(reader.checkpoints()), len(list(reader.entries())))


async def test_a_log_that_shrinks_while_in_use_stops(store, keys):
    async with EvidenceLog.open(store, keys, now=now) as log:
        await log.probe()
        tamper(store, "DELETE FROM leaf WHERE idx = 0", "UPDATE head SET size = 0, frontier = substr(frontier, 1, 0)")
        with pytest.raises(EvidenceFault, match="shrunk from 1 leaves to 0"):
            await log.probe()
        assert log.fault is not None


async def test_evidence_cannot_be_changed_by_mistake(store, keys):
    await filled(store, keys, 1)
    with edited(store) as connection:
        for table, column in (("leaf", "idx"), ("body", "place"), ("checkpoint", "size")):
            for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET {column} = {column} + 1"):
                with pytest.raises(engines.of(store).errors, match="append-only"):
                    connection.execute(statement)


async def test_no_file_of_the_store_holds_a_plaintext_value(file, keys, tmp_path):
    async with EvidenceLog.open(file, keys, now=now) as log:
        session = await log.session(SECRET, members={}, idle_s=60)
        await log.append(intent(session, "x1"))
        await log.append(outcome(session, "x1"))
        while_open = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    after = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())

    assert b"exchange.intent" in after
    for value in (b"Jane", b"900-45-6789"):
        assert value not in while_open
        assert value not in after


async def test_exchanges_of_a_writer_that_lives_are_left_alone(store, keys):
    async with EvidenceLog.open(store, keys, now=now) as one:
        await one.append(intent(None, "x1"))
        async with EvidenceLog.open(store, keys, now=now) as two:
            assert await two.recover() == 0
        await one.append(outcome(None, "x1"))

    assert LeafType.EXCHANGE_UNKNOWN not in types(store)
