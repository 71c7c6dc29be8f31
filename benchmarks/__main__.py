"""`python -m benchmarks`: tools/call through the upstream directly, the peer, and phigate with everything on.

What is measured runs on one core, load generator and upstream on another; the targets take turns within each round, and
medians of the rounds are printed. An answer that is not the tool's result counts as failed, and one failed answer fails
the run. `python -m benchmarks layers` times the stages of one call, `floor` the least that one alone can take;
`evidence`, `http` and `policy` measure those parts alone; `streams` measures event streams beside a proxy that copies
bytes, `held` calls that wait for approval, `watching` what metrics and traces add to a call, `capacity` what
docs/operations.md says of this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import sys
import tempfile
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import capacity, evidence, floor, handlers, held, layers, policy, streams, targets, upstream, watching
from benchmarks.load import Measured, measure
from benchmarks.processes import cores
from benchmarks.targets import Target

CONNECTIONS = (1, 16, 64)
BAR = 2.0
"""phigate with everything on carries at least so many times the calls of the bare peer."""
PARTS = ("calls", "floor", "layers", "evidence", "http", "policy", "streams", "held", "watching", "capacity")
BUSY = 0.7
"""Load average above which somebody else uses the cores that we measure on."""
COLUMNS = ("through", "conn", "req/s", "x peer", "p50 ms", "p99 ms", "+p50 ms", "CPU µs", "MB")
"""`x peer`: requests/s beside fastmcp's; `+p50`: latency added to the direct call; CPU for each request."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of the load against one target."""

    measured: Measured
    cpu_us: float
    """CPU of the target's processes per answered request."""


def main() -> int:
    """Run what the command line asks for; 1 when an answer failed or the bar was missed, 2 when it cannot run."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("what", nargs="?", choices=PARTS, default="calls")
    parser.add_argument("--era", choices=("legacy", "modern"), default="legacy", help="the peer is faster in legacy")
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 21), metavar="1-20")
    parser.add_argument("--seconds", type=int, default=3, choices=range(1, 61), metavar="1-60", help="of one run")
    parser.add_argument("--only", nargs="*", default=["direct", "fastmcp", "phigate"], help="targets")
    parser.add_argument("--calls", type=int, default=5000, metavar="N", help="held at once, for `held`")
    arguments = parser.parse_args()
    console = Console()
    busy = os.getloadavg()[0]
    if busy > BUSY:
        console.print(f"[yellow]Other work is running here (load {busy:.1f}): trust no figure of this run.[/]")
    try:
        with tempfile.TemporaryDirectory(prefix="phigate-bench-") as scratch:
            match arguments.what:
                case "layers":
                    return layers.run(Path(scratch), console)
                case "floor":
                    return floor.run(Path(scratch), console, rounds=arguments.rounds, seconds=arguments.seconds)
                case "evidence":
                    return evidence.run(Path(scratch), console, rounds=arguments.rounds, seconds=arguments.seconds)
                case "policy":
                    return policy.run(console, rounds=arguments.rounds)
                case "streams":
                    return streams.run(Path(scratch), console, rounds=arguments.rounds)
                case "watching":
                    return watching.run(console)
                case "held":
                    return held.run(Path(scratch), console, calls=arguments.calls)
                case "capacity":
                    return capacity.run(Path(scratch), console, seconds=arguments.seconds, calls=arguments.calls)
                case "http":
                    return handlers.run(Path(scratch), console, seconds=arguments.seconds)
                case _:
                    return calls(Path(scratch), console, arguments)
    except RuntimeError as error:
        console.print(f"[red]{error}[/]")
        return 2


def calls(scratch: Path, console: Console, arguments: argparse.Namespace) -> int:
    """The comparison."""
    core, load_core = cores()
    modern = arguments.era == "modern"
    with ExitStack() as running:
        base = running.enter_context(targets.direct(scratch, core=load_core, modern=modern))
        found = [base]
        if "fastmcp" in arguments.only:
            found.append(running.enter_context(targets.fastmcp(scratch, base.client.url, core=core, modern=modern)))
        if "phigate" in arguments.only:
            ours = targets.phigate(scratch, base.client.url, core=core, load_core=load_core, modern=modern)
            found.append(running.enter_context(ours))
        for target in found:
            check(target)
            measure(target.client, connections=16, seconds=1, core=load_core, scratch=scratch)  # Warm.
        before = records(scratch)
        samples: dict[tuple[str, int], list[Sample]] = {}
        for number in range(arguments.rounds):
            for connections in CONNECTIONS:
                for target in found:
                    sample = take(target, connections, arguments.seconds, load_core, scratch)
                    samples.setdefault((target.name, connections), []).append(sample)
            console.print(f"[dim]round {number + 1} of {arguments.rounds} done[/]")
        memory = {target.name: target.process.rss_mb() for target in found}
        kept = records(scratch) - before
    return report(console, arguments, samples, memory, kept)


def check(target: Target) -> None:
    """Raises RuntimeError unless the target answers with the tool's result, masked where it should be."""
    answer = target.client.call()
    text = json.dumps(answer)
    if "result" not in answer or answer["result"].get("isError"):
        raise RuntimeError(f"{target.name} does not answer the call: {text[:500]}")
    if (upstream.SSN in text) == (target.name == "phigate"):
        raise RuntimeError(f"{target.name} masks what it should not, or the other way round.")


def take(target: Target, connections: int, seconds: int, core: int, scratch: Path) -> Sample:
    """One run."""
    before = target.process.cpu_s()
    measured = measure(target.client, connections=connections, seconds=seconds, core=core, scratch=scratch)
    return Sample(measured, (target.process.cpu_s() - before) * 1e6 / max(measured.requests, 1))


def records(scratch: Path) -> int:
    """Leaves in phigate's evidence log."""
    store = scratch / "phigate" / "evidence.db"
    if not store.exists():
        return 0
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM leaf").fetchone()[0])


def report(
    console: Console,
    arguments: argparse.Namespace,
    samples: dict[tuple[str, int], list[Sample]],
    memory: dict[str, float],
    kept: int,
) -> int:
    """Print the medians and what they mean for the bar; the exit code."""
    table = Table(title=f"tools/call, {arguments.era} era, one core, median of {arguments.rounds} rounds")
    for heading in COLUMNS:
        table.add_column(heading, justify="left" if heading == "through" else "right")
    ratios = []
    for name, connections in sorted(samples, key=lambda key: (key[1], list(memory).index(key[0]))):
        rate, p50, p99, cpu = medians(samples[name, connections])
        base = medians(samples["direct", connections])[1]
        peer = medians(samples["fastmcp", connections])[0] if ("fastmcp", connections) in samples else None
        if name == "phigate" and peer:
            ratios.append(rate / peer)
        table.add_row(
            name,
            str(connections),
            f"{rate:,.0f}",
            f"{rate / peer:.1f}x" if peer else "",
            f"{p50:.2f}",
            f"{p99:.2f}",
            f"{p50 - base:.2f}" if name != "direct" else "",
            f"{cpu:,.0f}",
            f"{memory[name]:.0f}",
        )
    console.print(table)
    failed = sum(sample.measured.failed for runs in samples.values() for sample in runs)
    ours = [sample for (name, _), runs in samples.items() if name == "phigate" for sample in runs]
    answered = sum(sample.measured.requests for sample in ours)
    if answered:
        console.print(f"phigate's evidence: {kept / answered:.2f} durable records for each call that was answered")
    if failed:
        console.print(f"[red]{failed} answers were not the tool's result[/]")
    if ratios:
        verdict = "[green]met[/]" if min(ratios) >= BAR else "[red]missed[/]"
        console.print(f"bar: {BAR:g}x the peer at every concurrency; lowest {min(ratios):.1f}x: {verdict}")
    return int(failed > 0 or any(ratio < BAR for ratio in ratios))


def medians(runs: list[Sample]) -> tuple[float, float, float, float]:
    """Requests a second, p50 and p99 in ms, CPU in µs."""
    return (
        statistics.median(run.measured.rate for run in runs),
        statistics.median(run.measured.p50_us for run in runs) / 1000,
        statistics.median(run.measured.p99_us for run in runs) / 1000,
        statistics.median(run.cpu_us for run in runs),
    )


if __name__ == "__main__":
    sys.exit(main())
