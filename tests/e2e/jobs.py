"""`jobs_server.py` in its own environment, as a fixture of tests has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import real_parts
from tests.e2e import harness

SSN = "219-09-9999"


@contextmanager
def server() -> Iterator[str]:
    """Where it listens while the block runs."""
    port = harness.free_port()
    python = real_parts.python_tool("fastmcp-tasks").parent / "python"
    with harness.child(str(python), str(Path(__file__).with_name("jobs_server.py")), str(port)) as process:
        harness.wait_for_port(process, port)
        yield f"http://127.0.0.1:{port}/mcp"
