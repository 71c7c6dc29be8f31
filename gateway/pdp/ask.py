"""A query put to a policy in a child that can be killed: what `phigate policy eval` does.

`ask` is for the parent; `answer` runs in the child. Between them go JSON documents. Every value may hold PHI.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import orjson

from gateway.core.errors import PolicyFault
from gateway.core.policy import query as queries
from gateway.core.policy.bundle import Source
from gateway.core.policy.query import Query
from gateway.core.types import Document, Json
from gateway.pdp import child, explain
from gateway.pdp.engine import Rego, load, reraise


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask of which policy. `input` is JSON text."""

    sources: tuple[Source, ...] = field(repr=False)
    data: Document = field(repr=False)
    query: str
    input: bytes | None = field(default=None, repr=False)
    metrics: bool = False
    """Whether to tell what preparation costs from what evaluation does, for which it is evaluated once more."""
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What the policy answers. `result` is OPA's result set; empty when the query is undefined."""

    result: list[Json] = field(repr=False)
    prints: tuple[str, ...] = field(repr=False)
    metrics: dict[str, int]
    """Nanoseconds, by OPA's names."""
    explanation: list[Json] = field(repr=False)
    """One document for each rule; see `gateway.pdp.explain`."""


def ask(question: Question, *, wall_s: float) -> Answer:
    """Put the question. Raises PolicyFault when it cannot be answered, and child.Stopped after `wall_s` seconds."""
    payload = {
        "sources": [[source.path, source.text] for source in question.sources],
        "data": question.data,
        "query": question.query,
        "input": None if question.input is None else question.input.decode(),
        "metrics": question.metrics,
        "explain": question.explain,
    }
    try:
        text = orjson.dumps(payload)
    except TypeError:  # orjson writes 254 levels, the engine reads 128.
        raise PolicyFault("The data is nested deeper than the engine reads (128 levels).") from None
    given = orjson.loads(child.run(answer, text, wall_s=wall_s))
    return Answer(given["result"], tuple(given["prints"]), given["metrics"], given["explanation"])


def answer(payload: bytes) -> bytes:
    """In the child: the answer to a question, as JSON. Raises PolicyFault."""
    given = orjson.loads(payload)
    asked = _query(given["query"])
    sources = tuple(Source(path, text) for path, text in given["sources"])
    if asked is not None:
        sources = (*sources, asked.source)
    query = given["query"] if asked is None else queries.RULE
    began = time.perf_counter_ns()
    engine = load(sources, given["data"])
    loaded = time.perf_counter_ns()
    engine.set_gather_prints(True)
    if given["input"] is not None:
        give(engine, given["input"])
    read = time.perf_counter_ns()
    result = evaluate(engine, query)
    first = time.perf_counter_ns()
    prints = engine.take_prints()
    metrics = {}
    if given["metrics"]:
        evaluate(engine, query)  # What the first needed beyond this one was preparation.
        again = time.perf_counter_ns() - first
        metrics = {
            "timer_rego_module_parse_ns": loaded - began,
            "timer_rego_input_parse_ns": read - loaded,
            "timer_rego_module_compile_ns": max(0, first - read - again),
            "timer_rego_query_eval_ns": again,
        }
    told: list[Json] = []
    if given["explain"]:
        roots = explain.roots(given["query"])
        told = explain.explain(sources, given["data"], query, given["input"], result, roots)
    answered = result if asked is None else asked.result(result)
    return orjson.dumps({"result": answered, "prints": prints, "metrics": metrics, "explanation": told})


def _query(text: str) -> Query | None:
    """The query as a rule; None for one that the engine may be asked directly, or that is none."""
    try:
        engine = load((queries.wrapped(text),), {})
    except PolicyFault:
        return None  # The engine will say so, and where, when it is asked.
    return queries.rewritten(orjson.loads(engine.get_ast_as_json()), text)


def give(engine: Rego, text: str) -> None:
    """Make JSON text the input. Raises PolicyFault for what the engine does not read: more than 128 levels, 1e999."""
    try:
        engine.set_input_json(text)
    except BaseException as raised:  # A Rust panic derives from BaseException; `reraise` lets the rest through.
        raise PolicyFault(f"The engine does not read this input: {reraise(raised)}") from None


def evaluate(engine: Rego, query: str) -> list[Json]:
    """The result set of a query. Raises PolicyFault with regorus's file:line:column."""
    try:
        text = engine.eval_query_as_json(query)
    except BaseException as raised:  # A Rust panic derives from BaseException; `reraise` lets the rest through.
        raise PolicyFault(reraise(raised)) from None
    results: list[Json] = orjson.loads(text).get("result", [])
    return results
