"""What is measured: the upstream directly, the peer in front of it, and phigate with everything on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import peer
from benchmarks.load import Client
from benchmarks.processes import Running, free_port, running
from gateway.cli import init
from gateway.cli.demo.issuer import AUDIENCE

CONFIG = """\
[gateway]
listen = "127.0.0.1:{port}"
workers = {workers}

[evidence]
store = "evidence.db"
keys = "keys"

[policy]
bundle = "policies"

[[issuer]]
url = "{issuer}"
audience = "{audience}"

[[upstream]]
name = "clinic"
url = "{upstream}"
"""


@dataclass(frozen=True, slots=True)
class Target:
    """Something that answers tools/call."""

    name: str
    client: Client
    process: Running
    """Whose CPU and memory count."""


@contextmanager
def direct(scratch: Path, *, core: int, modern: bool) -> Iterator[Target]:
    """The upstream itself."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.upstream", str(port)]
    with running(command, core=core, port=port, log=scratch / "upstream.log") as process:
        url = f"http://127.0.0.1:{port}/mcp"
        yield Target("direct", Client.greet(url, modern=modern, token=None), process)


@contextmanager
def fastmcp(scratch: Path, upstream: str, *, core: int, modern: bool) -> Iterator[Target]:
    """The peer's proxy with one shared client: no identity, no policy, no masking, no evidence."""
    port = free_port()
    command = [str(peer.python()), "-P", str(Path(__file__).with_name("fastmcp_proxy.py")), str(port), upstream]
    with running(command, core=core, port=port, log=scratch / "fastmcp.log") as process:
        url = f"http://127.0.0.1:{port}/mcp"
        yield Target("fastmcp", Client.greet(url, modern=modern, token=None), process)


@contextmanager
def phigate(
    scratch: Path, upstream: str, *, core: int, load_core: int, modern: bool, workers: int = 1
) -> Iterator[Target]:
    """`phigate serve` with everything on. Its identity provider shares the load's core, asked once."""
    place = scratch / "phigate"
    place.mkdir()
    port = free_port()
    with issuer(load_core) as url:
        settings = {"port": port, "workers": workers, "issuer": url, "audience": AUDIENCE, "upstream": upstream}
        (place / "phigate.toml").write_text(CONFIG.format(**settings))
        init.prepare(place)
        command = [sys.executable, "-m", "gateway", "serve", "-c", str(place / "phigate.toml")]
        with running(command, core=core, port=port, log=scratch / "phigate.log") as process:
            client = Client.greet(f"http://127.0.0.1:{port}/mcp/clinic", modern=modern, token=token(url))
            yield Target("phigate", client, process)


@contextmanager
def issuer(core: int) -> Iterator[str]:
    """The demo's development issuer; its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli.demo.issuer"],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    try:
        assert process.stdout is not None
        with process.stdout as first_line:
            yield json.loads(first_line.readline())["url"]
    finally:
        process.terminate()
        process.wait()


def token(url: str) -> str:
    """An analyst's token."""
    form = urllib.parse.urlencode({"who": "agent"}).encode()
    with urllib.request.urlopen(f"{url}/token", form, timeout=10) as response:
        text: str = response.read().decode()
        return text.strip()
