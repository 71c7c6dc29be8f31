"""Messages and notes between the processes that serve from one store."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
import trio

from gateway.core.errors import EvidenceFault
from gateway.store.mail import KEPT_S, NOTED_S, Mail
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import edited, make_keys, now, report, store_in

PHI = "Ada Quill, 1961-02-03"

pytestmark = pytest.mark.usefixtures("store")


class Clock:
    """The store's clock, which a test can move."""

    def __init__(self):
        self.ahead = timedelta()

    def __call__(self):
        return now() + self.ahead


class Box:
    """What was heard in one box."""

    def __init__(self):
        self.heard = []
        self.news = trio.Event()

    def __call__(self, message):
        self.heard.append(message)
        self.news.set()

    async def until(self, count):
        with trio.fail_after(10):
            while len(self.heard) < count:
                await self.news.wait()
                self.news = trio.Event()
        return self.heard


@asynccontextmanager
async def processes(tmp_path, count=2, clock=now):
    """The mail of that many processes, all of which look for messages."""
    keys = make_keys(tmp_path)
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        mails = []
        for _ in range(count):
            log = await stack.enter_async_context(EvidenceLog.open(store_in(tmp_path), keys, now=clock))
            mails.append(Mail(log))
            await mails[-1].look()  # From here on it has seen what was before.
            nursery.start_soon(mails[-1].run)
        yield mails
        nursery.cancel_scope.cancel()


async def test_a_message_comes_to_the_box_it_was_put_in_and_in_order(tmp_path):
    async with processes(tmp_path, 3) as (one, two, three):
        mine, other = Box(), Box()
        with two.listen("a", mine), three.listen("b", other):
            await one.send("a", {"n": 1})
            await one.send("b", {"n": 2})
            await three.send("a", {"n": 3})
            assert await mine.until(2) == [{"n": 1}, {"n": 3}]
            assert await other.until(1) == [{"n": 2}]


async def test_everybody_who_listens_hears_a_message_but_not_who_sent_it(tmp_path):
    async with processes(tmp_path, 3) as (one, two, three):
        boxes = Box(), Box(), Box()
        with one.listen("all", boxes[0]), two.listen("all", boxes[1]), three.listen("all", boxes[2]):
            await one.send("all", {"n": 1})
            await two.send("all", {"n": 2})
            assert await boxes[2].until(2) == [{"n": 1}, {"n": 2}]
            assert await boxes[0].until(1) == [{"n": 2}]
            assert await boxes[1].until(1) == [{"n": 1}]


async def test_many_messages_at_once_all_arrive_once(tmp_path):
    async with processes(tmp_path) as (one, two):
        box = Box()
        with two.listen("a", box):
            async with trio.open_nursery() as nursery:
                for number in range(600):
                    nursery.start_soon(one.send, "a", {"n": number})
            heard = await box.until(600)
    assert sorted(message["n"] for message in heard) == list(range(600))


async def test_what_was_said_before_a_process_began_is_not_for_it(tmp_path):
    async with processes(tmp_path, 1) as (one,):
        await one.send("a", {"n": 1})
        late, box = Mail(one._log), Box()
        with late.listen("a", box):
            await late.look()
            await one.send("a", {"n": 2})
            await late.look()
            assert box.heard == [{"n": 2}]


async def test_nothing_is_heard_any_more_when_nobody_listens(tmp_path):
    async with processes(tmp_path) as (one, two):
        box, after = Box(), Box()
        with two.listen("a", box):
            pass
        with two.listen("b", after):
            await one.send("a", {})
            await one.send("b", {})
            await after.until(1)
    assert box.heard == []


async def test_a_note_is_the_same_for_all_and_changes_do_not_undo_each_other(tmp_path):
    async with processes(tmp_path) as (one, two):

        async def add(mail, name):
            await mail.change("s", lambda note: {**note, name: True})

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(add, (one, two)[number % 2], str(number))
        assert await one.note("s") == await two.note("s") == {str(number): True for number in range(20)}
        await one.change("s", lambda _: {})
        assert await two.note("s") == {}


async def test_rows_are_sealed_swept_and_no_evidence(tmp_path):
    clock = Clock()
    async with processes(tmp_path, clock=clock) as (one, _):
        await one.send("a", {"name": PHI})
        await one.change(f"task {PHI} at clinic", lambda _: {"name": PHI})
        await one.sweep()
        assert rows(tmp_path) == (1, 1)
        assert PHI.encode() not in stored(tmp_path)
        clock.ahead = timedelta(seconds=KEPT_S + 2)
        await one.sweep()
        assert rows(tmp_path) == (0, 1)
        clock.ahead = timedelta(seconds=NOTED_S + 2)
        await one.sweep()
        assert rows(tmp_path) == (0, 0)


def stored(tmp_path):
    with edited(store_in(tmp_path)) as store:
        tables = [store.execute(f"SELECT * FROM {table}").fetchall() for table in ("mail", "note")]
    return repr(tables).encode() + b"".join(
        file.read_bytes() for file in tmp_path.glob("evidence.db*") if file.is_file()
    )


def rows(tmp_path):
    with edited(store_in(tmp_path)) as store:
        return tuple(store.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("mail", "note"))


@pytest.mark.parametrize("change", ["data = substr(data, 5)", "box = 'b'", "data = ''"])
async def test_attack_a_row_that_was_edited_or_moved_to_another_box_is_not_believed(tmp_path, change):
    async with processes(tmp_path, 1) as (one,):
        other, box = Mail(one._log), Box()
        await other.look()
        await one.send("a", {"n": 1})
        with edited(store_in(tmp_path)) as store:
            store.execute(f"UPDATE mail SET {change}")
        with other.listen("a", box), other.listen("b", box):
            await other.look()
        assert box.heard == []


async def test_a_message_that_may_not_have_got_there_is_told_and_looking_goes_on_when_the_store_heals(tmp_path):
    async with processes(tmp_path) as (one, two):
        box = Box()
        with two.listen("a", box):
            for mail in (one, two):
                mail._log._writer.failed = "the disk is full"
            with pytest.raises(EvidenceFault):
                await one.send("a", {"n": 1})
            for mail in (one, two):
                await mail._log.probe()
            await one.send("a", {"n": 2})
            assert await box.until(1) == [{"n": 2}]


async def test_evidence_verifies_with_mail_in_the_store(tmp_path):
    keys = make_keys(tmp_path)
    async with EvidenceLog.open(store_in(tmp_path), keys, now=now) as log:
        await Mail(log).send("a", {"n": 1})
    assert report(store_in(tmp_path), keys).passed


async def test_what_may_be_used_once_is_used_once_by_all_processes_together(tmp_path):
    async with processes(tmp_path, count=2) as (one, other):
        found: list[bool] = []

        async def use(mail):
            found.append(await mail.once("assertion-1"))

        async with trio.open_nursery() as nursery:
            for mail in (one, other) * 8:
                nursery.start_soon(use, mail)
        assert sorted(found) == [False] * 15 + [True]
        assert await other.once("assertion-2")


async def test_replay_after_a_stolen_session_key_was_replaced_what_was_used_stays_used(tmp_path):
    async with processes(tmp_path, count=1) as (mail,):
        assert await mail.once("assertion")
        keys = replace(mail._log.keys, session_seal=b"n" * 32)
    async with EvidenceLog.open(store_in(tmp_path), keys, now=now) as log:
        assert not await Mail(log).once("assertion")


async def test_what_was_used_is_remembered_for_days_and_then_forgotten(tmp_path):
    clock = Clock()
    async with processes(tmp_path, count=1, clock=clock) as (mail,):
        assert await mail.once("assertion")
        clock.ahead = timedelta(seconds=NOTED_S - 60)
        await mail.sweep()
        assert not await mail.once("assertion")
        clock.ahead += timedelta(seconds=NOTED_S + 60)
        await mail.sweep()
        assert await mail.once("assertion")
