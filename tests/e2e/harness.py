"""A real gateway, `python -m gateway serve`, for end-to-end tests; and what must hold of it after every test.

Starting and stopping is synchronous, so that one gateway can serve a whole session of tests; clients run on trio.
"""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import trio
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from gateway.cli import init
from gateway.cli.main import main
from gateway.config import load
from gateway.core.evidence import verify
from gateway.service import open_gateway
from gateway.store import keys
from gateway.store.reader import Reader
from gateway.web.connection import ServerSettings
from gateway.web.server import serve
from tests.e2e.issuer import AUDIENCE, Issuer

START_S = 180.0
STOP_S = 120.0
ACCEPT = {"accept": "application/json, text/event-stream"}
TRACEBACK = b"Traceback (most recent call last)"


@dataclass(frozen=True)
class Upstream:
    """One `[[upstream]]`: `settings` as in the configuration file, with `url`, or with `command` and `args`."""

    name: str
    settings: Mapping[str, Any]


@dataclass
class Gateway:
    """A gateway in a directory of its own. It may be stopped, killed and started again: place and port stay."""

    place: Path
    issuer: Issuer
    port: int
    phi: set[str] = field(default_factory=set)
    """What must be found nowhere in the clear, in logs and database files. Tests add what they send and ask for."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def store(self) -> Path:
        return self.place / "evidence.db"

    @property
    def config(self) -> Path:
        return self.place / "phigate.toml"

    @property
    def log(self) -> Path:
        """What the gateway and its workers wrote, over all starts."""
        return self.place / "gateway.log"

    def mcp(self, upstream: str) -> str:
        """The URL of an upstream behind this gateway."""
        return f"{self.url}/mcp/{upstream}"

    def headers(self, who: str, **more: str) -> dict[str, str]:
        """Request headers of somebody's plain HTTP request."""
        return {"authorization": f"Bearer {self.issuer.token(who)}", **ACCEPT, **more}

    def start(self) -> None:
        """Start it, and return when it is ready."""
        command = [sys.executable, "-m", "gateway", "serve", "-c", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while not self._ready():
            alive = self.process.poll() is None
            if not alive or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"The gateway did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.02)

    def _ready(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/readyz").status_code == 200
        except httpx2.TransportError:
            return False  # It does not listen yet.

    def workers(self) -> list[int]:
        """The worker processes, by id."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(child) for child in children.split()]

    def stop(self) -> None:
        """End it as an operator does; it must drain and end by itself."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_S)
        finally:
            self.kill()
        assert code == 0, f"The gateway ended with {code}:\n{self.log.read_text()[-4000:]}"

    def kill(self) -> None:
        """End it as a power cut does: `kill -9`, the workers with it."""
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in (process.pid, *map(int, children)):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        # The workers are not our children: they are gone when nobody accepts any more.
        while any(Path(f"/proc/{pid}").exists() and _state(int(pid)) not in "ZX" for pid in children):
            time.sleep(0.01)

    def pause(self, worker: int) -> None:
        """Stop a worker where it holds nothing: one that is stopped while it writes keeps all others from it."""
        while True:
            os.kill(worker, signal.SIGSTOP)
            with closing(sqlite3.connect(self.store, isolation_level=None, timeout=1)) as store:
                try:
                    store.execute("begin immediate")
                except sqlite3.OperationalError:
                    os.kill(worker, signal.SIGCONT)
                else:
                    store.execute("rollback")
                    return

    def phigate(self, *arguments: str) -> str:
        """Run another `phigate` command beside the gateway; its standard output."""
        done = self._run(arguments)
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def phigate_fails(self, *arguments: str, code: int = 2) -> str:
        """Run a `phigate` command that cannot be done (exit code 2), or whose answer is no (1); what it said."""
        done = self._run(arguments)
        assert done.returncode == code, f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stderr

    def _run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gateway", *arguments]
        return subprocess.run(command, cwd=self.place, capture_output=True, text=True, timeout=START_S, check=False)

    def verify(self) -> None:
        """What `phigate evidence verify` does, which must pass; here, as starting a command takes longer than that."""
        evidence = load(self.config).evidence
        with Reader.open(evidence.store, keys.load(evidence.keys)) as reader:
            report = verify.verify(reader, [keys.load_verifier(evidence.keys)], unseal=reader.body)
        assert report.passed, report

    def check_ends(self) -> None:
        """What must hold once it has stopped: each exchange that began has one end."""
        kinds = ("exchange.intent", "exchange.outcome", "exchange.unknown")
        told = [(leaf["type"], leaf["exchange"]) for leaf in self.leaves() if leaf["type"] in kinds]
        begun = sorted(exchange for kind, exchange in told if kind == "exchange.intent")
        assert begun == sorted(exchange for kind, exchange in told if kind != "exchange.intent")

    def replay(self) -> None:
        """`phigate policy replay`, here: every decision on record comes out the same, byte for byte."""
        with redirect_stdout(io.StringIO()) as said, redirect_stderr(said):
            code = main(["policy", "replay", "-c", str(self.config)])
        assert code == 0, said.getvalue()

    def leaves(self) -> list[dict[str, Any]]:
        """All leaves of the log, in order."""
        with Reader.open(load(self.config).evidence.store) as reader:
            return [json.loads(entry) for _, entry, _ in reader.entries()]

    def check(self) -> None:
        """What must hold at any time: evidence verifies, no bug was met, and no PHI is in logs and database files."""
        self.verify()
        logged = self.log.read_bytes()
        assert TRACEBACK not in logged, logged.decode()
        files = [path for path in self.place.glob("*") if path.is_file() and path.suffix != ".toml"]
        for path in files:
            data = path.read_bytes()
            found = [value for value in self.phi if value.encode() in data]
            assert not found, f"{path.name} holds {found} in the clear"


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def prepare(
    place: Path,
    issuer: Issuer,
    upstreams: Sequence[Upstream],
    *,
    workers: int = 1,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    policy: Callable[[Path], None] | None = None,
    aggregates: Sequence[Mapping[str, Any]] = (),
    tested: bool = False,
) -> Gateway:
    """A gateway that is not started yet, made as `phigate init` makes it.

    `settings`: more keys for sections of the configuration, by their names; `policy` edits the policy directory.
    `tested`: its policy has its own tests. What is shipped has passed them, and each worker would run them anew.
    """
    port = free_port()
    init.prepare(place)
    if not tested:
        for test in [*place.glob("policies/**/*_test.rego"), *place.glob("policies/**/*_cases.yaml")]:
            test.unlink()
    if policy is not None:
        policy(place / "policies")
    sections: dict[str, dict[str, Any]] = {
        "gateway": {"listen": f"127.0.0.1:{port}", "workers": workers, "drain_s": 10},
        "evidence": {"store": "evidence.db", "keys": "keys"},
        # A machine on which all tests run at once takes long over a decision now and then.
        "policy": {"bundle": "policies", "deadline_s": 2},
    }
    for name, more in (settings or {}).items():
        sections[name] = sections.get(name, {}) | more
    tables = [(f"[{name}]", keys) for name, keys in sections.items()]
    tables.append(("[[issuer]]", {"url": issuer.url, "audience": AUDIENCE}))
    tables += [("[[upstream]]", {"name": upstream.name, **upstream.settings}) for upstream in upstreams]
    tables += [("[[aggregate]]", dict(keys)) for keys in aggregates]
    lines = [line for head, keys in tables for line in (head, *(f"{key} = {_toml(keys[key])}" for key in keys))]
    (place / "phigate.toml").write_text("\n".join(lines) + "\n")
    return Gateway(place, issuer, port)


@contextmanager
def running(place: Path, issuer: Issuer, upstreams: Sequence[Upstream], **more: Any) -> Iterator[Gateway]:
    """A gateway that serves while the block runs, checked after it has ended by itself, and all its decisions made
    again; takes what `prepare` takes."""
    gateway = prepare(place, issuer, upstreams, **more)
    try:
        gateway.start()
        yield gateway
        if gateway.process is not None:
            gateway.stop()
        gateway.check()
        gateway.check_ends()
        gateway.replay()
    finally:
        gateway.kill()


@asynccontextmanager
async def here(place: Path, listening: socket.socket) -> AsyncIterator[str]:
    """A gateway in this process, of the configuration in `place` and on a socket that listens; its URL."""
    made = load(place / "phigate.toml", environ=dict(os.environ))
    async with open_gateway(made) as gateway, trio.open_nursery() as nursery:
        up, stop = trio.Event(), trio.Event()
        settings = ServerSettings(drain_s=2)
        nursery.start_soon(
            partial(serve, gateway.app, [listening], settings=settings, shutdown=stop.wait, started=up.set)
        )
        await up.wait()
        yield made.gateway.public_url
        stop.set()


def in_both_eras(url: str) -> list[Upstream]:
    """A server that speaks both eras, once as if it knew each alone."""
    return [Upstream(era, {"url": url, "era": era}) for era in ("modern", "legacy")]


def change_settings(policies: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edit `settings/data.json` of the shipped policies."""
    file = policies / "gateway" / "settings" / "data.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


@asynccontextmanager
async def client(
    gateway: Gateway, upstream: str, who: str, *, groups: Sequence[str] | None = None, mode: str = "auto", **more: Any
) -> AsyncIterator[Client]:
    """The official Python client of somebody at an upstream. `mode`: auto, legacy or a modern version."""
    headers = {"authorization": f"Bearer {gateway.issuer.token(who, groups)}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(gateway.mcp(upstream), http_client=http), mode=mode, **more) as session,
    ):
        yield session


def post(gateway: Gateway, upstream: str, message: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    """The answer to one message, whether it came as JSON or as the last event of a stream."""
    response = httpx2.post(gateway.mcp(upstream), json=message, headers={**ACCEPT, **headers}, timeout=60)
    if response.headers["content-type"] != "text/event-stream":
        return dict(response.json())
    data = [line for line in response.text.splitlines() if line.startswith("data: ")]
    return dict(json.loads(data[-1].removeprefix("data: ")))


async def list_tools(gateway: Gateway, who: str, *upstreams: str) -> None:
    """Have the gateway see what tools there are: one that nobody has listed is taken to write."""
    for upstream in upstreams:
        async with client(gateway, upstream, who) as session:
            await session.list_tools()


@contextmanager
def child(*command: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs while the block does, and with it all that it started: `node` may be a launcher."""
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(command, env=env, stdin=nowhere, stdout=subprocess.PIPE, stderr=nowhere, process_group=0)
    assert process.stdout is not None
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(STOP_S)
        process.stdout.close()


@contextmanager
def python_program(*arguments: str) -> Iterator[dict[str, Any]]:
    """A Python module that says on its first line, in JSON, where it listens: that line. Ended with the block."""
    with child(sys.executable, *arguments) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())


def wait_for_port(process: subprocess.Popen[bytes], port: int) -> None:
    """Return once somebody listens on a port, which `process` is about to do."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            assert process.poll() is None, "it ended before it listened"
            assert time.monotonic() < deadline, "it does not listen"
            time.sleep(0.02)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
