"""What the conformance runs are made of: the everything-server of the `mcp` sdist, and the gateway in front of it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import real_parts
from tests.conformance import shim
from tests.e2e import harness, issuer, jobs
from tests.e2e.harness import Upstream

WHO = "conformance"
"""Who the suite is, behind the gateway; its group and its role."""

_ASKED = ("sampling/createMessage", "elicitation/create", "roots/list")


@contextmanager
def everything_server() -> Iterator[str]:
    """The URL of the SDK's everything-server, both eras, as its authors run it."""
    with _everything("mcp", sys.executable) as url:
        yield url


@contextmanager
def legacy_server() -> Iterator[str]:
    """The URL of the same server as version 1 of the SDK has it, which speaks the legacy era only."""
    with _everything("mcp-v1", str(real_parts.python_environment("mcp-v1") / "python")) as url:
        yield url


def tasks_server() -> AbstractContextManager[str]:
    """The URL of `tasks_server.py`, whose tools the scenarios of the tasks extension call."""
    return jobs.server(Path(__file__).with_name("tasks_server.py"))


def legacy_tasks() -> dict[str, Any]:
    """The same tools in a program of 2025-11-25, as settings of an upstream: the gateway translates their tasks."""
    script = Path(__file__).parents[1] / "node" / "clients" / "tasks_server.mjs"
    return {"command": str(real_parts.node()), "args": [str(script)], "cwd": str(real_parts.npm_set("clients"))}


@contextmanager
def _everything(sdist: str, python: str) -> Iterator[str]:
    source = real_parts.sdist(sdist) / "examples/servers/everything-server"
    port = harness.free_port()
    command = [python, "-W", "ignore", "-m", "mcp_everything_server.server", "--port", str(port)]
    environment = {**real_parts.environment(), "PYTHONPATH": str(source)}
    with harness.child(*command, env=environment) as process:
        harness.wait_for_port(process, port)
        yield f"http://127.0.0.1:{port}/mcp"


@dataclass(frozen=True)
class Through:
    """A gateway with everything on, tokens, policy, masking and evidence, which the suite meets without a token."""

    config: Path
    """Its configuration file, which it looks at all the time."""
    mcp: str
    """The URL below which the suite meets its upstreams, by their names."""


@contextmanager
def gateway(upstreams: Mapping[str, Mapping[str, Any]]) -> Iterator[Through]:
    """A gateway in front of `upstreams`; what it has on record is checked when the block is left."""
    port = harness.free_port()
    settings = {
        "allowed_hosts": [f"{name}:{port}" for name in ("127.0.0.1", "localhost")],
        "allowed_origins": [f"http://{name}:{port}" for name in ("127.0.0.1", "localhost")],
        "reload_s": 0.1,
    }
    behind = [Upstream(name, each) for name, each in upstreams.items()]
    with (
        issuer.running() as tokens,
        tempfile.TemporaryDirectory() as place,
        harness.running(Path(place), tokens, behind, settings={"gateway": settings}, policy=opened) as running,
    ):
        command = [sys.executable, "-m", "tests.conformance.shim", str(port), str(running.port)]
        environment = {**real_parts.environment(), shim.TOKEN: tokens.token(WHO, [WHO])}
        with harness.child(*command, env=environment) as process:
            harness.wait_for_port(process, port)
            yield Through(running.config, f"http://127.0.0.1:{port}/mcp")


def opened(policies: Path) -> None:
    """A policy for the fixture, whose tools carry no annotations and ask back on purpose: its role may have both."""

    def change(settings: dict[str, Any]) -> None:
        settings["groups"][WHO] = WHO
        settings["precedence"].insert(0, WHO)
        settings["roles"][WHO] = {**settings["roles"]["treatment"], "writes": "allow"}
        settings["from_upstream"]["requests"] += _ASKED

    harness.change_settings(policies, change)
