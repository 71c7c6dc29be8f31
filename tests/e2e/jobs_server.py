"""A server with the tasks extension of 2026-07-28, of fastmcp-tasks, which has an environment of its own.

python jobs_server.py PORT
"""

from __future__ import annotations

import asyncio
import sys

from fastmcp import Context, FastMCP
from fastmcp.utilities.tasks import TaskConfig
from fastmcp_tasks import TasksExtension
from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult

SSN = "219-09-9999"

server = FastMCP("jobs")
server.add_extension(TasksExtension())


@server.tool(task=True)
async def slow(seconds: float = 0.5) -> str:
    """Takes its time."""
    await asyncio.sleep(seconds)
    return f"done; SSN: {SSN}"


@server.tool(task=True)
async def wrong() -> str:
    """Goes wrong."""
    raise ValueError("synthetic")


@server.tool(task=True)
async def named(ctx: Context) -> str | InputRequiredResult:
    """Asks who it is for."""
    answer = (ctx.input_responses or {}).get("who")
    if answer is None:
        schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        params = ElicitRequestFormParams(message="Who is it for?", requested_schema=schema)
        return InputRequiredResult(input_requests={"who": ElicitRequest(params=params)})
    return f"for {answer.content['name']}"


@server.tool(task=TaskConfig(mode="required"))
async def must(seconds: float = 0.5) -> str:
    """Runs as a task or not at all."""
    await asyncio.sleep(seconds)
    return "done, as it must"


@server.tool
async def quick() -> str:
    """Is no task."""
    return "at once"


if __name__ == "__main__":
    server.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), path="/mcp", show_banner=False)
