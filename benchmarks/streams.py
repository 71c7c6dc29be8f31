"""What passing an event stream through costs: a byte copier on our own server stack, and phigate with everything on.

Every event is decided, masked and durably recorded before it leaves phigate. Three shapes: one stream whose events come
one at a time, many of those at once, and streams whose events come all together. In the last one the copier passes on
chunks of hundreds of events without knowing that there are any, so its cost for each is next to nothing, and nobody who
reads them comes near: that figure tells what an event costs phigate where nothing else does.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks import targets, upstream
from benchmarks.load import Client
from benchmarks.processes import cores, free_port, running
from benchmarks.targets import Target

EVENTS = 200
"""Notifications of one call, ahead of its answer."""
BAR = 2.0
"""phigate costs at most so many times the copier's CPU for each event."""
_MARK = b'"notifications/progress"'


@dataclass(frozen=True, slots=True)
class Shape:
    """How the events come."""

    name: str
    streams: int
    every_ms: float
    calls: int
    """One after the other on each stream's connection."""


SHAPES = (
    Shape("one stream, an event at a time", 1, 1.0, 5),
    Shape("64 streams, an event at a time", 64, 20.0, 1),
    Shape("16 streams, all events at once", 16, 0.0, 5),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one shape against one target: CPU of the target's processes, and events, for each second."""

    cpu_us: float
    """For each event."""
    rate: float


def run(scratch: Path, console: Console, *, rounds: int) -> int:
    """Print the table; 1 when phigate costs more than BAR times the copier in any shape."""
    core, load_core = cores()
    os.sched_setaffinity(0, {load_core})
    with ExitStack() as stack:
        base = stack.enter_context(targets.direct(scratch, core=load_core, modern=False))
        copier = stack.enter_context(_copier(scratch, base.client.url, core=core))
        ours = targets.phigate(scratch, base.client.url, core=core, load_core=load_core, modern=False)
        found = [base, copier, stack.enter_context(ours)]
        samples: dict[tuple[str, str], list[Sample]] = {}
        for target in found:
            asyncio.run(_streams(target.client, Shape("warm", 4, 0.0, 2)))
        for _ in range(rounds):
            for shape in SHAPES:
                for target in found:
                    samples.setdefault((shape.name, target.name), []).append(_take(target, shape))
    return _report(console, samples)


@contextmanager
def _copier(scratch: Path, url: str, *, core: int) -> Iterator[Target]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.copier", str(port), url]
    with running(command, core=core, port=port, log=scratch / "copier.log") as process:
        yield Target("copier", Client.greet(f"http://127.0.0.1:{port}/mcp", modern=False, token=None), process)


def _take(target: Target, shape: Shape) -> Sample:
    before, begun = target.process.cpu_s(), time.perf_counter()
    events = asyncio.run(_streams(target.client, shape))
    wall, cpu = time.perf_counter() - begun, target.process.cpu_s() - before
    wanted = EVENTS * shape.streams * shape.calls
    if events != wanted:
        raise RuntimeError(f"{target.name} passed on {events:,} of {wanted:,} events")
    return Sample(cpu * 1e6 / events, events / wall)


async def _streams(client: Client, shape: Shape) -> int:
    """How many events came, over all streams."""
    return sum(await asyncio.gather(*(_stream(client, shape) for _ in range(shape.streams))))


async def _stream(client: Client, shape: Shape) -> int:
    url = urlsplit(client.url)
    params = {"name": upstream.STREAM, "arguments": {"events": EVENTS, "every_ms": shape.every_ms}}
    message, headers = client.message("tools/call", {**params, "_meta": {"progressToken": "p1"}})
    body = orjson.dumps({**message, "id": 7})
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
    reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=2**20)
    events = 0
    for _ in range(shape.calls):
        writer.write(head.encode() + body)
        answer = bytearray()
        while not answer.endswith(b"\r\n0\r\n\r\n"):
            data = await reader.read(2**16)
            if not data:
                raise RuntimeError(f"{client.url} broke off: {bytes(answer[-300:])!r}")
            answer += data
        events += answer.count(_MARK)
    writer.close()
    return events


def _report(console: Console, samples: dict[tuple[str, str], list[Sample]]) -> int:
    table = Table(title=f"{EVENTS} notifications a call, ahead of its answer: medians of CPU for each event")
    for heading in ("events come", "through", "events/s", "CPU µs", "x copier"):
        table.add_column(heading, justify="left" if heading in ("events come", "through") else "right")
    ratios = []
    for (shape, name), runs in samples.items():
        cpu = statistics.median(sample.cpu_us for sample in runs)
        copied = statistics.median(sample.cpu_us for sample in samples.get((shape, "copier"), runs))
        ratio = cpu / copied if name == "phigate" and copied else None
        ratios += [ratio] if ratio is not None else []
        rate = statistics.median(sample.rate for sample in runs)
        table.add_row(shape, name, f"{rate:,.0f}", f"{cpu:,.1f}", "" if ratio is None else f"{ratio:.1f}x")
    console.print(table)
    met = all(ratio <= BAR for ratio in ratios)
    console.print(f"bar: at most {BAR:g}x the copier for each event: {'[green]met[/]' if met else '[red]missed[/]'}")
    return int(not met)
