"""Sealed tokens: what comes back is what was handed out, or nothing."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.protocol import token

KEY = bytes(range(32))
NONCE = bytes(12)
DOCUMENT = {"s": "session", "n": 1, "g": None}


def sealed(**changed):
    return token.seal(DOCUMENT, **({"key": KEY, "nonce": NONCE, "purpose": "session", "expires": 1000} | changed))


def unseal(text, **changed):
    return token.unseal(text, **({"key": KEY, "purpose": "session", "now": 999} | changed))


@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.integers(0, 99)),
    st.binary(min_size=12, max_size=12),
)
def test_unseal_undoes_seal_and_the_text_is_fit_for_a_header_a_url_and_a_cookie(document, nonce):
    text = token.seal(document, key=KEY, nonce=nonce, purpose="session", expires=1000)

    assert unseal(text) == document
    assert text.replace("-", "").replace("_", "").isalnum()
    assert text.isascii()


def test_a_token_for_one_purpose_is_none_for_another():
    assert unseal(sealed(), purpose="cookie") is None


def test_a_token_expires_at_its_time():
    assert unseal(sealed(), now=1000) is None
    assert unseal(sealed(), now=999) == DOCUMENT


def test_a_token_of_another_key_is_none():
    assert unseal(sealed(key=bytes(32))) is None


@given(st.integers(0), st.integers(1, 255))
def test_a_token_with_any_byte_flipped_is_none(at, flip):
    raw = bytearray(sealed().encode())
    raw[at % len(raw)] ^= flip

    assert unseal(raw.decode("latin-1")) is None


@given(st.text(max_size=80))
def test_no_other_text_is_a_token(text):
    assert unseal(text) is None


@pytest.mark.parametrize(("before", "after"), [("", "="), ("", "A"), (" ", ""), ("", "\n"), ("", "\0")])
def test_one_token_has_one_text(before, after):
    assert unseal(before + sealed() + after) is None
    assert unseal(sealed()[:-1]) is None


def test_the_document_cannot_be_read_without_the_key():
    text = sealed()

    assert b"session" not in base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize("wrong", [{"key": bytes(16)}, {"nonce": bytes(8)}])
def test_a_key_or_nonce_of_another_length_is_our_own_mistake(wrong):
    with pytest.raises(ValueError, match="32 bytes"):
        sealed(**wrong)
