"""The MCP servers behind the gateway, over the wires that they speak."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.upstream.base import HttpSettings, StdioSettings, Upstream
from gateway.upstream.stdio import Stdio
from gateway.upstream.streamable_http import StreamableHttp


@asynccontextmanager
async def opened(settings: HttpSettings | StdioSettings) -> AsyncIterator[Upstream]:
    """The upstream that `settings` describe. Every connection and process of it is gone when the block ends."""
    if isinstance(settings, StdioSettings):
        async with Stdio.open(settings) as program:
            yield program
    else:
        http = StreamableHttp(settings)
        try:
            yield http
        finally:
            await http.aclose()
