"""Enterprise-managed authorization through a whole gateway: a login at a real provider, its identity assertion, our
authority, a tool call. By the official clients, which do every step themselves."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx2
import trio
from mcp import Client
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from mcp.client.streamable_http import streamable_http_client

from gateway.cli import init
from tests import oidc_provider, real_parts
from tests.e2e import harness
from tests.identity.test_official_client import Memory

UPSTREAM = Path(__file__).with_name("upstream_server.py")
ASSERTION = Path(__file__).parents[1] / "node" / "clients" / "assertion.mjs"
SECRET = "synthetic-secret-of-forty-characters-long"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TIME_S = 60


@asynccontextmanager
async def serving(place: Path, issuer: str):
    """A gateway that is an authority for assertions of `issuer`; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        init.prepare(place)
        upstream = {"command": sys.executable, "args": [str(UPSTREAM)]}
        text = init.document(name="ward", upstream=upstream, issuer=issuer)
        text = text.replace(":8080", f":{listening.getsockname()[1]}")
        own = f'[authority]\nid_jag_issuers = ["{issuer}"]\nfirst_at = ["ward"]\n'
        client = '[[authority.client]]\nid = "care-assistant"\nsecret_file = "secret"\n'
        (place / "phigate.toml").write_text(text + own + client)
        (place / "secret").write_text(SECRET)
        async with harness.here(place, listening) as url:
            yield url


def leaves(place: Path, kind: str):
    """All leaves of one type, in order."""
    with closing(sqlite3.connect(place / "evidence.db")) as store:
        found = [json.loads(entry) for (entry,) in store.execute("select entry from leaf order by idx")]
    return [leaf["members"] for leaf in found if leaf["type"] == kind]


async def id_jag(provider, id_token: str, audience: str, resource: str) -> str:
    """The provider's identity assertion for an ID token (leg 1 of the flow)."""
    form = {
        "grant_type": EXCHANGE,
        "requested_token_type": "urn:ietf:params:oauth:token-type:id-jag",
        "audience": audience,
        "resource": resource,
        "subject_token": id_token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        "client_id": "desktop",
    }
    async with httpx2.AsyncClient(timeout=60) as http:
        reply = await http.post(f"{provider.issuer}/token", data=form)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["access_token"])


async def test_the_python_client_brings_an_assertion_and_calls_a_tool(tmp_path):
    async with oidc_provider.running() as provider, serving(tmp_path, provider.issuer) as gateway:
        url = f"{gateway}/mcp/ward"
        id_token = (await provider.login_tokens(url))["id_token"]

        async def assertion(audience: str, resource: str) -> str:
            return await id_jag(provider, id_token, audience, resource)

        auth = IdentityAssertionOAuthProvider(
            server_url=url,
            storage=Memory(),
            client_id="care-assistant",
            client_secret=SECRET,
            issuer=gateway,
            assertion_provider=assertion,
        )
        async with (
            httpx2.AsyncClient(auth=auth, timeout=30) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            await client.list_tools()  # One that nobody has listed is taken to write.
            result = await client.call_tool("census", {"ward": "icu"})
        assert result.content[0].text == "icu: 7 beds"
    (issued,) = leaves(tmp_path, "token.issued")
    assert (issued["client"], issued["upstream"], issued["issuer"]) == ("care-assistant", "ward", provider.issuer)
    assert "alice" not in json.dumps(issued)


async def test_the_typescript_client_brings_an_assertion_and_calls_a_tool(tmp_path):
    async with oidc_provider.running() as provider, serving(tmp_path, provider.issuer) as gateway:
        url = f"{gateway}/mcp/ward"
        extra = {
            "MCP_URL": url,
            "IDP": provider.issuer,
            "AUTHORITY": gateway,
            "ID_TOKEN": (await provider.login_tokens(url))["id_token"],
            "CLIENT_SECRET": SECRET,
        }
        place = await trio.to_thread.run_sync(real_parts.npm_set, "clients")
        with trio.fail_after(TIME_S):
            done = await trio.run_process(
                [str(real_parts.node()), str(ASSERTION)],
                cwd=place,
                env=real_parts.environment() | extra,
                capture_stdout=True,
                capture_stderr=True,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        assert done.returncode == 0, done.stderr.decode()
        met = json.loads(done.stdout)
        assert met["tools"] == ["census"]
        assert met["found"]["content"][0]["text"] == "icu: 7 beds"


async def test_an_assertion_is_good_for_one_token_however_many_ask_at_once(tmp_path):
    async with oidc_provider.running() as provider, serving(tmp_path, provider.issuer) as gateway:
        url = f"{gateway}/mcp/ward"
        assertion = await id_jag(provider, (await provider.login_tokens(url))["id_token"], gateway, url)
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        replies = []

        async def ask():
            async with httpx2.AsyncClient(auth=("care-assistant", SECRET), timeout=30) as http:
                replies.append(await http.post(f"{gateway}/oauth/token", data=form))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
        assert sorted(reply.status_code for reply in replies) == [200, 400, 400, 400, 400]
        told = {reply.json()["error"] for reply in replies if reply.status_code == 400}
        assert told == {"invalid_grant"}
    assert len(leaves(tmp_path, "token.issued")) == 1


async def test_whoever_asks_by_an_assertion_is_the_same_principal_as_by_the_providers_own_token(tmp_path):
    async with oidc_provider.running() as provider, serving(tmp_path, provider.issuer) as gateway:
        url = f"{gateway}/mcp/ward"
        tokens = await provider.login_tokens(url)
        assertion = await id_jag(provider, tokens["id_token"], gateway, url)
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        async with httpx2.AsyncClient(timeout=30) as http:
            reply = await http.post(f"{gateway}/oauth/token", data=form, auth=("care-assistant", SECRET))
            for token in (tokens["access_token"], reply.json()["access_token"]):
                head = {"authorization": f"Bearer {token}"}
                async with (
                    httpx2.AsyncClient(headers=head, timeout=30) as by_token,
                    Client(streamable_http_client(url, http_client=by_token)) as client,
                ):
                    await client.list_tools()
                    await client.call_tool("census", {"ward": "icu"})
    actors = {leaf["actor"] for leaf in leaves(tmp_path, "session.open")}
    assert len(actors) == 1
    assert actors == {leaf["actor"] for leaf in leaves(tmp_path, "token.issued")}
