"""A directory that could be served from, for the doctor to look at; and what is changed there."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from gateway import config as configuration
from gateway.cli.doctor.finding import Finding, Status
from gateway.cli.main import main
from gateway.config import Config
from tests.e2e import harness, issuer

SERVER = Path(__file__).resolve().parents[2] / "e2e" / "upstream_server.py"
PROGRAM = harness.Upstream("ward", {"command": sys.executable, "args": [str(SERVER)]})


@pytest.fixture(scope="session")
def provider():
    with issuer.running() as running:
        yield running


@dataclass
class Patient:
    """The directory, and the doctor's opinion of it."""

    gateway: harness.Gateway
    capsys: pytest.CaptureFixture[str]

    @property
    def place(self) -> Path:
        return self.gateway.place

    @property
    def config(self) -> Config:
        return configuration.load(self.gateway.config)

    def edit(self, change: Callable[[str], str]) -> None:
        """Change the text of the configuration."""
        self.gateway.config.write_text(change(self.gateway.config.read_text()))

    def says(self, *words: str) -> tuple[int, dict[str, list[Finding]]]:
        """The exit code of `phigate doctor` and what it found, by what it looked at."""
        code = main(["doctor", "-c", str(self.gateway.config), "--format", "json", *words])
        told = json.loads(self.capsys.readouterr().out)
        return code, {
            each["check"]: [Finding(Status(one["status"]), one["text"], one["fix"]) for one in each["findings"]]
            for each in told["checks"]
        }

    def files(self) -> dict[str, tuple[int, str]]:
        """Every file with when it was written and what is in it."""
        return {
            str(path.relative_to(self.place)): (
                path.stat().st_mtime_ns,
                hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            )
            for path in self.place.rglob("*")
        }


@pytest.fixture
def patient(tmp_path, provider, capsys):
    patient = Patient(harness.prepare(tmp_path, provider, [PROGRAM]), capsys)
    yield patient
    patient.gateway.kill()


def bad(findings: list[Finding]) -> Finding:
    """The one finding that is not in order, which must say what mends it."""
    (found,) = (finding for finding in findings if finding.status is not Status.OK)
    assert found.fix
    return found


@asynccontextmanager
async def http_server(answer: bytes):
    """Answers whatever it is asked with the same bytes; its URL."""

    async def serve(stream):
        try:
            while await stream.receive_some():
                await stream.send_all(answer)
        except trio.BrokenResourceError:
            return

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}/mcp"
        nursery.cancel_scope.cancel()
