"""Signed notes against published examples, and against everything that is almost a note."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.evidence import note
from gateway.core.evidence.note import Signer

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "signed_note.json").read_text())
SIGNER = Signer("example.org/log", b"\x07" * 32)
OTHER = Signer("example.org/other", b"\x08" * 32)
SIGNED = SIGNER.sign("first line\n\nsecond line\n")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["vkey"].split("+")[0])
def test_published_notes_verify(vector):
    verifier = note.parse_vkey(vector["vkey"])

    assert vector["text"] == note.open_note(vector["note"], [verifier]).text
    assert vector["vkey"] == verifier.vkey


@given(st.text(st.characters(min_codepoint=32, exclude_categories=("Cs",)), min_size=1))
def test_what_is_signed_is_read_back(line):
    text = f"{line}\n"

    assert text == note.open_note(SIGNER.sign(text), [SIGNER.verifier]).text


def test_text_with_blank_lines_in_it_is_split_at_the_last_one():
    assert note.open_note(SIGNED, [SIGNER.verifier]).text == "first line\n\nsecond line\n"


def test_an_altered_text_does_not_verify():
    with pytest.raises(ValueError, match="does not verify"):
        note.open_note(SIGNED.replace("first", "First"), [SIGNER.verifier])


def test_a_note_by_strangers_only_is_refused():
    with pytest.raises(ValueError, match="no signature by a known key"):
        note.open_note(SIGNED, [OTHER.verifier])


def test_a_signature_by_a_stranger_is_passed_over():
    line = OTHER.sign("first line\n\nsecond line\n").rsplit("\n\n", 1)[1]

    opened = note.open_note(SIGNED + line, [SIGNER.verifier])

    assert [signature.name for signature in opened.signatures] == ["example.org/log", "example.org/other"]


def test_a_known_key_under_another_name_is_a_stranger():
    with pytest.raises(ValueError, match="no signature by a known key"):
        note.open_note(SIGNED, [Signer("example.org/else", SIGNER.seed).verifier])


@pytest.mark.parametrize(
    "data",
    [
        "",
        "text\n",
        "text\n\n",
        "\n\n— a AAAAAAAA\n",
        SIGNED.rstrip("\n"),
        SIGNED + "\n",
        SIGNED + "trailing",
        SIGNED.replace("— ", "- "),
        SIGNED.replace("— example.org/log ", "— example.org/log  "),
        SIGNED.replace("— example.org/log", "— example+org/log"),
        SIGNED.replace("first", "fir\x00st"),
        SIGNED.replace("first", "fir\rst"),
        SIGNED.replace("=\n", "\n"),
        "text\n\n— a AAAA\n",
        "text\n\n" + "— a AAAAAAAA\n" * 101,
    ],
)
def test_what_is_almost_a_note_is_refused(data):
    with pytest.raises(ValueError):  # noqa: PT012  # Either reading or verifying may be the one to notice.
        note.parse(data)
        note.open_note(data, [SIGNER.verifier])


@pytest.mark.parametrize("text", ["no newline at the end", "tab\there\n", "\ud800\n", "bell\x07\n"])
def test_text_that_a_note_cannot_hold_is_not_signed(text):
    with pytest.raises(ValueError, match="note's text"):
        SIGNER.sign(text)


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        "name+00000000",
        SIGNER.verifier.vkey + "=",
        SIGNER.verifier.vkey.replace("example.org/log", "example.org/lob"),
        SIGNER.verifier.vkey.replace("+", "+0", 1),
        "a b+" + SIGNER.verifier.vkey.split("+", 1)[1],
        "name+c74f20a3+" + "AA==",
    ],
)
def test_a_mistyped_vkey_is_refused(vkey):
    with pytest.raises(ValueError):
        note.parse_vkey(vkey)


def test_a_private_key_is_never_shown():
    assert "07" not in repr(SIGNER)
    assert "\\x07" not in repr(SIGNER)
