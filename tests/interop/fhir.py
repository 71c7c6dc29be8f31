"""The FHIR server behind the FHIR MCP server, and what the gateway is told of both."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests import real_parts
from tests.e2e import harness

SSN_OF_P7 = "912-34-7007"
"""What tests.interop.fhir_backend gives that patient."""

FHIR = {
    "get_capabilities": "GET metadata - {type}",
    "search": "GET {type}?{searchParam}",
    "read": "GET {type}/{id}/{operation?}?{searchParam?}",
    "create": "POST {type}/{operation?}?{searchParam?} {payload}",
    "update": "PUT {type}/{id}/{operation?}?{searchParam?} {payload}",
    "delete": "DELETE {type}/{id}/{operation?}?{searchParam?}",
}
"""How each tool of fhir-mcp-server makes its request; `[[upstream]] fhir`."""

GUARD: dict[str, Any] = {
    "compartments": ["Patient"],
    "patients": 1,
    "count": 100,
    "free": [],
    "includes": [],
    "revincludes": [],
    "iterate": False,
    "operations": [],
    "bulk_operations": [],
    "bulk": "require_approval",
    "roles": {"analysis": "searches"},
}
"""`guards.fhir`: a search that is bound to no patient needs an approval."""


@contextmanager
def backend() -> Iterator[str]:
    """The base URL of a FHIR server with synthetic patients, on loopback."""
    port = harness.free_port()
    command = [sys.executable, "-W", "ignore", "-m", "tests.interop.fhir_backend", str(port)]
    environment = real_parts.environment() | {"PYTHONPATH": str(real_parts.python_library("backends"))}
    with harness.child(*command, env=environment) as process:
        harness.wait_for_port(process, port)
        yield f"http://127.0.0.1:{port}"
