"""The messages of one event stream, as they come out of its bytes."""

from __future__ import annotations

from collections import deque

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import jsonrpc, sse
from gateway.core.protocol.jsonrpc import Limits, Message, Notification


class Events:
    """What has come and nobody has taken yet. A fault stands where it came: after the messages before it."""

    def __init__(self, limits: Limits, *, after: Events | None = None) -> None:
        """`after`: the stream that broke off, and that this one goes on with."""
        self._limits = limits
        self._decoder = sse.Decoder(limits.max_bytes)
        self._waiting: deque[Message | UpstreamFault] = deque()
        if after is not None:
            self._decoder.last_id, self._decoder.retry_s = after.last_id, after.retry_s

    @property
    def last_id(self) -> str:
        """The id of the last event that had one: where the stream may be resumed after."""
        return self._decoder.last_id

    @property
    def retry_s(self) -> float | None:
        """How long to wait before that, when the stream said so."""
        return self._decoder.retry_s

    def feed(self, data: bytes) -> None:
        """Take in bytes of the stream, cut anywhere."""
        try:
            for event in self._decoder.feed(data):
                if event.data and event.type == "message":
                    self._waiting.append(jsonrpc.parse_upstream(event.data, self._limits))
        except UpstreamFault as fault:
            self.fail(fault)

    def fail(self, fault: UpstreamFault) -> None:
        """Nothing that can be used comes after what has come."""
        self._waiting.append(fault)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self) -> Message:
        """The next message that has come. Raises UpstreamFault."""
        message = self._waiting.popleft()
        if isinstance(message, UpstreamFault):
            raise message
        return message

    def notification(self) -> Notification | None:
        """The next message that has come, if it is a notification."""
        message = self._waiting[0] if self._waiting else None
        if not isinstance(message, Notification):
            return None
        self._waiting.popleft()
        return message


def hurries(piece: bytes) -> bool:
    """Whether a piece of a stream is to be looked at now: notifications, which may wait, have a method and no id."""
    return b'"method"' not in piece or b'"id"' in piece
