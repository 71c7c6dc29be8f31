"""An upstream whose one tool is defined by a file, so that it can change between two listings. Run as a program."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server

from gateway.cli.demo.loopback import Loopback

DEFINITION = Path(sys.argv[1])
"""Holds the tool's description."""


async def list_tools(_: Any, __: Any) -> types.ListToolsResult:
    """The tool as it is defined at this moment."""
    annotations = types.ToolAnnotations(readOnlyHint=True)
    schema = {"type": "object", "properties": {}}
    tool = types.Tool(name="beds", description=DEFINITION.read_text(), inputSchema=schema, annotations=annotations)
    return types.ListToolsResult(tools=[tool])


async def call_tool(_: Any, __: Any) -> types.CallToolResult:
    """How many beds are free."""
    return types.CallToolResult(content=[types.TextContent(type="text", text=json.dumps({"free": 3}))])


if __name__ == "__main__":
    logging.disable()
    server = Server("ward", on_list_tools=list_tools, on_call_tool=call_tool)
    Loopback().serve(server.streamable_http_app())
