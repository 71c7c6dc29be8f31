"""An HTTP request as the raw ASGI endpoint sees it: headers looked up by name, bodies read under a limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from gateway.core.errors import ClientFault, ClientGone
from gateway.core.protocol.jsonrpc import INVALID_REQUEST
from gateway.identity import peer
from gateway.identity.peer import Peer
from gateway.web.client import Headers, Receive
from gateway.web.cycle import HUNG_UP


@dataclass(slots=True)
class Inbound:
    """Method, path and headers of one request; header names in lower case, as ASGI gives them."""

    method: str
    path: str
    query: bytes = field(repr=False)
    headers: Headers = field(repr=False)
    peer: Peer = peer.UNKNOWN
    hung_up: Callable[[], bool] | None = None
    """Whether the client has hung up, as far as can be seen now; None where the server cannot tell."""
    _named: dict[bytes, bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._named = dict(self.headers)

    @staticmethod
    def of(scope: dict[str, Any]) -> Inbound:
        """The request that an ASGI `http` scope describes."""
        hung_up = scope.get("extensions", {}).get(HUNG_UP, {}).get("ask")
        headers = list(scope["headers"])
        return Inbound(scope["method"], scope["path"], scope["query_string"], headers, peer.of(scope), hung_up)

    def header(self, name: bytes) -> str | None:
        """The value of a header that may be given once. Raises ClientFault when it is given twice."""
        value = self._named.get(name)
        if value is None:
            return None
        if len(self._named) < len(self.headers) and sum(key == name for key, _ in self.headers) > 1:
            raise ClientFault(f"The {name.decode()} header is given twice. Send it once.", code=INVALID_REQUEST)
        return value.decode("latin-1")

    def accepts(self, kind: str) -> bool:
        """Whether the Accept header takes `kind` (RFC 9110 §12.5.1): the most particular range that has it decides, and
        a weight of zero is a no. Other weights make no difference here."""
        return _accepted(b",".join([value for key, value in self.headers if key == b"accept"]), kind)


@lru_cache(256)  # Clients say the same all day.
def _accepted(offers: bytes, kind: str) -> bool:
    takes = {}
    for offer in offers.decode("latin-1").lower().split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        takes[name] = weight.strip("0.") != ""
    ranges = (kind, f"{kind.partition('/')[0]}/*", "*/*")
    return next((takes[name] for name in ranges if name in takes), False)


async def read_body(receive: Receive, *, limit: int) -> bytes:
    """The whole body, at most `limit` bytes. Raises ClientFault 413, or ClientGone when it never ends."""
    chunks: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ClientGone("the client hung up while sending its message")
        chunk: bytes = event.get("body", b"")
        size += len(chunk)
        if size > limit:
            detail = f"The message is larger than the {limit} bytes this gateway accepts. Send less at a time."
            raise ClientFault(detail, code=INVALID_REQUEST, status=413)
        chunks.append(chunk)
        if not event.get("more_body", False):
            return b"".join(chunks)
