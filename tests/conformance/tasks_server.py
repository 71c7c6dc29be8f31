"""The tools that the official suite's scenarios of tasks call, as a server of fastmcp-tasks, which has an environment
of its own: the suite's own fixture has none of them.

python tasks_server.py PORT
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from fastmcp import Context, FastMCP
from fastmcp.utilities.tasks import TaskConfig
from fastmcp_tasks import TasksExtension
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult

_ASKS_FIRST = "test_tool_with_task"


class Tasks(TasksExtension):
    """Which asks by the answer to a call, before there is a task, where that tool is called."""

    async def intercept_tool_call(self, params: Any, context: Any, call_next: Any) -> Any:
        if params.name == _ASKS_FIRST:
            answer = (params.input_responses or {}).get("name")
            if answer is None:
                return InputRequiredResult(input_requests={"name": _question("Who is it for?")})
            params = params.model_copy(update={"arguments": {"user_name": answer.content["name"]}})
        return await super().intercept_tool_call(params, context, call_next)


server = FastMCP("tasks")
server.add_extension(Tasks())

_FORM = {"type": "object", "properties": {"name": {"type": "string"}, "confirm": {"type": "boolean"}}}


def _question(message: str) -> ElicitRequest:
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=_FORM))


@server.tool
async def greet(name: str) -> str:
    """Is no task."""
    return f"Hello, {name}!"


@server.tool(task=True)
async def slow_compute(seconds: float = 1, label: str = "") -> str:
    """Takes its time."""
    await asyncio.sleep(seconds)
    return f"{label}: done"


@server.tool(task=TaskConfig(mode="required"))
async def failing_job() -> str:
    """Goes wrong, as tools do."""
    raise ValueError("synthetic")


@server.tool(task=True)
async def protocol_error_job() -> str:
    """Goes wrong, as the protocol does."""
    raise MCPError(code=-32603, message="synthetic")


@server.tool(task=True)
async def confirm_delete(ctx: Context, filename: str = "") -> str | InputRequiredResult:
    """Asks one thing."""
    answers = ctx.input_responses or {}
    if "sure" not in answers:
        return InputRequiredResult(input_requests={"sure": _question(f"Delete {filename}?")})
    return f"deleted {filename}"


@server.tool(task=True)
async def multi_input(ctx: Context) -> str | InputRequiredResult:
    """Asks two things at once."""
    answers = ctx.input_responses or {}
    if not {"one", "other"} <= answers.keys():
        asked = {key: _question(key) for key in ("one", "other") if key not in answers}
        return InputRequiredResult(input_requests=asked)
    return "both"


@server.tool(name=_ASKS_FIRST, task=TaskConfig(mode="required"))
async def asks_first(user_name: str = "") -> str:
    """Is a task once it has been answered."""
    return f"for {user_name}"


if __name__ == "__main__":
    server.run(transport="http", host="127.0.0.1", port=int(sys.argv[1]), path="/mcp", show_banner=False)
