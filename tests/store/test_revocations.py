"""Revocations in the log: what is in force, for every process, and what cannot be read stops."""

import pytest

from gateway.core.errors import EvidenceFault
from gateway.core.evidence.record import LeafType, Record
from gateway.core.revocation import Kind, Revocation
from gateway.store import revocations
from gateway.store.revocations import Revocations
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import make_keys, now, report

BOB = Revocation(Kind.SUBJECT, "https://idp.example", "ab" * 16, "2026-11-22T17:30:00.000000Z")
LEAKED = Revocation(Kind.TOKEN, "https://idp.example", "cd" * 16, "2026-11-22T17:30:00.000000Z")


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


async def test_what_one_process_revokes_another_sees_at_its_next_look(store, keys):
    told = []
    async with EvidenceLog.open(store, keys, now=now) as log, EvidenceLog.open(store, keys, now=now) as other:
        serving = Revocations(other, told.append)
        await serving.look()
        leaf = await log.transact(lambda transaction: revocations.revoke(transaction, BOB, "me", {"reason": b"left"}))
        await serving.look()
        await log.transact(lambda transaction: revocations.revoke(transaction, LEAKED, "me", {}))
        await serving.look()
        await serving.look()
        known = await log.read(revocations.in_force)
        await log.transact(lambda transaction: revocations.restore(transaction, known[0], "me", {}))
        await serving.look()

    assert told == [(BOB,), (BOB, LEAKED), (LEAKED,)]
    assert (known[0].leaf, known[0].by) == (leaf, "me")
    assert report(store, keys).passed


async def test_nothing_revoked_is_nothing_to_tell(store, keys):
    told = []
    async with EvidenceLog.open(store, keys, now=now) as log:
        serving = Revocations(log, told.append)
        await serving.look()
    assert (told, serving.fault) == ([], None)


async def test_what_was_revoked_before_is_in_force_from_the_first_look(store, keys):
    told = []
    async with EvidenceLog.open(store, keys, now=now) as log:
        await log.transact(lambda transaction: revocations.revoke(transaction, BOB, "me", {}))
    async with EvidenceLog.open(store, keys, now=now) as log:
        await Revocations(log, told.append).look()
    assert told == [(BOB,)]


async def test_a_revocation_that_cannot_be_read_is_a_fault_and_not_passed_over(store, keys):
    async with EvidenceLog.open(store, keys, now=now) as log:
        await log.append(Record(LeafType.TOKEN_REVOKED, {**BOB.members(), "kind": "planet"}))
        serving = Revocations(log, lambda known: None)
        with pytest.raises(EvidenceFault, match="cannot read"):
            await serving.look()
        assert "cannot read" in (serving.fault or "")


async def test_a_restoration_of_nothing_restores_nothing(store, keys):
    async with EvidenceLog.open(store, keys, now=now) as log:
        await log.transact(lambda transaction: revocations.revoke(transaction, BOB, "me", {}))
        for odd in (99, "0", None):
            await log.append(Record(LeafType.TOKEN_RESTORED, {"leaf": odd}))
        assert [each.revocation for each in await log.read(revocations.in_force)] == [BOB]
