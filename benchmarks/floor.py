"""How fast a call alone can be on this stack: beside phigate, one without any code of phigate's (`benchmarks.bare`).

The upstream, two decisions of the shipped library and two durable commits of a call's own rows are there in both. What
they leave of the time that the bar allows is what all else may take: HTTP, tokens, parsing, masking, sealing, the tree.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from benchmarks import targets
from benchmarks.load import Client, measure
from benchmarks.processes import cores, free_port, running
from benchmarks.targets import Target

BAR = 2.0
"""Times the peer's calls a second, as in `python -m benchmarks`."""


def run(scratch: Path, console: Console, *, rounds: int, seconds: int) -> int:
    """Print the table; 1 when even the bare one is slower than the bar."""
    core, load_core = cores()
    times = scratch / "times.json"
    with ExitStack() as stack:
        base = stack.enter_context(targets.direct(scratch, core=load_core, modern=False))
        peer = stack.enter_context(targets.fastmcp(scratch, base.client.url, core=core, modern=False))
        ours = stack.enter_context(
            targets.phigate(scratch, base.client.url, core=core, load_core=load_core, modern=False)
        )
        ours.client.call()
        bare = stack.enter_context(_bare(scratch, base.client, times, core=core))
        found = [base, peer, bare, ours]
        rates: dict[str, list[float]] = {target.name: [] for target in found}
        for _ in range(rounds):
            for target in found:
                measured = measure(target.client, connections=1, seconds=seconds, core=load_core, scratch=scratch)
                if measured.failed:
                    raise RuntimeError(f"{target.name} gave {measured.failed} answers that were not the tool's result")
                rates[target.name].append(measured.rate)
    return _report(console, {name: statistics.median(each) for name, each in rates.items()}, times)


@contextmanager
def _bare(scratch: Path, direct: Client, times: Path, *, core: int) -> Iterator[Target]:
    url, port, store = urlsplit(direct.url), free_port(), scratch / "bare.db"
    with closing(sqlite3.connect(scratch / "phigate" / "evidence.db")) as source, closing(sqlite3.connect(store)) as to:
        source.backup(to)
    command = [sys.executable, "-m", "benchmarks.bare", str(port), str(url.port), str(store), str(times)]
    with running(command, core=core, port=port, log=scratch / "bare.log") as process:
        yield Target("bare", replace(direct, url=f"http://127.0.0.1:{port}{url.path}"), process)


def _report(console: Console, rates: dict[str, float], times: Path) -> int:
    table = Table(title="one call at a time, legacy era, one core: medians")
    for heading in ("through", "calls/s", "ms a call", "x fastmcp"):
        table.add_column(heading, justify="left" if heading == "through" else "right")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:,.0f}", f"{1000 / rate:.2f}", f"{rate / rates['fastmcp']:.1f}x")
    console.print(table)
    taken = json.loads(times.read_text())
    console.print("of the bare one: " + ", ".join(f"{part} {each:,.0f} µs" for part, each in taken.items()))
    left_us = 1e6 / (BAR * rates["fastmcp"]) - 1e6 / rates["bare"]
    console.print(f"at {BAR:g}x the peer, a call has {left_us:,.0f} µs for all that is phigate's own")
    return int(left_us < 0)
