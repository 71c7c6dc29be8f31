"""Checkpoints: exactly three lines, signed by the log whose origin they bear."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.evidence import checkpoint
from gateway.core.evidence.checkpoint import Checkpoint
from gateway.core.evidence.note import Signer

SIGNER = Signer("example.org/log", b"\x07" * 32)
SAMPLE = Checkpoint("example.org/log", 109482, b"\x01" * 32)


@given(st.integers(0, 2**62), st.binary(min_size=32, max_size=32))
def test_what_is_signed_is_read_back(size, root):
    made = Checkpoint(SIGNER.name, size, root)

    assert made == checkpoint.verify(checkpoint.sign(made, SIGNER), [SIGNER.verifier])


def test_the_example_of_the_specification_is_read():
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"

    found = checkpoint.parse(text)

    assert (found.origin, found.size) == ("example.com/behind-the-sofa", 20852163)
    assert text == checkpoint.format(found)


@pytest.mark.parametrize(
    "change",
    [
        ("109482", "0109482"),
        ("109482", "+109482"),
        ("109482", "109482 "),
        ("109482", "1e5"),
        ("109482", "٣"),
        ("example.org/log", ""),
        ("example.org/log", "two words"),
        ("=\n", "=\nextension\n"),
        ("=\n", "=\n\n"),
        ("=\n", "\n"),
        ("AQEB", "AQE"),
        ("=\n", "="),
    ],
)
def test_what_is_almost_a_checkpoint_is_refused(change):
    text = checkpoint.format(SAMPLE)
    altered = text.replace(*change, 1)

    assert altered != text
    with pytest.raises(ValueError):
        checkpoint.parse(altered)


def test_a_checkpoint_of_another_log_by_our_own_key_is_refused():
    foreign = SIGNER.sign(checkpoint.format(Checkpoint("example.org/other", 1, b"\x01" * 32)))

    with pytest.raises(ValueError, match="another log"):
        checkpoint.verify(foreign, [SIGNER.verifier])


def test_a_log_signs_for_itself_only():
    with pytest.raises(ValueError, match="own log"):
        checkpoint.sign(Checkpoint("example.org/other", 1, b"\x01" * 32), SIGNER)
