"""Server-sent events (WHATWG HTML, §9.2): bytes to events and back, indifferent to where the bytes were cut."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gateway.core.errors import UpstreamFault

_PLAIN = re.compile(rb"(?:(?:event: ?message|id: ?([^\r\n\0]*))\r?\n)*data: ?([^\r\n]*)\r?\n\r?\n")
"""An event of one line of data: what comes of reading it line by line, in one step."""

_RETRY_DIGITS = 9
"""Of milliseconds: eleven days. What is longer is no wait, and at some length no number that can be held."""


@dataclass(slots=True)  # Not frozen: one of these is made for each event, and that would take three times as long.
class Event:
    """One dispatched event. `id` is the last event id seen so far in the stream, not only in this event."""

    data: bytes = field(repr=False)
    type: str = "message"
    id: str = field(default="", repr=False)


def event(data: bytes, ident: str = "") -> bytes:
    """The event that carries one JSON-RPC message. `data` has no line break, which formatted JSON never has; `ident`
    is its id, where it has one."""
    name = b"id: %s\r\n" % ident.encode() if ident else b""
    return b"event: message\r\n" + name + b"data: " + data + b"\r\n\r\n"


def priming(ident: str) -> bytes:
    """An event without data, whose id the client may come back with (MCP 2025-11-25, Transports)."""
    return b"id: %s\r\ndata:\r\n\r\n" % ident.encode()


def comment(text: str = "") -> bytes:
    """A line that clients ignore, to keep what is between alive. `text` has no line break."""
    return b": " + text.encode() + b"\r\n\r\n"


class Decoder:
    """Turns a stream of bytes into events. `feed` it what arrives, cut anywhere."""

    def __init__(self, max_event_bytes: int) -> None:
        self._limit = max_event_bytes
        self._partial: list[bytes] = []
        self._data: list[bytes] = []
        self._line_bytes = 0
        self._event_bytes = 0
        self._type = ""
        self._after_cr = False
        self._begun = False
        self.last_id = ""
        """The last event id seen, also in an event without data: where the stream may be resumed after."""
        self.retry_s: float | None = None
        """How long to wait before that, when the stream said so."""

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes. Raises UpstreamFault `oversize` when one is larger than the limit.

        What is incomplete when the stream ends is to be forgotten (§9.2.6), so there is nothing to call at its end.
        """
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]  # The second half of a CRLF whose first half ended the line already.
            self._after_cr = False
        if not data:
            return []
        self._after_cr = data.endswith(b"\r")
        events: list[Event] = []
        if self._between:
            data = data[self._plain(data, events) :]
        for line in data.splitlines(keepends=True):
            self._line_bytes += len(line)
            if self._event_bytes + self._line_bytes > self._limit:
                raise UpstreamFault(f"it sent an event larger than {self._limit} bytes", kind="oversize")
            self._partial.append(line)
            if line.endswith((b"\n", b"\r")):
                whole = b"".join(self._partial).rstrip(b"\r\n")
                self._partial.clear()
                if not whole.startswith(b":"):  # Comments go on for ever and are not part of any event.
                    self._event_bytes += self._line_bytes
                self._line_bytes = 0
                self._line(whole, events)
        return events

    @property
    def _between(self) -> bool:
        """Whether nothing of the next event has come."""
        return not (self._partial or self._event_bytes or self._data or self._type)

    def _plain(self, data: bytes, events: list[Event]) -> int:
        """Take the events at the beginning of `data` that are as most senders write all of theirs; how many bytes."""
        at = 0
        while (found := _PLAIN.match(data, at)) is not None and found.end() - at <= self._limit:
            at = found.end()
            ident, whole = found.groups()
            if ident is not None:
                self.last_id = ident.decode(errors="replace")
            events.append(Event(whole, id=self.last_id))
            self._begun = True
        return at

    def _line(self, line: bytes, events: list[Event]) -> None:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(b"\xef\xbb\xbf")  # §9.2.5: one leading byte order mark is ignored.
        if not line:
            self._dispatch(events)
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._data.append(value)
            case b"event":
                self._type = value.decode(errors="replace")
            case b"id" if b"\0" not in value:
                self.last_id = value.decode(errors="replace")
            case b"retry" if value.isdigit() and len(value) <= _RETRY_DIGITS:
                self.retry_s = int(value) / 1000

    def _dispatch(self, events: list[Event]) -> None:
        if self._data:
            events.append(Event(b"\n".join(self._data), self._type or "message", self.last_id))
            self._data.clear()
        self._type = ""
        self._event_bytes = 0
