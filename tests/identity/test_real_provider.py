"""The whole of identity against a real OpenID Connect provider: tokens as clients get them, rotation and outage."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import replace

import httpx2
import jwt
import pytest

from gateway.core.errors import IdentityUnavailable, Unauthenticated
from gateway.core.types import Principal
from gateway.identity.issuers import Issuers
from tests import oidc_provider
from tests.identity.minting import CONFIG, RESOURCE, signing_key


def config(provider, **changes):
    return replace(CONFIG, url=provider.issuer, **changes)


async def test_an_agents_own_token_names_the_agent_and_its_groups():
    async with oidc_provider.running() as provider, Issuers.open([config(provider)]) as issuers:
        token = await provider.agent_token(RESOURCE)
        assert await issuers.identify(f"Bearer {token}", resource=RESOURCE) == Principal(
            issuer=provider.issuer, subject="agent", groups=("clinicians", "cardiology"), client="agent", agent=True
        )


async def test_an_agent_with_a_key_and_no_secret_has_a_token_of_its_own():
    key = signing_key("ES256", "agents-key")
    jwks = json.dumps({"keys": [key.jwk(alg=key.algorithm)]})
    async with oidc_provider.running(CLIENT_JWKS=jwks) as provider, Issuers.open([config(provider)]) as issuers:
        now = int(time.time())
        said = {"iss": "agent-key", "sub": "agent-key", "aud": provider.issuer, "jti": uuid.uuid4().hex}
        form = {
            "grant_type": "client_credentials",
            "resource": RESOURCE,
            "scope": "mcp",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": jwt.encode(
                {**said, "iat": now, "exp": now + 60}, key.private, key.algorithm, headers={"kid": key.kid}
            ),
        }
        async with httpx2.AsyncClient() as http:
            reply = await http.post(f"{provider.issuer}/token", data=form)
        assert reply.status_code == 200, reply.text
        found = await issuers.identify(f"Bearer {reply.json()['access_token']}", resource=RESOURCE)
        assert (found.subject, found.agent) == ("agent-key", True)


async def test_an_exchanged_token_shows_the_person_and_who_acts_for_them():
    async with oidc_provider.running() as provider, Issuers.open([config(provider)]) as issuers:
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": (await provider.login_tokens(RESOURCE))["access_token"],
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "resource": RESOURCE,
        }
        secret = ("gateway", "gateway-secret-of-forty-characters-long-x")
        async with httpx2.AsyncClient(auth=secret) as http:
            reply = await http.post(f"{provider.issuer}/token", data=form)
        assert reply.status_code == 200, reply.text
        found = await issuers.identify(f"Bearer {reply.json()['access_token']}", resource=RESOURCE)
        assert (found.subject, found.chain, found.agent) == ("alice", ("gateway",), False)


async def test_a_humans_login_yields_an_access_token_that_is_accepted_and_an_id_token_that_is_not():
    async with oidc_provider.running() as provider:
        nested = config(provider, groups_claim=(("realm_access", "roles"),))
        tokens = await provider.login_tokens(RESOURCE)
        async with Issuers.open([nested]) as issuers:
            principal = await issuers.identify(f"Bearer {tokens['access_token']}", resource=RESOURCE)
            assert (principal.subject, principal.client, principal.groups) == ("alice", "desktop", ("nurse",))
            with pytest.raises(Unauthenticated) as refusal:
                await issuers.identify(f"Bearer {tokens['id_token']}", resource=RESOURCE)
            assert refusal.value.reason == "wrong_type"
        # Not even where an audience was configured that every ID token for this client has.
        async with Issuers.open([replace(nested, audience="desktop")]) as issuers:
            with pytest.raises(Unauthenticated) as refusal:
                await issuers.identify(f"Bearer {tokens['id_token']}", resource=RESOURCE)
            assert refusal.value.reason == "wrong_type"


async def test_an_elliptic_signature_and_another_resource():
    async with oidc_provider.running() as provider, Issuers.open([config(provider)]) as issuers:
        resource = "https://gateway.example/mcp/es256"
        token = await provider.agent_token(resource)
        assert (await issuers.identify(f"Bearer {token}", resource=resource)).subject == "agent"
        with pytest.raises(Unauthenticated) as refusal:
            await issuers.identify(f"Bearer {token}", resource=RESOURCE)
        assert refusal.value.reason == "wrong_audience"


async def test_a_real_token_expires():
    times = {"offset": 0.0}
    async with (
        oidc_provider.running() as provider,
        Issuers.open([config(provider)], now=lambda: time.time() + times["offset"]) as issuers,
    ):
        sent = f"Bearer {await provider.agent_token(RESOURCE)}"
        await issuers.identify(sent, resource=RESOURCE)
        times["offset"] = 600 + CONFIG.clock_skew_s
        with pytest.raises(Unauthenticated) as refusal:
            await issuers.identify(sent, resource=RESOURCE)
        assert refusal.value.reason == "expired"


async def test_rotated_keys_are_followed_and_withdrawn_ones_end():
    async with oidc_provider.running() as provider, Issuers.open([config(provider, jwks_refetch_s=0)]) as issuers:
        old = f"Bearer {await provider.agent_token(RESOURCE)}"
        await issuers.identify(old, resource=RESOURCE)
        await provider.rotate()
        new = f"Bearer {await provider.agent_token(RESOURCE)}"
        assert (await issuers.identify(new, resource=RESOURCE)).subject == "agent"
        with pytest.raises(Unauthenticated) as refusal:
            await issuers.identify(old, resource=RESOURCE)
        assert refusal.value.reason == "unknown_key"


async def test_an_outage_is_survived_with_cached_keys_and_ends_in_a_refusal_to_guess():
    async with oidc_provider.running() as provider:
        first, second = [f"Bearer {await provider.agent_token(RESOURCE)}" for _ in range(2)]
        async with Issuers.open([config(provider)]) as issuers, Issuers.open([config(provider)]) as strangers:
            await issuers.identify(first, resource=RESOURCE)
            await provider.stop()
            assert (await issuers.identify(second, resource=RESOURCE)).subject == "agent"
            with pytest.raises(IdentityUnavailable):
                await strangers.identify(second, resource=RESOURCE)
            assert provider.issuer in (await strangers.probe() or "")
