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

    def starts(self, command: Command) -> float:
        """A command is about to be performed; what is returned is handed back with its end."""

    def did(self, command: Command, answer: object, began: float) -> None:
        """It was performed."""

    def failed(self, command: Command, fault: GatewayError, began: float) -> None:
        """It could not be performed."""

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

    def starts(self, _command: Command) -> float:
        return 0.0

    def did(self, _command: Command, _answer: object, _began: float) -> None:
        pass

    def failed(self, _command: Command, _fault: GatewayError, _began: float) -> None:
        pass

    def outgoing(self, message: Message) -> Message:
        return message

    def ends(self) -> None:
        pass


NOBODY: Observer = _Nobody()
"""Looks the other way."""
