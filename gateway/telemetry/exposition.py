"""`/metrics`: the numbers of all workers, added up by their supervisor, which is there even when they are stuck.

On a socket of its own, so that what is public need not know of it. Plain HTTP, without a login: let nobody reach it who
may not know how busy the gateway is (docs/observability.md). It says nothing about anybody.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import HTTPServer
from importlib.metadata import version
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, cast

import orjson
from prometheus_client import CollectorRegistry, MetricsHandler
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from gateway.telemetry import book, families
from gateway.telemetry.book import Book, Labels, Series
from gateway.telemetry.families import FAMILIES, Family, Kind, Merge

SCRAPES_MOST = 4
"""At a time; Prometheus makes one."""
SCRAPE_S = 5.0
"""For a request to come, and for each write to be taken."""


@dataclass(slots=True, eq=False)
class Office:
    """Where workers leave their numbers, and their supervisor has its own, as its `Lives`. Made by `open`."""

    directory: Path
    book: Book = field(default_factory=Book)
    serving: set[int] = field(default_factory=set)
    """Places whose worker runs; of another, only what it counted stays."""

    @classmethod
    @contextmanager
    def open(cls, listening: socket.socket) -> Iterator[Office]:
        """An office with an empty directory, which answers on a listening socket while the block runs."""
        directory = Path(tempfile.mkdtemp(prefix="phigate-metrics-"))
        office = cls(directory)
        office.book.only(families.BUILD, version("phigate"))
        for cause in ("stopped", "ended", "stuck"):
            office.book.count(families.WORKER_DEATHS, cause, by=0.0)
        office.book.put(families.DRAINING, 0.0)
        server = _Server(listening, office.registry())
        thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        try:
            yield office
        finally:
            server.shutdown()
            server.server_close()
            shutil.rmtree(directory, ignore_errors=True)

    def serves(self, place: int) -> None:
        """See `supervisor.Lives`."""
        self.serving.add(place)

    def ended(self, place: int, cause: str) -> None:
        """See `supervisor.Lives`."""
        self.serving.discard(place)
        self.book.count(families.WORKER_DEATHS, cause)

    def drains(self) -> None:
        """See `supervisor.Lives`."""
        self.book.put(families.DRAINING, 1.0)

    def registry(self) -> CollectorRegistry:
        """What a scrape is answered from."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(cast(Any, self))  # A collector is whatever can `collect`.
        return registry

    def collect(self) -> Iterator[Metric]:
        """Every family, with the numbers of now."""
        self.book.put(families.WORKERS, len(self.serving))
        found = [(orjson.loads(self.book.snapshot()), True)]
        for path in sorted(self.directory.glob("worker-*.json")):
            snapshot = book.read(path)
            if snapshot is not None:
                found.append((orjson.loads(snapshot), int(path.stem.removeprefix("worker-")) in self.serving))
        for family in FAMILIES:
            parts = [book.known(document, family) for document, live in found if live or family.kind is not Kind.GAUGE]
            yield _histogram(family, parts) if family.kind is Kind.HISTOGRAM else _plain(family, parts)


def _plain(family: Family, parts: list[list[Any]]) -> Metric:
    merged: dict[Labels, float] = {}
    for labels, value in (each for part in parts for each in part):
        key = tuple(labels)
        if key not in merged:
            merged[key] = value
        elif family.kind is Kind.COUNTER or family.merge is Merge.SUM:
            merged[key] += value
        else:
            merged[key] = max(merged[key], value)
    make = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = make(family.name, family.help, labels=family.labels)
    for key, value in merged.items():
        metric.add_metric(key, value)
    return metric


def _histogram(family: Family, parts: list[list[Any]]) -> Metric:
    merged: dict[Labels, Series] = {}
    for labels, counts, total in (each for part in parts for each in part):
        merged.setdefault(tuple(labels), Series(family.buckets)).add(counts, total)
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    for key, series in merged.items():
        bounds = [*map(floatToGoString, family.buckets), "+Inf"]
        running, buckets = 0, []
        for bound, count in zip(bounds, series.counts, strict=True):
            running += count
            buckets.append((bound, float(running)))
        metric.add_metric(key, buckets, series.total)
    return metric


class _Server(ThreadingMixIn, HTTPServer):
    """Answers a few scrapes at a time, and closes the door on more."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, registry: CollectorRegistry) -> None:
        super().__init__(listening.getsockname()[:2], _Handler.factory(registry), bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self._free = threading.BoundedSemaphore(SCRAPES_MOST)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scraper that hangs up is no error, and nothing of what it sent is for the log."""


class _Handler(MetricsHandler):
    timeout = SCRAPE_S
    server_version = "phigate"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "Metrics are at /metrics")
            return
        super().do_GET()
