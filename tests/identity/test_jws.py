"""The reader of tokens, fed with anything: it ends in a token or in a refusal, and says nothing of what it read."""

from __future__ import annotations

import json
import logging
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import Unauthenticated
from gateway.identity import jws, keys, tokens
from gateway.identity.reasons import Reason
from tests.identity.minting import CONFIG, NOW, RESOURCE, b64, claims, mint, sign, signing_key

KEY = signing_key("EdDSA")
GOOD = mint(KEY, claims(jti="synthetic"))
PUBLISHED = keys.decode({"keys": [KEY.jwk()]}).keys[0]
SECRET = "synthetic-marker-of-a-token"
WORDS = {reason.value for reason in Reason}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(SECRET),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
HEADER = ["alg", "kid", "typ", "crit", "b64", "jku", "jwk", "x5c", "cty", "zip", "enc"]
CLAIMS = [
    *(
        "iss",
        "aud",
        "sub",
        "exp",
        "nbf",
        "iat",
        "jti",
        "uti",
        "oid",
        "act",
        "amr",
        "acr",
        "groups",
        "scope",
        "scp",
        "typ",
    ),
    *("azp", "cnf", "nonce", "hasgroups", "_claim_names", "_claim_sources", "client_id"),
]


def outcome(sent: str) -> tokens.Verified | str:
    """What comes of a header: a principal, or the word of the refusal, which tells nothing else."""
    try:
        token = tokens.read(sent)
        return tokens.verify(token, PUBLISHED, CONFIG, resource=RESOURCE, now=NOW)
    except Unauthenticated as refusal:
        shown = "".join(traceback.format_exception(refusal))
        assert SECRET not in shown
        return refusal.reason


@given(st.text(max_size=200) | st.text(max_size=200).map(lambda text: f"Bearer {text}"))
def test_any_text_is_a_refusal(sent):
    assert outcome(sent) in WORDS


@given(st.lists(st.binary(max_size=60).map(b64), min_size=1, max_size=5))
def test_any_parts_are_a_refusal(parts):
    assert outcome("Bearer " + ".".join(parts)) in WORDS


@given(st.integers(0, len(GOOD) - 1), st.characters(codec="utf-8"))
def test_one_changed_sign_anywhere_is_a_refusal_or_the_same_token(at, sign_):
    """The last sign of base64url has bits that mean nothing; all else counts."""
    changed = outcome(GOOD[:at] + sign_ + GOOD[at + 1 :])
    assert changed in WORDS or changed == outcome(GOOD)


@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)))
def test_any_cut_of_a_good_token_is_a_refusal(start, end):
    cut = GOOD[start:end]
    assert outcome(cut) in WORDS or cut == GOOD


@given(st.dictionaries(st.sampled_from(HEADER), json_values), st.dictionaries(st.sampled_from(CLAIMS), json_values))
def test_whatever_header_and_claims_are_signed_they_end_in_a_principal_or_a_word(header, odd):
    told = outcome(sign(KEY, {"alg": "EdDSA", "kid": KEY.kid, "typ": "at+jwt", **header}, {**claims(), **odd}))
    assert told in WORDS or isinstance(told, tokens.Verified)


@given(json_values)
def test_whatever_stands_in_place_of_the_claims_is_no_traceback(value):
    assert outcome(sign(KEY, {"alg": "EdDSA", "kid": KEY.kid}, json.dumps(value))) in WORDS


@pytest.mark.parametrize(
    "odd",
    [
        f'{{"iss":"{SECRET}","iss":"x"}}',
        f'{{"iss":"{SECRET}","exp":NaN}}',
        f'{{"iss":"{SECRET}","exp":1e999}}',
        f'{{"iss":"{SECRET}"',
        '{"iss":"\\ud800"}',
        "[" * 5000,
        '{"exp":' + "9" * 5000 + "}",
    ],
)
def test_what_a_parser_would_quote_is_not_quoted(odd, caplog):
    caplog.set_level(logging.DEBUG)
    assert outcome(sign(KEY, {"alg": "EdDSA"}, odd)) in WORDS
    assert SECRET not in caplog.text


def test_a_token_taken_apart_does_not_show_what_is_in_it():
    token = jws.read(mint(KEY, claims(sub=SECRET)).removeprefix("Bearer "))
    assert SECRET not in repr(token)
