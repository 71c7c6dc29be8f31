"""Where the time of one call goes: the real gateway in this process, every stage of the path timed as it runs.

Calls are asked of the ASGI application itself, one after the other, so that a stage's time is its own; what HTTP costs
is measured by `python -m benchmarks http`. Appends and the upstream are waits as much as work: with more connections
other calls use the core meanwhile, which the last lines show.
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trio
from rich.console import Console
from rich.table import Table

from benchmarks import targets
from benchmarks.load import ACCEPT, Client
from benchmarks.processes import cores
from benchmarks.upstream import TOOL
from gateway import config as configuration
from gateway.cli import init
from gateway.cli.demo.issuer import AUDIENCE
from gateway.core import records
from gateway.core.evidence.record import Record
from gateway.core.masking import plan, profile
from gateway.core.policy import input as policy_input
from gateway.core.policy.decision import Entrypoint
from gateway.core.protocol import jsonrpc
from gateway.core.replies import Reply
from gateway.core.types import Document
from gateway.service import open_gateway
from gateway.upstream.base import Link
from gateway.web.cycle import HUNG_UP
from gateway.web.endpoint import Endpoint
from gateway.worker import settle_garbage
from gateway.world import World

CALLS = 1500
CONCURRENCY = (1, 16, 64)
PATH = (
    "identify",
    "parse",
    "facts",
    "input (call)",
    "decide (call)",
    "record (intent)",
    "append (intent)",
    "forward and receive",
    "profile",
    "input (result)",
    "decide (result)",
    "mask",
    "reply",
    "record (outcome)",
    "append (outcome)",
)


@dataclass(slots=True)
class Clock:
    """Wall time by stage."""

    spent: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The time of the block counts for the stage."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.spent[name] += time.perf_counter() - begun

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, timed."""

        def run(*arguments: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.spent[name] += time.perf_counter() - begun

        return run

    def awaited(self, name: str, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """The coroutine function, timed."""

        async def run(*arguments: Any, **options: Any) -> Any:
            with self.stage(name):
                return await function(*arguments, **options)

        return run


class TimedPdp:
    """A Pdp that is timed."""

    def __init__(self, clock: Clock, inner: Any) -> None:
        self.clock, self.inner = clock, inner

    def decide(self, entrypoint: Entrypoint, document: Document, *, at: str) -> Any:
        """See `driver.Pdp`."""
        with self.clock.stage("decide (call)" if entrypoint is Entrypoint.CALL else "decide (result)"):
            return self.inner.decide(entrypoint, document, at=at)


class TimedEvidence:
    """Evidence that is timed."""

    def __init__(self, clock: Clock, inner: Any) -> None:
        self.clock, self.inner, self.learn = clock, inner, inner.learn

    async def append(self, record: Record) -> Any:
        """See `driver.Evidence`."""
        with self.clock.stage("append (intent)" if record.type.opens_exchange else "append (outcome)"):
            return await self.inner.append(record)


class TimedUpstream:
    """An upstream whose conversations are timed from forward to response."""

    def __init__(self, clock: Clock, inner: Any) -> None:
        self.clock, self.inner = clock, inner
        self.name, self.local = inner.name, inner.local

    @asynccontextmanager
    async def converse(self, link: Link) -> AsyncIterator[Any]:
        """See `upstream.base.Upstream`."""
        async with self.inner.converse(link) as conversation:
            yield TimedConversation(self.clock, conversation)


class TimedConversation:
    """One call upstream, timed."""

    def __init__(self, clock: Clock, inner: Any) -> None:
        self.upstream_session = inner.upstream_session
        self.send = clock.awaited("forward and receive", inner.send)
        self.receive = clock.awaited("forward and receive", inner.receive)


def run(scratch: Path, console: Console) -> int:
    """Print the stages of one call, and what the whole costs at each concurrency."""
    logging.disable(logging.CRITICAL)
    _, load_core = cores()
    with targets.direct(scratch, core=load_core, modern=True) as base, targets.issuer(load_core) as issuer:
        settings = {"port": 8080, "workers": 1, "issuer": issuer, "audience": AUDIENCE, "upstream": base.client.url}
        file = scratch / "phigate.toml"
        file.write_text(targets.CONFIG.format(**settings))
        init.prepare(scratch)
        clock, totals = trio.run(_measure, file, targets.token(issuer))
    _print(console, clock, totals)
    return 0


async def _measure(file: Path, token: str) -> tuple[Clock, dict[int, tuple[float, float]]]:
    """The stages, and for each concurrency the seconds of wall and CPU time of a call."""
    clock = Clock()
    async with open_gateway(configuration.load(file)) as gateway:
        headers = {"Accept": ACCEPT, "Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        client = Client("http://127.0.0.1:8080/mcp/clinic", True, headers)
        await _ask(gateway.app, client, "tools/list", {})
        await _calls(gateway.app, client, CALLS // 5, 1)  # Warm.
        settle_garbage()
        totals = {number: await _calls(gateway.app, client, CALLS, number) for number in CONCURRENCY}
        with _instrumented(gateway.endpoint, clock):
            wall, _ = await _calls(gateway.app, client, CALLS, 1)
        clock.spent["in all, timed"] = wall * CALLS
    return clock, totals


@contextmanager
def _instrumented(endpoint: Endpoint, clock: Clock) -> Iterator[None]:
    """The endpoint with every stage timed. Collaborators are wrapped; pure functions are replaced in their modules."""
    desk = endpoint.desk
    doors = {
        name: replace(door, world=_timed_world(door.world, clock), facts=clock.timed("facts", door.facts))
        for name, door in desk.doors.items()
    }
    identify: Any = clock.awaited("identify", desk.identify)
    endpoint.desk = replace(desk, doors=doors, identify=identify)
    functions: list[tuple[Any, str, str]] = [
        (jsonrpc, "parse", "parse"),
        (policy_input, "for_call", "input (call)"),
        (policy_input, "for_result", "input (result)"),
        (records, "intent", "record (intent)"),
        (records, "outcome", "record (outcome)"),
        (profile, "inspect", "profile"),
        (plan, "apply", "mask"),
    ]
    before = [getattr(module, name) for module, name, _ in functions]
    reply = Reply.of
    for (module, name, stage), function in zip(functions, before, strict=True):
        setattr(module, name, clock.timed(stage, function))
    Reply.of = staticmethod(clock.timed("reply", reply))  # type: ignore[method-assign]  # put back below
    try:
        yield
    finally:
        for (module, name, _), function in zip(functions, before, strict=True):
            setattr(module, name, function)
        Reply.of = staticmethod(reply)  # type: ignore[method-assign]  # as it was
        endpoint.desk = desk


def _timed_world(world: World, clock: Clock) -> World:
    active = world.pdp
    upstream: Any = TimedUpstream(clock, world.upstream)
    evidence: Any = TimedEvidence(clock, world.evidence)
    return replace(world, pdp=lambda: TimedPdp(clock, active()), evidence=evidence, upstream=upstream)


async def _calls(app: Any, client: Client, count: int, concurrency: int) -> tuple[float, float]:
    """Seconds of wall and of CPU time for each of `count` calls."""
    arguments = {"name": TOOL, "arguments": {"mrn": "MRN-4821937"}}
    begun, begun_cpu = time.perf_counter(), time.process_time()

    async def some() -> None:
        for _ in range(count // concurrency):
            await _ask(app, client, "tools/call", arguments)

    async with trio.open_nursery() as nursery:
        for _ in range(concurrency):
            nursery.start_soon(some)
    done = count // concurrency * concurrency
    return (time.perf_counter() - begun) / done, (time.process_time() - begun_cpu) / done


async def _ask(app: Any, client: Client, method: str, params: dict[str, Any]) -> None:
    """One request to the application. Raises RuntimeError unless it is answered with a result."""
    message, headers = client.message(method, params)
    body = json.dumps({**message, "id": 1}).encode()
    headers = {"Host": "127.0.0.1:8080", "Content-Length": str(len(body)), **headers}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/mcp/clinic",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "extensions": {HUNG_UP: {"ask": lambda: False}},
    }
    arrived = iter([{"type": "http.request", "body": body, "more_body": False}])
    answer: list[bytes] = []

    async def receive() -> dict[str, Any]:
        event = next(arrived, None)
        if event is None:
            await trio.sleep_forever()
        assert event is not None
        return event

    async def send(event: dict[str, Any]) -> None:
        answer.append(event.get("body", b""))

    await app(scope, receive, send)
    data = b"".join(answer)
    if b'"result"' not in data or b'"isError":true' in data:
        raise RuntimeError(f"The gateway did not answer {method} with a result: {data[:300]!r}")


def _print(console: Console, clock: Clock, totals: dict[int, tuple[float, float]]) -> None:
    table = Table(title=f"One call, stage by stage: mean of {CALLS} calls, one at a time")
    table.add_column("stage")
    table.add_column("µs", justify="right")
    table.add_column("share", justify="right")
    whole = clock.spent.pop("in all, timed")
    rows = [(name, clock.spent[name]) for name in PATH]
    rows.append(("all else: routing, driver, tasks", whole - sum(spent for _, spent in rows)))
    for name, spent in [*rows, ("in all", whole)]:
        table.add_row(name, f"{spent / CALLS * 1e6:,.0f}", f"{spent / whole:.0%}")
    console.print(table)
    for concurrency, (wall, cpu) in totals.items():
        console.print(
            f"{concurrency} at a time, not timed by stage: {1 / wall:,.0f} calls/s, {cpu * 1e6:,.0f} µs of CPU each"
        )
