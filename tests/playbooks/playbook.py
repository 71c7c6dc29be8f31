"""Plays an exchange line by line, without a socket, a clock or a disk.

A playbook is the exchange's dialogue with the world: `expects` says which command must come next and answers it,
`faults` throws instead, `ends` takes the reply. A command that comes out of turn fails the test at that line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from gateway.core.call import Call
from gateway.core.commands import Append, AppendAll, Command, Decide, Decided, Script
from gateway.core.evidence.record import LeafType, Record
from gateway.core.exchange import exchange
from gateway.core.policy.decision import ApprovalTerms, Decision, Effect, Entrypoint, MaskRule, Reason
from gateway.core.protocol.jsonrpc import Message, Request, Success
from gateway.core.replies import Reply
from gateway.core.types import Digest, Era, ExchangeId, LeafIndex, Principal, SessionId, Tool, UpstreamRef

C = TypeVar("C", bound=Command)

BUNDLE = Digest("b" * 64)
PRINCIPAL = Principal("https://idp.example", "ada", ("clinicians",), "agent-1")


def call(message: Message | None = None, **changes: Any) -> Call:
    """A tools/call of a legacy client, unless told otherwise."""
    base = Call(
        exchange=ExchangeId("0198-exchange"),
        session=SessionId("0198-session"),
        actor="a" * 32,
        era=Era.LEGACY,
        version="2025-11-25",
        principal=PRINCIPAL,
        upstream=UpstreamRef("clinic"),
        message=message or Request(7, "tools/call", {"name": "read_patient", "arguments": {"id": "p1"}}),
        tool=Tool("read_patient", Digest("f" * 64), {"name": "read_patient"}),
    )
    return replace(base, **changes)


def decided(decision: Decision) -> Decided:
    """What the PDP hands back for a decision."""
    return Decided(decision, b'{"decision_id":"d"}', BUNDLE)


def allow(*mask: MaskRule) -> Decided:
    return decided(Decision(Effect.ALLOW, mask=mask))


def deny(code: str = "not_on_this_ward") -> Decided:
    return decided(Decision(Effect.DENY, (Reason(code, "not on this ward", "roles"),)))


def ask_first(**terms: Any) -> Decided:
    """A decision that requires approval."""
    return decided(Decision(Effect.REQUIRE_APPROVAL, approval=ApprovalTerms(("privacy-officers",), **terms)))


def result(text: str = "ok", ident: str | int = 7) -> Success:
    """A tool's result as an upstream sends it."""
    return Success(ident, {"content": [{"type": "text", "text": text}]})


class Playbook:
    """One exchange being played."""

    def __init__(self, about: Call, script: Script[Reply] | None = None) -> None:
        self._script = exchange(about) if script is None else script
        self._resume: Callable[[], Command] = lambda: next(self._script)
        self.log: list[Record] = []
        """Every record that was made durable, in order."""

    def expects(self, kind: type[C], answer: object = None) -> C:
        """The next command is a `kind`; it is answered with `answer` when the script goes on."""
        command = self._resume()
        assert isinstance(command, kind), f"expected {kind.__name__}, got {command!r}"
        if isinstance(command, Append):
            self.log.append(command.record)
            answer = LeafIndex(len(self.log) - 1)
        if isinstance(command, AppendAll):
            self.log.extend(command.records)
        self._resume = lambda: self._script.send(answer)
        return command

    def faults(self, kind: type[C], fault: Exception) -> C:
        """The next command is a `kind`, and performing it fails."""
        command = self._resume()
        assert isinstance(command, kind), f"expected {kind.__name__}, got {command!r}"
        self._resume = lambda: self._script.throw(fault)
        return command

    def decides(self, entrypoint: Entrypoint, answer: Decided) -> Decide:
        """Policy is asked at `entrypoint`."""
        command = self.expects(Decide, answer)
        assert entrypoint is command.entrypoint
        return command

    def records(self, kind: LeafType, **members: object) -> Record:
        """A record of `kind` with at least these members is made durable."""
        record = self.expects(Append).record
        assert kind is record.type
        assert members.items() <= record.members.items(), record.members
        return record

    def records_all(self, *statuses: str) -> tuple[Record, ...]:
        """Messages ahead of the result are made durable together, each with its status."""
        records = self.expects(AppendAll).records
        assert {record.type for record in records} == {LeafType.EXCHANGE_MESSAGE}
        assert [record.members["status"] for record in records] == list(statuses)
        return records

    def ends(self) -> Reply:
        """The exchange is over; its reply."""
        try:
            command = self._resume()
        except StopIteration as stop:
            reply: Reply = stop.value
            return reply
        raise AssertionError(f"expected the end, got {command!r}")
