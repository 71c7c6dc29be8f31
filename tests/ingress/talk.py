"""What clients say through an ingress: MCP over HTTP of either version, one request at a time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from tests.e2e.harness import ACCEPT
from tests.ingress.parts import Ingress

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "ingress", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def call(tool: str, ident: int | str = 1, **arguments: Any) -> dict[str, Any]:
    """A call of the modern era."""
    meta = {**META, "progressToken": f"p{ident}"}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    return {"jsonrpc": "2.0", "id": ident, "method": "tools/call", "params": params}


def headers(ingress: Ingress, who: str | None, message: Mapping[str, Any], **more: str) -> dict[str, str]:
    """What goes with a message; nobody's has no token."""
    own = ingress.headers(who) if who is not None else dict(ACCEPT)
    said = {"mcp-protocol-version": "2026-07-28", "mcp-method": message["method"]}
    if "name" in message["params"]:
        said["mcp-name"] = message["params"]["name"]
    return {**own, **said, "content-type": "application/json", **more}


async def ask(
    http: httpx2.AsyncClient, ingress: Ingress, who: str | None, message: Mapping[str, Any], **more: str
) -> httpx2.Response:
    """One message to the ward and its whole answer."""
    return await http.post(ingress.mcp("ward"), json=message, headers=headers(ingress, who, message, **more))


@asynccontextmanager
async def stream(
    http: httpx2.AsyncClient, ingress: Ingress, who: str, message: Mapping[str, Any]
) -> AsyncIterator[AsyncIterator[str]]:
    """The lines of an answer as they come."""
    async with http.stream(
        "POST", ingress.mcp("ward"), json=message, headers=headers(ingress, who, message)
    ) as response:
        assert response.status_code == 200
        yield response.aiter_lines()


def answer(response: httpx2.Response) -> dict[str, Any]:
    """The last message of an answer."""
    if response.headers["content-type"] == "application/json":
        return dict(response.json())
    lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
    return dict(json.loads(lines[-1]))


def said(response: httpx2.Response) -> str:
    """The text that a tool answered with."""
    assert response.status_code == 200, response.text
    return str(answer(response)["result"]["content"][0]["text"])
