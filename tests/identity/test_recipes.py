"""The recipes of docs/identity: each configuration there is loaded, and held against tokens of that provider's shape.

The tokens are synthetic. Their headers, claims, types and audiences are those of the providers' own documentation,
which the pages name.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from gateway import config
from gateway.core.errors import Unauthenticated
from gateway.core.types import Principal
from gateway.identity.issuers import Issuers
from gateway.store import keys
from tests.identity.minting import Published, sign, signing_key

PAGES = Path(__file__).parents[2] / "docs" / "identity"
HEAD = '[gateway]\nlisten = "127.0.0.1:8080"\npublic_url = "https://gateway.example"\n[policy]\nbundle = "policies"\n'
UPSTREAM = '[[upstream]]\nname = "ehr"\nurl = "https://ehr.internal.example/mcp"\n'
RESOURCE = "https://gateway.example/mcp/ehr"
KEY = signing_key("RS256", "kid-1")
NOW = int(time.time())
TENANT, API = "00000000-0000-4000-8000-00000000007e", "00000000-0000-4000-8000-0000000000a0"
PERSON, APP = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-0000000000c1"
GROUP = "00000000-0000-4000-8000-00000000c11c"
PROVIDERS = ("okta", "entra-id", "google-workspace", "keycloak", "auth0")


def blocks(page: str) -> list[str]:
    return re.findall(r"^```toml\n(.*?)^```$", (PAGES / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """The configuration of a page's block, with the little that it leaves out."""
    place = tmp_path_factory.mktemp("recipes")
    (place / "policies").mkdir()
    keys.generate(place / "keys", origin="gateway.example/phigate")

    def loaded(page: str, number: int) -> config.Config:
        block = blocks(page)[number]
        file = place / "phigate.toml"
        file.write_text(HEAD + ("" if "[[upstream]]" in block else UPSTREAM) + block)
        return config.load(file, environ={"GRAPH_SECRET": "synthetic"})

    return loaded


class Recipe:
    """One block of a page: who a token of its provider is, or why it is refused."""

    def __init__(self, made: config.Config) -> None:
        self._scopes = made.scopes("ehr")
        self._issuers = Issuers(made.issuers, Published(KEY.jwk(alg="RS256")), look_ups={}, now=lambda: NOW)

    async def principal(self, header, claims) -> Principal:
        sent = sign(KEY, {"alg": "RS256", "kid": "kid-1", **header}, claims)
        return await self._issuers.identify(sent, resource=RESOURCE, scopes=self._scopes)

    async def reason(self, header, claims) -> str:
        with pytest.raises(Unauthenticated) as refusal:
            await self.principal(header, claims)
        return refusal.value.reason


@pytest.mark.parametrize("page", PROVIDERS)
def test_every_configuration_of_a_page_loads(load, page):
    assert blocks(page)
    for number in range(len(blocks(page))):
        assert load(page, number).issuers


def test_every_provider_has_its_page_in_the_index():
    index = (PAGES / "README.md").read_text()
    assert [page for page in PROVIDERS if f"({page}.md)" not in index] == []


# Okta: no `typ`, `cid`, `scp` as an array, `uid` of people only

OKTA = {
    "ver": 1,
    "jti": "AT.synthetic0token0id",
    "iss": "https://example.okta.com/oauth2/aus1synthetic",
    "aud": RESOURCE,
    "iat": NOW,
    "exp": NOW + 900,
    "cid": "0oa1syntheticclient",
    "uid": "00u1syntheticuser",
    "scp": ["openid", "mcp"],
    "auth_time": NOW - 60,
    "sub": "ana@clinic.example",
    "groups": ["phi-clinicians", "phi-cardiology"],
}


async def test_okta_a_person_in_filtered_groups(load):
    assert await Recipe(load("okta", 0)).principal({}, OKTA) == Principal(
        OKTA["iss"], "ana@clinic.example", ("phi-clinicians", "phi-cardiology"), "0oa1syntheticclient"
    )


async def test_okta_an_agent_on_its_own_has_no_groups(load):
    claims = {name: value for name, value in OKTA.items() if name not in ("uid", "groups", "auth_time")}
    agent = await Recipe(load("okta", 0)).principal({}, {**claims, "sub": OKTA["cid"], "scp": ["mcp"]})
    assert (agent.subject, agent.groups, agent.client) == (OKTA["cid"], (), OKTA["cid"])


async def test_okta_a_list_that_may_have_been_shortened_is_refused(load):
    recipe = Recipe(load("okta", 0))
    assert len((await recipe.principal({}, {**OKTA, "groups": [f"g{n}" for n in range(99)]})).groups) == 99
    assert await recipe.reason({}, {**OKTA, "groups": [f"g{n}" for n in range(100)]}) == "groups_unreadable"


async def test_okta_tokens_of_the_org_authorization_server_are_refused(load):
    org = {**OKTA, "iss": "https://example.okta.com", "aud": "https://example.okta.com"}
    recipe = Recipe(load("okta", 0))
    assert await recipe.reason({"typ": "application/okta-internal-at+jwt"}, org) == "wrong_type"
    assert await recipe.reason({}, org) == "unknown_issuer"


# Entra ID: version 2 with the API's id as audience, version 1 with its URI; roles, overage

ENTRA = {
    "aud": API,
    "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0",
    "iat": NOW,
    "nbf": NOW,
    "exp": NOW + 4500,
    "aio": "synthetic",
    "azp": APP,
    "azpacr": "0",
    "groups": [GROUP],
    "name": "Ana Example",
    "oid": PERSON,
    "preferred_username": "ana@clinic.example",
    "rh": "synthetic",
    "roles": ["Clinician"],
    "scp": "ehr.access",
    "sub": "pairwise-for-this-application",
    "tid": TENANT,
    "uti": "synthetic-uti",
    "ver": "2.0",
}
ENTRA_1 = {
    "aud": f"api://{API}",
    "iss": f"https://sts.windows.net/{TENANT}/",
    "iat": NOW,
    "nbf": NOW,
    "exp": NOW + 4500,
    "acr": "1",
    "aio": "synthetic",
    "amr": ["pwd", "mfa"],
    "appid": APP,
    "appidacr": "0",
    "groups": [GROUP],
    "ipaddr": "203.0.113.7",
    "oid": PERSON,
    "scp": "ehr.access",
    "sub": "pairwise-for-this-application",
    "tid": TENANT,
    "unique_name": "ana@clinic.example",
    "uti": "synthetic-uti",
    "ver": "1.0",
}
OVERAGE = {
    "_claim_names": {"groups": "src1"},
    "_claim_sources": {"src1": {"endpoint": f"https://graph.windows.net/{TENANT}/users/{PERSON}/getMemberObjects"}},
}
V2, V1, GRAPH = 0, 1, 2


def without(claims, *names):
    return {name: value for name, value in claims.items() if name not in names}


async def test_entra_id_a_person_with_group_ids_and_app_roles(load):
    person = await Recipe(load("entra-id", V2)).principal({"typ": "JWT"}, ENTRA)
    assert person == Principal(ENTRA["iss"], PERSON, (GROUP, "Clinician"), APP)


async def test_entra_id_a_token_without_the_scope_is_told_which_to_ask_for(load):
    assert await Recipe(load("entra-id", V2)).reason({"typ": "JWT"}, {**ENTRA, "scp": "other"}) == "insufficient_scope"
    assert load("entra-id", V2).scopes("ehr") == (f"{RESOURCE}/ehr.access",)


async def test_entra_id_version_1(load):
    person = await Recipe(load("entra-id", V1)).principal({"typ": "JWT", "x5t": "kid-1"}, ENTRA_1)
    assert person == Principal(ENTRA_1["iss"], PERSON, (GROUP,), APP, "1", ("pwd", "mfa"))


async def test_entra_id_the_versions_are_not_mistaken_for_each_other(load):
    assert await Recipe(load("entra-id", V2)).reason({"typ": "JWT"}, ENTRA_1) == "unknown_issuer"
    assert await Recipe(load("entra-id", V2)).reason({"typ": "JWT"}, {**ENTRA, "aud": f"api://{API}"}) == (
        "wrong_audience"
    )


async def test_entra_id_another_tenant_is_another_issuer(load):
    other = {**ENTRA, "iss": ENTRA["iss"].replace("7e/", "7f/")}
    assert await Recipe(load("entra-id", V2)).reason({"typ": "JWT"}, other) == "unknown_issuer"


async def test_entra_id_an_agent_on_its_own_has_its_app_roles_and_no_scope(load):
    agent = {**without(ENTRA, "scp", "groups", "name", "preferred_username"), "idtyp": "app", "sub": PERSON}
    assert await Recipe(load("entra-id", V2)).reason({"typ": "JWT"}, agent) == "insufficient_scope"
    assert (await Recipe(load("entra-id", GRAPH)).principal({"typ": "JWT"}, agent)).groups == ()


@pytest.mark.parametrize("link", [OVERAGE, {"hasgroups": True}, {"groups": "src1", **without(OVERAGE, "_claim_names")}])
async def test_entra_id_too_many_groups_are_refused_and_never_no_groups(load, link):
    token = {**without(ENTRA, "groups"), **link}
    assert await Recipe(load("entra-id", V2)).reason({"typ": "JWT"}, token) == "groups_elsewhere"


async def test_entra_id_too_many_groups_are_looked_up_where_graph_is_configured(load):
    made = load("entra-id", GRAPH)
    asked = []

    async def look_up(person):
        asked.append(person)
        return (GROUP,), 300.0

    known = Issuers(made.issuers, Published(KEY.jwk()), look_ups={ENTRA["iss"]: look_up})
    sent = sign(KEY, {"alg": "RS256", "kid": "kid-1", "typ": "JWT"}, {**without(ENTRA, "groups"), **OVERAGE})
    assert (await known.identify(sent, resource=RESOURCE)).groups == (GROUP,)
    assert asked == [PERSON]


async def test_entra_id_an_id_token_is_refused(load):
    id_token = {**without(ENTRA, "scp", "azp"), "nonce": "n"}
    assert await Recipe(load("entra-id", V2)).reason({"typ": "JWT"}, id_token) == "wrong_type"


# Google: opaque access tokens, ID tokens of people, ID tokens of service accounts

GOOGLE_PERSON = {
    "iss": "https://accounts.google.com",
    "azp": "1234.apps.googleusercontent.com",
    "aud": "1234.apps.googleusercontent.com",
    "sub": "110000000000000000001",
    "hd": "clinic.example",
    "email": "ana@clinic.example",
    "email_verified": True,
    "at_hash": "synthetic",
    "iat": NOW,
    "exp": NOW + 3600,
}
GOOGLE_ACCOUNT = {
    "iss": "https://accounts.google.com",
    "aud": RESOURCE,
    "azp": "100000000000000000001",
    "sub": "100000000000000000001",
    "email": "agent@project.iam.gserviceaccount.com",
    "email_verified": True,
    "iat": NOW,
    "exp": NOW + 3600,
}


async def test_google_an_opaque_access_token_is_refused(load):
    known = Issuers(load("google-workspace", 0).issuers, Published(KEY.jwk()))
    with pytest.raises(Unauthenticated) as refusal:
        await known.identify("Bearer ya29.a0Synthetic-token_0123", resource=RESOURCE)
    assert refusal.value.reason == "malformed"


async def test_google_a_persons_id_token_is_refused_with_and_without_its_marks(load):
    recipe = Recipe(load("google-workspace", 0))
    assert await recipe.reason({"typ": "JWT"}, GOOGLE_PERSON) == "wrong_type"
    assert await recipe.reason({"typ": "JWT"}, {**GOOGLE_PERSON, "aud": RESOURCE}) == "wrong_type"
    assert await recipe.reason({"typ": "JWT"}, without(GOOGLE_PERSON, "at_hash")) == "wrong_audience"


async def test_google_a_service_account_is_an_agent_without_groups(load):
    agent = await Recipe(load("google-workspace", 0)).principal({"typ": "JWT"}, GOOGLE_ACCOUNT)
    assert agent == Principal(
        "https://accounts.google.com", "100000000000000000001", (), client="100000000000000000001", agent=True
    )
    assert await Recipe(load("google-workspace", 0)).reason(
        {"typ": "JWT"}, {**GOOGLE_ACCOUNT, "aud": "https://elsewhere.example"}
    ) == ("wrong_audience")


# Keycloak: roles nested twice, groups as paths, `typ` among the claims, the audience `account`

KEYCLOAK = {
    "exp": NOW + 300,
    "iat": NOW,
    "auth_time": NOW - 10,
    "jti": "onrtac:00000000-0000-4000-8000-0000000000aa",
    "iss": "https://keycloak.example/realms/clinic",
    "aud": [RESOURCE, "account"],
    "sub": "00000000-0000-4000-8000-0000000000b1",
    "typ": "Bearer",
    "azp": "mcp-desktop",
    "sid": "synthetic",
    "acr": "1",
    "allowed-origins": [],
    "realm_access": {"roles": ["default-roles-clinic", "offline_access", "clinicians"]},
    "resource_access": {"phigate": {"roles": ["reader"]}, "account": {"roles": ["view-profile"]}},
    "scope": "openid mcp-ehr profile",
    "groups": ["/clinic/clinicians", "/clinic/cardiology"],
    "preferred_username": "ana",
}
REALM, CLIENT = 0, 1


async def test_keycloak_realm_roles(load):
    person = await Recipe(load("keycloak", REALM)).principal({"typ": "JWT"}, KEYCLOAK)
    assert person.groups == ("default-roles-clinic", "offline_access", "clinicians")
    assert (person.subject, person.client, person.acr) == (KEYCLOAK["sub"], "mcp-desktop", "1")


async def test_keycloak_groups_keep_their_slashes_and_stand_beside_client_roles(load):
    person = await Recipe(load("keycloak", CLIENT)).principal({"typ": "JWT"}, KEYCLOAK)
    assert person.groups == ("/clinic/clinicians", "/clinic/cardiology", "reader")


async def test_keycloak_an_agent_without_roles_of_the_client_has_none_of_it(load):
    agent = without(KEYCLOAK, "groups", "resource_access", "sid")
    assert (await Recipe(load("keycloak", CLIENT)).principal({"typ": "JWT"}, agent)).groups == ()


async def test_keycloak_a_token_that_another_application_could_use_too_is_refused(load):
    both = {**KEYCLOAK, "aud": [RESOURCE, "account", "billing"]}
    assert await Recipe(load("keycloak", REALM)).reason({"typ": "JWT"}, both) == "other_audience"


async def test_keycloak_without_the_scope_there_is_no_audience_and_the_client_is_told_both(load):
    recipe = Recipe(load("keycloak", REALM))
    assert await recipe.reason({"typ": "JWT"}, {**KEYCLOAK, "aud": "account"}) == "wrong_audience"
    assert await recipe.reason({"typ": "JWT"}, {**KEYCLOAK, "scope": "openid"}) == "insufficient_scope"


@pytest.mark.parametrize("typ", ["ID", "Refresh", "Offline", "Logout"])
async def test_keycloak_other_tokens_than_access_tokens_are_refused(load, typ):
    assert await Recipe(load("keycloak", REALM)).reason({"typ": "JWT"}, {**KEYCLOAK, "typ": typ}) == "wrong_type"


# Auth0: two profiles, a claim with a namespace, `/userinfo` beside the API

AUTH0 = {
    "iss": "https://clinic.eu.auth0.com/",
    "sub": "auth0|650000000000000000000001",
    "aud": [RESOURCE, "https://clinic.eu.auth0.com/userinfo"],
    "iat": NOW,
    "exp": NOW + 3600,
    "scope": "openid profile read:charts",
    "client_id": "Synthetic0Client",
    "jti": "synthetic-jti",
    "permissions": ["read:charts"],
    "https://gateway.example/groups": ["clinicians"],
}
PROFILE_9068, PROFILE_AUTH0 = 0, 1


async def test_auth0_the_rfc_9068_profile_with_a_claim_of_ones_own(load):
    person = await Recipe(load("auth0", PROFILE_9068)).principal({"typ": "at+jwt"}, AUTH0)
    assert person == Principal(AUTH0["iss"], AUTH0["sub"], ("clinicians",), "Synthetic0Client")


async def test_auth0_its_own_profile_with_permissions_as_groups(load):
    claims = {**without(AUTH0, "client_id", "jti"), "azp": "Synthetic0Client"}
    person = await Recipe(load("auth0", PROFILE_AUTH0)).principal({"typ": "JWT"}, claims)
    assert (person.groups, person.client) == (("clinicians", "read:charts"), "Synthetic0Client")
    assert await Recipe(load("auth0", PROFILE_9068)).reason({"typ": "JWT"}, claims) == "not_at_jwt"


async def test_auth0_an_agent_on_its_own_has_only_permissions(load):
    claims = {**without(AUTH0, "https://gateway.example/groups"), "sub": "Synthetic0Client@clients", "aud": RESOURCE}
    agent = await Recipe(load("auth0", PROFILE_AUTH0)).principal(
        {"typ": "at+jwt"}, {**claims, "gty": "client-credentials"}
    )
    assert (agent.subject, agent.groups) == ("Synthetic0Client@clients", ("read:charts",))


async def test_auth0_the_issuer_without_its_slash_is_another(load):
    assert await Recipe(load("auth0", PROFILE_9068)).reason(
        {"typ": "at+jwt"}, {**AUTH0, "iss": "https://clinic.eu.auth0.com"}
    ) == ("unknown_issuer")


async def test_auth0_a_token_that_is_encrypted_because_no_resource_was_named_is_refused(load):
    known = Issuers(load("auth0", PROFILE_9068).issuers, Published(KEY.jwk()))
    with pytest.raises(Unauthenticated) as refusal:
        await known.identify("Bearer eyJhbGciOiJkaXIifQ..aXY.Y2lwaGVydGV4dA.dGFn", resource=RESOURCE)
    assert refusal.value.reason == "malformed"
