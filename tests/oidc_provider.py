"""Starts npm's `oidc-provider`, a real OpenID Connect provider, on loopback, and gets tokens from it as clients do."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import trio

from tests import real_parts

_SCRIPT = Path(__file__).resolve().parent / "node" / "oidc" / "idp.mjs"
_CALLBACK = "http://127.0.0.1:9/callback"


class OidcProvider:
    """A running provider: how to get tokens from it, rotate its keys and end it."""

    def __init__(self, process: trio.Process, issuer: str, answers: trio.abc.ReceiveStream) -> None:
        self.issuer = issuer
        self._process = process
        self._answers = answers

    async def rotate(self) -> None:
        """New signing keys; the old ones are no longer published."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(b"rotate\n")
        assert json.loads(await _line(self._answers)) == {"done": "rotate"}

    async def exchanges(self) -> int:
        """How many tokens it has exchanged (RFC 8693)."""
        return (await self.counts())["exchanges"]

    async def counts(self) -> dict[str, int]:
        """How many tokens it has exchanged and refreshed, and how many clients have registered themselves."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(b"counts\n")
        return dict(json.loads(await _line(self._answers)))

    async def stop(self) -> None:
        """End the provider: from now on nobody answers at its address."""
        # By its standard input, not by a signal: `node` may be a launcher that would leave the provider behind.
        assert self._process.stdin is not None
        await self._process.stdin.aclose()
        await self._process.wait()

    async def agent_token(self, resource: str) -> str:
        """A token by client credentials (RFC 6749 §4.4) for a resource (RFC 8707)."""
        form = {"grant_type": "client_credentials", "resource": resource, "scope": "mcp"}
        async with httpx2.AsyncClient() as http:
            reply = await http.post(f"{self.issuer}/token", data=form, auth=("agent", "agent-secret"))
        assert reply.status_code == 200, reply.text
        return str(reply.json()["access_token"])

    async def login_tokens(self, resource: str) -> dict[str, Any]:
        """What a human's login with code and PKCE (RFC 7636) yields: `access_token` and `id_token` among it."""
        verifier = secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "client_id": "desktop",
            "response_type": "code",
            "redirect_uri": _CALLBACK,
            "scope": "openid mcp",
            "resource": resource,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "nonce": "synthetic-nonce",
        }
        async with httpx2.AsyncClient() as http:
            reply = await http.get(f"{self.issuer}/auth", params=asked)
            location = urljoin(self.issuer, reply.headers["location"])
            while not location.startswith(_CALLBACK):
                reply = await http.get(location)
                assert reply.is_redirect, reply.text
                location = urljoin(location, reply.headers["location"])
            form = {
                "grant_type": "authorization_code",
                "client_id": "desktop",
                "code": parse_qs(urlsplit(location).query)["code"][0],
                "redirect_uri": _CALLBACK,
                "code_verifier": verifier,
                "resource": resource,
            }
            reply = await http.post(f"{self.issuer}/token", data=form)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())


async def _line(stream: trio.abc.ReceiveStream) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        chunk = await stream.receive_some(65536)
        assert chunk, "the provider ended early"
        data += chunk
    return data


@asynccontextmanager
async def running(**environment: str) -> AsyncIterator[OidcProvider]:
    """A provider of one's own, gone when the block ends. `environment`: CLIENT_JWKS has the public keys of its clients
    `agent-key` and `gateway-key`, EXCHANGED_S how long exchanged tokens live."""
    directory = await trio.to_thread.run_sync(real_parts.npm_set, "oidc")
    command = [str(real_parts.node()), str(_SCRIPT)]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            lambda task_status: trio.run_process(
                command,
                cwd=directory,
                env=real_parts.environment() | environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                check=False,
                task_status=task_status,
            )
        )
        with trio.fail_after(20):
            issuer = json.loads(await _line(process.stdout))["issuer"]
        provider = OidcProvider(process, issuer, process.stdout)
        try:
            yield provider
        finally:
            with trio.CancelScope(deadline=trio.current_time() + 10, shield=True):
                await provider.stop()
            nursery.cancel_scope.cancel()
