"""Which versions an upstream speaks, asked directly, with no gateway in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.interop.upstreams import Real

_CLIENT = {"name": "interop", "version": "1"}
_MODERN = "2026-07-28"
_INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": _CLIENT}
_DISCOVER = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": _MODERN,
        "io.modelcontextprotocol/clientInfo": _CLIENT,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
}
_ANSWER_S = 20.0


@dataclass(frozen=True)
class Spoken:
    """What each era's first message gets."""

    initialize: str
    discover: str


def ask(real: Real) -> Spoken:
    """What `real` says of itself to a client of each era; each is asked of a program of its own."""
    greeted = _exchange(real, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": _INITIALIZE})
    found = _exchange(real, {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": _DISCOVER})
    return Spoken(_told(greeted, "protocolVersion"), _told(found, "supportedVersions"))


def _told(answer: dict[str, Any] | None, key: str) -> str:
    if answer is None:
        return "no answer"
    if "error" in answer:
        return f"error {answer['error']['code']}"
    told = answer["result"][key]
    return told if isinstance(told, str) else ", ".join(told)


def _exchange(real: Real, message: dict[str, Any]) -> dict[str, Any] | None:
    settings = real.upstream.settings
    if "url" in settings:
        return _over_http(settings["url"], message)
    with _program([settings["command"], *settings["args"]]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
        for line in process.stdout:
            if b'"id"' in line:
                return dict(json.loads(line))
    return None


@contextmanager
def _program(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A program and all that it starts, ended with the block and when it takes too long to answer."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0
    )
    watchdog = threading.Timer(_ANSWER_S, os.killpg, (process.pid, signal.SIGKILL))
    with process:
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _over_http(url: str, message: dict[str, Any]) -> dict[str, Any] | None:
    headers = {"accept": "application/json, text/event-stream"}
    if message["method"] == "server/discover":
        headers |= {"mcp-protocol-version": _MODERN, "mcp-method": message["method"]}
    response = httpx2.post(url, json=message, headers=headers, timeout=_ANSWER_S)
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        data = [line.removeprefix("data:") for line in response.text.splitlines() if line.startswith("data:")]
        return dict(json.loads(next(each for each in data if each.strip())))
    return dict(response.json()) if response.text.startswith("{") else None
