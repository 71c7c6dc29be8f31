"""Attacks on bundle signatures by name, and what must verify. Keys are made for the tests and sign nothing else."""

import base64
import hashlib
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.core.errors import PolicyFault
from gateway.core.policy import signature
from gateway.core.policy.bundle import SIGNATURES
from gateway.core.policy.signature import Key, Verification

FILES = {
    ".manifest": b'{"revision": "r1", "roots": ["gateway"]}',
    "gateway/call/call.rego": b"package gateway.call\n",
    "gateway/settings/data.json": b'{"rows": 5, "share": 1.0}',
    "gateway/more/data.yaml": b"a: 1\n",
}
RSA = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
EC = {bits: ec.generate_private_key(curve) for bits, curve in ((256, ec.SECP256R1()), (384, ec.SECP384R1()))}
EC[512] = ec.generate_private_key(ec.SECP521R1())
SECRET = b"thirty-two bytes that nobody can guess, and then some more for SHA-512"


def public_pem(key):
    kinds = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(*kinds)


PUBLIC = public_pem(RSA)
TRUST = Verification((Key("default", "RS256", RSA.public_key()),))


def token(files=FILES, *, key=RSA, algorithm="RS256", headers=None, listed=None, **claims):
    payload = {"files": signature.listing(files) if listed is None else listed, **claims}
    return jwt.PyJWS().encode(json.dumps(payload).encode(), key, algorithm=algorithm, headers=headers)


def signed(files=FILES, **how):
    return with_tokens(files, token(files, **how))


def with_tokens(files, *tokens):
    return {**files, SIGNATURES: json.dumps({"signatures": list(tokens)}).encode()}


def by_hand(header, payload, sign=lambda _: b""):
    """A JWT that no library would make."""

    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    text = (
        part(json.dumps(header).encode())
        + b"."
        + part(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
    )
    return (text + b"." + part(sign(text))).decode()


def refusal(files, wanted=TRUST):
    with pytest.raises(PolicyFault) as caught:
        signature.verify(files, wanted)
    return caught.value.detail


@pytest.mark.parametrize("algorithm", signature.ALGORITHMS)
def test_a_bundle_that_was_signed_verifies(algorithm):
    private = {"RS": RSA, "PS": RSA, "ES": EC[int(algorithm[2:])], "HS": SECRET}[algorithm[:2]]
    public = signature.public_key(SECRET if algorithm[:2] == "HS" else public_pem(private), algorithm)

    found = signature.verify(
        signed(key=private, algorithm=algorithm, headers={"kid": "k1"}, iss="ci"),
        Verification((Key("k1", algorithm, public),)),
    )

    assert (found.key_id, found.algorithm, found.claims) == ("k1", algorithm, {"iss": "ci"})


@pytest.mark.parametrize("name", signature.HASHES)
def test_every_hash_of_opa_is_known(name):
    files = {"a.rego": b"package a\n"}
    digest = hashlib.new(signature.HASHES[name], files["a.rego"]).hexdigest()

    assert signature.verify(signed(files, listed=[{"name": "a.rego", "hash": digest, "algorithm": name}]), TRUST)


def test_structured_files_that_differ_in_white_space_only_verify():
    files = signed()
    files[".manifest"] = b'{"roots":["gateway"],\n\n"revision":"r1"}'
    files["gateway/settings/data.json"] = b'{"share":1.0,"rows":5}'
    files["gateway/more/data.yaml"] = b'{"a": 1}'

    assert signature.verify(files, TRUST)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("gateway/call/call.rego", b"package gateway.call\n "),
        ("gateway/settings/data.json", b'{"rows": 5, "share": 1.00}'),
        ("gateway/settings/data.json", b'{"rows": 6, "share": 1.0}'),
        ("gateway/more/data.yaml", b"a: '1'\n"),
        (".manifest", b'{"revision": "r2", "roots": ["gateway"]}'),
        (".manifest", b'{"revision": "r1", "roots": [""]}'),
    ],
)
def test_attack_a_file_is_changed_after_signing(path, content):
    assert refusal({**signed(), path: content}) == f"{path} is not what was signed: its SHA-256 differs."


def test_attack_a_file_is_added_after_signing():
    assert "added it after signing" in refusal({**signed(), "gateway/evil.rego": b"package gateway.call\n"})


def test_attack_a_file_is_taken_out_after_signing():
    files = signed()
    del files["gateway/call/call.rego"]

    assert "gateway/call/call.rego was signed and is not in the bundle" in refusal(files)


def test_attack_the_manifest_is_taken_out_after_signing():
    files = signed()
    del files[".manifest"]

    assert ".manifest was signed" in refusal(files)


def test_attack_the_signature_is_taken_off():
    assert "not signed, and a signature is required" in refusal(FILES)


def test_attack_another_key_signs():
    assert "was not made with the key 'default'" in refusal(signed(key=OTHER))


def test_attack_the_header_says_none():
    assert "'none'" in refusal(with_tokens(FILES, by_hand({"alg": "none"}, {"files": signature.listing(FILES)})))


@pytest.mark.parametrize("alg", ["nOnE", "", None, 1, ["RS256"], "EdDSA", "RS512", "PS256"])
def test_attack_the_header_says_another_algorithm_than_the_key_is_for(alg):
    forged = by_hand({"alg": alg}, {"files": signature.listing(FILES)})

    assert "is for RS256 alone" in refusal(with_tokens(FILES, forged))


def test_attack_the_public_key_is_used_as_a_shared_secret():
    forged = by_hand(
        {"alg": "HS256"},
        {"files": signature.listing(FILES)},
        lambda text: hmac.digest(PUBLIC, text, "sha256"),
    )

    assert "is for RS256 alone" in refusal(with_tokens(FILES, forged))
    with pytest.raises(PolicyFault, match="everybody may know it"):
        signature.public_key(PUBLIC, "HS256")


def test_attack_the_key_comes_with_the_token():
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OTHER.public_key()))

    assert "was not made with" in refusal(signed(key=OTHER, headers={"jwk": jwk}))


def test_attack_a_header_that_must_be_understood_is_not():
    forged = by_hand({"alg": "RS256", "crit": ["x"], "x": 1}, {"files": signature.listing(FILES)})

    assert refusal(with_tokens(FILES, forged))


def test_attack_a_payload_is_put_under_another_signature():
    head, _, tail = token().split(".")
    evil = {**FILES, "gateway/call/call.rego": b"package gateway.call\nx := 1\n"}
    payload = token(evil).split(".")[1]

    assert "was not made with" in refusal(with_tokens(evil, f"{head}.{payload}.{tail}"))


@pytest.mark.parametrize("count", [0, 2])
def test_attack_none_or_two_signatures(count):
    assert "exactly one JWT" in refusal(with_tokens(FILES, *[token()] * count))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"signatures": "x"}',
        b'{"signatures": [1]}',
        b'{"signatures": ["x"]}',
        b'{"signatures": ["a.b.c.d"]}',
        b'{"signatures": ["e30.e30.!"]}',
        b'{"signatures": ["W10.W10."]}',
        b'{"signatures": ["\xc3\xa9.e30."]}',
        b'{"Signatures": []}',
    ],
)
def test_what_is_no_signature_is_refused(content):
    assert refusal({**FILES, SIGNATURES: content})


def test_a_signature_by_a_plugin_is_refused():
    made = json.dumps({"signatures": [token()], "plugin": "vault"}).encode()

    assert "plugin" in refusal({**FILES, SIGNATURES: made})


def test_attack_members_that_are_there_twice():
    twice = b'{"signatures": ["%s"], "signatures": ["%s"]}' % (token().encode(), token(key=OTHER).encode())
    assert "there twice" in refusal({**FILES, SIGNATURES: twice})

    listed = json.dumps(signature.listing(FILES)).encode()
    payload = b'{"files": [], "files": %s}' % listed
    assert "there twice" in refusal(with_tokens(FILES, jwt.PyJWS().encode(payload, RSA, algorithm="RS256")))

    assert "there twice" in refusal({**signed(), ".manifest": b'{"roots": [""], "roots": ["gateway"]}'})


def test_attack_a_file_is_listed_twice():
    listed = [*signature.listing(FILES), signature.listing(FILES)[1]]

    assert "in the bundle's signature twice" in refusal(signed(listed=listed))


@pytest.mark.parametrize(
    "listed", [None, "x", {}, [1], [{"name": "a"}], [{"name": "a", "hash": 1, "algorithm": "SHA-256"}]]
)
def test_a_list_of_files_that_is_none_is_refused(listed):
    forged = jwt.PyJWS().encode(json.dumps({"files": listed}).encode(), RSA, algorithm="RS256")

    assert refusal(with_tokens(FILES, forged))


@pytest.mark.parametrize("algorithm", ["CRC-32", "sha-256", ""])
def test_a_hash_that_nobody_knows_is_refused(algorithm):
    listed = [{**item, "algorithm": algorithm} for item in signature.listing(FILES)]

    assert "is signed with the hash" in refusal(signed(listed=listed))


def test_attack_the_wrong_key_id():
    assert "'k9'; known here: 'default'" in refusal(signed(headers={"kid": "k9"}))
    assert "'k9'; known here: 'default'" in refusal(signed(keyid="k9"))
    assert "'k9'; known here: 'default'" in refusal(signed(), Verification(TRUST.keys, key_id="k9"))


def test_the_key_is_the_one_that_is_named_and_the_header_counts_before_the_claim():
    keys = (Key("old", "RS256", OTHER.public_key()), Key("new", "RS256", RSA.public_key()))

    assert signature.verify(signed(headers={"kid": "new"}, keyid="old"), Verification(keys)).key_id == "new"
    assert signature.verify(signed(keyid="new"), Verification(keys)).key_id == "new"
    assert "known here: 'old', 'new'" in refusal(signed(), Verification(keys))


def test_a_key_that_is_chosen_by_us_counts_before_the_one_that_is_named():
    wanted = Verification(TRUST.keys, key_id="default")

    assert signature.verify(signed(headers={"kid": "theirs"}), wanted).key_id == "default"


@pytest.mark.parametrize(("theirs", "ours"), [("write", ""), ("", "write"), ("write", "read"), ("Write", "write")])
def test_attack_the_wrong_scope(theirs, ours):
    claims = {"scope": theirs} if theirs else {}

    assert "scope" in refusal(signed(**claims), Verification(TRUST.keys, scope=ours))
    assert "scope" in refusal(signed(**claims), Verification((Key("default", "RS256", RSA.public_key(), ours),)))


def test_the_scope_that_is_wanted_verifies():
    key = Key("default", "RS256", RSA.public_key(), scope="read")

    assert signature.verify(signed(scope="read"), Verification((key,))).scope == "read"
    assert signature.verify(signed(scope="write"), Verification((key,), scope="write")).scope == "write"
    assert "scope" in refusal(signed(scope=["read"]), Verification((key,)))


def test_files_may_be_excluded_and_a_star_ends_at_a_slash():
    files = {**signed(), "notes/a.txt": b"x"}

    assert signature.verify(files, Verification(TRUST.keys, exclude=("notes/*",)))
    assert "notes/a.txt is in the bundle" in refusal(files, Verification(TRUST.keys, exclude=("*",)))


def test_a_key_is_one_for_its_algorithm_and_long_enough():
    weak = rsa.generate_private_key(65537, 1024)
    other = ed25519.Ed25519PrivateKey.generate()

    for pem, algorithm, told in (
        (PUBLIC, "ES256", "needs an EC key"),
        (public_pem(EC[384]), "ES256", "secp256r1"),
        (public_pem(EC[256]), "RS256", "needs an RSA key"),
        (public_pem(other), "RS256", "Ed25519"),
        (public_pem(weak), "RS256", "1024 bits"),
        (b"short", "HS256", "5 bytes"),
        (b"no key", "RS256", "no public key in PEM"),
        (PUBLIC, "none", "no algorithm"),
        (PUBLIC, "EdDSA", "no algorithm"),
    ):
        with pytest.raises(PolicyFault, match=told):
            signature.public_key(pem, algorithm)


def test_what_a_signature_says_of_itself_can_be_looked_at():
    told = signature.described(signed(headers={"kid": "k1"}, scope="write", iss="ci"))

    assert told == {"algorithm": "RS256", "key_id": "k1", "scope": "write", "claims": {"iss": "ci"}, "files": 4}


def test_no_key_is_shown():
    assert "thirty-two" not in repr(Key("k", "HS256", SECRET))
