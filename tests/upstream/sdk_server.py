"""A server of the official SDK, which speaks both eras; prints its port once it listens. Run as a program."""

import socket

import anyio
import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from pydantic import BaseModel

server = MCPServer("synthetic-sdk", log_level="ERROR")


@server.tool()
def add(one: int, other: int) -> int:
    return one + other


@server.tool()
async def count(to: int, ctx: Context) -> str:
    for done in range(1, to + 1):
        await ctx.report_progress(done, to)
    return f"counted to {to}"


@server.tool()
async def wait(seconds: float) -> str:
    try:
        await anyio.sleep(seconds)
    except BaseException:
        print("cancelled", flush=True)
        raise
    return "waited"


class Ward(BaseModel):
    name: str


@server.tool()
async def ask_for_ward(ctx: Context) -> str:
    answer = await ctx.elicit("Which ward?", Ward)
    return f"{answer.action}: {answer.data.name}"


async def main():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        app = server.streamable_http_app()
        await uvicorn.Server(uvicorn.Config(app, log_level="error")).serve(sockets=[listening])


if __name__ == "__main__":
    anyio.run(main)
