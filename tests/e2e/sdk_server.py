"""An upstream with one tool for each thing MCP can do, of the official SDK, in both eras. Run as a program.

Its work waits for events that clients set through the tools `tell` and `hear`, so that tests know what happened before
what without ever waiting for a while.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import (
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
    SamplingMessage,
    TextContent,
    ToolAnnotations,
)
from pydantic import BaseModel

from gateway.cli.demo.loopback import Loopback

SSN = "219-09-9999"
READS = ToolAnnotations(readOnlyHint=True)
PATIENT_WAIT_S = 20.0
"""No test waits for longer, whatever goes wrong."""

server = MCPServer("synthetic-everything", instructions="SYNTHETIC DATA. A server for tests.", log_level="ERROR")
events: defaultdict[str, anyio.Event] = defaultdict(anyio.Event)
calls: Counter[str] = Counter()


class Ward(BaseModel):
    """What is asked of the user."""

    name: str


class Chart(BaseModel):
    """A structured result with something to mask."""

    ssn: str
    beds: int


@server.tool(annotations=READS)
def add(one: int, other: int) -> int:
    return one + other


@server.tool(annotations=READS)
async def tell(event: str) -> str:
    events[event].set()
    return "told"


@server.tool(annotations=READS)
async def hear(event: str) -> bool:
    """Whether the event happened; waits for it."""
    with anyio.move_on_after(PATIENT_WAIT_S):
        await events[event].wait()
        return True
    return False


@server.tool(annotations=READS)
async def stepwise(key: str, steps: int, ctx: Context) -> str:
    """Each step is reported, and the next begins only when the client has told that it knows."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step}, {SSN}")
        if not await hear(f"{key}/{step}"):
            return f"nobody heard of step {step}"
    return f"{steps} steps"


@server.tool(annotations=READS)
async def endless(key: str) -> str:
    """Runs until it is cancelled: `<key>/begun` when it begins, `<key>/cancelled` when it is."""
    events[f"{key}/begun"].set()
    try:
        await anyio.sleep(PATIENT_WAIT_S)
    except BaseException:
        events[f"{key}/cancelled"].set()
        raise
    return "nobody cancelled"


@server.tool(annotations=READS)
async def counted(key: str) -> int:
    """How often this was called with this key."""
    calls[key] += 1
    return calls[key]


@server.tool(annotations=READS)
async def logs(ctx: Context) -> str:
    await ctx.session.send_log_message(
        level="info", data=f"seen {SSN}", logger="ward", related_request_id=ctx.request_id
    )
    return "logged"


@server.tool(annotations=READS)
def chart() -> Chart:
    return Chart(ssn=SSN, beds=7)


@server.tool(annotations=READS)
def fails() -> str:
    raise ToolError(f"No chart of {SSN}")


@server.tool(annotations=READS)
async def changes(ctx: Context) -> str:
    """Tells everybody who listens that the tools changed."""
    await ctx.notify_tools_changed()
    if not ctx.session.protocol_version.startswith("2026"):
        await ctx.session.send_tool_list_changed()
    return "changed"


@server.tool(annotations=READS)
async def ask_for_ward(ctx: Context) -> str:
    """Asks the user in the middle of a call (legacy)."""
    answer = await ctx.elicit("Which ward?", Ward)
    return f"{answer.action}: {answer.data.name if answer.action == 'accept' else 'none'}"


@server.tool(annotations=READS)
async def require_ward(ctx: Context) -> str | InputRequiredResult:
    """Asks the user by a result that wants input (modern)."""
    if ctx.input_responses is None:
        schema: Any = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        asked = ElicitRequest(params=ElicitRequestFormParams(message="Which ward?", requested_schema=schema))
        return InputRequiredResult(input_requests={"ward": asked}, request_state="synthetic-state")
    answer: Any = ctx.input_responses["ward"]
    return f"{answer.action}: {answer.content['name']}"


@server.tool(annotations=READS)
async def sample(ctx: Context) -> str:
    """Asks the client's model (legacy)."""
    said = SamplingMessage(role="user", content=TextContent(type="text", text="Which ward?"))
    result = await ctx.session.create_message([said], max_tokens=10, related_request_id=ctx.request_id)
    return str(result.content.text)


@server.tool(annotations=READS)
def withdrawn() -> str:
    """Policy lets nobody call it."""
    return "not withdrawn"


@server.tool()
def shut_ward(name: str) -> str:
    """Writes: there is no hint that it only reads."""
    calls[f"shut {name}"] += 1
    return f"shut {name} {calls[f'shut {name}']} times"


@server.resource("ward://icu/chart", mime_type="application/json")
def icu() -> str:
    return f'{{"ssn": "{SSN}", "beds": 7}}'


@server.resource("ward://{name}/beds")
def beds(name: str) -> str:
    return f"{name}: 7 beds"


@server.prompt()
def handover(ward: str) -> str:
    """A prompt with something to mask."""
    return f"Hand over {ward}, and mention {SSN}."


def main() -> None:
    """Serve on loopback until told to stop; the first line says where."""
    logging.disable(logging.ERROR)
    loopback = Loopback()
    loopback.serve(server.streamable_http_app(), mcp=f"{loopback.url}/mcp")


if __name__ == "__main__":
    main()
