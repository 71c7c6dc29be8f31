"""The official MCP client's own OAuth finds its way from our challenge to a token of a real provider and back in."""

from __future__ import annotations

from dataclasses import replace

import httpx2
import pytest
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.auth.utils import (
    build_protected_resource_metadata_discovery_urls,
    extract_resource_metadata_from_www_auth,
)
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken, ProtectedResourceMetadata
from quart import Response, request
from quart_trio import QuartTrio

from gateway.core.errors import Unauthenticated
from gateway.identity import challenge
from gateway.identity.issuers import Issuers
from gateway.identity.reasons import Reason, refused
from gateway.web import wellknown
from tests import oidc_provider
from tests.identity.minting import CONFIG, RESOURCE


class Memory:
    """The client's token storage (`TokenStorage`), for one run."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


def guarded(issuers: Issuers, issuer: str) -> QuartTrio:
    """The door of one upstream: only identity, nothing behind it."""
    app = QuartTrio(__name__)
    app.register_blueprint(wellknown.blueprint({"ehr": challenge.metadata(RESOURCE, [issuer])}.get))

    @app.post("/mcp/ehr")
    async def door():
        try:
            principal = await issuers.identify(request.headers.get("authorization"), resource=RESOURCE)
        except Unauthenticated as fault:
            status, value = challenge.challenge(fault, RESOURCE)
            return Response("", status, {"www-authenticate": value})
        return {"subject": principal.subject, "groups": principal.groups}

    return app


async def test_a_client_that_knows_only_the_url_and_its_credentials_gets_in():
    async with oidc_provider.running() as provider, Issuers.open([replace(CONFIG, url=provider.issuer)]) as issuers:
        storage = Memory()
        auth = ClientCredentialsOAuthProvider(
            server_url=RESOURCE,
            storage=storage,
            client_id="agent",
            client_secret="agent-secret",
            scope="mcp",
            issuer=provider.issuer,
        )
        ours = {"https://gateway.example": httpx2.ASGITransport(app=guarded(issuers, provider.issuer))}
        async with httpx2.AsyncClient(auth=auth, mounts=ours) as client:
            reply = await client.post(RESOURCE)
        assert reply.status_code == 200, reply.headers
        assert reply.json() == {"subject": "agent", "groups": ["clinicians", "cardiology"]}
        assert storage.tokens is not None


OTHERS = {Reason.IN_URL, Reason.INSUFFICIENT_SCOPE}


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason not in OTHERS])
def test_the_official_client_reads_the_metadata_address_out_of_every_challenge(reason):
    status, value = challenge.challenge(refused(reason), RESOURCE)
    reply = httpx2.Response(status, headers={"www-authenticate": value})
    assert status == 401
    assert extract_resource_metadata_from_www_auth(reply) == challenge.metadata_url(RESOURCE)


def test_the_metadata_is_where_and_what_the_official_client_expects():
    assert build_protected_resource_metadata_discovery_urls(None, RESOURCE)[0] == challenge.metadata_url(RESOURCE)
    document = ProtectedResourceMetadata.model_validate(challenge.metadata(RESOURCE, ["https://idp.example"]))
    assert str(document.resource) == RESOURCE
