"""The C2SP tlog-proof file: what is written is read, what is almost one is refused, what it shows is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.evidence import checkpoint, merkle, proof
from gateway.core.evidence.checkpoint import Checkpoint
from gateway.core.evidence.note import Signer
from gateway.core.evidence.proof import Proof

SIGNER = Signer("example.org/log", b"\x07" * 32)
ENTRIES = [f"entry {number}".encode() for number in range(11)]
HASHES = [merkle.leaf_hash(entry) for entry in ENTRIES]
SIGNED = checkpoint.sign(Checkpoint(SIGNER.name, 11, merkle.root(merkle.frontier_of(HASHES))), SIGNER)
SAMPLE = Proof(4, merkle.inclusion(HASHES, 4), SIGNED)
TEXT = proof.format(SAMPLE)


@given(st.integers(0, 10), st.binary(max_size=20))
def test_every_leaf_is_shown_to_be_in_the_log(index, extra):
    made = Proof(index, merkle.inclusion(HASHES, index), SIGNED, extra)

    assert made == proof.parse(proof.format(made))
    assert proof.verify(made, ENTRIES[index], [SIGNER.verifier]).size == 11


def test_the_file_has_the_lines_that_the_specification_says():
    lines = TEXT.split("\n")

    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 4"]
    assert lines[2 + len(SAMPLE.path) :] == ["", *SIGNED.split("\n")]


def test_another_entry_is_not_shown_to_be_there():
    with pytest.raises(ValueError, match="not at index 4"):
        proof.verify(SAMPLE, ENTRIES[5], [SIGNER.verifier])


def test_a_checkpoint_by_a_stranger_shows_nothing():
    with pytest.raises(ValueError, match="known key"):
        proof.verify(SAMPLE, ENTRIES[4], [Signer("example.org/log", b"\x08" * 32).verifier])


@pytest.mark.parametrize(
    "change",
    [
        ("@v1", "@v2"),
        ("index 4", "index 04"),
        ("index 4", "index -4"),
        ("index 4", "position 4"),
        ("index 4\n", ""),
        ("index 4", "extra !\nindex 4"),
        ("=\n", "\n"),
        ("index 4\n", "index 4\nAAAA\n"),
        ("index 4\n", "index 4\n" + "A" * 43 + "=\n" * 1 + ("A" * 43 + "=\n") * 63),
        ("\n\n", "\n"),
    ],
)
def test_what_is_almost_a_proof_is_refused(change):
    altered = TEXT.replace(*change, 1)

    assert altered != TEXT
    with pytest.raises(ValueError):
        proof.parse(altered)
