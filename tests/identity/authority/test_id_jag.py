"""Identity assertions (ID-JAG): a good one becomes a token, once; each way to misuse one is refused by its name."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime

import jwt
import pytest

from gateway.core.errors import GrantRefused, IdentityUnavailable
from gateway.core.revocation import Kind, Revocation
from gateway.identity.authority.id_jag import GRANT_TYPE, PROFILE, IdJag
from gateway.identity.issuers import Issuers
from gateway.identity.revoked import Revoked
from tests.identity.authority.parts import BY_KEY, BY_SECRET, RESOURCE, URL, House
from tests.identity.minting import CONFIG, Published, signing_key

KEY = signing_key("RS256")


class Provider:
    """The organisation's provider, what it makes, and an authority that trusts it."""

    def __init__(self, trusted=(CONFIG.url,)) -> None:
        self.published = Published(KEY.jwk())
        self.issuers = Issuers([CONFIG], self.published)
        self.house = House(IdJag(trusted, url=URL, trusted=self.issuers, now=time.time))

    async def exchange(self, assertion, **form):
        wanted = {"grant_type": GRANT_TYPE, "assertion": assertion, **form}
        return await self.house.token(**wanted)

    async def refused(self, assertion, code="invalid_grant", **form):
        with pytest.raises(GrantRefused) as refusal:
            await self.exchange(assertion, **form)
        assert refusal.value.code == code, refusal.value.detail
        assert self.house.record == []
        assert self.house.spent == set()
        return refusal.value.detail


def id_jag(key=KEY, *, typ="oauth-id-jag+jwt", kid=None, **changes):
    """What the provider signs for BY_SECRET about alice; a change to None leaves a claim out; floats are from now."""
    now = time.time()
    good = {
        "iss": CONFIG.url,
        "sub": "alice",
        "aud": URL,
        "client_id": BY_SECRET.id,
        "resource": RESOURCE,
        "jti": uuid.uuid4().hex,
        "iat": -5.0,
        "exp": 300.0,
        "groups": ["clinicians"],
    }
    changed = {name: now + value if isinstance(value, float) else value for name, value in {**good, **changes}.items()}
    claims = {name: value for name, value in changed.items() if value is not None}
    return jwt.encode(claims, key.private, key.algorithm, headers={"typ": typ, "kid": kid or key.kid})


async def test_an_assertion_becomes_a_token_for_the_person_at_the_provider():
    provider = Provider()
    answer = await provider.exchange(id_jag(acr="urn:mfa", amr=["otp"]))
    known = Issuers([CONFIG], provider.published, own=provider.house.signer)
    found = await known.identify(f"Bearer {answer['access_token']}", resource=RESOURCE)
    assert (found.issuer, found.subject, found.client) == (CONFIG.url, "alice", BY_SECRET.id)
    assert (found.groups, found.acr, found.amr) == (("clinicians",), "urn:mfa", ("otp",))


async def test_the_record_says_which_assertion_it_was_without_its_text():
    provider, assertion = Provider(), id_jag(jti="one-of-a-kind")
    await provider.exchange(assertion)
    (leaf,) = provider.house.record
    assert len(leaf["assertion"]) == 64
    assert "one-of-a-kind" not in str(leaf)
    assert "alice" not in str(leaf)


async def test_an_assertion_is_good_for_one_token():
    provider, assertion = Provider(), id_jag()
    await provider.exchange(assertion)
    with pytest.raises(GrantRefused, match="used before"):
        await provider.exchange(assertion)
    assert len(provider.house.record) == 1


async def test_a_request_with_a_mistake_does_not_use_the_assertion_up():
    provider, assertion = Provider(), id_jag()
    await provider.refused(assertion, "invalid_target", resource=f"{URL}/mcp/lab")
    await provider.exchange(assertion)


@pytest.mark.parametrize("typ", ["JWT", "at+jwt", "id-jag+jwt", "logout+jwt", ""])
async def test_any_other_kind_of_token_of_the_same_provider_is_refused(typ):
    assert "oauth-id-jag+jwt" in await Provider().refused(id_jag(typ=typ))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"aud": "https://elsewhere.example"}, "aud"),
        ({"aud": [URL, "https://elsewhere.example"]}, "aud"),
        ({"aud": f"{URL}/oauth/token"}, "aud"),
        ({"aud": f"{URL}/"}, "aud"),
        ({"aud": None}, "aud"),
        ({"client_id": BY_KEY.id}, "client_id"),
        ({"client_id": None}, "client_id"),
        ({"jti": None}, "jti"),
        ({"jti": ["a"]}, "jti"),
        ({"iat": None}, "iat"),
        ({"exp": 7200.0}, "exp"),
        ({"exp": -60.0}, "expired"),
        ({"exp": None}, "malformed"),
        ({"iat": 600.0}, "not_yet_valid"),
        ({"nbf": 600.0}, "not_yet_valid"),
        ({"sub": None}, "no_subject"),
        ({"sub": ""}, "no_subject"),
        ({"iss": "https://mallory.example"}, "unknown_issuer"),
        ({"iss": f"{CONFIG.url}/"}, "unknown_issuer"),
        ({"iss": URL}, "unknown_issuer"),
        ({"cnf": {"jkt": "x"}}, "DPoP"),
        ({"authorization_details": []}, "authorization_details"),
        ({"tenant": "clinic"}, "tenant"),
        ({"act": {"nobody": 1}}, "malformed"),
        ({"groups": "x" * 300}, "groups"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value,
)
async def test_an_assertion_that_says_something_else_is_refused_by_name(changes, why):
    assert why in await Provider().refused(id_jag(**changes))


@pytest.mark.parametrize(
    "resource", [None, "https://elsewhere.example", [], ["https://elsewhere.example"], [RESOURCE, "x"], 7]
)
async def test_an_assertion_for_no_one_resource_of_ours_is_refused(resource):
    await Provider().refused(id_jag(resource=resource), "invalid_target")


async def test_an_assertion_for_several_resources_is_good_for_the_one_that_is_asked_for():
    assertion = id_jag(resource=[RESOURCE, f"{URL}/mcp/lab"])
    assert "access_token" in await Provider().exchange(assertion, resource=RESOURCE)


async def test_scopes_are_those_asked_for_that_were_also_granted():
    provider = Provider()
    assert (await provider.exchange(id_jag(scope="read write"), scope="write admin"))["scope"] == "write"
    assert (await provider.exchange(id_jag(scope="read write")))["scope"] == "read write"
    assert "scope" not in await provider.exchange(id_jag(), scope="admin")


async def test_a_forged_signature_is_refused():
    provider, mallory = Provider(), signing_key("RS256", "mallory")
    assert "unknown_key" in await provider.refused(id_jag(mallory))
    assert "bad_signature" in await provider.refused(id_jag(mallory, kid=KEY.kid))
    assert "alg_refused" in await provider.refused(id_jag().replace(id_jag().split(".")[0], _unsigned(), 1))


def _unsigned() -> str:
    token = jwt.encode({}, None, "none", headers={"typ": "oauth-id-jag+jwt", "kid": KEY.kid})
    return token.split(".")[0]


async def test_a_token_that_we_issued_is_no_assertion():
    provider = Provider(trusted=(CONFIG.url, URL))
    issued = (await provider.exchange(id_jag()))["access_token"]
    with pytest.raises(GrantRefused):
        await provider.exchange(issued)


async def test_an_issuer_whose_assertions_are_not_wanted_is_refused_whatever_it_signs():
    assert "unknown_issuer" in await Provider(trusted=()).refused(id_jag())


async def test_a_provider_that_cannot_be_asked_is_no_reason_to_believe():
    provider = Provider()
    provider.published.down = True
    with pytest.raises(IdentityUnavailable):
        await provider.exchange(id_jag())
    assert provider.house.record == []


async def test_somebody_whose_tokens_were_revoked_gets_none_for_an_assertion_from_before():
    provider = Provider()
    revoked = Revocation(Kind.SUBJECT, CONFIG.url, "pseudonym-of-alice", datetime.now(UTC).isoformat())
    provider.issuers.revoke(Revoked((revoked,), actor=lambda principal: f"pseudonym-of-{principal.subject}"))
    assert "revoked" in await provider.refused(id_jag())
    assert "access_token" in await provider.exchange(id_jag(sub="bob"))


@pytest.mark.parametrize("assertion", ["", "x", "a.b.c", "x" * 20_000, "é.é.é"])
async def test_what_is_no_jwt_is_refused(assertion):
    code = "invalid_grant" if assertion else "invalid_request"
    await Provider().refused(assertion, code)


def test_the_grant_is_advertised_and_whom_it_trusts_is_not():
    grant = IdJag((CONFIG.url,), url=URL, trusted=Provider().issuers, now=time.time)
    metadata = House(grant).authority.metadata()
    assert GRANT_TYPE in metadata["grant_types_supported"]
    assert metadata["authorization_grant_profiles_supported"] == [PROFILE]
    assert CONFIG.url not in str(metadata)
