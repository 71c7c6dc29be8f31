"""Where the log ends between two checkpoints: the leaves tell it, to whoever comes next."""

import sqlite3
from contextlib import closing
from functools import partial

import pytest

from gateway.core.errors import EvidenceFault
from gateway.core.evidence import merkle
from gateway.core.evidence.record import LeafType, Record
from gateway.store import head
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import intent, make_keys, now, outcome, report, tamper

HEARTBEAT = Record(LeafType.HEARTBEAT, {})


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


@pytest.fixture(autouse=True)
def _unsigned(monkeypatch):
    monkeypatch.setattr("gateway.store.writer.CHECKPOINT_S", 3600.0)


async def test_between_checkpoints_the_head_is_that_of_the_leaves(store, keys):
    async with EvidenceLog.open(store, keys, now=now) as log:
        for _ in range(5):
            await log.append(HEARTBEAT)
            with Reader.open(store) as reader:
                hashes = [digest for _, _, digest in reader.entries()]
                assert reader.head() == (len(hashes), merkle.root(merkle.frontier_of(hashes)))


async def test_a_commit_to_a_file_changes_the_head_only_when_it_is_signed(file, keys):
    async with EvidenceLog.open(file, keys, now=now) as log:
        await log.probe()
        for _ in range(3):
            await log.append(HEARTBEAT)
        assert (await log.read(head.stored))[0] == 1
        assert (await log.read(head.newest))[0] == 4
        await log.probe()
        assert (await log.read(head.stored))[0] == 5


async def test_processes_go_on_from_what_the_others_wrote_since_the_checkpoint(store, keys):
    async with (
        EvidenceLog.open(store, keys, now=now) as one,
        EvidenceLog.open(store, keys, now=now) as two,
    ):
        session = await one.session("client", members={}, idle_s=60)
        for number in range(6):
            begins, ends = (one, two) if number % 2 else (two, one)
            await begins.append(intent(session, f"x{number}"))
            await begins.append(HEARTBEAT)
            await begins.append(outcome(session, f"x{number}"))
            await ends.append(HEARTBEAT)

    assert report(store, keys).passed


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE leaf SET entry = {zeros} WHERE idx = 1",
        "UPDATE leaf SET hash = {zeros} WHERE idx = 1",
        "UPDATE leaf SET hash = {zeros} WHERE idx = 2",
        "DELETE FROM leaf WHERE idx = 1",
    ],
)
async def test_what_was_altered_since_the_checkpoint_is_not_built_upon(file, keys, statement):
    async with EvidenceLog.open(file, keys, now=now) as other, EvidenceLog.open(file, keys, now=now) as log:
        await log.probe()
        await other.append(HEARTBEAT)
        await other.append(HEARTBEAT)
        tamper(file, statement.format(zeros="zeroblob(32)"))
        with pytest.raises(EvidenceFault, match="altered"):
            await log.append(HEARTBEAT)


async def test_a_leaf_that_this_process_wrote_and_is_not_that_any_more_is_noticed(file, keys):
    async with EvidenceLog.open(file, keys, now=now) as log:
        await log.probe()
        await log.append(HEARTBEAT)
        tamper(file, "UPDATE leaf SET hash = zeroblob(32) WHERE idx = 1")
        with pytest.raises(EvidenceFault, match="leaf 1 is not the one that was written"):
            await log.append(HEARTBEAT)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE leaf SET entry = {entry}, hash = {hash} WHERE idx = 1", "DELETE FROM leaf WHERE idx = 1"],
)
async def test_that_another_process_has_signed_what_was_altered_convinces_nobody_who_knows_better(
    file, keys, statement
):
    entry = b'{"another": "leaf"}'
    async with EvidenceLog.open(file, keys, now=now) as log, EvidenceLog.open(file, keys, now=now) as other:
        await log.probe()
        await log.append(HEARTBEAT)
        tamper(file, statement.format(entry=f"x'{entry.hex()}'", hash=f"x'{merkle.leaf_hash(entry).hex()}'"))
        await other.append(HEARTBEAT)
        await other.append(HEARTBEAT)
        await other.probe()
        for attempt in (partial(log.append, HEARTBEAT), log.probe, log.probe):
            with pytest.raises(EvidenceFault, match="leaf 1 is not the one that was written"):
                await attempt()


async def test_a_log_whose_last_leaves_were_cut_off_is_not_gone_on_with(file, keys):
    """The checkpoint is older than they are; what stands beside them still tells of them."""
    async with EvidenceLog.open(file, keys, now=now) as log:
        session = await log.session("client", members={}, idle_s=60)
        await log.probe()
        await log.append(intent(session, "x1"))
        copy = file.with_name("copy.db")
        with closing(sqlite3.connect(file)) as running, closing(sqlite3.connect(copy)) as made:
            running.backup(made)
    tamper(copy, "DELETE FROM leaf WHERE idx = (SELECT max(idx) FROM leaf)")
    with pytest.raises(EvidenceFault, match="the last leaves are missing"):
        async with EvidenceLog.open(copy, keys, now=now):
            pass
