"""What a policy's decisions cost, and which of its rules they spend it in. Runs in a child, one answer per entrypoint.

Time is CPU time of the thread, which neighbours on the machine do not lengthen, and beside it the time on the wall.
An evaluation is what the gateway does for a decision: the input as JSON text in, the answer as JSON text out.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import orjson

from gateway.core.errors import PolicyFault
from gateway.core.policy import explain
from gateway.core.policy.bundle import Source
from gateway.core.policy.explain import Probed, Story
from gateway.core.policy.syntax import Path
from gateway.core.types import Document, Json
from gateway.pdp import child
from gateway.pdp.ask import evaluate, give
from gateway.pdp.engine import Rego, load, reraise
from gateway.pdp.explain import name

RULE_RUNS = 100
"""Evaluations of one rule; the median counts."""

SLACK_S = 30.0
"""What loading, finding the costliest input and looking at its rules may take beyond the measuring itself."""

_PACKAGE = "phigate_bench"
_SHARES = (("median", 0.5), ("75%", 0.75), ("90%", 0.9), ("95%", 0.95), ("99%", 0.99), ("99.9%", 0.999))


@dataclass(frozen=True, slots=True)
class Task:
    """A rule to measure, by its path with dots and `data`, on these inputs in turn (JSON text)."""

    rule: str
    inputs: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Run:
    """How long to measure each: so many evaluations, or until so many seconds are over, whichever comes first."""

    count: int
    seconds: float


def measure(sources: Sequence[Source], data: Document, tasks: Sequence[Task], run: Run) -> Iterator[Document]:
    """One document for each task, in their order: see `_measured`. Raises PolicyFault, and child.Stopped."""
    payload = {
        "sources": [[source.path, source.text] for source in sources if not source.is_test],
        "data": data,
        "tasks": [[task.rule, [text.decode() for text in task.inputs]] for task in tasks],
        "count": run.count,
        "seconds": run.seconds,
    }
    try:
        asked = orjson.dumps(payload)
    except TypeError:  # orjson writes 254 levels, the engine reads 128.
        raise PolicyFault("The data is nested deeper than the engine reads (128 levels).") from None
    for text in child.stream(answer, asked, each_s=run.seconds + SLACK_S):
        yield orjson.loads(text)


def answer(payload: bytes) -> Iterator[bytes]:
    """In the child: the measurements, each as JSON."""
    given = orjson.loads(payload)
    sources = tuple(Source(path, text) for path, text in given["sources"])
    engine = load(sources, given["data"])
    probed = explain.instrument(orjson.loads(engine.get_ast_as_json()))
    gc.disable()
    for rule, inputs in given["tasks"]:
        measured = _measured(engine, rule, inputs, Run(given["count"], given["seconds"]))
        worst = inputs[_costliest(engine, rule, inputs)]
        measured |= _spent(sources, given["data"], probed, rule, worst)
        yield orjson.dumps(measured)


def _measured(engine: Rego, rule: str, inputs: list[str], run: Run) -> Document:
    """`N` evaluations in `T` ns on the wall, and OPA's histograms of both clocks, as `opa bench` names them."""
    cpu: list[int] = []
    wall: list[int] = []
    for asked in inputs[:50]:  # Compiled, and every cache warm, as in service.
        _once(engine, rule, asked)
    until = time.perf_counter() + run.seconds
    while len(cpu) < run.count and time.perf_counter() < until:
        asked = inputs[len(cpu) % len(inputs)]
        began, on_wall = time.thread_time_ns(), time.perf_counter_ns()
        _once(engine, rule, asked)
        wall.append(time.perf_counter_ns() - on_wall)
        cpu.append(time.thread_time_ns() - began)
    extra = {**_histogram("query_eval_ns", wall), **_histogram("query_eval_cpu_ns", cpu)}
    return {"rule": rule, "inputs": len(inputs), "N": len(cpu), "T": sum(wall), "Extra": extra}


def _histogram(clock: str, values: list[int]) -> Document:
    ordered = sorted(values)
    told = {"count": len(ordered), "min": ordered[0], "max": ordered[-1], "mean": statistics.fmean(ordered)}
    told["stddev"] = statistics.pstdev(ordered)
    told |= {label: ordered[min(len(ordered) - 1, int(share * len(ordered)))] for label, share in _SHARES}
    return {f"histogram_timer_rego_{clock}_{label}": value for label, value in told.items()}


def _costliest(engine: Rego, rule: str, inputs: list[str]) -> int:
    """The input that takes longest: of three evaluations each, the quickest."""
    return max(range(len(inputs)), key=lambda at: min(_timed(lambda: _once(engine, rule, inputs[at]), 3)))


def _spent(sources: tuple[Source, ...], data: Document, probed: Probed, rule: str, asked: str) -> Document:
    """`rules` that the evaluation comes to, costliest first: `total_ns` with what it refers to, `self_ns` without.

    A rule's own time is what it takes when evaluated alone, less the own times of the rules that it comes to then. A
    function counts for the rules that call it. `input_ns` is what reading the input takes.
    """
    watched = load(probed.sources, data)
    watched.set_gather_prints(True)
    root = tuple(rule.split(".")[1:])
    reached = {story.path: story for story in _begun(watched, probed, root, asked)}
    reach = {path: {other.path for other in _begun(watched, probed, path, asked)} - {path} for path in reached}
    nothing, alone = _alone(sources, data, list(reached), asked)
    totals = dict(zip(reached, alone, strict=True))
    own: dict[Path, float] = {}
    for path in sorted(reached, key=lambda path: len(reach[path])):
        own[path] = max(0.0, totals[path] - sum(own.get(other, 0.0) for other in reach[path]))
    rules: list[Json] = []
    for path in sorted(own, key=lambda path: -own[path]):
        first, _ = reached[path].parts[0]
        place: Document = {"file": first.file, "row": first.place.line, "col": first.place.column}
        share = own[path] / totals[root] if totals.get(root, 0) > 0 else 0.0
        told: Document = {"rule": name(path), "location": place, "self_ns": round(own[path])}
        rules.append({**told, "total_ns": round(totals[path]), "share": round(share, 4)})
    return {"input_ns": round(nothing), "rules": rules}


def _begun(engine: Rego, probed: Probed, path: Path, asked: str) -> list[Story]:
    """The rules, not functions, that an evaluation of the rule at `path` comes to."""
    give(engine, asked)
    evaluate(engine, name(path))
    stories, _ = explain.read(probed, engine.take_prints(), [path])
    return [story for story in stories if story.begun and not story.function]


def _alone(sources: tuple[Source, ...], data: Document, paths: list[Path], asked: str) -> tuple[float, list[float]]:
    """What an evaluation of nothing takes, ns of CPU time, and what each rule takes beyond that by itself."""
    lines = [f"rule_{number} if {{ _ := {name(path)} }}" for number, path in enumerate(paths)]
    text = "\n".join([f"package {_PACKAGE}", "nothing := true", *lines])
    engine = load((*sources, Source("bench.rego", text)), data)
    empty = _median(engine, "nothing", asked)
    return empty, [_median(engine, f"rule_{number}", asked) - empty for number in range(len(paths))]


def _median(engine: Rego, rule: str, asked: str) -> float:
    path = f"data.{_PACKAGE}.{rule}"
    _once(engine, path, asked)
    return statistics.median(_timed(lambda: _once(engine, path, asked), RULE_RUNS))


def _timed(work: Callable[[], object], times: int) -> list[int]:
    taken = []
    for _ in range(times):
        began = time.thread_time_ns()
        work()
        taken.append(time.thread_time_ns() - began)
    return taken


def _once(engine: Rego, rule: str, asked: str) -> str:
    try:
        engine.set_input_json(asked)
        return engine.eval_rule_as_json(rule)
    except BaseException as raised:  # A Rust panic derives from BaseException; `reraise` lets the rest through.
        raise PolicyFault(reraise(raised)) from None
