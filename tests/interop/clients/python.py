"""The official Python client, version 1 on asyncio or version 2 on trio: `python.py v1|v2`. README.md says the rest."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

CALL_S = 60


def say(**document: Any) -> None:
    print(json.dumps(document), flush=True)


def filled(schema: dict[str, Any]) -> dict[str, Any]:
    """What a user might enter in a form: no more than it requires."""
    wanted = {name: schema["properties"][name] for name in schema.get("required", ())}
    return {name: field.get("enum", ["Ada"])[0] for name, field in wanted.items()}


def answers(types: Any) -> dict[str, Callable[..., Any]]:
    """The callbacks with which a client declares that it can be asked; both versions of the SDK know them."""

    async def elicited(context: Any, params: Any) -> Any:
        if params.mode == "url":
            return types.ElicitResult(action="accept")  # "I have opened the page", where somebody else will decide.
        form = params.model_dump(by_alias=True)["requestedSchema"]
        return types.ElicitResult(action="accept", content=filled(form))

    async def sampled(context: Any, params: Any) -> Any:
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(type="text", text="Paris"), model="synthetic"
        )

    return {"elicitation_callback": elicited, "sampling_callback": sampled}


@asynccontextmanager
async def version_1(url: str, headers: dict[str, str], era: str) -> AsyncIterator[tuple[Any, str]]:
    from mcp import ClientSession, types
    from mcp.client.streamable_http import streamablehttp_client

    async with (
        streamablehttp_client(url, headers=headers, timeout=CALL_S) as (reading, writing, _),
        ClientSession(reading, writing, **answers(types)) as session,
    ):
        yield session, str((await session.initialize()).protocolVersion)


@asynccontextmanager
async def version_2(url: str, headers: dict[str, str], era: str) -> AsyncIterator[tuple[Any, str]]:
    import httpx2
    import mcp_types
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    mode = "2026-07-28" if era == "modern" else era
    async with (
        httpx2.AsyncClient(headers=headers, timeout=CALL_S) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, **answers(mcp_types)) as client,
    ):
        yield client, str(client.protocol_version)


async def perform(client: Any, step: dict[str, Any]) -> None:
    say(step=step["step"], begins=True)
    heard = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        heard.append(done)

    try:
        if step["step"] == "list":
            result = await client.list_tools()
        else:
            more = {"progress_callback": progress} if step.get("progress") else {}
            result = await client.call_tool(step["name"], step["arguments"], **more)
        document = result.model_dump(by_alias=True, mode="json", exclude_none=True)
        say(step=step["step"], result=document, progress=len(heard))
    except Exception as error:  # Whatever the client makes of it is what is told.
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        say(step=step["step"], error=f"{type(error).__name__}: {error}")


async def main() -> None:
    told = json.loads(os.environ["INTEROP"])
    connect = {"v1": version_1, "v2": version_2}[sys.argv[1]]
    headers = {"authorization": f"Bearer {told['token']}"}
    async with connect(told["url"], headers, told["era"]) as (client, version):
        say(step="connect", version=version)
        for step in told["steps"]:
            await perform(client, step)


if __name__ == "__main__":
    anyio.run(main, backend={"v1": "asyncio", "v2": "trio"}[sys.argv[1]])
