"""Looks on while exchanges are performed, and tells metrics, traces and logs: see `watch.py`.

Told by the driver after each command. What is counted are words of closed sets and times; a message's own content is
never looked at, but for its method and `_meta.traceparent`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from gateway.core import commands
from gateway.core.call import Call
from gateway.core.commands import Command, Decided, Resolution, Settled
from gateway.core.errors import ClientGone, EvidenceFault, GatewayError, SessionEnded, UpstreamFault
from gateway.core.evidence.record import LeafType
from gateway.core.masking.plan import Masked
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.core.protocol.jsonrpc import Failure, Message, Success
from gateway.core.types import ExchangeId
from gateway.process import about
from gateway.telemetry import context, families
from gateway.telemetry.book import Book
from gateway.telemetry.traces import Step, Trace, Tracer
from gateway.telemetry.watch import Arrival, Watch
from gateway.telemetry.words import Codes, message_class

logger = logging.getLogger("phigate.upstream")

_ANSWERS = "answers"
_GONE = "unreachable"

ENTRYPOINTS = {entrypoint: entrypoint.value.split("/")[1] for entrypoint in Entrypoint}
_LEAVES = {leaf: leaf.value for leaf in LeafType}
_ENDS = (LeafType.EXCHANGE_OUTCOME, LeafType.EXCHANGE_REFUSED)
_RESOLVED = (Settled.GRANTED, Settled.REFUSED, Settled.EXPIRED, Settled.CANCELLED)


class Commit(Protocol):
    """A transaction of the evidence store that is durable: see `store.job.Commit`."""

    @property
    def jobs(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def leaves(self) -> int: ...
    @property
    def signed(self) -> bool: ...


def _unread(_exchange: ExchangeId, _decided: Decided) -> None:
    """Nobody reads the decisions."""


class Telemetry:
    """One worker's observer, as `watch.Observer`."""

    def __init__(self, book: Book, tracer: Tracer | None) -> None:
        self.book = book
        self.tracer = tracer
        self.note: Callable[[ExchangeId, Decided], None] = _unread
        """Is told each decision; returns at once and never raises."""
        self.codes = Codes()
        self.upstreams: dict[str, str] = {}
        """How each upstream did when it was last called: "answers", or the fault."""

    def begins(self, call: Call, arrival: Arrival | None) -> Watch:
        """See `watch.Observer`."""
        return _Exchange(self, call, arrival or Arrival(time.perf_counter()))

    def upstream_did(self, name: str, how: str) -> None:
        """An upstream answered or failed. That it cannot be reached, and that it can again, is told in the log once."""
        before = self.upstreams.get(name, _ANSWERS)
        self.upstreams[name] = how
        if how == before:
            return
        if how == _GONE:
            logger.warning("upstream %s cannot be reached: calls to it fail; `phigate doctor` says why", name)
        elif before == _GONE:
            logger.info("upstream %s can be reached again", name)

    def activated(self, bundle: Bundle, at: datetime) -> None:
        """A policy comes into force."""
        self.codes.learn(bundle)
        self.book.only(families.POLICY_INFO, bundle.manifest.revision[:64], bundle.digest[:16])
        self.book.put(families.POLICY_SINCE, at.timestamp())

    def committed(self, commit: Commit) -> None:
        """The store has committed; told by whichever thread did it, one at a time."""
        self.book.observe(families.COMMIT_S, commit.seconds)
        self.book.observe(families.COMMIT_JOBS, commit.jobs)
        self.book.put(families.LEAVES, commit.leaves)
        if commit.signed:
            self.book.count(families.CHECKPOINTS)

    def unauthenticated(self, reason: str) -> None:
        """A request came that nobody is known for; `reason` is a word of a closed set."""
        self.book.count(families.UNAUTHENTICATED, reason)

    def answered(self, surface: str, status: int) -> None:
        """An HTTP request was answered."""
        self.book.count(families.REQUESTS, surface, str(status))


class _Exchange:
    """One exchange, as `watch.Watch`."""

    __slots__ = ("_about", "_arrival", "_call", "_held", "_message", "_outcome", "_seen", "_sent", "_trace",
                 "_upstream", "_waited")  # fmt: skip

    def __init__(self, seen: Telemetry, call: Call, arrival: Arrival) -> None:
        self._seen = seen
        self._call = call
        self._arrival = arrival
        self._message = message_class(call.message)
        self._upstream = self._waited = 0.0
        """Seconds that were spent waiting for the upstream, and for reviewers."""
        self._held = False
        self._outcome = "failed"
        self._sent: float | None = None
        """When something was sent upstream, until its answer has come."""
        seen.book.count(families.OPEN, call.upstream.name)
        self._trace: Trace | None = None
        if seen.tracer is not None:
            self._trace = seen.tracer.begins(call, arrival)
        self._about = about.set((call.exchange, self._trace.context.trace if self._trace is not None else ""))

    def holds(self) -> None:
        """See `watch.Watch`."""
        self._held = True
        self._seen.book.count(families.HELD, self._call.upstream.name)

    def did(self, command: Command, answer: object, began: float) -> None:
        """See `watch.Watch`."""
        note = _NOTED.get(type(command))
        if note is not None:
            note(self, command, answer, began, time.perf_counter())

    def failed(self, command: Command, fault: GatewayError, began: float) -> None:
        """See `watch.Watch`."""
        now = time.perf_counter()
        if isinstance(command, commands.Forward | commands.Listen | commands.Receive):
            if not isinstance(command, commands.Receive):
                self._sent = began
            self._upstream += now - began
            self._forwarded(now, _kind(fault))
        elif isinstance(command, commands.Hold | commands.Resume):
            self._let_go()
            self._waited += now - began
            self._step("wait for approval", began, now, fault=_kind(fault))
        elif isinstance(command, commands.Append):
            self._outcome = "session_ended" if isinstance(fault, SessionEnded) else "unrecorded"
        if isinstance(fault, UpstreamFault):
            self._seen.upstream_did(self._call.upstream.name, fault.kind)
            self._seen.book.count(families.UPSTREAM_ERRORS, self._call.upstream.name, fault.kind)

    def outgoing(self, message: Message) -> Message:
        """See `watch.Watch`."""
        if self._trace is None:
            return message
        return context.onward(message, self._trace.forwarded)

    def ends(self) -> None:
        """See `watch.Watch`."""
        now, book, upstream = time.perf_counter(), self._seen.book, self._call.upstream.name
        self._let_go()
        book.count(families.OPEN, upstream, by=-1.0)
        book.count(families.EXCHANGES, upstream, self._call.era.value, self._message, self._outcome)
        if not self._call.stands:
            took = now - self._arrival.at
            book.observe(families.EXCHANGE_S, took, upstream, self._message)
            book.observe(families.ADDED_S, max(0.0, took - self._upstream - self._waited), upstream)
            if self._upstream:
                book.observe(families.UPSTREAM_S, self._upstream, upstream)
        if self._trace is not None and self._seen.tracer is not None:
            self._forwarded(now, "")
            self._seen.tracer.ends(self._trace, now, self._outcome)
        about.reset(self._about)

    def _decided(self, decide: commands.Decide, decided: Decided, began: float, now: float) -> None:
        self._seen.note(self._call.exchange, decided)
        book, name, decision = self._seen.book, ENTRYPOINTS[decide.entrypoint], decided.decision
        book.observe(families.DECISION_S, now - began, name)
        book.count(families.DECISIONS, name, decision.effect.value)
        codes: list[str] = []
        if decision.effect is not Effect.ALLOW:
            codes = sorted({self._seen.codes.word(reason.code) for reason in decision.reasons})
            for code in codes:
                book.count(families.REASONS, name, code)
        if self._trace is not None:
            told = {"phigate.effect": decision.effect.value} | ({"phigate.reasons": ",".join(codes)} if codes else {})
            self._step(f"decide {name}", began, now, told)

    def _appended(self, append: commands.Append, _: object, began: float, now: float) -> None:
        record = append.record
        leaf = _LEAVES[record.type]
        self._seen.book.observe(families.APPEND_S, now - began, leaf)
        if record.type in _ENDS:
            self._outcome = str(record.members.get("status", "refused"))
        if self._trace is not None:
            self._step(f"append {leaf}", began, now)

    def _appended_all(self, append: commands.AppendAll, _: object, began: float, now: float) -> None:
        self._seen.book.observe(families.APPEND_S, now - began, _LEAVES[append.records[0].type])
        self._step("append exchange.message", began, now)

    def _went(self, _: commands.Forward | commands.Listen, __: object, began: float, now: float) -> None:
        self._sent = began
        self._upstream += now - began

    def _received(self, _: commands.Receive, answer: object, began: float, now: float) -> None:
        self._upstream += now - began
        if answer is None or isinstance(answer, Success | Failure):
            self._seen.upstream_did(self._call.upstream.name, _ANSWERS)
            self._forwarded(now, "")

    def _forwarded(self, now: float, fault: str) -> None:
        """What was sent upstream has come to its end."""
        began, self._sent = self._sent, None
        if began is not None and self._trace is not None:
            self._trace.steps.append(Step("forward", began, now, fault=fault, context=self._trace.forwarded))

    def _resolved(self, _: commands.Hold | commands.Resume, found: Resolution, began: float, now: float) -> None:
        self._let_go()
        self._waited += now - began
        state = found.state.value
        self._seen.book.count(families.APPROVAL_ANSWERS, state)
        if found.state in _RESOLVED and found.created and found.changed:
            asked, resolved = datetime.fromisoformat(found.created), datetime.fromisoformat(found.changed)
            self._seen.book.observe(families.APPROVAL_WAIT_S, (resolved - asked).total_seconds(), state)
        self._step("wait for approval", began, now, {"phigate.approval": state})

    def _let_go(self) -> None:
        if self._held:
            self._held = False
            self._seen.book.count(families.HELD, self._call.upstream.name, by=-1.0)

    def _masked(self, _: commands.Mask, masked: Masked, began: float, now: float) -> None:
        self._masked_all(_, (masked,), began, now)

    def _masked_all(
        self, _: commands.Mask | commands.MaskAll, masked: tuple[Masked | None, ...], began: float, now: float
    ) -> None:
        for each in masked:
            counts = None if each is None else each.manifest.get("counts")
            for phi, number in counts.items() if isinstance(counts, dict) else ():
                if isinstance(number, int):
                    self._seen.book.count(families.MASKED, phi, by=number)
        self._step("mask", began, now)

    def _step(
        self, name: str, began: float, now: float, told: dict[str, str] | None = None, *, fault: str = ""
    ) -> None:
        if self._trace is not None:
            self._trace.steps.append(Step(name, began, now, told or {}, fault))


_NOTED: dict[type[object], Callable[[_Exchange, Any, Any, float, float], None]] = {
    commands.Decide: _Exchange._decided,
    commands.Append: _Exchange._appended,
    commands.AppendAll: _Exchange._appended_all,
    commands.Forward: _Exchange._went,
    commands.Listen: _Exchange._went,
    commands.Receive: _Exchange._received,
    commands.Hold: _Exchange._resolved,
    commands.Resume: _Exchange._resolved,
    commands.Mask: _Exchange._masked,
    commands.MaskAll: _Exchange._masked_all,
}
"""What is made of a command that was performed and its answer; of the others nothing."""


def _kind(fault: GatewayError) -> str:
    match fault:
        case UpstreamFault():
            return fault.kind
        case EvidenceFault():
            return "evidence"
        case ClientGone():
            return "client_gone"
        case _:
            return "gateway"
