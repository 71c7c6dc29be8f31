"""Sealed bodies: they open where they were sealed and nowhere else, under the key that the leaf commits to."""

from contextlib import closing

import pytest

from gateway.core.errors import EvidenceFault
from gateway.core.evidence import verify
from gateway.store import engines
from gateway.store import keys as keystore
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import SECRET, intent, make_keys, now, outcome, tamper


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


@pytest.fixture
async def filled(store, keys):
    async with EvidenceLog.open(store, keys, now=now) as log:
        for name in ("a", "b"):
            session = await log.session(name, members={}, idle_s=60)
            await log.append(intent(session, name))
            await log.append(outcome(session, name))
    return store


def opened(store, keys, index, name):
    with Reader.open(store, keys) as reader:
        return reader.body(reader.leaf(index), name)


async def test_a_body_opens_to_what_was_sealed(filled, keys):
    assert opened(filled, keys, 1, "request").decode() == f"{SECRET} asked"


async def test_a_body_does_not_open_without_keys(filled):
    with pytest.raises(EvidenceFault, match="sealed"):
        opened(filled, None, 1, "request")


async def test_a_body_that_is_not_there_is_told(filled, keys):
    with pytest.raises(EvidenceFault, match="no body `response`"):
        opened(filled, keys, 1, "response")
    tamper(filled, "DELETE FROM body WHERE place = 16")
    with pytest.raises(EvidenceFault, match="missing"):
        opened(filled, keys, 1, "request")


@pytest.mark.parametrize(("at", "name"), [(17, "name in the same leaf"), (32, "next leaf"), (64, "other session")])
async def test_a_ciphertext_pasted_elsewhere_is_noticed(filled, keys, at, name):
    tamper(filled, f"UPDATE body SET data = (SELECT data FROM body WHERE place = {at}) WHERE place = 16")

    with pytest.raises(EvidenceFault, match="altered"):
        opened(filled, keys, 1, "request")


async def test_a_ciphertext_is_bound_to_its_leaf_even_if_the_digest_is_forged(filled, keys):
    with Reader.open(filled, keys) as reader:
        one, two = reader.leaf(1), reader.leaf(2)
        moved = reader.sealed(two, 0)
        ref = two.bodies[0]
        with closing(engines.of(filled).read_only()) as connection, pytest.raises(EvidenceFault, match="does not open"):
            reader._sealer.unseal(connection, one, ref, moved)


async def test_a_key_that_the_leaf_does_not_commit_to_opens_nothing(filled, keys):
    with Reader.open(filled, keys) as reader:
        leaf = reader.leaf(1)
        other = reader.leaf(4).bodies[0].dek
        data, forged = reader.sealed(leaf, 0), leaf.bodies[0]._replace(dek=other)
        with closing(engines.of(filled).read_only()) as connection, pytest.raises(EvidenceFault, match="another key"):
            reader._sealer.unseal(connection, leaf, forged, data)


async def test_two_seals_of_one_text_have_nothing_in_common(filled):
    with Reader.open(filled) as reader:
        sealed = {reader.sealed(reader.leaf(index), 0) for index in (1, 2, 4, 5)}

    assert len({data[:12] for data in sealed}) == len({data[12:] for data in sealed}) == 4


async def test_a_shredded_month_leaves_every_proof_valid(filled, keys, tmp_path):
    for file in (tmp_path / "keys").glob("kek-*.key"):
        file.unlink()
    with Reader.open(filled, keystore.load(tmp_path / "keys")) as reader:
        assert verify.verify(reader, [keys.signer.verifier]).passed
        with pytest.raises(EvidenceFault, match="unreadable, intact"):
            reader.body(reader.leaf(1), "request")
