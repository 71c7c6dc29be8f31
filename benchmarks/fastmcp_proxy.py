"""The peer: fastmcp's proxy over one shared, connected client, which is the fastest way to use it.

Runs in an environment of its own (`benchmarks.peer`), so it imports nothing of ours. `fastmcp_proxy.py PORT UPSTREAM`.
"""

import asyncio
import contextlib
import sys

from fastmcp import Client  # type: ignore[import-not-found]  # only there in the peer's own environment
from fastmcp.server import create_proxy  # type: ignore[import-not-found]  # likewise


async def main(port: int, upstream: str) -> None:
    """Serve until cancelled."""
    async with Client(upstream) as client:
        proxy = create_proxy(client)
        await proxy.run_http_async(
            show_banner=False,
            host="127.0.0.1",
            port=port,
            log_level="error",
            json_response=True,
            uvicorn_config={"access_log": False},
        )


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
