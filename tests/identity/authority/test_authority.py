"""The token endpoint: what it issues is accepted by our own issuers, and on record before it leaves."""

from __future__ import annotations

import time
from dataclasses import replace

import jwt
import pytest

from gateway.core.errors import EvidenceFault, GrantRefused, Unauthenticated
from gateway.core.types import Principal
from gateway.identity.authority.grants import Granted
from gateway.identity.issuers import Issuers
from tests.identity.authority.parts import ALICE, BY_SECRET, RESOURCE, SECRET, TOKEN, URL, House
from tests.identity.minting import CONFIG, Published, signing_key


def issuers(house, **more):
    return Issuers([CONFIG], Published(), own=house.signer, now=house.now, **more)


async def refused(awaitable, code):
    with pytest.raises(GrantRefused) as refusal:
        await awaitable
    assert refusal.value.code == code, refusal.value.detail
    return refusal.value.detail


async def test_an_issued_token_names_the_person_as_their_own_provider_does_and_the_client_that_asked():
    house = House()
    answer = await house.token()
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 600)
    found = await issuers(house).identify(f"Bearer {answer['access_token']}", resource=RESOURCE)
    assert found == replace(ALICE, client=BY_SECRET.id)


async def test_an_issued_token_is_an_access_token_by_the_book():
    token = (await House().token())["access_token"]
    header, claims = jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})
    assert (header["typ"], header["alg"]) == ("at+jwt", "EdDSA")
    # RFC 9068 §2.2.
    assert {"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} <= claims.keys()
    assert (claims["iss"], claims["aud"]) == (URL, RESOURCE)
    assert claims["exp"] - claims["iat"] == 600


async def test_two_providers_people_of_one_name_have_two_subjects():
    house = House()
    subjects = set()
    for issuer in ("https://idp.example", "https://other.example"):
        house.always.granted = Granted(replace(ALICE, issuer=issuer), RESOURCE)
        token = (await house.token())["access_token"]
        subjects.add(jwt.decode(token, options={"verify_signature": False})["sub"])
    assert len(subjects) == 2


async def test_who_acts_for_whom_survives():
    house = House()
    house.always.granted = Granted(replace(ALICE, chain=("orchestrator", "planner")), RESOURCE)
    token = (await house.token())["access_token"]
    found = await issuers(house).identify(f"Bearer {token}", resource=RESOURCE)
    assert found.chain == ("orchestrator", "planner")


async def test_a_program_stays_a_program():
    house = House()
    house.always.granted = Granted(replace(ALICE, agent=True), RESOURCE)
    token = (await house.token())["access_token"]
    assert (await issuers(house).identify(f"Bearer {token}", resource=RESOURCE)).agent


async def test_a_token_for_one_resource_opens_no_other():
    house = House()
    token = (await house.token())["access_token"]
    with pytest.raises(Unauthenticated) as refusal:
        await issuers(house).identify(f"Bearer {token}", resource=f"{URL}/mcp/lab")
    assert refusal.value.reason == "wrong_audience"


async def test_a_token_expires_and_no_grant_makes_it_live_longer_than_the_configuration_allows():
    clock = {"now": time.time()}
    house = House(now=lambda: clock["now"])
    house.always.granted = Granted(ALICE, RESOURCE, lifetime_s=10_000)
    assert (await house.token())["expires_in"] == 600
    house.always.granted = Granted(ALICE, RESOURCE, lifetime_s=90.9)
    answer = await house.token()
    assert answer["expires_in"] == 90
    known = issuers(house)
    await known.identify(f"Bearer {answer['access_token']}", resource=RESOURCE)
    clock["now"] += 90 + 31
    with pytest.raises(Unauthenticated) as refusal:
        await known.identify(f"Bearer {answer['access_token']}", resource=RESOURCE)
    assert refusal.value.reason == "expired"


async def test_what_has_expired_already_grants_nothing():
    house = House()
    house.always.granted = Granted(ALICE, RESOURCE, lifetime_s=0.5)
    await refused(house.token(), "invalid_grant")
    assert house.record == []


async def test_every_token_is_on_record_before_it_leaves_without_a_name_in_it():
    house = House()
    token = (await house.token())["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert house.record == [
        {
            "grant": "urn:example:always",
            "client": BY_SECRET.id,
            "actor": "pseudonym-5",
            "issuer": "https://idp.example",
            "upstream": "ehr",
            "token": claims["jti"],
            "expires_s": 600,
        }
    ]


async def test_no_token_leaves_that_cannot_be_put_on_record():
    house = House()

    async def full(_):
        raise EvidenceFault("the disk is full")

    house.authority._record = full
    with pytest.raises(EvidenceFault):
        await house.token()


async def test_a_key_of_somebody_else_under_our_name_is_refused():
    house = House()
    mallory = signing_key("EdDSA", "mallory")
    claims = jwt.decode((await house.token())["access_token"], options={"verify_signature": False})
    for kid in ("mallory", house.signer.jwks["keys"][0]["kid"]):
        forged = jwt.encode(claims, mallory.private, "EdDSA", headers={"typ": "at+jwt", "kid": kid})
        with pytest.raises(Unauthenticated) as refusal:
            await issuers(house).identify(f"Bearer {forged}", resource=RESOURCE)
        assert refusal.value.reason in ("unknown_key", "bad_signature")


async def test_a_provider_cannot_say_that_its_token_is_about_somebody_of_another_provider():
    # Only our own tokens are read for who vouched: `sub_id` of anybody else's means nothing.
    house, key = House(), signing_key("ES256")
    known = Issuers([CONFIG], Published(key.jwk()), own=house.signer)
    at = time.time()
    claims = {"iss": CONFIG.url, "aud": RESOURCE, "sub": "mallory", "iat": at, "exp": at + 60}
    claims["sub_id"] = {"format": "iss_sub", "iss": "https://other.example", "sub": "alice"}
    token = jwt.encode(claims, key.private, key.algorithm, headers={"typ": "at+jwt", "kid": key.kid})
    found = await known.identify(f"Bearer {token}", resource=RESOURCE)
    assert found == Principal(CONFIG.url, "mallory")


@pytest.mark.parametrize("resource", ["https://elsewhere.example/mcp/ehr", f"{URL}/mcp/ehr/", f"{URL}/mcp/nowhere"])
async def test_nothing_is_issued_for_a_resource_that_is_not_behind_this_gateway(resource):
    house = House()
    house.always.granted = Granted(ALICE, resource)
    await refused(house.token(), "invalid_target")
    assert house.record == []


async def test_a_request_for_another_resource_than_the_granted_one_is_refused():
    await refused(House().token(resource=f"{URL}/mcp/lab"), "invalid_target")


async def test_a_missing_and_an_unknown_grant_type_have_their_errors():
    await refused(House().token(grant_type=None), "invalid_request")
    await refused(House().token(grant_type="password"), "unsupported_grant_type")
    await refused(House().token(grant_type="client_credentials"), "unsupported_grant_type")


async def test_a_client_that_did_not_prove_who_it_is_learns_nothing_of_what_it_presents():
    house = House()
    await refused(house.token(client_secret="wrong", grant_type="password"), "invalid_client")
    await refused(house.token(client_secret="wrong"), "invalid_client")
    assert house.always.asked == []


async def test_groups_beyond_what_a_header_carries_are_an_error_and_not_a_shorter_list():
    house = House()
    house.always.granted = Granted(replace(ALICE, groups=tuple(f"group-{n:030}" for n in range(300))), RESOURCE)
    await refused(house.token(), "invalid_grant")


async def test_the_scope_that_is_granted_is_told_and_stands_in_the_token():
    house = House()
    house.always.granted = Granted(ALICE, RESOURCE, scope="mcp:read")
    answer = await house.token()
    assert answer["scope"] == "mcp:read"
    assert jwt.decode(answer["access_token"], options={"verify_signature": False})["scope"] == "mcp:read"


def test_the_metadata_has_what_the_book_asks_for_and_what_the_grants_add():
    found = House().authority.metadata()
    assert found["issuer"] == URL
    assert found["token_endpoint"] == TOKEN
    assert found["jwks_uri"] == f"{URL}/.well-known/jwks.json"
    assert found["grant_types_supported"] == ["urn:example:always"]
    assert found["example_supported"] is True
    assert found["response_types_supported"] == []


def test_the_published_key_is_public():
    (key,) = House().signer.jwks["keys"]
    assert key.keys() == {"kty", "crv", "x", "kid", "use", "alg"}


def test_every_replica_with_the_same_key_file_signs_under_the_same_key_id():
    assert House().signer.jwks == House().signer.jwks


async def test_readiness_asks_the_providers_and_not_ourselves():
    house, published = House(), Published()
    published.down = True
    assert await Issuers([CONFIG], published, own=house.signer).probe() is not None


async def test_nothing_secret_is_in_any_repr():
    house = House()
    token = (await house.token())["access_token"]
    shown = repr([BY_SECRET, house.signer, house.authority, house.always.granted])
    assert SECRET not in shown
    assert token not in shown
