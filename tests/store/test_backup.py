"""Backups made beside writers, and logs that go on from one."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
import threading
from contextlib import closing

import pytest
import trio

from gateway.core.commands import Settled
from gateway.core.errors import ConfigFault
from gateway.core.evidence.record import LeafType
from gateway.core.policy.approval import State
from gateway.core.types import Principal
from gateway.identity.login import SignedIn
from gateway.store import backup
from gateway.store import keys as keystore
from gateway.store.backup import Loss
from gateway.store.mail import Mail
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog
from gateway.web import login
from tests.fakes import house as houses
from tests.fakes.evidence import Clock, intent, make_keys, now, outcome, report


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "evidence.db"


async def fill(path, keys, first, last):
    async with EvidenceLog.open(path, keys, now=now) as log:
        session = await log.session("client", members={}, idle_s=60)
        for number in range(first, last):
            await log.append(intent(session, f"x{number}"))
            await log.append(outcome(session, f"x{number}"))


async def test_a_copy_made_while_another_writes_is_whole_and_as_of_one_moment(path, keys, tmp_path):
    async with EvidenceLog.open(path, keys, now=now) as log:
        session = await log.session("client", members={}, idle_s=60)
        copying, stop = trio.Event(), threading.Event()
        written = 0

        async def write():
            nonlocal written
            while not stop.is_set():
                await log.append(intent(session, f"x{written}", {"request": b"x" * 20_000}))
                await log.append(outcome(session, f"x{written}"))
                written += 1
                if written == 100:
                    copying.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await copying.wait()
            for number in range(5):
                await trio.to_thread.run_sync(backup.write, path, tmp_path / f"copy{number}.db")
            stop.set()

    sizes = [report(tmp_path / f"copy{number}.db", keys) for number in range(5)]
    assert all(each.passed for each in sizes), sizes
    assert [each.size for each in sizes] == sorted(each.size for each in sizes)
    assert 200 < sizes[0].size < 2 * written


async def test_a_copy_is_one_file_that_only_its_owner_can_read(path, keys, tmp_path):
    await fill(path, keys, 0, 3)
    place = tmp_path / "there"
    place.mkdir()

    backup.write(path, place / "copy.db")

    assert [each.name for each in place.iterdir()] == ["copy.db"]
    assert stat.S_IMODE((place / "copy.db").stat().st_mode) == 0o600
    with Reader.open(place / "copy.db") as reader:
        assert reader.size() == 7
    assert [each.name for each in place.iterdir()] == ["copy.db"]


async def test_nothing_is_ever_overwritten(path, keys, tmp_path):
    await fill(path, keys, 0, 1)
    copy = tmp_path / "copy.db"
    backup.write(path, copy)
    before = copy.read_bytes()

    with pytest.raises(ConfigFault, match="never overwritten"):
        backup.write(path, copy)
    with pytest.raises(ConfigFault, match="move aside everything that begins with"):
        backup.place(copy, path)
    path.unlink()
    path.with_name("evidence.db-wal").write_bytes(b"the last leaves")
    with pytest.raises(ConfigFault, match=r"evidence\.db-wal is there"):
        backup.place(copy, path)

    assert copy.read_bytes() == before


async def test_a_disk_without_links_takes_a_copy_and_overwrites_nothing_either(path, keys, tmp_path, monkeypatch):
    await fill(path, keys, 0, 1)
    copy = tmp_path / "copy.db"

    def no_links(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    backup.write(path, copy)

    assert report(copy, keys).passed
    with pytest.raises(ConfigFault, match="never overwritten"):
        backup.write(path, copy)


async def test_a_copy_that_cannot_be_finished_leaves_nothing_behind(path, keys, tmp_path):
    await fill(path, keys, 0, 1)
    place = tmp_path / "there"
    place.mkdir()

    def stop(_done, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backup.write(path, place / "copy.db", stop)

    assert list(place.iterdir()) == []
    with pytest.raises(ConfigFault, match="cannot be written: No such file"):
        backup.write(path, tmp_path / "nowhere" / "copy.db")


async def test_a_log_goes_on_from_a_backup_and_says_so(path, keys, tmp_path):
    await fill(path, keys, 0, 3)
    copy = tmp_path / "copy.db"
    backup.write(path, copy)
    await fill(path, keys, 3, 5)
    shutil.move(path, tmp_path / "lost.db")

    backup.place(copy, path)
    async with EvidenceLog.open(path, keys, now=now) as log:
        leaf, ended = await backup.go_on(log, Loss(7, 12), "ab" * 16, "the disk of 900-45-6789 died")
        session = await log.session("client", members={}, idle_s=60)
        await log.append(intent(session, "x9"))
        await log.append(outcome(session, "x9"))

    assert (leaf, ended) == (7, 0)
    with Reader.open(path, keys) as reader:
        said = reader.leaf(leaf)
        assert said.type is LeafType.EVIDENCE_RESTORED
        assert said.members == {"actor": "ab" * 16, "leaves": 7, "kept": 12, "lost": 5, "approvals": 0}
        assert reader.body(said, "reason") == b"the disk of 900-45-6789 died"
    assert report(path, keys).passed


async def test_what_was_open_in_a_backup_ends_as_unknown(path, keys, tmp_path):
    copy = tmp_path / "copy.db"
    async with EvidenceLog.open(path, keys, now=now) as log:
        session = await log.session("client", members={}, idle_s=60)
        await log.append(intent(session, "x1"))
        await trio.to_thread.run_sync(backup.write, path, copy)
        await log.append(outcome(session, "x1"))
    other = tmp_path / "elsewhere" / "evidence.db"
    other.parent.mkdir()

    backup.place(copy, other)
    async with EvidenceLog.open(other, keys, now=now) as log:
        await backup.go_on(log, Loss(2, None), "ab" * 16, "")

    with Reader.open(other) as reader:
        assert [leaf.type.value for leaf in reader.leaves()][-2:] == ["exchange.unknown", "evidence.restored"]
    assert report(other, keys).passed


async def test_a_grant_that_was_used_after_the_backup_cannot_be_used_again(tmp_path):
    clock = Clock()
    copy = tmp_path / "copy.db"
    async with houses.process(tmp_path, clock) as house:
        call = await house.call()
        granted = await house.granted(call)
        other = await house.hold(await house.call("SELECT 2"))
        await trio.to_thread.run_sync(backup.write, house.store, copy)
        assert await house.spend(call, granted)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "keys", elsewhere / "keys")

    backup.place(copy, elsewhere / "evidence.db")
    async with houses.process(elsewhere, clock) as house:
        _, ended = await backup.go_on(house.log, Loss(9, None), "ab" * 16, "")
        retried = await house.hold(await house.call())
        told = await house.approvals.look(granted.approval)
        rows = {each.id: each for each in await house.approvals.list()}

    assert ended == 2
    assert retried.state is Settled.PENDING
    assert retried.approval != granted.approval
    assert (told.state, told.detail) == (Settled.CANCELLED, {"why": "restored"})
    assert rows[granted.approval].state is rows[other.approval].state is State.CANCELLED
    assert report(elsewhere / "evidence.db", keystore.load(elsewhere / "keys")).passed


async def test_a_stolen_cookie_of_somebody_who_signed_out_after_the_backup_is_worth_nothing(path, keys, tmp_path):
    copy, elsewhere = tmp_path / "copy.db", tmp_path / "elsewhere"
    bob = SignedIn(Principal("https://idp.example", "bob"), now().timestamp() + 3600, now().timestamp())
    async with EvidenceLog.open(path, keys, now=now) as log:
        name = await login.enter(Mail(log), bob)
        await Mail(log).once("assertion")
        await trio.to_thread.run_sync(backup.write, path, copy)
        await login.leave(Mail(log), name)
    elsewhere.mkdir()

    backup.place(copy, elsewhere / "evidence.db")
    async with EvidenceLog.open(elsewhere / "evidence.db", keys, now=now) as log:
        assert (await login.entered(Mail(log), name, now()))[0] == bob.principal
        await backup.go_on(log, Loss(0, None), "ab" * 16, "")
        assert await login.entered(Mail(log), name, now()) is None
        assert not await Mail(log).once("assertion")  # What was used before stays used.


@pytest.mark.parametrize(("had", "kept", "lost"), [(8, 13, 5), (8, 8, 0), (8, 3, 0), (8, None, None)])
def test_the_loss_is_what_the_kept_checkpoint_proves(had, kept, lost):
    assert Loss(had, kept).leaves == lost


async def test_a_store_that_cannot_be_read_is_no_backup(tmp_path):
    broken = tmp_path / "evidence.db"
    with closing(sqlite3.connect(broken)) as connection:
        connection.execute("CREATE TABLE shopping (item)")

    with pytest.raises(Exception, match="not an evidence store of phigate"):
        backup.write(broken, tmp_path / "copy.db")

    assert not (tmp_path / "copy.db").exists()
