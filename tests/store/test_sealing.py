"""Sealed bodies: they open where they were sealed and nowhere else, under the key that the leaf commits to."""

from contextlib import closing
from dataclasses import replace

import pytest

from gateway.core.errors import EvidenceFault
from gateway.core.evidence import verify
from gateway.store import keys as keystore
from gateway.store import sqlite
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import SECRET, intent, make_keys, now, outcome, tamper


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


@pytest.fixture
async def path(tmp_path, keys):
    path = tmp_path / "evidence.db"
    async with EvidenceLog.open(path, keys, now=now) as log:
        for name in ("a", "b"):
            session = await log.session(name, members={}, idle_s=60)
            await log.append(intent(session, name))
            await log.append(outcome(session, name))
    return path


def opened(path, keys, index, name):
    with Reader.open(path, keys) as reader:
        return reader.body(reader.leaf(index), name)


async def test_a_body_opens_to_what_was_sealed(path, keys):
    assert opened(path, keys, 1, "request").decode() == f"{SECRET} asked"


async def test_a_body_does_not_open_without_keys(path):
    with pytest.raises(EvidenceFault, match="sealed"):
        opened(path, None, 1, "request")


async def test_a_body_that_is_not_there_is_told(path, keys):
    with pytest.raises(EvidenceFault, match="no body `response`"):
        opened(path, keys, 1, "response")
    tamper(path, "DELETE FROM body WHERE place = 16")
    with pytest.raises(EvidenceFault, match="missing"):
        opened(path, keys, 1, "request")


@pytest.mark.parametrize(("at", "name"), [(17, "name in the same leaf"), (32, "next leaf"), (64, "other session")])
async def test_a_ciphertext_pasted_elsewhere_is_noticed(path, keys, at, name):
    tamper(path, f"UPDATE body SET data = (SELECT data FROM body WHERE place = {at}) WHERE place = 16")

    with pytest.raises(EvidenceFault, match="altered"):
        opened(path, keys, 1, "request")


async def test_a_ciphertext_is_bound_to_its_leaf_even_if_the_digest_is_forged(path, keys):
    with Reader.open(path, keys) as reader:
        one, two = reader.leaf(1), reader.leaf(2)
        moved = reader.sealed(two, 0)
        ref = two.bodies[0]
        with closing(sqlite.read_only(path)) as connection, pytest.raises(EvidenceFault, match="does not open"):
            reader._sealer.unseal(connection, one, ref, moved)


async def test_a_key_that_the_leaf_does_not_commit_to_opens_nothing(path, keys):
    with Reader.open(path, keys) as reader:
        leaf = reader.leaf(1)
        other = reader.leaf(4).bodies[0].dek
        data, forged = reader.sealed(leaf, 0), replace(leaf.bodies[0], dek=other)
        with closing(sqlite.read_only(path)) as connection, pytest.raises(EvidenceFault, match="another key"):
            reader._sealer.unseal(connection, leaf, forged, data)


async def test_two_seals_of_one_text_have_nothing_in_common(path):
    with Reader.open(path) as reader:
        sealed = {reader.sealed(reader.leaf(index), 0) for index in (1, 2, 4, 5)}

    assert len({data[:12] for data in sealed}) == len({data[12:] for data in sealed}) == 4


async def test_a_shredded_month_leaves_every_proof_valid(path, keys, tmp_path):
    for file in (tmp_path / "keys").glob("kek-*.key"):
        file.unlink()
    with Reader.open(path, keystore.load(tmp_path / "keys")) as reader:
        assert verify.verify(reader, [keys.signer.verifier]).passed
        with pytest.raises(EvidenceFault, match="unreadable, intact"):
            reader.body(reader.leaf(1), "request")
