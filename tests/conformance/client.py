"""The gateway as the suite's client under test: `python -m tests.conformance.client URL`.

Starts a gateway in front of the suite's server at URL and has the official client of the `mcp` sdist go through it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import real_parts
from tests.conformance import parts
from tests.e2e import issuer

_NO_SQL = {"test_custom_headers": "", "test_custom_headers_null": ""}
"""Tools whose argument `query` only looks like SQL, which would be held for approval."""


def main(upstream: str) -> int:
    """Run one scenario, which the environment names; the client's exit code."""
    driver = real_parts.sdist("mcp") / ".github/actions/conformance/client.py"
    with (
        issuer.running() as tokens,
        tempfile.TemporaryDirectory() as place,
        parts.behind_gateway(
            Path(place), tokens, {"url": upstream, "sql": _NO_SQL, "sql_dialect": "sqlite"}
        ) as through,
    ):
        return subprocess.run([sys.executable, "-W", "ignore", driver, through], env=os.environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
