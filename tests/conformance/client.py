"""The gateway as the suite's client under test: `python -m tests.conformance.client CONFIG MCP URL`.

Has the gateway that is configured by CONFIG and met below MCP take up the suite's server at URL as one more upstream,
and the official client of the `mcp` sdist go through it. Imports little: it is started for each scenario.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from tests import real_parts

_JOINS_S = 60.0
_UPSTREAM = """
[[upstream]]
name = "{name}"
url = "{url}"
sql = {{ test_custom_headers = "", test_custom_headers_null = "" }}
sql_dialect = "sqlite"
"""
"""Of the tools that are named there the argument `query` only looks like SQL, which would be held for approval."""


def main(config: str, mcp: str, url: str) -> int:
    """Run one scenario, which the environment names; the client's exit code."""
    name = f"suite-{os.getpid()}"
    _join(Path(config), name, url)
    _wait(mcp, name)
    driver = real_parts.sdist("mcp") / ".github/actions/conformance/client.py"
    command = [sys.executable, "-W", "ignore", driver, f"{mcp}/{name}"]
    return subprocess.run(command, env=os.environ, check=False).returncode


def _join(config: Path, name: str, url: str) -> None:
    """Write the file as an editor does, in one piece; the gateway looks at it."""
    beside = config.with_suffix(".new")
    beside.write_text(config.read_text() + _UPSTREAM.format(name=name, url=url))
    beside.replace(config)


def _wait(mcp: str, name: str) -> None:
    """Return once the gateway has the upstream: what to present there is then said to anybody."""
    place = urlsplit(mcp)
    deadline = time.monotonic() + _JOINS_S
    while True:
        asked = http.client.HTTPConnection(place.netloc)
        asked.request("GET", f"/.well-known/oauth-protected-resource{place.path}/{name}")
        if asked.getresponse().status == 200:
            return
        asked.close()
        assert time.monotonic() < deadline, f"the gateway does not take up {name}"
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
