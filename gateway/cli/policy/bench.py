"""`phigate policy bench`: what decisions cost, and which rules they spend it in."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli import screen
from gateway.cli.policy import given, shared
from gateway.core.errors import PolicyFault
from gateway.core.policy import samples
from gateway.core.policy.decision import Entrypoint
from gateway.pdp import bench
from gateway.pdp.bench import Run, Task

_COUNT, _SECONDS = 100_000, 1.0
_TOP = 8
_NAMES = {entrypoint.name.lower(): entrypoint for entrypoint in Entrypoint}
_NOTE = (
    "CPU time of one core: JSON text in, JSON text out. own: what the rule takes by itself on the costliest input, "
    "less the rules it refers to; a function counts for the rules that call it."
)


def add(verbs: shared.Verbs) -> None:
    """Register `phigate policy bench`."""
    verb = shared.verb(verbs, "bench", run, "measure what decisions cost, and which rules cost most")
    help_ = f"of {', '.join(_NAMES)} (default: all of them), or rule paths such as data.gateway.sql.verdict with -i"
    verb.add_argument("entrypoints", nargs="*", metavar="ENTRYPOINT", help=help_)
    given.add_policy(verb)
    given.add_input(verb)
    verb.add_argument("--count", type=shared.positive, default=_COUNT, metavar="N", help="at most N evaluations each")
    verb.add_argument(
        "--seconds", type=shared.seconds, default=_SECONDS, metavar="S", help="at most S seconds each (default: 1)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure and tell."""
    policy = given.policy(arguments) or given.shipped()
    asked = given.input_text(arguments)
    tasks = list(_tasks(arguments.entrypoints or list(_NAMES), asked))
    errors = Console(stderr=True)
    found: list[dict[str, Any]] = []
    with errors.status(f"measuring {tasks[0].rule}") as status:
        for measured in bench.measure(policy.sources, policy.data, tasks, Run(arguments.count, arguments.seconds)):
            found.append(measured)
            if len(found) < len(tasks):
                status.update(f"measuring {tasks[len(found)].rule}")
    if arguments.format == "json":
        shared.print_json([*found])
    else:
        _pretty(screen.console(), found)
    return 0


def _tasks(names: list[str], asked: bytes | None) -> Iterator[Task]:
    """What to measure: each entrypoint on the given input, else on the samples that it has."""
    for text in names:
        entrypoint = _entrypoint(text)
        if entrypoint is None and asked is None:
            raise PolicyFault(f"{text} is none of {', '.join(_NAMES)}. For another rule, give an input (-i).")
        if entrypoint is None and not text.startswith("data."):
            raise PolicyFault(f"{text} is neither one of {', '.join(_NAMES)} nor a rule's path, as data.package.rule.")
        rule = text if entrypoint is None else "data." + entrypoint.value.replace("/", ".")
        yield Task(rule, _samples(entrypoint) if asked is None else (asked,))


def _samples(entrypoint: Entrypoint | None) -> tuple[bytes, ...]:
    return tuple(orjson.dumps(document) for for_, document in samples.samples() if for_ is entrypoint)


def _entrypoint(text: str) -> Entrypoint | None:
    names = ((each, ("data." + each.value.replace("/", "."), each.value, each.name.lower())) for each in Entrypoint)
    return next((each for each, known in names if text in known), None)


def _pretty(console: Console, found: list[dict[str, Any]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("", overflow="fold")
    for title in ("p50", "p99", "most", "per second", "wall p99", "runs"):
        table.add_column(title, justify="right", no_wrap=True)
    for measured in found:
        cpu, wall = (_histogram(measured, clock) for clock in ("query_eval_cpu_ns", "query_eval_ns"))
        figures = [_time(cpu[label]) for label in ("median", "99%", "max")]
        figures += [f"{1e9 / cpu['mean']:,.0f}", _time(wall["99%"]), f"{measured['N']:,}"]
        table.add_row(Text(_short(measured["rule"]), "cyan"), *figures)
    console.print(table)
    for measured in found:
        _rules(console, measured)
    console.print(Text(_NOTE, style="dim"))


def _histogram(measured: dict[str, Any], clock: str) -> dict[str, float]:
    prefix = f"histogram_timer_rego_{clock}_"
    return {key[len(prefix) :]: value for key, value in measured["Extra"].items() if key.startswith(prefix)}


def _rules(console: Console, measured: dict[str, Any]) -> None:
    rules, name = measured["rules"], _short(measured["rule"])
    which = "its input" if measured["inputs"] == 1 else f"the costliest of its {measured['inputs']} inputs"
    console.print(Text.assemble("\n", (name, "bold cyan"), (f" on {which}", "bold")))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("own", "share", "with refs"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("rule", overflow="fold")
    table.add_column("at", overflow="fold", style="dim")
    for rule in rules[:_TOP]:
        place = rule["location"]
        figures = (_time(rule["self_ns"]), f"{rule['share'] * 100:.0f} %", _time(rule["total_ns"]))
        table.add_row(*figures, Text(_short(rule["rule"])), Text(f"{place['file']}:{place['row']}"))
    rest = rules[_TOP:]
    if rest:
        table.add_row(_time(sum(rule["self_ns"] for rule in rest)), "", "", Text(f"{len(rest)} more", "dim"))
    table.add_row(_time(measured["input_ns"]), "", "", Text("reading the input", "dim"))
    console.print(table)


def _short(rule: str) -> str:
    return rule.removeprefix("data.")


def _time(nanoseconds: float) -> str:
    return f"{nanoseconds / 1e6:.2f} ms" if nanoseconds >= 1e6 else f"{nanoseconds / 1e3:.1f} µs"
