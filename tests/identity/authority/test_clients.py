"""Who asks for a token: each way to prove it, and each way to get it wrong, which all sound the same from outside."""

from __future__ import annotations

import base64
import time
from urllib.parse import quote_plus

import pytest

from gateway.core.errors import GrantRefused
from gateway.identity.authority.clients import JWT_BEARER
from tests.identity.authority.parts import BY_KEY, BY_SECRET, KEY, SECRET, TOKEN, URL, House, client_assertion
from tests.identity.minting import signing_key


def basic(ident, secret):
    return "Basic " + base64.b64encode(f"{quote_plus(ident)}:{quote_plus(secret)}".encode()).decode()


def proof(assertion, **more):
    return {"client_assertion_type": JWT_BEARER, "client_assertion": assertion, **more}


async def refused(awaitable, code="invalid_client"):
    with pytest.raises(GrantRefused) as refusal:
        await awaitable
    assert refusal.value.code == code
    return refusal.value.detail


async def test_a_secret_in_the_form_or_in_the_header_proves_the_client():
    house = House()
    await house.token()
    await house.token(basic(BY_SECRET.id, SECRET))
    await house.token(basic(BY_SECRET.id, SECRET), client_id=BY_SECRET.id)
    assert {client for _, client in house.always.asked} == {BY_SECRET.id}


async def test_a_signed_assertion_proves_the_client():
    house = House()
    for audience in (URL, [URL], TOKEN):
        await house.token(**proof(client_assertion(aud=audience)))
    await house.token(**proof(client_assertion(header={"typ": "client-authentication+jwt"}), client_id=BY_KEY.id))
    assert {client for _, client in house.always.asked} == {BY_KEY.id}


async def test_an_assertion_is_used_once():
    house, assertion = House(), client_assertion()
    await house.token(**proof(assertion))
    assert "used before" in await refused(house.token(**proof(assertion)))


@pytest.mark.parametrize(
    "authorization",
    [
        basic(BY_SECRET.id, "wrong"),
        basic(BY_SECRET.id, ""),
        basic("nobody", SECRET),
        basic("", ""),
        basic(BY_KEY.id, ""),
        "Basic",
        "Basic %%%",
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        f"Bearer {SECRET}",
        f"Negotiate {SECRET}",
    ],
)
async def test_a_header_that_proves_nothing_is_refused_in_the_same_words(authorization):
    assert await refused(House().token(authorization)) == await refused(House().token(client_secret="x"))


async def test_no_proof_at_all_is_refused():
    await refused(House().token(client_secret=None))
    await refused(House().token(client_id=None, client_secret=None))
    # A client with a key has no secret, and an empty one is not it.
    await refused(House().token(client_id=BY_KEY.id, client_secret=""))


async def test_two_proofs_at_once_are_refused():
    house = House()
    await refused(house.token(basic(BY_SECRET.id, SECRET), client_secret=SECRET), "invalid_request")
    await refused(house.token(**proof(client_assertion(), client_secret=SECRET)), "invalid_request")


async def test_a_proof_of_one_client_does_not_speak_for_another():
    house = House()
    await refused(house.token(basic(BY_SECRET.id, SECRET), client_id=BY_KEY.id))
    await refused(house.token(**proof(client_assertion(), client_id=BY_SECRET.id)))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "nobody"},
        {"iss": BY_SECRET.id, "sub": BY_SECRET.id},
        {"sub": "somebody-else"},
        {"sub": None},
        {"aud": "https://elsewhere.example"},
        {"aud": [URL, "https://elsewhere.example"]},
        {"aud": None},
        {"aud": f"{URL}/"},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"jti": "x" * 257},
        {"exp": None},
        {"exp": -60.0},
        {"exp": 7200.0},
        {"exp": "soon"},
        {"iat": None},
        {"iat": 600.0},
        {"nbf": 600.0},
        {"iss": None},
    ],
)
async def test_an_assertion_that_says_something_else_is_refused(changes):
    house, now = House(), time.time()
    changed = {name: now + value if isinstance(value, float) else value for name, value in changes.items()}
    await refused(house.token(**proof(client_assertion(**changed))))
    assert house.spent == set()


@pytest.mark.parametrize("typ", ["at+jwt", "oauth-id-jag+jwt", "secevent+jwt"])
async def test_a_jwt_made_for_something_else_is_no_proof_of_a_client(typ):
    await refused(House().token(**proof(client_assertion(header={"typ": typ}))))


async def test_a_signature_by_another_key_or_none_is_refused():
    house = House()
    await refused(house.token(**proof(client_assertion(signing_key("ES256", "mallory"), header={"kid": KEY.kid}))))
    await refused(house.token(**proof(client_assertion(signing_key("ES256", "mallory")))))
    unsigned = client_assertion().rpartition(".")[0] + "."
    await refused(house.token(**proof(unsigned)))
    await refused(house.token(**proof("not a jwt")))


async def test_an_unknown_kind_of_assertion_is_refused():
    form = {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}
    await refused(House().token(**{**proof(client_assertion()), **form}), "invalid_request")
