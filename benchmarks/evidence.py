"""The evidence log alone: appends as calls make them, on one core, beside what the disk takes for one fdatasync.

Each caller does what a call does: an intent with two bodies, then an outcome with three, one after the other.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import trio
from rich.console import Console
from rich.table import Table

from benchmarks.processes import cores
from gateway.core.evidence.record import LeafType, Record
from gateway.core.types import Document, ExchangeId, Json, SessionId
from gateway.store import keys as keystore
from gateway.store import kms
from gateway.store.database import Database
from gateway.store.engines import Store
from gateway.store.sequencer import EvidenceLog
from tests import postgresql

CONCURRENCY = (1, 16, 64)
WRITTEN = 24 * 1024
"""Bytes before each raw fdatasync: about what one append puts into the write-ahead log."""
_DIGEST = "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"
_BODY = b'{"arguments":{"mrn":"MRN-0000000"},"name":"get_patient"}' * 18
_REASONS: list[Json] = ["allowed_by_role"]
_INTENT: Document = {
    "actor": _DIGEST[:32],
    "upstream": "clinic",
    "era": "legacy",
    "method": "tools/call",
    "tool": "get_patient",
    "pin": _DIGEST,
    "effect": "allow",
    "reasons": _REASONS,
    "bundle": _DIGEST,
}
_OUTCOME: Document = {
    "status": "replied",
    "effect": "mask",
    "reasons": _REASONS,
    "bundle": _DIGEST,
    "masked": {"redact": 2, "token": 1},
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: seconds that it took, of CPU too, and the latency of each append in it, sorted."""

    wall_s: float
    cpu_s: float
    latencies_s: list[float]


def run(scratch: Path, console: Console, *, rounds: int, seconds: int) -> int:
    """Print the medians of the rounds for each concurrency, of both engines."""
    keys = keystore.generate(scratch / "keys", origin="example.org/benchmark")
    kms.prepare(scratch / "keys", datetime.now(UTC), 2)
    with postgresql.running() as server, server.database() as url:  # On any core: it would be another machine.
        os.sched_setaffinity(0, {cores()[0]})
        for store in (scratch / "evidence.db", Database(url, migrates=True)):
            name = "SQLite" if isinstance(store, Path) else "PostgreSQL on loopback"
            syncs, samples = trio.run(_measure, scratch, store, keys, rounds, seconds)
            _show(console, f"{name}: {rounds} rounds of {seconds} s", syncs, samples)
    return 0


def _show(console: Console, title: str, syncs: list[float], samples: dict[int, list[Sample]]) -> None:
    table = Table(title=f"EvidenceLog.append on one core, medians, {title}")
    for heading in ("callers", "records/s", "CPU µs", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="right")
    for callers, taken in samples.items():
        table.add_row(
            str(callers),
            f"{statistics.median(len(sample.latencies_s) / sample.wall_s for sample in taken):,.0f}",
            f"{statistics.median(sample.cpu_s / len(sample.latencies_s) for sample in taken) * 1e6:,.0f}",
            f"{statistics.median(_quantile(sample.latencies_s, 0.50) for sample in taken) * 1e3:.3f}",
            f"{statistics.median(_quantile(sample.latencies_s, 0.99) for sample in taken) * 1e3:.3f}",
        )
    console.print(table)
    halves = f"p50 {_quantile(syncs, 0.50) * 1e3:.3f} ms, p99 {_quantile(syncs, 0.99) * 1e3:.3f} ms"
    console.print(f"writing {WRITTEN // 1024} KiB and fdatasync, between the rounds: {halves}")


async def _measure(
    scratch: Path, store: Store, keys: keystore.Keys, rounds: int, seconds: int
) -> tuple[list[float], dict[int, list[Sample]]]:
    """Latencies of the raw fdatasyncs, sorted, and a sample for each concurrency and round."""
    syncs: list[float] = []
    samples: dict[int, list[Sample]] = {callers: [] for callers in CONCURRENCY}
    async with EvidenceLog.open(store, keys, now=lambda: datetime.now(UTC)) as log:
        session = await log.session("client", members={}, idle_s=3600)
        names = (ExchangeId(f"0197f3c8-0000-7000-8000-{number:012x}") for number in range(2**32))
        await _appends(log, session, names, 16, 0.3)  # Warm.
        for _ in range(rounds):
            syncs += _fdatasyncs(scratch / "raw", 300)
            for callers in CONCURRENCY:
                samples[callers].append(await _appends(log, session, names, callers, seconds))
    return sorted(syncs), samples


async def _appends(
    log: EvidenceLog, session: SessionId, names: Iterator[ExchangeId], callers: int, seconds: float
) -> Sample:
    latencies: list[float] = []
    begun, begun_cpu = time.perf_counter(), time.process_time()

    async def append(record: Record) -> None:
        asked = time.perf_counter()
        await log.append(record)
        latencies.append(time.perf_counter() - asked)

    async def call() -> None:
        while time.perf_counter() - begun < seconds:
            exchange = next(names)
            bodies = {"request": _BODY, "decision": _BODY}
            await append(Record(LeafType.EXCHANGE_INTENT, _INTENT, session, exchange, bodies=bodies))
            bodies = {"response": _BODY, "decision": _BODY, "manifest": _BODY}
            await append(Record(LeafType.EXCHANGE_OUTCOME, _OUTCOME, session, exchange, bodies=bodies))

    async with trio.open_nursery() as nursery:
        for _ in range(callers):
            nursery.start_soon(call)
    return Sample(time.perf_counter() - begun, time.process_time() - begun_cpu, sorted(latencies))


def _fdatasyncs(path: Path, count: int) -> list[float]:
    """Latencies of writing and syncing over the same blocks, as a write-ahead log that was reset does."""
    data = os.urandom(WRITTEN)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, data, 0)
        os.fsync(descriptor)
        found = []
        for _ in range(count):
            asked = time.perf_counter()
            os.pwrite(descriptor, data, 0)
            os.fdatasync(descriptor)
            found.append(time.perf_counter() - asked)
        return found
    finally:
        os.close(descriptor)


def _quantile(ordered: list[float], fraction: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))]
