"""Processes on a core of their own, and what they cost: CPU time and memory of the whole tree below each."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 60.0


def cores() -> tuple[int, int]:
    """The core of what is measured, and the core of load and upstream. Raises RuntimeError on a single core."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        raise RuntimeError("A benchmark needs two cores: one for what is measured, one for what drives it.")
    return available[0], available[1]


def free_port() -> int:
    """A port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Running:
    """A process tree that serves."""

    process: subprocess.Popen[bytes]

    def pids(self) -> list[int]:
        """The process and all below it."""
        found = [self.process.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found.extend(int(child) for child in children.read_text().split())
        return found

    def cpu_s(self) -> float:
        """Time on a core so far (Linux, sched-stats: schedstat's first field). `stat` counts ticks, too coarse here."""
        found = [file for pid in self.pids() for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return sum(int(file.read_text().split()[0]) for file in found) / 1e9

    def rss_mb(self) -> float:
        """Resident memory now, shared pages counted once per process."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids())
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def running(command: Sequence[str], *, core: int, port: int, log: Path) -> Iterator[Running]:
    """`command` on one core, listening on `port` when the block is entered; stopped after it.

    Raises RuntimeError with the end of its output when it does not come up.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, preexec_fn=lambda: os.sched_setaffinity(0, {core})
        )
        try:
            _await_port(process, port, log)
            yield Running(process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise RuntimeError(f"{process.args!r} did not start. The end of its output:\n{tail}")
