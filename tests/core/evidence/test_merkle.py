"""The tree against published roots and proofs, and against its definition for every small size."""

import base64
import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.evidence import merkle

VECTORS = Path(__file__).parents[2] / "vectors"
ROOTS = json.loads((VECTORS / "rfc6962_roots.json").read_text())
PROOFS = json.loads((VECTORS / "rfc6962_proofs.json").read_text())
LEAVES = [merkle.leaf_hash(bytes([number])) for number in range(40)]


def defined_root(leaves):
    """RFC 6962 §2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return merkle.node_hash(defined_root(leaves[:split]), defined_root(leaves[split:]))


def decoded(vector):
    return [base64.b64decode(item) for item in vector["proof"] or []]


@pytest.mark.parametrize("size", range(9))
def test_published_roots_are_met(size):
    leaves = [merkle.leaf_hash(bytes.fromhex(entry)) for entry in ROOTS["entries"][:size]]

    assert ROOTS["roots"][size] == merkle.root(merkle.frontier_of(leaves)).hex()


@pytest.mark.parametrize("vector", PROOFS["inclusion"], ids=lambda vector: vector["name"])
def test_published_inclusion_proofs_are_judged_as_published(vector):
    leaf, root = base64.b64decode(vector["leafHash"]), base64.b64decode(vector["root"])

    judged = merkle.verify_inclusion(leaf, vector["leafIdx"], vector["treeSize"], decoded(vector), root)

    assert judged is not vector["wantErr"]


@pytest.mark.parametrize("vector", PROOFS["consistency"], ids=lambda vector: vector["name"])
def test_published_consistency_proofs_are_judged_as_published_or_more_strictly(vector):
    old, new = base64.b64decode(vector["root1"]), base64.b64decode(vector["root2"])

    judged = merkle.verify_consistency(vector["size1"], vector["size2"], old, new, decoded(vector))

    # One vector has roots of 12 bytes on purpose; nothing of ours has a root that is not SHA-256.
    dummy = len(old) != merkle.HASH_SIZE
    assert judged is (not vector["wantErr"] and not dummy)


@pytest.mark.parametrize("size", range(40))
def test_a_grown_frontier_has_the_root_that_the_definition_gives(size):
    frontier = merkle.frontier_of(LEAVES[:size])

    assert defined_root(LEAVES[:size]) == merkle.root(frontier)
    assert frontier == merkle.unpack(size, merkle.pack(frontier))


@pytest.mark.parametrize("size", [0, 1, 7, 8])
def test_a_frontier_of_another_size_is_refused(size):
    packed = merkle.pack(merkle.frontier_of(LEAVES[:size]))

    with pytest.raises(ValueError, match="frontier"):
        merkle.unpack(size + 1 if size % 2 == 0 else size - 1, packed)


@given(st.integers(1, 40), st.data())
def test_every_leaf_can_be_proven_and_nowhere_else(size, data):
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size))
    leaves = LEAVES[:size]
    proof, root = merkle.inclusion(leaves, index), merkle.root(merkle.frontier_of(leaves))

    assert merkle.verify_inclusion(leaves[index], index, size, proof, root)
    assert merkle.verify_inclusion(leaves[index], other, size, proof, root) is (other == index)


@given(st.integers(1, 40), st.data())
def test_every_prefix_can_be_proven(size, data):
    old = data.draw(st.integers(1, size))
    old_root = merkle.root(merkle.frontier_of(LEAVES[:old]))
    root = merkle.root(merkle.frontier_of(LEAVES[:size]))
    proof = merkle.consistency(LEAVES[:size], old)

    assert merkle.verify_consistency(old, size, old_root, root, proof)
    assert not merkle.verify_consistency(old, size, root, old_root, proof) or old == size


@given(st.integers(2, 40), st.data())
def test_a_flipped_bit_anywhere_in_a_proof_is_noticed(size, data):
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size - 1))
    leaves = LEAVES[:size]
    root, old_root = merkle.root(merkle.frontier_of(leaves)), merkle.root(merkle.frontier_of(leaves[:old]))

    included = flipped(merkle.inclusion(leaves, index), data)
    consistent = flipped(merkle.consistency(leaves, old), data)

    assert not merkle.verify_inclusion(leaves[index], index, size, included, root)
    assert not merkle.verify_consistency(old, size, old_root, root, consistent)


def flipped(proof, data):
    where = data.draw(st.integers(0, len(proof) * 256 - 1))
    item, bit = divmod(where, 256)
    value = int.from_bytes(proof[item], "big") ^ (1 << bit)
    return (*proof[:item], value.to_bytes(32, "big"), *proof[item + 1 :])


def test_an_empty_older_tree_proves_nothing():
    assert not merkle.verify_consistency(0, 1, merkle.EMPTY_ROOT, LEAVES[0], ())


@pytest.mark.parametrize("short", [b"", b"\x00" * 31, b"\x00" * 33])
def test_hashes_of_any_other_length_are_refused(short):
    assert not merkle.verify_inclusion(short, 0, 1, (), short)
    assert not merkle.verify_consistency(1, 1, short, short, ())


def test_proofs_of_what_is_not_there_are_not_made():
    with pytest.raises(ValueError, match="no leaf"):
        merkle.inclusion(LEAVES[:3], 3)
    with pytest.raises(ValueError, match="older tree"):
        merkle.consistency(LEAVES[:3], 0)
