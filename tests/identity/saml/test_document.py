"""Reading SAML XML: whatever is sent, the answer is a message or one of our words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import Unauthenticated
from gateway.identity.saml import document, rules
from gateway.identity.saml.reasons import Reason, refused
from tests.identity.saml.parts import CONSUMER, US, idp
from tests.saml_idp import assertion, response

NOW = 1_800_000_000.0
WORDS = {reason.value for reason in Reason}
GOOD = response(assertion(NOW, recipient=CONSUMER, audience=US, request="_1"), destination=CONSUMER, request="_1")
PARTS = GOOD.replace("SIGNATURE", "").replace("RESPONSE", "").replace("<", "\0<").replace(">", ">\0").split("\0")


def outcome(data):
    """How far something comes, short of its signature: a principal, or one of our words."""
    try:
        message = document.response(document.read(data))
        expected = rules.Expected(US, CONSUMER, lambda found: None, 30, NOW)
        return rules.verify(message.assertion, idp("https://idp.example"), expected).principal.subject
    except Unauthenticated as refusal:
        return refusal.reason


def test_what_is_changed_below_is_good_to_begin_with():
    assert outcome("".join(PARTS).encode()) == "alice"


@given(st.binary(max_size=300))
def test_no_bytes_cause_anything_but_a_word(data):
    assert outcome(data) in WORDS


@given(st.data())
def test_no_document_that_is_nearly_one_causes_anything_but_a_word(data):
    parts = list(PARTS)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(parts) - 1))
        change = data.draw(st.sampled_from(["drop", "twice", "swap", "text"]))
        if change == "drop":
            parts[at] = ""
        elif change == "twice":
            parts[at] *= 2
        elif change == "swap":
            other = data.draw(st.integers(0, len(parts) - 1))
            parts[at], parts[other] = parts[other], parts[at]
        else:
            parts[at] = data.draw(st.text(max_size=20))
    found = outcome("".join(parts).encode("utf-8", "surrogatepass"))
    assert found in WORDS or "".join(found.split()) in "".join(parts)


@given(st.text(max_size=400))
def test_no_text_causes_anything_but_a_word_when_it_is_decoded(text):
    try:
        document.decode(text)
        word = Reason.MALFORMED.value
    except Unauthenticated as refusal:
        word = refusal.reason
    assert word in WORDS


def test_every_reason_has_its_sentence_and_tells_what_to_do():
    for reason in Reason:
        assert len(refused(reason).detail) > 20
        assert refused(reason).reason == reason.value


@pytest.mark.parametrize("name", ["Assertion", "EncryptedAssertion", "Response"])
def test_a_second_one_anywhere_in_any_namespace_is_one_too_many(name):
    text = "".join(PARTS).replace("<samlp:Status>", f'<x:{name} xmlns:x="urn:other"/><samlp:Status>')

    assert outcome(text.encode()) == Reason.NOT_ONE_ASSERTION.value
