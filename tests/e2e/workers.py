"""Connections to one worker process of a gateway each, so that a test says which of them serves a request."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.harness import ACCEPT, Gateway

_TRIES = 200
CAPABILITIES = {"elicitation": {}, "roots": {}}
"""What the clients here declare."""


@dataclass
class Worker:
    """A connection that one worker has accepted. `headers` are sent with each request."""

    connection: http.client.HTTPConnection
    headers: dict[str, str] = field(default_factory=dict)
    closing: ExitStack = field(default_factory=ExitStack)
    response: http.client.HTTPResponse | None = None
    """The newest."""
    pid: int = 0
    """The worker process; 0 for a connection that any may have taken."""

    def post(self, upstream: str, message: Mapping[str, Any], **headers: str) -> http.client.HTTPResponse:
        """The response to one message, which is to be read before the next is sent."""
        sent = {**self.headers, "content-type": "application/json", **headers}
        self.connection.request("POST", f"/mcp/{upstream}", json.dumps(message), sent)
        return self._answer()

    def get(self, upstream: str, **headers: str) -> http.client.HTTPResponse:
        """The stream that a GET opens."""
        self.connection.request("GET", f"/mcp/{upstream}", headers={**self.headers, **headers})
        return self._answer()

    def again(self) -> Worker:
        """Another connection to the same gateway, whichever worker takes it."""
        connection = http.client.HTTPConnection(self.connection.host, self.connection.port, timeout=30)
        worker = Worker(connection, self.headers, self.closing)
        self.closing.callback(worker.hang_up)
        return worker

    def hang_up(self) -> None:
        """Close the connection, in the middle of a response or not."""
        if self.response is not None:
            self.response.close()
        self.connection.close()

    def _answer(self) -> http.client.HTTPResponse:
        self.response = self.connection.getresponse()
        return self.response


@contextmanager
def each(gateway: Gateway, who: str, groups: list[str] | None = None) -> Iterator[list[Worker]]:
    """A connection to each worker, in no order."""
    headers = {**ACCEPT, "authorization": f"Bearer {gateway.issuer.token(who, groups)}"}
    found: dict[int, Worker] = {}
    with ExitStack() as stack:
        for _ in range(_TRIES):
            connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
            worker = Worker(connection, headers, stack)
            stack.callback(worker.hang_up)
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            worker.pid = _accepted_by(gateway, connection)
            found.setdefault(worker.pid, worker)
            if len(found) == len(gateway.workers()):
                break
        assert len(found) == len(gateway.workers()), "the kernel gives connections to some workers only"
        yield list(found.values())


def messages(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The messages of a response as they come, be it one JSON document or a stream."""
    if response.headers.get_content_type() == "application/json":
        yield json.loads(response.read())
        return
    while line := response.readline():
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


def greeted(worker: Worker, upstream: str, version: str = "2025-11-25") -> dict[str, str]:
    """The headers of a legacy session that has just begun."""
    params = {
        "protocolVersion": version,
        "capabilities": CAPABILITIES,
        "clientInfo": {"name": "e2e", "version": "1"},
    }
    response = worker.post(upstream, {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
    (answer,) = messages(response)
    headers = {"mcp-session-id": response.headers["mcp-session-id"], "mcp-protocol-version": version}
    assert "result" in answer
    accepted(worker, upstream, {"jsonrpc": "2.0", "method": "notifications/initialized"}, headers)
    return headers


def call(name: str, arguments: Mapping[str, Any] | None = None, ident: int | str = 1, **more: Any) -> dict[str, Any]:
    """A `tools/call`."""
    params = {"name": name, "arguments": arguments or {}, **more}
    return {"jsonrpc": "2.0", "id": ident, "method": "tools/call", "params": params}


def accepted(worker: Worker, upstream: str, message: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    """Send a message that is only accepted."""
    response = worker.post(upstream, message, **headers)
    assert (response.status, response.read()) == (202, b"")


def _accepted_by(gateway: Gateway, connection: http.client.HTTPConnection) -> int:
    """The process that holds the other end, as the kernel has it."""
    ours = connection.sock.getsockname()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, *rest = line.split()
        if (int(local[-4:], 16), int(remote[-4:], 16)) == (gateway.port, ours):
            inode = rest[6]
    for pid in gateway.workers():
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if os.readlink(descriptor) == f"socket:[{inode}]":
                    return pid
            except FileNotFoundError:
                continue  # It was closed meanwhile.
    raise AssertionError("no worker has accepted the connection")
