"""What one machine carries, as the table in docs/operations.md: calls, latency, memory, growth of the evidence.

One worker has a core of its own, beside the load's. Two workers have both cores and share one of them with the load,
upstream and identity provider: what they would carry with cores of their own is more.
"""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks import held, targets
from benchmarks.load import Measured, measure
from benchmarks.processes import Running, cores
from benchmarks.targets import Target

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operations.md"
CONNECTIONS = (1, 16, 64)
WORKERS = (1, 2)
RATES = (1, 10, 100)
"""Calls a second, for which the growth of the disk is told."""
_DAY_S = 86_400
_BETWEEN = re.compile(r"(?<=<!-- capacity -->\n).*?(?=<!-- /capacity -->)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Carried:
    """What one gateway carried."""

    workers: int
    runs: dict[int, Measured]
    """By connections."""
    cpu_ms: float
    """Time on a core that a call took in the last of them."""
    worker_mb: float
    bytes_a_call: float
    leaves_a_call: float


def run(scratch: Path, console: Console, *, seconds: int, calls: int) -> int:
    """Measure, print the table, and write it into the page; 1 when an answer was not the tool's result."""
    load = os.getloadavg()[0]
    affinity = os.sched_getaffinity(0)
    found = []
    for workers in WORKERS:
        place = scratch / f"workers-{workers}"
        place.mkdir()
        found.append(_carried(place, workers, seconds))
        console.print(f"[dim]{workers} workers measured[/]")
    (scratch / "held").mkdir()
    held_kb, _, _ = held.measure(scratch / "held", console, calls=calls, idle_s=0.0)
    os.sched_setaffinity(0, affinity)
    text = page(found, held_kb, load=load, on=f"{time.strftime('%Y-%m-%d', time.gmtime())}")
    PAGE.write_text(_BETWEEN.sub(lambda _: text, PAGE.read_text()))
    console.print(text, markup=False, highlight=False)
    return int(any(run.failed for each in found for run in each.runs.values()))


def _carried(place: Path, workers: int, seconds: int) -> Carried:
    core, load_core = cores()
    with (
        targets.direct(place, core=load_core, modern=False) as base,
        targets.phigate(
            place, base.client.url, core=core, load_core=load_core, modern=False, workers=workers
        ) as target,
    ):
        if workers > 1:
            _allow(target.process, {core, load_core})
        measure(target.client, connections=16, seconds=1, core=load_core, scratch=place)  # Warm.
        before = _grown(place)
        runs, cpu_ms = {}, 0.0
        for connections in CONNECTIONS:
            spent = target.process.cpu_s()
            run = measure(target.client, connections=connections, seconds=seconds, core=load_core, scratch=place)
            runs[connections] = run
            cpu_ms = (target.process.cpu_s() - spent) * 1e3 / max(run.requests, 1)
        after = _grown(place)
        worker_mb = _worker_mb(target)
    answered = sum(run.requests for run in runs.values())
    return Carried(
        workers, runs, cpu_ms, worker_mb, (after[0] - before[0]) / answered, (after[1] - before[1]) / answered
    )


def _allow(process: Running, which: set[int]) -> None:
    """Let every thread of the tree run on these cores."""
    for pid in process.pids():
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), which)


def _grown(place: Path) -> tuple[int, int]:
    """Bytes of the store with all of its log moved into it, and its leaves."""
    store = place / "phigate" / "evidence.db"
    with closing(sqlite3.connect(store)) as database:
        database.execute("PRAGMA wal_checkpoint(PASSIVE)")
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
        (leaves,) = database.execute("SELECT count(*) FROM leaf").fetchone()
    return pages * size, leaves


def _worker_mb(target: Target) -> float:
    """Resident memory of the largest process of the tree, which is a worker."""
    pages = max(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in target.process.pids())
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def page(found: list[Carried], held_kb: float, *, load: float, on: str) -> str:
    """The table, with what it was measured on."""
    columns = {1: "1 worker, a core of its own", 2: "2 workers, 2 cores, one shared with the load"}
    most = max(CONNECTIONS)
    rows = [
        ("calls/s, 64 connections", [f"{each.runs[most].rate:,.0f}" for each in found]),
        ("CPU time of a call, 64 connections", [f"{each.cpu_ms:.2f} ms" for each in found]),
        ("calls/s for which a core has time", [f"{1000 / each.cpu_ms:,.0f}" for each in found]),
        *(
            (
                f"latency p50 / p99, {count} connection{'s' * (count > 1)}",
                [_latency(each.runs[count]) for each in found],
            )
            for count in CONNECTIONS
        ),
        ("memory of a worker", [f"{each.worker_mb:.0f} MB" for each in found]),
        ("memory of a held call", [f"{held_kb:.0f} KB", ""]),
        (
            "evidence of a call",
            [f"{each.bytes_a_call / 1000:.1f} KB, {each.leaves_a_call:.1f} leaves" for each in found],
        ),
        *((f"disk a day at {rate} calls/s", [_disk(found[0], rate), ""]) for rate in RATES),
    ]
    machine = f"{os.cpu_count()} cores ({platform.machine()}, Linux {platform.release().partition('-')[0]})"
    lines = [
        f"Measured {on} on {machine}, load average {load:.1f} before: one tool that returns a patient, masked; SQLite,",
        "everything on. Take the figures for their order of magnitude, and measure on your own machine.",
        "",
        f"| | {' | '.join(columns[each.workers] for each in found)} |",
        f"|---|{'---|' * len(found)}",
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows),
    ]
    return "\n".join(lines) + "\n"


def _latency(run: Measured) -> str:
    return f"{run.p50_us / 1000:.1f} / {run.p99_us / 1000:.1f} ms"


def _disk(one: Carried, rate: int) -> str:
    return f"{one.bytes_a_call * rate * _DAY_S / 1e9:,.1f} GB"
