"""Who is believed, and every attack on that by name: `Issuers.identify` over keys that the test publishes."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import jwt
import pytest
import trio
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import IdentityUnavailable, Unauthenticated
from gateway.core.types import Principal
from gateway.identity.issuers import Issuers
from gateway.identity.tokens import MAX_TOKEN_CHARACTERS
from tests.identity.minting import (
    CONFIG,
    ISSUER,
    NOW,
    RESOURCE,
    Published,
    SigningKey,
    b64,
    claims,
    mint,
    sign,
    signing_key,
)

KEY = signing_key("RS256")


class Clock:
    """Wall-clock time that the test sets."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> float:
        return self.time


def issuers(published: Published | None = None, *, config=CONFIG, clock=None, remember: int = 100) -> Issuers:
    fetch = published if published is not None else Published(KEY.jwk())
    return Issuers([config], fetch, now=clock or Clock(), remember=remember)


async def reason(sent: str | None, *, known: Issuers | None = None, query: bytes = b"") -> str:
    """The word of the refusal that `sent` must end in."""
    with pytest.raises(Unauthenticated) as refusal:
        await (known or issuers()).identify(sent, resource=RESOURCE, query=query)
    return refusal.value.reason


# What is believed


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
async def test_a_token_signed_by_a_published_key_names_its_principal(algorithm):
    key = signing_key(algorithm)
    known = issuers(Published(key.jwk()))
    principal = await known.identify(mint(key), resource=RESOURCE)
    assert principal == Principal(issuer=ISSUER, subject="alice", groups=("clinicians",), client="agent")


async def test_the_claims_that_policy_asks_for_are_carried_over():
    payload = claims(acr="urn:mfa", amr=["pwd", "otp"], act={"sub": "agent-7", "act": {"sub": "scheduler"}})
    principal = await issuers().identify(mint(KEY, payload), resource=RESOURCE)
    assert principal.acr == "urn:mfa"
    assert principal.amr == ("pwd", "otp")
    assert principal.chain == ("agent-7", "scheduler")


async def test_a_plain_jwt_without_a_type_is_an_access_token():
    token = sign(KEY, {"alg": "RS256", "kid": KEY.kid}, claims())
    assert (await issuers().identify(token, resource=RESOURCE)).subject == "alice"


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt", "JWT"])
async def test_every_spelling_of_an_access_token_type_is_accepted(typ):
    assert (await issuers().identify(mint(KEY, typ=typ), resource=RESOURCE)).subject == "alice"


async def test_the_client_is_azp_where_the_provider_has_no_client_id():
    principal = await issuers().identify(mint(KEY, claims(client_id=None, azp="desktop")), resource=RESOURCE)
    assert principal.client == "desktop"


async def test_the_client_is_the_claim_that_the_configuration_names():
    known = issuers(config=replace(CONFIG, client_claim="cid"))
    assert (await known.identify(mint(KEY, claims(cid="okta-app")), resource=RESOURCE)).client == "okta-app"


async def test_one_audience_among_several_is_enough():
    sent = mint(KEY, claims(aud=["https://other.example", RESOURCE]))
    assert (await issuers().identify(sent, resource=RESOURCE)).subject == "alice"


async def test_a_configured_audience_replaces_the_resource():
    known = issuers(config=replace(CONFIG, audience="api://phigate"))
    assert await known.identify(mint(KEY, claims(aud="api://phigate")), resource=RESOURCE)
    assert await reason(mint(KEY), known=known) == "wrong_audience"


async def test_a_token_without_a_key_id_is_checked_with_the_only_key_that_fits():
    token = sign(KEY, {"alg": "RS256"}, claims())
    assert (await issuers().identify(token, resource=RESOURCE)).subject == "alice"


async def test_the_scheme_is_read_in_any_case():
    sent = mint(KEY).replace("Bearer ", "bEaReR ")
    assert (await issuers().identify(sent, resource=RESOURCE)).subject == "alice"


# Attacks


async def test_no_token_is_refused():
    assert await reason(None) == "missing"


@pytest.mark.parametrize(
    "sent",
    ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a.b", "Bearer a.b.c.d", "Bearer a.b.c, Bearer d.e.f", "a.b.c",
     "Bearer a=.b.c", "Bearer é.b.c", "Bearer \udcff.b.c", "Bearer a.b.c\n"],
)  # fmt: skip
async def test_what_is_not_one_bearer_token_is_refused(sent):
    assert await reason(sent) == "malformed"


@pytest.mark.parametrize(
    "query", [b"access_token=x", b"a=b&access_token=x", b"ACCESS_TOKEN=x", b"%61ccess_token=x", b"access_token"]
)
async def test_a_token_in_the_url_is_refused_even_beside_a_good_header(query):
    assert await reason(mint(KEY), query=query) == "in_url"


async def test_other_query_parameters_are_no_tokens():
    assert await issuers().identify(mint(KEY), resource=RESOURCE, query=b"my_access_tokens=1&x=access_token")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
async def test_an_unsigned_token_is_refused(algorithm):
    header = {"alg": algorithm, "kid": KEY.kid}
    assert await reason(f"Bearer {b64(header)}.{b64(claims())}.") == "alg_refused"


async def test_the_public_key_used_as_an_hmac_secret_is_refused():
    public = KEY.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    hmac = jwt.get_algorithm_by_name("HS256")
    signed = f"{b64({'alg': 'HS256', 'kid': KEY.kid})}.{b64(claims())}"
    assert await reason(f"Bearer {signed}.{b64(hmac.sign(signed.encode(), public))}") == "alg_refused"


async def test_a_symmetric_key_in_the_key_set_is_not_used():
    secret = b"x" * 32
    published = Published({"kty": "oct", "kid": "key-1", "k": b64(secret), "alg": "HS256"})
    known = issuers(published, config=replace(CONFIG, algorithms=("RS256", "HS256")))
    hmac = jwt.get_algorithm_by_name("HS256")
    signed = f"{b64({'alg': 'HS256', 'kid': 'key-1'})}.{b64(claims())}"
    assert await reason(f"Bearer {signed}.{b64(hmac.sign(signed.encode(), secret))}", known=known) == "unknown_key"


async def test_an_algorithm_that_the_issuer_may_not_use_is_refused_although_the_signature_is_right():
    known = issuers(config=replace(CONFIG, algorithms=("ES256",)))
    assert await reason(mint(KEY), known=known) == "alg_refused"


async def test_a_key_is_not_used_for_another_algorithm_than_its_own():
    rs256_only = Published(KEY.jwk(alg="RS256"))
    ps256 = SigningKey(KEY.kid, "PS256", KEY.private)
    assert await reason(mint(ps256), known=issuers(rs256_only)) == "alg_refused"


async def test_an_elliptic_key_named_by_an_rsa_token_is_refused():
    known = issuers(Published(signing_key("ES256").jwk()))
    assert await reason(mint(KEY), known=known) == "alg_refused"


@pytest.mark.parametrize(
    "kid", ["../../../../dev/null", "' OR 1=1 --", "file:///etc/passwd", "", "\0", "key-1\0", "Key-1"]
)
async def test_a_key_id_that_traverses_or_injects_is_only_an_unknown_key(kid):
    assert await reason(mint(KEY, kid=kid)) == "unknown_key"


@pytest.mark.parametrize("kid", [1, ["key-1"], {"a": 1}, True])
async def test_a_key_id_that_is_no_text_is_refused(kid):
    assert await reason(sign(KEY, {"alg": "RS256", "kid": kid}, claims())) == "malformed"


async def test_a_key_location_in_the_token_is_never_fetched_or_used():
    forger = signing_key("RS256", "forger")
    published = Published(KEY.jwk())
    known = issuers(published)
    headers = {"jku": "https://evil.example/jwks", "x5u": "https://evil.example/x5u", "jwk": forger.jwk()}
    assert await reason(mint(forger, **headers, kid=KEY.kid), known=known) == "bad_signature"
    assert await known.identify(mint(KEY, **headers), resource=RESOURCE)
    assert published.fetches == 1


async def test_a_key_embedded_in_the_token_without_a_key_id_is_not_used():
    forger = signing_key("RS256", "forger")
    header = {"alg": "RS256", "jwk": forger.jwk(), "x5c": ["AAAA"]}
    assert await reason(sign(forger, header, claims())) == "bad_signature"


async def test_a_forged_signature_is_refused():
    assert await reason(mint(signing_key("RS256", "forger"), kid=KEY.kid)) == "bad_signature"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("signature", ["", "AA", b64(b"\0" * 64), b64(b"\0" * 256)])
async def test_a_signature_of_the_wrong_size_or_of_zeroes_is_refused(algorithm, signature):
    key = signing_key(algorithm)
    sent = mint(key).rpartition(".")[0] + "." + signature
    assert await reason(sent, known=issuers(Published(key.jwk()))) == "bad_signature"


async def test_changed_claims_break_the_signature():
    header, _, signature = mint(KEY).removeprefix("Bearer ").split(".")
    assert await reason(f"Bearer {header}.{b64(claims(sub='mallory'))}.{signature}") == "bad_signature"


async def test_a_token_for_another_upstream_is_refused():
    assert await reason(mint(KEY, claims(aud="https://gateway.example/mcp/claims"))) == "wrong_audience"


@pytest.mark.parametrize("aud", ["", [], None, 1, {"https://gateway.example/mcp/ehr": 1}, RESOURCE + "/", [[RESOURCE]]])
async def test_an_audience_that_is_not_the_resource_exactly_is_refused(aud):
    sent = sign(KEY, {"alg": "RS256", "kid": KEY.kid}, claims(aud=aud))
    assert await reason(sent) == "wrong_audience"


async def test_a_token_remembered_for_one_upstream_does_not_open_another():
    known = issuers()
    await known.identify(mint(KEY), resource=RESOURCE)
    with pytest.raises(Unauthenticated) as refusal:
        await known.identify(mint(KEY), resource="https://gateway.example/mcp/claims")
    assert refusal.value.reason == "wrong_audience"


async def test_an_expired_token_is_refused():
    assert await reason(mint(KEY, claims(exp=NOW - 31))) == "expired"


async def test_the_clock_skew_is_allowed_and_no_more():
    assert await issuers().identify(mint(KEY, claims(exp=NOW - 29)), resource=RESOURCE)
    assert await issuers().identify(mint(KEY, claims(nbf=NOW + 29)), resource=RESOURCE)
    assert await reason(mint(KEY, claims(exp=NOW - 30))) == "expired"


@pytest.mark.parametrize("claim", ["nbf", "iat"])
async def test_a_token_from_the_future_is_refused(claim):
    assert await reason(mint(KEY, claims(**{claim: NOW + 31}))) == "not_yet_valid"


@pytest.mark.parametrize("exp", [None, "9999999999", True, [], -1, 10**400, 1e300])
async def test_an_expiry_that_is_no_time_is_refused(exp):
    assert await reason(sign(KEY, {"alg": "RS256", "kid": KEY.kid}, claims(exp=exp))) == "malformed"


async def test_an_expiry_that_is_not_a_number_is_refused():
    payload = json.dumps(claims()).replace(str(NOW + 300), "NaN")
    assert "NaN" in payload
    assert await reason(sign(KEY, {"alg": "RS256", "kid": KEY.kid}, payload)) == "malformed"


async def test_an_unknown_issuer_is_refused_without_asking_anybody():
    published = Published(KEY.jwk())
    assert await reason(mint(KEY, claims(iss="https://evil.example")), known=issuers(published)) == "unknown_issuer"
    assert published.fetches == 0


@pytest.mark.parametrize("iss", [ISSUER + "/", ISSUER.upper(), "http://idp.example", ISSUER + "\0"])
async def test_an_issuer_that_only_looks_alike_is_unknown(iss):
    assert await reason(mint(KEY, claims(iss=iss))) == "unknown_issuer"


async def test_the_keys_of_one_issuer_do_not_speak_for_another():
    other = replace(CONFIG, url="https://partner.example")
    partner = signing_key("RS256", "partner")
    published = {ISSUER: Published(KEY.jwk()), other.url: Published(partner.jwk())}
    known = Issuers([CONFIG, other], lambda issuer: published[issuer.url](issuer), now=Clock())
    assert (await known.identify(mint(partner, claims(iss=other.url)), resource=RESOURCE)).issuer == other.url
    assert await reason(mint(partner), known=known) == "unknown_key"


@pytest.mark.parametrize(
    "payload",
    ['{"iss":"https://idp.example","iss":"https://evil.example"}', '{"sub":"alice","a":{"x":1,"x":2}}', "[]", '"text"',
     "null", "{", "[" * 8000, '{"a":' * 2000, "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "{}"],
)  # fmt: skip
async def test_claims_that_are_duplicated_or_not_an_object_are_refused(payload):
    assert await reason(sign(KEY, {"alg": "RS256", "kid": KEY.kid}, payload)) == "malformed"


async def test_a_header_member_that_stands_twice_is_refused():
    assert await reason(sign(KEY, '{"alg":"RS256","alg":"none"}', claims())) == "malformed"


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"b64": True}])
async def test_a_critical_header_is_refused(header):
    assert await reason(sign(KEY, {"alg": "RS256", "kid": KEY.kid, **header}, claims())) == "crit_refused"


@pytest.mark.parametrize("typ", ["id_token+jwt", "logout+jwt", "oauth-id-jag+jwt", "dpop+jwt", "", None, 7])
async def test_a_jwt_of_another_type_is_refused(typ):
    assert await reason(sign(KEY, {"alg": "RS256", "kid": KEY.kid, "typ": typ}, claims())) == "wrong_type"


@pytest.mark.parametrize("mark", [{"nonce": "n"}, {"at_hash": "h"}, {"c_hash": "h"}, {"typ": "ID"}, {"typ": "Refresh"}])
async def test_an_id_or_refresh_token_is_refused(mark):
    assert await reason(mint(KEY, claims(**mark), typ="JWT")) == "wrong_type"


async def test_a_logout_token_that_does_not_say_its_type_is_refused():
    events = {"http://schemas.openid.net/event/backchannel-logout": {}}
    assert await reason(mint(KEY, claims(events=events, sid="s-1"), typ="JWT")) == "wrong_type"


async def test_a_token_bound_to_a_key_is_not_taken_as_a_bearer_token():
    assert await reason(mint(KEY, claims(cnf={"jkt": "thumb"}))) == "proof_required"


@pytest.mark.parametrize("sub", [None, "", 7, ["alice"]])
async def test_a_token_without_a_subject_is_refused(sub):
    assert await reason(sign(KEY, {"alg": "RS256", "kid": KEY.kid}, claims(sub=sub))) == "no_subject"


@pytest.mark.parametrize("act", ["agent", [], {}, {"sub": 1}, {"sub": "a", "act": "b"}])
async def test_a_delegation_that_cannot_be_read_is_refused(act):
    assert await reason(mint(KEY, claims(act=act))) == "malformed"


async def test_an_endless_delegation_is_refused():
    act: dict[str, object] = {"sub": "last"}
    for _ in range(8):
        act = {"sub": "agent", "act": act}
    assert await reason(mint(KEY, claims(act=act))) == "malformed"


async def test_a_huge_token_is_refused_before_it_is_read():
    published = Published(KEY.jwk())
    sent = mint(KEY, claims(padding="x" * MAX_TOKEN_CHARACTERS))
    assert await reason(sent, known=issuers(published)) == "oversize"
    assert published.fetches == 0


async def test_an_ambiguous_key_is_not_guessed_at():
    other = signing_key("RS256", "key-2")
    known = issuers(Published(KEY.jwk(), other.jwk()))
    assert await reason(sign(KEY, {"alg": "RS256"}, claims()), known=known) == "alg_refused"


# What is remembered


async def test_a_remembered_token_costs_no_second_check_and_ends_with_its_expiry():
    clock = Clock()
    known = issuers(clock=clock)
    sent = mint(KEY)
    first = await known.identify(sent, resource=RESOURCE)
    assert await known.identify(sent, resource=RESOURCE) is first
    clock.time = NOW + 330
    assert await reason(sent, known=known) == "expired"


async def test_the_memory_of_tokens_is_bounded_and_forgets_the_least_recently_used():
    known = issuers(remember=2)
    a, b, c = (mint(KEY, claims(sub=name)) for name in "abc")
    first = await known.identify(a, resource=RESOURCE)
    second = await known.identify(b, resource=RESOURCE)
    assert await known.identify(a, resource=RESOURCE) is first
    await known.identify(c, resource=RESOURCE)
    assert await known.identify(a, resource=RESOURCE) is first
    assert await known.identify(b, resource=RESOURCE) is not second


async def test_a_remembered_token_is_refused_once_its_key_is_withdrawn(autojump_clock):
    published = Published(KEY.jwk())
    known = issuers(published)
    sent = mint(KEY)
    await known.identify(sent, resource=RESOURCE)
    published.jwks = [signing_key("RS256", "key-2").jwk()]
    await trio.sleep(601)
    assert await reason(sent, known=known) == "unknown_key"


# What is told


async def test_no_refusal_repeats_any_part_of_the_token(caplog):
    caplog.set_level(logging.DEBUG)
    sent = mint(KEY, claims(sub="secret-subject", exp=NOW - 100))
    for token in (sent, sent[:-5] + "AAAAA", "Bearer secret-subject.secret-claims.y"):
        with pytest.raises(Unauthenticated) as refusal:
            await issuers().identify(token, resource=RESOURCE)
        told = f"{refusal.value!r} {refusal.value.__cause__!r} {refusal.value.__suppress_context__} {caplog.text}"
        assert "secret-subject" not in told
        assert token.removeprefix("Bearer ").split(".")[1] not in told


async def test_the_principal_does_not_show_its_subject_in_its_repr():
    principal = await issuers().identify(mint(KEY), resource=RESOURCE)
    assert "alice" not in repr(principal)


@given(
    st.one_of(st.text(), st.text().map(lambda text: f"Bearer {text}"), st.from_regex(r"Bearer [\w-]*\.[\w-]*\.[\w-]*"))
)
def test_no_authorization_header_causes_anything_but_a_refusal(sent):
    async def attempt() -> None:
        with pytest.raises(Unauthenticated):
            await issuers().identify(sent, resource=RESOURCE)

    trio.run(attempt)


@given(
    st.dictionaries(
        st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "act", "amr", "acr", "groups", "typ", "azp", "cnf"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["sub", "act"]), inner),
            max_leaves=6,
        ),
    )
)
def test_whatever_a_trusted_issuer_signs_is_a_principal_or_a_refusal(odd):
    key = signing_key("EdDSA")
    sent = sign(key, {"alg": "EdDSA", "kid": key.kid}, {**claims(), **odd})

    async def attempt() -> None:
        try:
            principal = await issuers(Published(key.jwk())).identify(sent, resource=RESOURCE)
        except Unauthenticated:
            return
        assert principal.subject
        assert all(isinstance(group, str) for group in principal.groups)

    trio.run(attempt)


async def test_when_keys_cannot_be_had_the_request_is_neither_allowed_nor_blamed():
    published = Published()
    published.down = True
    with pytest.raises(IdentityUnavailable):
        await issuers(published).identify(mint(KEY), resource=RESOURCE)


async def test_readiness_names_the_fault_until_some_issuer_can_be_used(autojump_clock):
    published = Published(KEY.jwk())
    published.down = True
    known = issuers(published)
    assert ISSUER in (await known.probe() or "")
    published.down = False
    await trio.sleep(11)
    assert await known.probe() is None


async def test_where_no_provider_is_asked_none_can_be_down():
    assert await Issuers([], Published()).probe() is None
