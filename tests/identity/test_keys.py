"""Which published keys are usable, and for what."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import get_default_algorithms

from gateway.identity import keys
from tests.identity.minting import SigningKey, signing_key

RSA = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}


def decode_one(jwk):
    found = keys.decode({"keys": [jwk]}).keys
    return found[0] if found else None


@pytest.mark.parametrize(
    ("algorithm", "serves"),
    [("RS256", RSA), ("ES256", {"ES256"}), ("ES384", {"ES384"}), ("ES512", {"ES512"}), ("EdDSA", {"EdDSA"})],
)
def test_a_key_serves_the_algorithms_of_its_type_only(algorithm, serves):
    jwk = signing_key(algorithm).jwk()
    jwk.pop("alg", None)
    assert decode_one(jwk).algorithms == serves


def test_a_key_whose_owner_names_an_algorithm_serves_only_that():
    assert decode_one(signing_key("RS256").jwk(alg="PS256")).algorithms == {"PS256"}


@pytest.mark.parametrize(
    "change",
    [{"use": "enc"}, {"key_ops": ["sign"]}, {"key_ops": "verify"}, {"alg": "HS256"}, {"alg": "ES256"}, {"alg": 1},
     {"kid": 5}, {"kty": "oct"}, {"kty": None}, {"n": "!"}, {"n": ""}, {"n": None}, {"e": "AA"}, {"d": "AQAB"}],
)  # fmt: skip
def test_a_key_that_is_not_for_checking_signatures_is_left_out(change):
    assert decode_one(signing_key("RS256").jwk(**change)) is None


@pytest.mark.parametrize("change", [{"crv": "secp256k1"}, {"crv": "P-384"}, {"crv": None}, {"x": "AA"}, {"y": 7}])
def test_an_elliptic_key_on_another_curve_or_off_its_curve_is_left_out(change):
    assert decode_one(signing_key("ES256").jwk(**change)) is None


def test_a_curve_that_no_accepted_algorithm_uses_is_left_out():
    key = SigningKey("k", "ES256K", ec.generate_private_key(ec.SECP256K1()))
    assert decode_one(key.jwk()) is None


def test_a_short_rsa_key_is_left_out():
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    jwk = get_default_algorithms()["RS256"].to_jwk(short.public_key(), as_dict=True)
    assert decode_one(jwk) is None


@pytest.mark.parametrize("document", [None, [], {}, {"keys": None}, {"keys": {}}, {"keys": [{}] * 65}, "keys"])
def test_what_is_not_a_key_set_is_refused(document):
    with pytest.raises(ValueError, match="JWK set"):
        keys.decode(document)


def test_unusable_keys_do_not_hide_usable_ones():
    good = signing_key("ES256").jwk()
    assert [key.kid for key in keys.decode({"keys": [{"kty": "new"}, 7, good]}).keys] == ["key-1"]


def test_two_keys_of_one_id_are_told_apart_by_algorithm():
    found = keys.decode({"keys": [signing_key("RS256").jwk(), signing_key("ES256").jwk()]})
    known, key = found.find("key-1", "ES256")
    assert known
    assert key is found.keys[1]


def test_two_keys_of_one_id_and_algorithm_are_not_guessed_between():
    found = keys.decode({"keys": [signing_key("RS256").jwk(), signing_key("RS256", "other").jwk(kid="key-1")]})
    assert found.find("key-1", "RS256") == (True, None)


def test_the_key_material_is_not_shown():
    assert "RSA" not in repr(decode_one(signing_key("RS256").jwk()))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
members = st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "key_ops", "d"])


@given(
    st.lists(
        st.dictionaries(members, json_values | st.sampled_from(["RSA", "EC", "OKP", "P-256", "Ed25519"])), max_size=4
    )
)
def test_no_key_set_causes_a_traceback(found):
    assert isinstance(keys.decode({"keys": found}), keys.KeySet)


@given(st.sampled_from(["RS256", "ES256", "EdDSA"]), members, json_values)
def test_no_change_to_a_key_causes_a_traceback(algorithm, member, value):
    decode_one({**signing_key(algorithm).jwk(), member: value})
