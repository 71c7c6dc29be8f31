"""A decision by the shipped library, under our PDP, under bare regorus and under real OPA: same input, same core.

The inputs are those of real calls, made by the gateway's own code: an analyst reads one patient by key. The three take
turns on each input, so that a busy machine is busy for all of them. Text goes in and text comes out, which is what
both engines do for a gateway; `decide` adds what we do around the engine: the input's text, the decision read, and the
event that evidence keeps.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import orjson
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import upstream
from benchmarks.processes import cores
from gateway.core.call import Call
from gateway.core.facts import call as facts
from gateway.core.masking import profile
from gateway.core.policy import input as policy_input
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.decision import Entrypoint
from gateway.core.protocol.jsonrpc import Request, Success
from gateway.core.types import Digest, Document, Era, ExchangeId, Json, Principal, SessionId, Tool, UpstreamRef
from gateway.pdp import loader
from gateway.pdp.engine import Pdp, load
from tests.opa import VERSION, Opa

AIM_MS = 0.3
"""Both decisions of one call."""
TURN = 50
"""Decisions in a row before the next engine has its turn: with fewer, each would find the caches full of another's."""
AT = "2026-01-05T12:00:00.000000Z"
POLICIES = Path(__file__).parents[1] / "policies"
ENGINES = ("decide", "regorus", "OPA")


@dataclass(frozen=True, slots=True)
class Case:
    """One question as the gateway asks it."""

    name: str
    entrypoint: Entrypoint
    document: Document = field(repr=False)

    @property
    def text(self) -> bytes:
        """The input as both engines get it."""
        return orjson.dumps({**self.document, "time": AT}, option=orjson.OPT_SORT_KEYS)


def run(console: Console, *, rounds: int) -> int:
    """Print every case under each engine; 1 when OPA was faster anywhere, or the aim for a call is missed."""
    os.sched_setaffinity(0, {cores()[0]})  # Before Go starts, which then makes do with one core as well.
    bundle = loader.read(POLICIES)
    found = cases()
    taken: dict[tuple[str, str], list[int]] = {(case.name, engine): [] for case in found for engine in ENGINES}
    for case in found:
        askers = _askers(bundle, case)
        for ask in askers.values():
            _turn(ask, 4 * TURN)  # Warm: rules compiled, queries prepared.
        for _ in range(rounds * 20):
            for engine, ask in askers.items():
                taken[case.name, engine] += _turn(ask, TURN)
    return _report(console, found, taken)


def cases() -> list[Case]:
    """What is asked about one call, from the keyed SELECT to its result, and about all else."""
    sql = "SELECT mrn, given, family, birth_date FROM patients WHERE mrn = 'MRN-4821937'"
    keyed = _call("run_sql", {"sql": sql})
    tool = _call(upstream.TOOL, {"mrn": "MRN-4821937"})
    rows: list[Json] = [{"mrn": "MRN-4821937", "given": "Rosalind", "family": "Achterberg", "birth_date": "1957-03-14"}]
    returned: Document = {
        "content": [{"type": "text", "text": orjson.dumps(rows).decode()}],
        "structuredContent": {"rows": rows},
    }
    items: list[Json] = [{"name": f"tool_{number}", "annotations": {"readOnlyHint": True}} for number in range(20)]
    reviewer: Document = {**policy_input.principal_document(keyed.principal), "groups": ["privacy-officers"]}
    return [
        Case("call: keyed SELECT", Entrypoint.CALL, policy_input.for_call(keyed)),
        Case("result: its rows", Entrypoint.RESULT, _result(keyed, returned)),
        Case("call: read tool", Entrypoint.CALL, policy_input.for_call(tool)),
        Case("result: its record", Entrypoint.RESULT, _result(tool, upstream.CALL_RESULT)),
        Case("catalogue: 20", Entrypoint.CATALOGUE, policy_input.for_catalogue(tool, "tools", items)),
        Case("approval", Entrypoint.APPROVAL, {"phase": "approval", "principal": reviewer, "approval": _approval()}),
        Case(
            "access",
            Entrypoint.ACCESS,
            {"phase": "access", "principal": reviewer, "access": {"kind": "sessions", "purpose": ""}},
        ),
    ]


def _call(tool: str, arguments: Document) -> Call:
    message = Request(1, "tools/call", {"name": tool, "arguments": arguments})
    return Call(
        ExchangeId("01990000-0000-7000-8000-000000000001"),
        SessionId("01990000-0000-7000-8000-000000000002"),
        "actor",
        Era.MODERN,
        upstream.MODERN,
        Principal("https://issuer.example", "ada", ("analysts",), "agent"),
        UpstreamRef("clinic", {"phi": True}),
        message,
        tool=Tool(tool, Digest("0" * 64), {"annotations": {"readOnlyHint": True}}),
        facts=facts.of(message, facts.Reading({"run_sql": "sql"}, "sqlite")),
    )


def _result(call: Call, returned: Document) -> Document:
    return policy_input.for_result(call, Success(1, returned), profile.inspect(returned))


def _approval() -> Document:
    return {
        "id": "01990000-0000-7000-8000-000000000003",
        "state": "pending",
        "requester": {"iss": "https://issuer.example", "sub": "eve", "groups": ["analysts"]},
        "upstream": "clinic",
        "method": "tools/call",
        "name": "run_sql",
        "terms": {"groups": ["privacy-officers"], "quorum": 1, "expires_s": 900, "justification": "optional"},
        "reasons": [],
        "created": AT,
        "expires": AT,
        "votes": [],
    }


def _askers(bundle: Bundle, case: Case) -> dict[str, Callable[[], object]]:
    """How each engine is asked. Raises RuntimeError when they do not answer the same."""
    pdp = Pdp(bundle)
    sources = tuple(source for source in bundle.sources if not source.is_test)
    bare = load(sources, bundle.data)
    opa = Opa(sources, bundle.data)
    text, asked = case.text, case.text.decode()
    rule = "data." + case.entrypoint.value.replace("/", ".")
    path = rule.removeprefix("data.").encode()
    times = (f"2026-01-05T12:{n // 60 % 60:02d}:{n % 60:02d}.{n % 1_000_000:06d}Z" for n in count())

    def regorus() -> str:
        bare.set_input_json(asked)
        return bare.eval_rule_as_json(rule)

    ours, theirs = orjson.loads(regorus()), opa.value(path.decode(), text)[0]
    if ours != theirs:
        raise RuntimeError(f"{case.name}: OPA answers {theirs}, regorus {ours}.")
    return {
        # Another time for each: a question asked again at the same moment is recalled and not decided.
        "decide": lambda: pdp.decide(case.entrypoint, case.document, at=next(times)),
        "regorus": regorus,
        "OPA": lambda: opa.ask(path, text),
    }


def _turn(ask: Callable[[], object], count: int) -> list[int]:
    """Nanoseconds that each of `count` answers took."""
    clock = time.perf_counter_ns
    marks = [clock()]
    for _ in range(count):
        ask()
        marks.append(clock())
    return [after - before for before, after in itertools.pairwise(marks)]


def _report(console: Console, found: list[Case], taken: dict[tuple[str, str], list[int]]) -> int:
    table = Table(title=f"A decision of the library, µs on one core, beside OPA {VERSION}", box=box.SIMPLE)
    table.padding = (0, 0, 0, 1)
    table.pad_edge = False
    table.add_column("asked", no_wrap=True)
    for engine in ENGINES:
        table.add_column(f"{engine}\np50", justify="right", no_wrap=True)
        table.add_column("\np99", justify="right", no_wrap=True)
    table.add_column("OPA/\nregorus", justify="right", no_wrap=True)
    table.add_column("OPA/\ndecide", justify="right", no_wrap=True)
    slower = []
    for case in found:
        p50 = {engine: percentile_us(taken[case.name, engine], 50) for engine in ENGINES}
        cells = [
            f"{value:,.0f}"
            for engine in ENGINES
            for value in (p50[engine], percentile_us(taken[case.name, engine], 99))
        ]
        table.add_row(case.name, *cells, f"{p50['OPA'] / p50['regorus']:.1f}x", f"{p50['OPA'] / p50['decide']:.1f}x")
        slower += [case.name] if p50["OPA"] < p50["regorus"] else []
    console.print(table)
    for call, result in ((found[0], found[1]), (found[2], found[3])):
        both = sum(percentile_us(taken[case.name, "decide"], 50) for case in (call, result)) / 1000
        verdict = "[green]met[/]" if both < AIM_MS else "[red]missed[/]"
        console.print(f"{call.name.partition(': ')[2]}, both decisions: {both:.3f} ms (aim {AIM_MS} ms: {verdict})")
        slower += [call.name] if both >= AIM_MS else []
    return int(bool(slower))


def percentile_us(taken: list[int], percent: int) -> float:
    """That percentile of durations in ns, in µs."""
    return sorted(taken)[len(taken) * percent // 100] / 1000
