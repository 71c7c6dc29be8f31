"""The MCP servers behind the gateway, over the wires and in the eras that they speak."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from gateway.core.types import Era
from gateway.upstream import credentials
from gateway.upstream.base import HttpSettings, StdioSettings, Upstream
from gateway.upstream.bridge import Bridge
from gateway.upstream.mail import Mail
from gateway.upstream.stdio import Stdio
from gateway.upstream.streamable_http import StreamableHttp


@asynccontextmanager
async def opened(settings: HttpSettings | StdioSettings, mail: Mail, era: Era | None = None) -> AsyncIterator[Upstream]:
    """The upstream that `settings` describe, for clients of both eras; `era` is the one it speaks, where that is known.

    `mail` reaches the other processes that serve it. Every connection and process of it is gone when the block ends.
    """
    async with wire(settings) as inner, Bridge.open(inner, mail, era) as upstream:
        yield upstream


@asynccontextmanager
async def wire(settings: HttpSettings | StdioSettings) -> AsyncIterator[Upstream]:
    """The upstream that `settings` describe, for clients of its own era."""
    if isinstance(settings, StdioSettings):
        async with Stdio.open(settings) as program:
            yield program
    else:
        async with AsyncExitStack() as stack:
            source = None
            if settings.credentials is not None:
                source = await stack.enter_async_context(credentials.opened(settings.credentials))
            http = StreamableHttp(settings, source)
            stack.push_async_callback(http.aclose)
            yield http
