"""Official clients that know nothing but our URL: they register, let a person log in at a real provider, call a tool.

401, then our RFC 9728 metadata, the provider's metadata (RFC 8414), registration (RFC 7591) or a client-id metadata
document, code and PKCE (RFC 7636) with the resource (RFC 8707); later refreshed tokens, and more scopes after a 403.
Every step is the clients' own; the person's browser is played by a few lines here and in login.mjs.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import pytest
import trio
from mcp import Client, MCPError
from mcp.client.auth.oauth2 import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata

from tests import oidc_provider, real_parts
from tests.e2e.test_identity import serving
from tests.identity.test_official_client import Memory

LOGIN = Path(__file__).parents[1] / "node" / "clients" / "login.mjs"
CALLBACK = "http://127.0.0.1:9/callback"
DOCUMENT = "https://client.example/mcp.json"
"""Where a client that has one publishes its metadata document; only the provider reads it."""
METADATA = {
    "client_id": DOCUMENT,
    "client_name": "e2e",
    "redirect_uris": [CALLBACK],
    "grant_types": ["authorization_code", "refresh_token"],
    "response_types": ["code"],
    "token_endpoint_auth_method": "none",
    "application_type": "native",
}
REDIRECTS = 20
TIME_S = 60


class Browser:
    """A person at the provider's pages, who agrees to everything."""

    def __init__(self, person: str) -> None:
        self._person = person
        self._came_back: dict[str, list[str]] = {}
        self.asked: list[dict[str, list[str]]] = []
        """What each authorization request said."""

    async def visit(self, url: str) -> None:
        self.asked.append(parse_qs(urlsplit(url).query))
        location = f"{url}&login_hint={self._person}"
        async with httpx2.AsyncClient(timeout=60) as http:
            for _ in range(REDIRECTS):
                reply = await http.get(location)
                assert reply.is_redirect, reply.text
                location = urljoin(location, reply.headers["location"])
                if location.startswith(CALLBACK):
                    break
        self._came_back = parse_qs(urlsplit(location).query)

    async def code(self) -> AuthorizationCodeResult:
        found = {name: values[0] for name, values in self._came_back.items()}
        return AuthorizationCodeResult.model_validate(found)


@asynccontextmanager
async def logged_in(url: str, browser: Browser, storage: Memory, *, document: str | None = None):
    """The Python client with a person behind it: its session and its OAuth."""
    wanted = OAuthClientMetadata.model_validate({**METADATA, "scope": None})
    auth = OAuthClientProvider(
        server_url=url,
        client_metadata=wanted,
        storage=storage,
        redirect_handler=browser.visit,
        callback_handler=browser.code,
        client_metadata_url=document,
    )
    async with (
        httpx2.AsyncClient(auth=auth, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        await client.list_tools()  # One that nobody has listed is taken to write.
        yield client, auth


def claims(storage: Memory) -> dict:
    payload = storage.tokens.access_token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


async def census(client) -> str:
    return (await client.call_tool("census", {"ward": "icu"})).content[0].text


async def require_more(place: Path, gateway: str) -> None:
    """Have the running gateway require another scope too; returns when it does."""
    file = place / "phigate.toml"
    file.write_text(file.read_text().replace("required_scopes = ['mcp']", "required_scopes = ['mcp', 'mcp:write']"))
    async with httpx2.AsyncClient(timeout=60) as http:
        with trio.fail_after(TIME_S):
            while True:
                document = (await http.get(f"{gateway}/.well-known/oauth-protected-resource/mcp/ward")).json()
                if document["scopes_supported"] == ["mcp", "mcp:write"]:
                    return
                await trio.sleep(0.05)


async def test_the_python_client_registers_itself_lets_a_clinician_in_and_refreshes_an_expired_token(tmp_path):
    async with (
        oidc_provider.running() as provider,
        serving(tmp_path, provider.issuer, scopes=("mcp",)) as gateway,
    ):
        url, storage, browser = f"{gateway}/mcp/ward", Memory(), Browser("alice")
        async with logged_in(url, browser, storage) as (client, auth):
            assert await census(client) == "icu: 7 beds"
            first = claims(storage)
            auth.context.token_expiry_time = 1.0
            assert await census(client) == "icu: 7 beds"
        counts = await provider.counts()
    assert (first["sub"], first["aud"]) == ("alice", url)
    assert claims(storage)["jti"] != first["jti"]
    assert (counts["registrations"], counts["refreshes"]) == (1, 1)
    (asked,) = browser.asked
    assert (asked["code_challenge_method"], asked["resource"]) == (["S256"], [url])


async def test_the_groups_of_whoever_logs_in_decide_what_they_get(tmp_path):
    async with oidc_provider.running() as provider, serving(tmp_path, provider.issuer, scopes=("mcp",)) as gateway:
        storage = Memory()
        with pytest.raises((MCPError, BaseExceptionGroup)) as refusal:
            async with logged_in(f"{gateway}/mcp/ward", Browser("visitor"), storage) as (client, _):
                await census(client)
        told = refusal.value
        while isinstance(told, BaseExceptionGroup):
            told = told.exceptions[0]
    assert (claims(storage)["sub"], claims(storage)["groups"]) == ("visitor", [])
    assert "policy" in str(told).lower(), told


async def test_the_python_client_is_the_url_of_its_metadata_document_and_asks_for_more(tmp_path):
    # This provider holds a client that registered itself to the scopes of its registration: only others can ask more.
    documents = json.dumps({DOCUMENT: METADATA})
    async with (
        oidc_provider.running(CLIENT_DOCUMENTS=documents) as provider,
        serving(tmp_path, provider.issuer, scopes=("mcp",)) as gateway,
    ):
        storage, browser = Memory(), Browser("alice")
        async with logged_in(f"{gateway}/mcp/ward", browser, storage, document=DOCUMENT) as (client, _):
            assert "mcp:write" not in claims(storage)["scope"].split()
            await require_more(tmp_path, gateway)
            assert await census(client) == "icu: 7 beds"
        counts = await provider.counts()
    assert "mcp:write" in claims(storage)["scope"].split()
    assert (claims(storage)["client_id"], counts["registrations"], len(browser.asked)) == (DOCUMENT, 0, 2)


def typescript(version: str, gateway: str, *, document: str = "") -> list[str]:
    return [str(real_parts.node()), str(LOGIN), version, f"{gateway}/mcp/ward", CALLBACK, document]


class TypeScript:
    """The TypeScript client, told what to do a word at a time."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._heard = bytearray()

    async def do(self, word: str) -> dict:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(f"{word}\n".encode())
        assert self._process.stdout is not None
        with trio.fail_after(TIME_S):
            while b"\n" not in self._heard:
                chunk = await self._process.stdout.receive_some(65536)
                assert chunk, "the client ended early"
                self._heard += chunk
        line, _, rest = bytes(self._heard).partition(b"\n")
        self._heard = bytearray(rest)
        return json.loads(line)


@asynccontextmanager
async def running(command: list[str]):
    directory = await trio.to_thread.run_sync(real_parts.npm_set, "clients")
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            lambda task_status: trio.run_process(
                command,
                cwd=directory,
                env=real_parts.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                check=False,
                task_status=task_status,
            )
        )
        yield TypeScript(process)
        await process.stdin.aclose()


async def revoke(place: Path, jti: str) -> None:
    command = [sys.executable, "-m", "gateway", "tokens", "revoke", "--jti", jti, "--reason", "a test"]
    done = await trio.run_process([*command, "-c", str(place / "phigate.toml")], capture_stdout=True, check=False)
    assert done.returncode == 0, done


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_the_typescript_client_registers_logs_in_and_refreshes_a_token_that_was_revoked(tmp_path, version):
    async with (
        oidc_provider.running() as provider,
        serving(tmp_path, provider.issuer, scopes=("mcp",)) as gateway,
        running(typescript(version, gateway)) as client,
    ):
        first = await client.do("call")
        assert (first["text"], first["claims"]["sub"], first["logins"]) == ("icu: 7 beds", "alice", 1)
        assert first["claims"]["aud"] == f"{gateway}/mcp/ward"

        # Every process honours a revocation within seconds; until then the remembered token counts.
        await revoke(tmp_path, first["claims"]["jti"])
        with trio.fail_after(TIME_S):
            while (again := await client.do("call"))["claims"]["jti"] == first["claims"]["jti"]:
                await trio.sleep(0.05)
        assert (again["text"], again["logins"]) == ("icu: 7 beds", 1)
        counts = await provider.counts()
    assert (counts["registrations"], counts["refreshes"]) == (1, 1)


async def test_the_typescript_client_is_the_url_of_its_metadata_document_and_asks_for_more(tmp_path):
    documents = json.dumps({DOCUMENT: METADATA})
    async with (
        oidc_provider.running(CLIENT_DOCUMENTS=documents) as provider,
        serving(tmp_path, provider.issuer, scopes=("mcp",)) as gateway,
        running(typescript("v2", gateway, document=DOCUMENT)) as client,
    ):
        met = await client.do("call")
        assert (met["text"], met["claims"]["client_id"], met["logins"]) == ("icu: 7 beds", DOCUMENT, 1)
        await require_more(tmp_path, gateway)
        more = await client.do("call")
        assert (more["text"], more["logins"]) == ("icu: 7 beds", 2)
        assert "mcp:write" in more["claims"]["scope"].split()
        counts = await provider.counts()
    assert counts["registrations"] == 0
