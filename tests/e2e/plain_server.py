"""An upstream that says what it was sent, and has what proxies lose: odd schemas, pages, bytes, hints for caches.

The official SDK's low-level server, which sends definitions and results as they are given to it, in both eras. Run as a
program.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server
from pydantic import ConfigDict

from gateway.cli.demo.loopback import Loopback

BLOB = "AAECA/8="
"""Five bytes that are no text."""
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "https://ward.example/query",
    "$defs": {"Bed": {"$anchor": "bed", "type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}},
    "type": "object",
    "properties": {
        "bed": {"$ref": "#bed"},
        "any": True,
        "region": {"type": "string", "x-ward-hint": ["icu", None, 1.5]},
    },
    "patternProperties": {"^x-": {"const": "\u00e9\u2028"}},
    "dependentRequired": {"bed": ["region"]},
    "unevaluatedProperties": False,
    "x-unknown": {"deep": [{"er": {}}]},
}
ANNOTATIONS = types.ToolAnnotations(title="Query \u2603", readOnlyHint=True, openWorldHint=False)
PAGES = {None: ("echo", "page 2 of ward"), "page 2 of ward": ("Odd.Name_1-x/y", None)}
META = {"ward.example/extra": {"kept": [1, 2.5, None, True]}}


class AnyResult(types.CallToolResult):
    """A result with members that no revision has."""

    model_config = ConfigDict(extra="allow")


async def list_tools(_: Any, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    """Two pages of one tool each. A cursor that is none of ours fails as the specification wants."""
    name, more = PAGES[params.cursor if params is not None else None]
    tool = types.Tool(name=name, description="SYNTHETIC", inputSchema=SCHEMA, annotations=ANNOTATIONS, _meta=META)
    return types.ListToolsResult(tools=[tool], nextCursor=more, ttlMs=60_000, cacheScope="public")


async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    """What the request held, and how its client introduced itself."""
    introduced = ctx.session.client_params
    told = {
        "params": dict(ctx.params or {}),
        "capabilities": introduced.capabilities.model_dump(by_alias=True, exclude_none=True) if introduced else None,
    }
    image = types.ImageContent(type="image", data=BLOB, mimeType="image/png")
    text = types.TextContent(type="text", text=json.dumps(told))
    return types.CallToolResult(content=[text, image], _meta=META)


async def read_resource(_: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    """Bytes."""
    held = types.BlobResourceContents(uri=params.uri, mimeType="application/octet-stream", blob=BLOB)
    return types.ReadResourceResult(contents=[held], ttlMs=60_000, cacheScope="public")


async def list_templates(_: Any, __: Any) -> types.ListResourceTemplatesResult:
    """One template."""
    template = types.ResourceTemplate(uriTemplate="ward://{name}/scan{?page}", name="scan")
    return types.ListResourceTemplatesResult(resourceTemplates=[template])


class EchoParams(types.RequestParams):
    """Whatever a client sends."""

    model_config = ConfigDict(extra="allow")


async def echo_method(ctx: Any, _: EchoParams) -> dict[str, Any]:
    """A method of no revision."""
    return {"told": dict(ctx.params or {}), "resultType": "complete"}


def main() -> None:
    """Serve on loopback until told to stop; the first line says where."""
    logging.disable(logging.ERROR)
    hints = {"server/discover": CacheHint(ttl_ms=60_000, scope="public")}
    server: Server[Any] = Server(
        "synthetic-plain",
        cache_hints=hints,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_read_resource=read_resource,
        on_list_resource_templates=list_templates,
    )
    server.add_request_handler("ward/echo", EchoParams, echo_method)
    loopback = Loopback()
    loopback.serve(server.streamable_http_app(), mcp=f"{loopback.url}/mcp")


if __name__ == "__main__":
    main()
