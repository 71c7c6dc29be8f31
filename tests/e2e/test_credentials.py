"""What the gateway shows to upstreams, through a whole gateway: every byte that went there is looked at, and everything
that was logged and stored."""

from __future__ import annotations

import json
import logging
import socket
import sqlite3
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx2
import jwt
import pytest
import trio
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from gateway.cli import init
from tests import oidc_provider
from tests.e2e import harness
from tests.e2e.harness import free_port
from tests.e2e.relay import relaying

SECRET = "gateway-secret-of-forty-characters-long-x"
THERE = "https://ward.example/mcp"


@asynccontextmanager
async def serving(place: Path, issuer: str, upstream: str, more: str):
    """A gateway in front of `upstream`, with `more` in its table; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        init.prepare(place)
        text = init.document(name="ward", upstream={"url": upstream}, issuer=issuer)
        text = text.replace(":8080", f":{listening.getsockname()[1]}").replace("# reload_s = 2 ", "reload_s = 0.1 # ")
        (place / "phigate.toml").write_text(f"{text}{more}")
        (place / "client-secret").write_text(SECRET)
        async with harness.here(place, listening) as url:
            yield f"{url}/mcp/ward"


@asynccontextmanager
async def talking(url: str, token: str, mode: str = "auto"):
    """The official client with this token."""
    head = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=head, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def ward():
    """The official SDK's server over HTTP."""
    with harness.python_program("-m", "tests.e2e.sdk_server") as said:
        yield said["mcp"]


def table(kind: str, issuer: str, **more: str) -> str:
    whole = {"type": kind, "token_url": f"{issuer}/token", "client_id": "gateway", **more}
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in whole.items())
    return f'[upstream.credentials]\n{lines}client_secret_file = "client-secret"\n'


def nowhere(place: Path, caplog, *secrets: str) -> None:
    """None of these is in anything that was logged or stored."""
    kept = b"".join(path.read_bytes() for path in place.glob("evidence.db*") if path.is_file()) + caplog.text.encode()
    for secret in secrets:
        assert secret.encode() not in kept


def outcomes(place: Path):
    with closing(sqlite3.connect(place / "evidence.db")) as store:
        found = [json.loads(entry) for (entry,) in store.execute("select entry from leaf order by idx")]
    return [leaf["members"] for leaf in found if leaf["type"] == "exchange.outcome"]


@pytest.mark.parametrize(
    ("mode", "era"),
    [("auto", "auto"), ("legacy", "auto"), ("auto", "legacy"), ("legacy", "modern")],
    ids=["modern", "legacy", "modern-to-legacy", "legacy-to-modern"],
)
async def test_a_persons_token_is_exchanged_and_never_goes_upstream(tmp_path, ward, caplog, mode, era):
    caplog.set_level(logging.DEBUG)
    async with oidc_provider.running() as provider, relaying(ward) as relay:
        more = f'era = "{era}"\n' + table("token_exchange", provider.issuer, resource=THERE)
        async with serving(tmp_path, provider.issuer, relay.url, more) as url:
            theirs = (await provider.login_tokens(url))["access_token"]
            async with talking(url, theirs, mode) as client:
                await client.list_tools()
                result = await client.call_tool("add", {"one": 2, "other": 3})
            assert result.structured_content == {"result": 5}
            assert await provider.exchanges() == 1
    shown = set(relay.authorizations)
    assert len(shown) == 1
    claims = jwt.decode(shown.pop().removeprefix("Bearer "), options={"verify_signature": False})
    assert (claims["aud"], claims["sub"], claims["act"]) == (THERE, "alice", {"sub": "gateway"})
    assert theirs.encode() not in relay.sent
    assert theirs.rpartition(".")[2].encode() not in relay.sent
    nowhere(tmp_path, caplog, theirs, SECRET, relay.authorizations[0])


async def test_through_an_aggregate_it_is_the_same(tmp_path, ward):
    async with oidc_provider.running() as provider, relaying(ward) as relay:
        more = table("token_exchange", provider.issuer, resource=THERE)
        more += '[[aggregate]]\nname = "all"\nplain = "ward"\n'
        async with serving(tmp_path, provider.issuer, relay.url, more) as url:
            url = url.replace("/mcp/ward", "/mcp/all")
            theirs = (await provider.login_tokens(url))["access_token"]
            async with talking(url, theirs) as client:
                await client.list_tools()
                result = await client.call_tool("add", {"one": 2, "other": 3})
        assert result.structured_content == {"result": 5}
        assert await provider.exchanges() == 1
    assert theirs.encode() not in relay.sent
    assert "" not in relay.authorizations


async def test_two_people_reach_the_upstream_as_two_people(tmp_path, ward):
    async with oidc_provider.running() as provider, relaying(ward) as relay:
        more = table("token_exchange", provider.issuer, resource=THERE)
        async with serving(tmp_path, provider.issuer, relay.url, more) as url:
            person = (await provider.login_tokens(url))["access_token"]
            agent = await provider.agent_token(url)
            for token in (person, agent):
                async with talking(url, token) as client:
                    await client.list_tools()
    subjects = {
        jwt.decode(shown.removeprefix("Bearer "), options={"verify_signature": False})["sub"]
        for shown in relay.authorizations
    }
    assert subjects == {"alice", "agent"}


async def test_the_gateways_own_token_is_shown_for_everybody(tmp_path, ward, caplog):
    async with oidc_provider.running() as provider, relaying(ward) as relay:
        more = table("client_credentials", provider.issuer, resource=THERE, scope="mcp")
        async with serving(tmp_path, provider.issuer, relay.url, more) as url:
            theirs = (await provider.login_tokens(url))["access_token"]
            async with talking(url, theirs) as client:
                await client.list_tools()
    (shown,) = set(relay.authorizations)
    assert jwt.decode(shown.removeprefix("Bearer "), options={"verify_signature": False})["client_id"] == "gateway"
    assert theirs.encode() not in relay.sent
    nowhere(tmp_path, caplog, theirs, SECRET, shown)


async def test_without_credentials_nothing_is_forwarded_and_the_record_says_why(tmp_path, ward):
    async with oidc_provider.running() as provider, relaying(ward) as relay:
        more = table("token_exchange", f"http://127.0.0.1:{free_port()}", resource=THERE)
        async with serving(tmp_path, provider.issuer, relay.url, f'era = "modern"\n{more}') as url:
            token = (await provider.login_tokens(url))["access_token"]
            with pytest.raises((MCPError, BaseExceptionGroup)):
                async with talking(url, token, "2026-07-28") as client:
                    await client.list_tools()
    assert relay.sent == b""
    assert {leaf.get("why", leaf.get("fault")) for leaf in outcomes(tmp_path)} == {"credentials_unavailable"}


async def test_a_header_in_a_file_is_changed_under_load_and_no_call_is_lost(tmp_path, ward):
    (tmp_path / "upstream-token").write_text("Bearer before")
    async with oidc_provider.running() as provider, relaying(ward) as relay:
        more = 'headers_file = { Authorization = "upstream-token" }\n'
        async with serving(tmp_path, provider.issuer, relay.url, more) as url:
            token = (await provider.login_tokens(url))["access_token"]
            answered = []

            async def load(number):
                async with talking(url, token) as client:
                    await client.list_tools()
                    while b"Bearer after" not in relay.sent[-20_000:]:
                        result = await client.call_tool("add", {"one": number, "other": len(answered)})
                        answered.append(result.is_error)

            async with trio.open_nursery() as nursery:
                for number in range(3):
                    nursery.start_soon(load, number)
                with trio.fail_after(30):
                    while len(answered) < 10:
                        await trio.sleep(0.01)
                (tmp_path / "next").write_text("Bearer after")
                (tmp_path / "next").rename(tmp_path / "upstream-token")
    assert relay.authorizations[0] == "Bearer before"
    assert relay.authorizations[-1] == "Bearer after"
    assert not any(answered)
    assert len(outcomes(tmp_path)) >= len(answered)
