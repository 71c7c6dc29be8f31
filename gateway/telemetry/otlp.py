"""Sends traces to an OpenTelemetry collector: OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/).

The only file that imports opentelemetry, which is an extra: import this where traces are configured. Span and attribute
names are those of OpenTelemetry's conventions for MCP (https://opentelemetry.io/docs/specs/semconv/gen-ai/mcp/), less
what could hold PHI or a name that somebody outside chose: tools, arguments, URIs, request ids.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from gateway.telemetry import context
from gateway.telemetry.context import Context
from gateway.telemetry.traces import FINE, Step, Trace

TIMEOUT_S = 5.0
"""For one export, with its retries."""

# It quotes what the collector answers. What matters is counted, and told once, by `traces.py`.
logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


class Exporter:
    """Makes spans of traces and sends them. Called in one thread."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], *, service: str, worker: str) -> None:
        """`endpoint`: the collector's base URL; spans go to its `/v1/traces`."""
        session = requests.Session()
        session.trust_env = False  # No proxy and no credentials but those of the configuration.
        self._exporter = OTLPSpanExporter(
            f"{endpoint.rstrip('/')}/v1/traces", headers=headers, timeout=TIMEOUT_S, session=session
        )
        told = {"service.name": service, "service.version": version("phigate"), "phigate.worker": worker}
        self._resource = Resource(told)
        self._epoch_ns = 0
        """When `time.perf_counter_ns` was 0, on the wall clock as it is now."""
        self._scope = InstrumentationScope("phigate", version("phigate"))

    def __call__(self, traces: Sequence[Trace]) -> int | None:
        """See `traces.Export`."""
        self._epoch_ns = time.time_ns() - time.perf_counter_ns()
        spans = [span for trace in traces for span in self._spans(trace)]
        return len(spans) if self._exporter.export(spans) is SpanExportResult.SUCCESS else None

    def close(self) -> None:
        """Give up what is being sent."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # It has no annotation.

    def _spans(self, trace: Trace) -> Iterator[ReadableSpan]:
        own = _span_context(trace.context)
        yield ReadableSpan(
            trace.told["mcp.method.name"],
            own,
            _span_context(trace.parent, remote=True) if trace.parent is not None else None,
            self._resource,
            trace.told | {"phigate.outcome": trace.outcome} | _failed(trace.outcome),
            links=[Link(_span_context(trace.linked, remote=True))] if trace.linked is not None else [],
            kind=SpanKind.SERVER,
            status=Status(StatusCode.UNSET if trace.outcome in FINE else StatusCode.ERROR),
            start_time=self._at(trace.began),
            end_time=self._at(trace.ended),
            instrumentation_scope=self._scope,
        )
        for step in trace.steps:
            yield self._step(trace, own, step)

    def _step(self, trace: Trace, parent: SpanContext, step: Step) -> ReadableSpan:
        sent = step.context is not None
        told: dict[str, str] = {**step.told, **({"error.type": step.fault} if step.fault else {})}
        if sent:
            told |= {name: trace.told[name] for name in ("mcp.method.name", "phigate.upstream")}
        return ReadableSpan(
            step.name,
            _span_context(step.context or context.child(trace.context)),
            parent,
            self._resource,
            told,
            kind=SpanKind.CLIENT if sent else SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR if step.fault else StatusCode.UNSET),
            start_time=self._at(step.began),
            end_time=self._at(step.ended),
            instrumentation_scope=self._scope,
        )

    def _at(self, moment: float) -> int:
        return self._epoch_ns + int(moment * 1e9)


def _failed(outcome: str) -> dict[str, str]:
    return {} if outcome in FINE else {"error.type": outcome}


def _span_context(of: Context, *, remote: bool = False) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if of.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(of.trace, 16), int(of.span, 16), remote, flags)
