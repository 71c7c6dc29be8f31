"""An upstream for end-to-end tests: the official SDK's server over stdio, with one tool that only reads."""

from mcp.server import MCPServer
from mcp_types import ToolAnnotations

server = MCPServer("ward")


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
def census(ward: str) -> str:
    """How many beds of a ward are taken."""
    return f"{ward}: 7 beds"


if __name__ == "__main__":
    server.run()
