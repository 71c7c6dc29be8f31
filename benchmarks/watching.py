"""What looking on costs a call: the observer of a worker is told what the driver would tell it, and nothing else runs.

The commands of one `tools/call` that is decided, forwarded, masked and recorded, beside the same with nobody looking
on, in CPU time of the event loop's thread. Making spans of a trace and sending them is another thread's work.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from gateway.core import commands
from gateway.core.call import Call
from gateway.core.commands import Command, Decided
from gateway.core.evidence.record import LeafType, Record
from gateway.core.masking.plan import Masked
from gateway.core.masking.profile import Profile
from gateway.core.policy.decision import Decision, Effect, Entrypoint
from gateway.core.protocol.jsonrpc import Request, Success
from gateway.core.types import Digest, Era, ExchangeId, LeafIndex, Principal, SessionId, UpstreamRef
from gateway.store.job import Commit
from gateway.telemetry.book import Book
from gateway.telemetry.exchanges import Telemetry
from gateway.telemetry.traces import Trace, Tracer
from gateway.telemetry.watch import NOBODY, Arrival, Observer

CALLS = 20_000
BAR_US = 30.0
"""For metrics."""
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

_MESSAGE = Request(1, "tools/call", {"name": "query", "arguments": {}, "_meta": {"traceparent": TRACEPARENT}})
_CALL = Call(
    ExchangeId("01a2054d-b64f-7d82-81d5-a72d35987d2b"),
    SessionId("01a2054d-b64f-7d82-81d5-a72d35987d2c"),
    "actor",
    Era.MODERN,
    "2026-07-28",
    Principal("https://idp.example", "somebody"),
    UpstreamRef("clinic"),
    _MESSAGE,
)
_DECIDED = Decided(Decision(Effect.ALLOW), b"{}", Digest("00"))
_MASKED = Masked(None, {"counts": {"SSN": 1, "NAME": 1, "DATE": 2}, "items": [], "truncated": False})


def _said() -> Iterator[tuple[Command, object]]:
    """The commands of a call, with their answers."""
    yield commands.Decide(Entrypoint.CALL, {}), _DECIDED
    yield commands.Append(Record(LeafType.EXCHANGE_INTENT, {})), LeafIndex(1)
    yield commands.Forward(_MESSAGE), None
    yield commands.Receive(), Success(1, {})
    yield commands.Inspect(None), Profile()
    yield commands.Decide(Entrypoint.RESULT, {}), _DECIDED
    yield commands.Mask(None, Profile(), ()), _MASKED
    yield commands.Present(), True
    yield commands.Append(Record(LeafType.EXCHANGE_OUTCOME, {"status": "replied"})), LeafIndex(2)


def run(console: Console) -> int:
    """Print the costs; 1 when metrics cost more than they may."""
    book = Book()
    with Tracer.open(book, 1.0, _taken) as tracer:
        alone = _cost(NOBODY, None)
        metrics = _cost(telemetry := Telemetry(book, None), telemetry) - alone
        traced = _cost(telemetry := Telemetry(book, tracer), telemetry) - alone
    began = time.perf_counter()
    size = len(book.snapshot())
    snapshot = (time.perf_counter() - began) * 1e6
    table = Table(title=f"Looking on, for one tools/call: mean of {CALLS} calls")
    for heading in ("what", "µs"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for what, cost in (("metrics", metrics), ("metrics, and a trace", traced)):
        table.add_row(what, f"{cost:.1f}")
    table.add_row(f"a snapshot of {size:,} bytes, once a second", f"{snapshot:,.0f}")
    console.print(table)
    return int(metrics > BAR_US)


def _cost(observer: Observer, telemetry: Telemetry | None) -> float:
    """Microseconds that a call costs."""
    said = tuple(_said())
    began = time.thread_time()
    for _ in range(CALLS):
        watch = observer.begins(_CALL, Arrival(time.perf_counter(), None))
        for command, answer in said:
            at = watch.starts(command)
            if isinstance(command, commands.Forward):
                watch.outgoing(command.message)
            watch.did(command, answer, at)
        watch.ends()
        if telemetry is not None:
            telemetry.committed(Commit(1, 0.0002, 10, signed=False))
            telemetry.committed(Commit(1, 0.0002, 11, signed=False))
            telemetry.answered("mcp", 200)
    return (time.thread_time() - began) / CALLS * 1e6


def _taken(traces: Sequence[Trace]) -> int:
    return len(traces)
