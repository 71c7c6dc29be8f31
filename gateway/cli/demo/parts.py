"""The demo's processes: clinic, issuer and gateway, each its own, started when the one before is ready to serve it.

Nothing here waits for a while and hopes: a part announces itself, or answers `/readyz`, or is reported dead with the
end of its log.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx2
import trio

from gateway.core.errors import GatewayError

START_S = 30.0
POLL_S = 0.05
_LOG_TAIL = 12
_MARK = "This directory is made and deleted by `phigate demo`. Synthetic data only.\n"


class DemoFault(GatewayError):
    """The demo cannot go on: a part died, a port is taken, or something differed from the story."""


def _lock(file: IO[str], otherwise: str) -> None:
    """Lock `file` for as long as it is open. Raises DemoFault."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DemoFault(otherwise) from None


@dataclass(frozen=True, slots=True)
class Place:
    """Where the demo keeps its files. Made anew for each run; never anything that the demo did not make itself."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "phigate.toml"

    @property
    def store(self) -> Path:
        return self.root / "evidence.db"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    @property
    def checkpoint(self) -> Path:
        """The log's signed head as an auditor kept it."""
        return self.root / "kept.checkpoint"

    def token(self, who: str) -> Path:
        """The file with an identity's token, as `--token-file` takes it."""
        return self.root / f"{who}.token"

    def log(self, part: str) -> Path:
        """What a part wrote to standard error."""
        return self.root / f"{part}.log"

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Empty the place and have it alone while the block runs. Raises DemoFault if it is somebody else's."""
        mark = self.root / "README"
        if self.root.exists():
            if not mark.is_file() or mark.read_text() != _MARK:
                raise DemoFault(f"{self.root} exists and the demo did not make it. Run the demo in another directory.")
            with mark.open() as theirs:
                _lock(theirs, f"A demo is running in {self.root}. End it with Ctrl-C where you started it.")
                shutil.rmtree(self.root)
        self.root.mkdir(mode=0o700)
        with mark.open("w") as ours:
            ours.write(_MARK)
            ours.flush()
            _lock(ours, f"Another demo was started in {self.root} just now.")
            yield

    def copy_store(self, target: Path) -> None:
        """Copy the evidence database while the gateway goes on, compacted: each leaf stands in the file once."""
        with closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True)) as source:
            source.execute("VACUUM INTO ?", (str(target),))


@dataclass(frozen=True, slots=True)
class Part:
    """A running process and where it is reached."""

    name: str
    url: str


@asynccontextmanager
async def announced(place: Place, name: str, *arguments: str) -> AsyncIterator[Part]:
    """A demo module as a process, running for as long as the context; it tells its URL on its first line."""
    command = [sys.executable, "-m", f"gateway.cli.demo.{name}", *arguments]
    async with _running(place, name, command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = b""
        with trio.move_on_after(START_S):
            while not line.endswith(b"\n"):
                more = await process.stdout.receive_some()
                if not more:
                    break
                line += more
        if not line.endswith(b"\n"):
            raise _died(place, name)
        yield Part(name, json.loads(line)["url"])


@asynccontextmanager
async def gateway(place: Place, url: str) -> AsyncIterator[Part]:
    """`phigate serve` on the demo's configuration, running for as long as the context, ready when it is entered."""
    command = [sys.executable, "-m", "gateway", "serve", "-c", str(place.config)]
    async with _running(place, "gateway", command, stdout=None) as process:
        if not await _ready(process, url):
            raise _died(place, "gateway")
        yield Part("gateway", url)


async def _ready(process: trio.Process, url: str) -> bool:
    """Whether `/readyz` says yes in time, from a process that lives."""
    with trio.move_on_after(START_S):
        async with httpx2.AsyncClient() as http:
            while process.poll() is None:
                try:
                    if (await http.get(f"{url}/readyz")).status_code == 200:
                        return True
                except httpx2.TransportError:
                    pass  # It does not listen yet.
                await trio.sleep(POLL_S)
    return False


@asynccontextmanager
async def _running(place: Place, name: str, command: list[str], *, stdout: int | None) -> AsyncIterator[trio.Process]:
    """A child process whose standard error goes to the part's log; asked to stop, and waited for, at the end."""
    with place.log(name).open("wb") as log:
        process = await trio.lowlevel.open_process(command, stdout=log if stdout is None else stdout, stderr=log)
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            if process.poll() is None:
                process.terminate()
            with trio.move_on_after(START_S) as late:
                await process.wait()
            if late.cancelled_caught:
                process.kill()
                await process.wait()


def _died(place: Place, name: str) -> DemoFault:
    tail = "\n".join(place.log(name).read_text(errors="replace").splitlines()[-_LOG_TAIL:])
    return DemoFault(f"The {name} did not start. The end of {place.log(name)}:\n{tail}")
