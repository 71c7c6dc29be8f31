"""Traces on their way out: whoever takes them slowly, badly or never keeps no call waiting."""

from __future__ import annotations

import threading
import time

import pytest

from gateway.core.call import Call
from gateway.core.protocol.jsonrpc import Request
from gateway.core.records import Status
from gateway.core.types import Era, ExchangeId, Principal, SessionId, UpstreamRef
from gateway.telemetry import context, families, traces
from gateway.telemetry.book import Book
from gateway.telemetry.traces import QUEUE_MOST, STEPS_MOST, Step, Tracer
from gateway.telemetry.watch import Arrival

META = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HEADER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def call(meta: str | None = None, method: str = "tools/call") -> Call:
    params = {} if meta is None else {"_meta": {"traceparent": meta}}
    person = Principal("https://idp.example", "somebody")
    session, message = SessionId("s"), Request(1, method, params)
    return Call(ExchangeId("e"), session, "actor", Era.MODERN, "2026-07-28", person, UpstreamRef("ward"), message)


def arrival(header: str | None = None) -> Arrival:
    return Arrival(time.perf_counter(), header)


class Collector:
    """Takes traces; each batch only when it may."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.may.set()
        self.taken = []
        self.answer: int | Exception | None = 1
        self.asked = threading.Event()

    def __call__(self, batch):
        self.asked.set()
        assert self.may.wait(20)
        self.taken += batch
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.may.set()


def number(book: Book, result: str) -> float:
    return book.values[families.SPANS][(result,)]


def finish(tracer: Tracer, *, steps: int = 0) -> None:
    trace = tracer.begins(call(), arrival())
    trace.steps += [Step("mask", 0.0, 1.0)] * steps
    tracer.ends(trace, time.perf_counter(), "replied")


@pytest.mark.parametrize(
    ("meta", "header", "trace", "parent", "linked"),
    [
        (META, None, META, META, None),
        (None, HEADER, HEADER, HEADER, None),
        (META, HEADER, META, META, HEADER),
        ("nonsense", HEADER, HEADER, HEADER, None),
    ],
    ids=["meta", "header", "both", "a meta that is none"],
)
def test_a_trace_is_its_callers_as_meta_says_or_else_the_header(collector, meta, header, trace, parent, linked):
    with Tracer.open(Book(), 0.0, collector) as tracer:
        found = tracer.begins(call(meta), arrival(header))
    assert found.context.trace == context.parse(trace).trace
    assert found.parent == context.parse(parent)
    assert found.linked == context.parse(linked)
    assert found.forwarded.trace == found.context.trace
    assert len({found.context.span, found.forwarded.span, found.parent.span}) == 3


def test_a_trace_that_its_caller_does_not_record_is_not_recorded_here(collector):
    with Tracer.open(Book(), 1.0, collector) as tracer:
        assert tracer.begins(call(META[:-2] + "00"), arrival()) is None


def test_without_a_caller_who_says_the_share_decides(collector):
    with Tracer.open(Book(), 1.0, collector) as tracer:
        assert tracer.begins(call(), arrival()).parent is None
    with Tracer.open(Book(), 0.0, collector) as tracer:
        assert tracer.begins(call(), arrival()) is None


def test_what_a_span_says_of_its_call_are_words_of_closed_sets(collector):
    with Tracer.open(Book(), 1.0, collector) as tracer:
        told = tracer.begins(call(method="patient/Doe"), arrival()).told
    assert told == {
        "mcp.method.name": "(unknown)", "phigate.upstream": "ward", "phigate.era": "modern", "phigate.exchange": "e",
    }  # fmt: skip


def test_a_collector_that_hangs_keeps_nobody_waiting_and_what_does_not_fit_is_counted(collector, monkeypatch):
    monkeypatch.setattr(traces, "LEAVE_S", 0.1)
    collector.may.clear()
    book = Book()
    with Tracer.open(book, 1.0, collector) as tracer:
        finish(tracer)
        assert collector.asked.wait(10)  # The exporter is in there now, and stays.
        began = time.perf_counter()
        for _ in range(QUEUE_MOST + 10):
            finish(tracer, steps=2)
        took = time.perf_counter() - began
        assert number(book, "dropped") == 30
    assert took < 5  # 2 ms each would be waiting; it takes some 20 µs.


def test_spans_that_were_sent_are_counted(collector):
    book = Book()
    collector.answer = 3
    with Tracer.open(book, 1.0, collector) as tracer:
        finish(tracer, steps=2)
    assert (number(book, "exported"), len(collector.taken)) == (3, 1)


@pytest.mark.parametrize("answer", [None, ValueError("a secret")], ids=["refuses", "breaks"])
def test_a_collector_that_does_not_take_them_is_told_of_once_and_without_its_words(collector, caplog, answer):
    caplog.set_level("WARNING")
    book = Book()
    collector.answer = answer
    with Tracer.open(book, 1.0, collector) as tracer:
        finish(tracer, steps=2)
        finish(tracer, steps=2)
    assert number(book, "failed") == 6
    assert [record.getMessage() for record in caplog.records] == ["traces cannot be exported, and are dropped"]


def test_a_collector_that_is_back_gets_what_comes_then(collector, caplog):
    caplog.set_level("INFO")
    book = Book()
    collector.answer = None
    with Tracer.open(book, 1.0, collector) as tracer:
        finish(tracer)
        while number(book, "failed") < 1:
            pass
        collector.answer = 1
        finish(tracer)
    assert number(book, "exported") == 1
    assert "traces are exported again" in caplog.text


def test_every_outcome_is_known_for_an_error_or_for_none():
    errors = {"withheld", "refused", "expired", "cancelled", "failed", "abandoned"}
    assert {status.value for status in Status} == errors | traces.FINE


def test_of_a_stream_with_any_number_of_steps_the_first_are_kept(collector):
    with Tracer.open(Book(), 1.0, collector) as tracer:
        finish(tracer, steps=10 * STEPS_MOST)
    assert len(collector.taken[0].steps) == STEPS_MOST
