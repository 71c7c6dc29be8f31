"""The load: `wrk` from Debian with a script that POSTs tools/call and looks at every answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import upstream

SCRIPT = Path(__file__).with_name("load.lua")
EXPECTED = '"structuredContent"'
ACCEPT = "application/json, text/event-stream"
_CLIENT = {"name": "wrk", "version": "4"}
_META = {
    "io.modelcontextprotocol/protocolVersion": upstream.MODERN,
    "io.modelcontextprotocol/clientInfo": _CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What wrk saw in one run."""

    requests: int
    seconds: float
    p50_us: int
    p99_us: int
    failed: int

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True)
class Client:
    """How to talk to one target in one era: legacy clients greet first and repeat their session id."""

    url: str
    modern: bool
    headers: dict[str, str]

    @classmethod
    def greet(cls, url: str, *, modern: bool, token: str | None) -> Client:
        """Begin as a client of the era does: initialize, then list the tools."""
        headers = {"Accept": ACCEPT, "Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        client = cls(url, modern, headers)
        if not modern:
            hello = {
                "protocolVersion": upstream.LEGACY,
                "capabilities": {},
                "clientInfo": {"name": "wrk", "version": "4"},
            }
            session = client.post("initialize", hello)[0].get("mcp-session-id")
            if session is not None:
                headers["Mcp-Session-Id"] = session
            client.post("notifications/initialized", None)
        client.post("tools/list", {})
        return client

    def message(self, method: str, params: dict[str, Any] | None) -> tuple[dict[str, Any], dict[str, str]]:
        """The JSON-RPC message, less its id, and the headers that go with it."""
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if not self.modern:
            version = {} if method == "initialize" else {"MCP-Protocol-Version": upstream.LEGACY}
            return message | ({} if params is None else {"params": params}), self.headers | version
        headers = self.headers | {"MCP-Protocol-Version": upstream.MODERN, "Mcp-Method": method}
        if params and "name" in params:
            headers["Mcp-Name"] = params["name"]
        return message | {"params": (params or {}) | {"_meta": _META}}, headers

    def post(self, method: str, params: dict[str, Any] | None) -> tuple[dict[str, str], Any]:
        """Send one message; its response's headers, in lower case, and body. Raises OSError unless it is 2xx."""
        message, headers = self.message(method, params)
        if not method.startswith("notifications/"):
            message["id"] = 1
        request = urllib.request.Request(self.url, json.dumps(message).encode(), headers, method="POST")
        with urllib.request.urlopen(request, timeout=30) as response:
            body = response.read()
            kind = response.headers.get("content-type", "")
            text = body.rpartition(b"data:")[2] if kind.startswith("text/event-stream") else body
            return {k.lower(): v for k, v in response.headers.items()}, json.loads(text) if text else None

    def call(self) -> Any:
        """One call of the tool, whole."""
        return self.post("tools/call", {"name": upstream.TOOL, "arguments": {"mrn": "MRN-4821937"}})[1]


def measure(client: Client, *, connections: int, seconds: int, core: int, scratch: Path) -> Measured:
    """Run wrk against the target for so long. Raises RuntimeError when wrk is missing or broken."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise RuntimeError("The load generator is missing. Install it: apt-get install wrk")
    message, headers = client.message("tools/call", {"name": upstream.TOOL, "arguments": {"mrn": "MRN-4821937"}})
    settings = scratch / "load-settings.lua"
    settings.write_text(_settings(client, message, headers))
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "-s", str(SCRIPT)]
    done = subprocess.run(
        [*command, client.url, "--", str(settings)],
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        check=True,
    )
    return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))


def _settings(client: Client, message: dict[str, Any], headers: dict[str, str]) -> str:
    """What load.lua asks for, in Lua."""
    before, after = json.dumps(message | {"id": 0}, separators=(",", ":")).rsplit('"id":0', 1)
    values = {
        "path": _lua("/" + client.url.split("/", 3)[3]),
        "headers": "{" + ", ".join(f"[{_lua(name)}] = {_lua(value)}" for name, value in headers.items()) + "}",
        "before": _lua(before + '"id":'),
        "after": _lua(after),
        "expected": _lua(EXPECTED),
    }
    return "return {" + ", ".join(f"{name} = {value}" for name, value in values.items()) + "}\n"


def _lua(text: str) -> str:
    """ASCII text as a Lua string: JSON's escapes are Lua's too."""
    return json.dumps(text)
