"""Opens the telemetry of one worker: a book that goes on where its predecessor's ended, and a tracer if wanted."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import trio

from gateway.telemetry import book as books
from gateway.telemetry.book import Book
from gateway.telemetry.exchanges import Telemetry
from gateway.telemetry.settings import Place, TelemetryConfig
from gateway.telemetry.traces import Tracer

SNAPSHOT_S = 1.0
"""Between two snapshots: what a worker that is killed may have counted for nothing."""

logger = logging.getLogger("phigate")


@asynccontextmanager
async def opened(config: TelemetryConfig, place: Place) -> AsyncIterator[Telemetry]:
    """The telemetry of the worker in `place`."""
    book = Book()
    with ExitStack() as stack:
        tracer = stack.enter_context(_tracer(config, place, book)) if config.otlp_endpoint is not None else None
        telemetry = Telemetry(book, tracer)
        if place.numbers is None:
            yield telemetry
            return
        path = books.file_of(place.numbers, place.number)
        before = books.read(path)
        if before is not None:
            book.resume(before)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep, book, path)
            yield telemetry
            nursery.cancel_scope.cancel()
        _write(path, book.snapshot())


@contextmanager
def _tracer(config: TelemetryConfig, place: Place, book: Book) -> Iterator[Tracer]:
    from gateway.telemetry.otlp import Exporter  # An extra: the configuration has seen that it is there.

    assert config.otlp_endpoint is not None
    exporter = Exporter(
        config.otlp_endpoint, config.otlp_headers, service=config.service_name, worker=str(place.number)
    )
    with Tracer.open(book, config.sample_ratio, exporter) as tracer:
        yield tracer
    exporter.close()


async def _keep(book: Book, path: Path) -> None:
    while True:
        await trio.sleep(SNAPSHOT_S)
        await trio.to_thread.run_sync(_write, path, book.snapshot())


def _write(path: Path, snapshot: bytes) -> None:
    try:
        books.write(path, snapshot)
    except OSError as error:  # A full disk: the numbers of the last second are lost, and calls go on.
        logger.warning("metrics could not be written: %s", error.strerror)
