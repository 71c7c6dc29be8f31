"""A whole gateway on a socket, a real OpenID Connect provider, and the official client that knows only our URL."""

from __future__ import annotations

import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client

from gateway.cli import init
from tests import oidc_provider
from tests.e2e import harness
from tests.identity.test_official_client import Memory

UPSTREAM = Path(__file__).with_name("upstream_server.py")
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@asynccontextmanager
async def serving(place: Path, issuer: str, *, scopes: tuple[str, ...] = ()):
    """A gateway that trusts `issuer` and requires `scopes`, made as `phigate init` makes it; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        init.prepare(place)
        upstream = {"command": sys.executable, "args": [str(UPSTREAM)]}
        text = init.document(name="ward", upstream=upstream, issuer=issuer)
        port = listening.getsockname()[1]
        (place / "phigate.toml").write_text(
            text.replace("# required_scopes = []", f"required_scopes = {list(scopes)}")
            .replace(":8080", f":{port}")
            .replace("# jwks_refetch_s = 10", "jwks_refetch_s = 0.1")
        )
        async with harness.here(place, listening) as url:
            yield url


async def test_the_official_client_finds_its_way_from_the_url_to_a_tool_result(tmp_path):
    async with oidc_provider.running() as provider, serving(tmp_path, provider.issuer) as gateway:
        url = f"{gateway}/mcp/ward"
        auth = ClientCredentialsOAuthProvider(
            server_url=url,
            storage=Memory(),
            client_id="agent",
            client_secret="agent-secret",
            scope="mcp",
            issuer=provider.issuer,
        )
        async with (
            httpx2.AsyncClient(auth=auth, timeout=30) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            assert [tool.name for tool in (await client.list_tools()).tools] == ["census"]
            result = await client.call_tool("census", {"ward": "icu"})
        assert not result.is_error
        assert result.content[0].text == "icu: 7 beds"


async def test_a_request_without_a_good_token_is_challenged_and_reaches_nothing(tmp_path):
    async with oidc_provider.running() as provider, serving(tmp_path, provider.issuer) as gateway:
        url, metadata = f"{gateway}/mcp/ward", f"{gateway}/.well-known/oauth-protected-resource/mcp/ward"
        elsewhere = await provider.agent_token("https://elsewhere.example/mcp")
        async with httpx2.AsyncClient(timeout=60) as http:
            accept = {"accept": "application/json, text/event-stream"}
            missing = await http.post(url, json=PING, headers=accept)
            wrong = await http.post(url, json=PING, headers={**accept, "authorization": f"Bearer {elsewhere}"})
            in_url = await http.post(f"{url}?access_token={elsewhere}", json=PING, headers=accept)
            document = (await http.get(metadata)).json()
            ready = await http.get(f"{gateway}/readyz")
        assert (missing.status_code, missing.headers["www-authenticate"]) == (
            401,
            f'Bearer resource_metadata="{metadata}"',
        )
        assert wrong.status_code == 401
        assert "the token is for another resource" in wrong.headers["www-authenticate"]
        assert in_url.status_code == 400
        assert document["authorization_servers"] == [provider.issuer]
        assert ready.status_code == 200, ready.text


async def test_a_provider_that_is_down_is_told_as_our_unavailability(tmp_path):
    async with oidc_provider.running() as provider, serving(tmp_path, provider.issuer) as gateway:
        url = f"{gateway}/mcp/ward"
        token = await provider.agent_token(url)
        await provider.stop()
        async with httpx2.AsyncClient(timeout=60) as http:
            headers = {"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"}
            reply = await http.post(url, json=PING, headers=headers)
            ready = await http.get(f"{gateway}/readyz")
            alive = await http.get(f"{gateway}/healthz")
        assert reply.status_code == 503
        assert (ready.status_code, ready.json()["parts"]["identity"]) == (503, "not ready")
        assert alive.status_code == 200
