"""Real MCP clients, each driven through the same steps by a program of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import real_parts

Step = Mapping[str, Any]
"""`step`, its name; for a call `name`, `arguments` and whether to ask for `progress`."""

Met = dict[str, dict[str, Any]]
"""Step -> what the client met: `version`, or `result` and `progress`, or `error`."""

CLIENT_S = 150
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Session:
    """Where a client goes, as whom, and what it does there."""

    url: str
    token: str
    steps: Sequence[Step]
    begins: Callable[[str], None]
    """Told of each step as it begins."""
    home: Path
    """A directory that the client may take for its user's home."""


@dataclass(frozen=True)
class Kind:
    """A client in one of its eras."""

    name: str
    era: str
    """What it is asked for: `legacy`, `auto` or `modern`."""
    run: Callable[[Session, str], Met]
    asks_progress: bool = True
    can_be_asked: bool = True
    """Whether it declares elicitation and sampling."""


def _program(command: Sequence[str | Path], cwd: Path | None, session: Session, era: str) -> Met:
    told = {"url": session.url, "token": session.token, "era": era, "steps": session.steps}
    environment = real_parts.environment() | {"INTEROP": json.dumps(told)}
    met: Met = {}
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        watchdog = threading.Timer(CLIENT_S, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            for document in map(json.loads, process.stdout):
                if document.get("begins"):
                    session.begins(document["step"])
                else:
                    met[document["step"]] = document
        finally:
            watchdog.cancel()
            process.kill()
        assert process.stderr is not None
        said = process.stderr.read().decode(errors="replace")
    if "connect" not in met:
        met["connect"] = {"error": said[-600:] or "it said nothing"}
    return met


def _python_1(session: Session, era: str) -> Met:
    return _program([real_parts.python_environment("mcp-v1") / "python", _HERE / "python.py", "v1"], None, session, era)


def _python_2(session: Session, era: str) -> Met:
    return _program([sys.executable, _HERE / "python.py", "v2"], None, session, era)


def _typescript(version: str) -> Callable[[Session, str], Met]:
    def run(session: Session, era: str) -> Met:
        command = [real_parts.node(), _HERE / "typescript.mjs", version]
        return _program(command, real_parts.npm_set("clients"), session, era)

    return run


def _inspector(session: Session, era: str) -> Met:
    """The Inspector's command line, which connects for each step anew. It does not tell which version it came to."""
    return {"connect": {"version": ""}} | {step["step"]: _inspect(session, era, step) for step in session.steps}


def _inspect(session: Session, era: str, step: Step) -> dict[str, Any]:
    what = ["--method", "tools/list"]
    if "name" in step:
        what = ["--method", "tools/call", "--tool-name", step["name"]]
        what += ["--tool-args-json", json.dumps(step["arguments"])] if step["arguments"] else []
    command = [
        *(real_parts.npm_tool("mcp-inspector"), "--cli", session.url, "--transport", "http"),
        *("--protocol-era", era, "--header", f"Authorization: Bearer {session.token}", "--format", "json", *what),
    ]
    environment = real_parts.environment() | {"HOME": str(session.home)}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            session.begins(step["step"])
            said, complaint = process.communicate(timeout=CLIENT_S)
        finally:
            process.kill()
    documents = list(_documents(said))
    if documents:
        return {"result": documents[-1]["result"], "progress": 0}
    return {"error": f"ended with {process.returncode}: {complaint[-600:]}"}


def _documents(said: str) -> Iterator[Any]:
    for line in said.splitlines():
        if line.startswith("{"):
            yield json.loads(line)


KINDS = (
    Kind("Python 2", "auto", _python_2),
    Kind("Python 2", "legacy", _python_2),
    Kind("Python 2", "modern", _python_2),
    Kind("Python 1", "legacy", _python_1),
    Kind("TypeScript 2", "auto", _typescript("v2")),
    Kind("TypeScript 2", "legacy", _typescript("v2")),
    Kind("TypeScript 2", "modern", _typescript("v2")),
    Kind("TypeScript 1", "legacy", _typescript("v1")),
    Kind("Inspector", "auto", _inspector, asks_progress=False, can_be_asked=False),
    Kind("Inspector", "legacy", _inspector, asks_progress=False, can_be_asked=False),
    Kind("Inspector", "modern", _inspector, asks_progress=False, can_be_asked=False),
)
"""Every client, in every era that it can be asked for."""
