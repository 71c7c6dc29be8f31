"""`jobs_server.py`, or another server on fastmcp-tasks, in the environment of its own that this needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import real_parts
from tests.e2e import harness

SSN = "219-09-9999"
SCRIPT = Path(__file__).with_name("jobs_server.py")


@contextmanager
def server(script: Path = SCRIPT) -> Iterator[str]:
    """Where it listens while the block runs."""
    port = harness.free_port()
    python = real_parts.python_tool("fastmcp-tasks").parent / "python"
    with harness.child(str(python), str(script), str(port)) as process:
        harness.wait_for_port(process, port)
        yield f"http://127.0.0.1:{port}/mcp"
