"""Who looks on while an exchange is performed: all that the driver knows of telemetry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gateway.core.call import Call
from gateway.core.commands import Command
from gateway.core.errors import GatewayError
from gateway.core.protocol.jsonrpc import Message


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a message came."""

    at: float
    """When, on `time.perf_counter`."""
    traceparent: str | None = None
    """The HTTP header of this name (W3C Trace Context)."""


class Watch(Protocol):
    """Is told what one exchange does, in order. Nothing here waits or raises."""

    def did(self, command: Command, answer: object, began: float) -> None:
        """A command was performed; it began when `time.perf_counter` said `began`."""

    def failed(self, command: Command, fault: GatewayError, began: float) -> None:
        """A command could not be performed."""

    def holds(self) -> None:
        """The call is put before reviewers, and its caller waits."""

    def outgoing(self, message: Message) -> Message:
        """The message as it goes upstream: part of this trace, if it is traced."""

    def ends(self) -> None:
        """The exchange is over."""


class Observer(Protocol):
    """Looks on."""

    def begins(self, call: Call, arrival: Arrival | None) -> Watch:
        """An exchange begins."""


class _Nobody:
    def begins(self, _call: Call, _arrival: Arrival | None) -> Watch:
        return self

    def did(self, _command: Command, _answer: object, _began: float) -> None:
        pass

    def failed(self, _command: Command, _fault: GatewayError, _began: float) -> None:
        pass

    def holds(self) -> None:
        pass

    def outgoing(self, message: Message) -> Message:
        return message

    def ends(self) -> None:
        pass


NOBODY: Observer = _Nobody()
"""Looks the other way."""
