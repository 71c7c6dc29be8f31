"""Who is at the other end: the socket's peer or, where that is a trusted ingress, whom the ingress says. Pure.

What an ingress says of its client, it says in headers that anybody can send. They are believed only from the
configured networks, judged by the socket and nothing else, and are gone from the request afterwards whoever sent them.
One header is believed, not whichever is there: an ingress that writes `X-Forwarded-For` passes a client's `Forwarded`
on as it came. Where clients reach us is `public_url`; what a header says of host and port is never asked.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any

from gateway.core.errors import ClientFault
from gateway.core.protocol.jsonrpc import INVALID_REQUEST

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

CERTIFICATE_HEADERS = ("client-cert", "x-forwarded-client-cert", "x-ssl-client-cert")
"""In which an ingress hands on its client's certificate; `identity/mtls.py` reads them."""
_DROPPED = frozenset(
    {
        *(name.encode() for name in CERTIFICATE_HEADERS), b"client-cert-chain", b"forwarded", b"x-forwarded-for",
        b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-prefix", b"x-forwarded-proto", b"x-real-ip",
    }
)  # fmt: skip
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR = re.compile(rf'({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*")')
_ELEMENT = re.compile(rf"\s*{_PAIR.pattern}(?:\s*;\s*{_PAIR.pattern})*\s*")
_WITH_PORT = re.compile(r"(?:\[([^\[\]]+)\]|([^:]+))(?::[0-9]{1,5})?")
_KEY = "phigate.peer"
_REMEMBERED = 4096


class ForwardedHeader(Enum):
    """The header in which trusted ingresses say who their client is."""

    X_FORWARDED_FOR = "x-forwarded-for"
    FORWARDED = "forwarded"  # RFC 7239


@dataclass(frozen=True, slots=True)
class Peer:
    """The client of a request. An address identifies a person wherever patients are clients (45 CFR
    164.514(b)(2)(i)(O)): it is for pseudonyms, not for leaves or logs."""

    address: str = field(default="", repr=False)
    """Empty when it is not known: a Unix socket, or an ingress that says `unknown`."""
    certificate: bytes | None = field(default=None, repr=False)
    """What a trusted ingress handed on in the configured header, not read yet."""


UNKNOWN = Peer()


def of(scope: dict[str, Any]) -> Peer:
    """The peer of a request that `Peers.meet` has seen."""
    found = scope.get(_KEY)
    return found if isinstance(found, Peer) else UNKNOWN


class Peers:
    """Which peers are believed, and in what."""

    def __init__(
        self,
        trusted: Iterable[Network] = (),
        header: ForwardedHeader = ForwardedHeader.X_FORWARDED_FOR,
        certificates: str | None = None,
    ) -> None:
        """`certificates`: which of CERTIFICATE_HEADERS is believed, if any."""
        self._trusted = tuple(trusted)
        self._header = header
        self._certificates = certificates.encode() if certificates is not None else None
        # A gateway meets the same few ingresses all day, and the same agents.
        self._seen = lru_cache(_REMEMBERED)(self._of_socket)
        self._hop = lru_cache(_REMEMBERED)(self._of_hop)

    def meet(self, scope: dict[str, Any]) -> dict[str, Any]:
        """The ASGI scope without the headers that only an ingress may send, and with the peer that `of` returns.

        Raises ClientFault when a trusted ingress sends what cannot be read: everything that is read of a header was
        written by a trusted hop, so this is a mistake in its configuration, and guessing would hide it.
        """
        client = scope.get("client")
        address, trusted = self._seen(client[0] if client else "")
        headers = scope["headers"]
        told = [(name, value) for name, value in headers if name in _DROPPED]
        if not told:
            return {**scope, _KEY: Peer(address)}
        scope = {**scope, "headers": [pair for pair in headers if pair[0] not in _DROPPED]}
        if not trusted:
            return {**scope, _KEY: Peer(address)}
        if (scheme := _last(told, b"x-forwarded-proto")) is not None:
            scope["scheme"] = _scheme(scheme)
        return {**scope, _KEY: Peer(self._client(told, address), self._certificate(told))}

    def _of_socket(self, host: str) -> tuple[str, bool]:
        """The address of a socket's peer, and whether it is believed in what it says of its clients."""
        try:
            address = _plain(ipaddress.ip_address(host))
        except ValueError:
            return "", False  # A Unix socket has no address.
        return str(address), self._believed(address)

    def _believed(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._trusted)

    def _client(self, told: list[tuple[bytes, bytes]], ingress: str) -> str:
        """The right-most hop that is not ours: what stands left of it was said by somebody whom nobody vouches for."""
        name = self._header.value.encode()
        # RFC 9110 §5.3: several lines of one header are one list.
        line = ",".join(value.decode("latin-1") for key, value in told if key == name)
        hops = _forwarded(line) if self._header is ForwardedHeader.FORWARDED else _listed(line)
        client = ingress
        for hop in hops:
            client, believed = self._hop(hop)
            if not believed:
                break
        return client

    def _of_hop(self, text: str) -> tuple[str, bool]:
        """The same of a hop; the address is empty where the one that names it does not know it, or does not say."""
        address = _node(text)
        return ("", False) if address is None else (str(address), self._believed(address))

    def _certificate(self, told: list[tuple[bytes, bytes]]) -> bytes | None:
        values = [value for key, value in told if key == self._certificates and value]
        if len(values) > 1:
            raise _unreadable("hands on more than one client certificate")
        return values[0] if values else None


def _plain(address: Address) -> Address:
    """Without what depends on the socket: ::ffff:10.0.0.1 is 10.0.0.1, and a zone says nothing to others."""
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return mapped if mapped is not None else ipaddress.IPv6Address(int(address))
    return address


def _node(text: str) -> Address | None:
    """The address of a hop, with or without a port (RFC 7239 §6); None for `unknown` and for obfuscated names."""
    if text.lower() == "unknown" or text.startswith("_"):
        return None
    match = _WITH_PORT.fullmatch(text)
    try:
        return _plain(ipaddress.ip_address((match[1] or match[2]) if match else text))
    except ValueError:
        raise _unreadable("names a hop that is no address") from None


def _listed(line: str) -> Iterator[str]:
    """The hops of X-Forwarded-For, nearest first. What stands left of the one that counts is not even looked at."""
    while line:
        line, _, hop = line.rpartition(",")
        yield hop.strip()


def _forwarded(line: str) -> list[str]:
    """The `for` of each element of a Forwarded header (RFC 7239 §4), nearest first.

    Read from its beginning, and strictly: a quoted value may hold commas, and one that a client wrote or left open must
    not swallow or make up an element.
    """
    hops: list[str] = []
    at = 0
    while at < len(line):
        element = _ELEMENT.match(line, at)
        if element is None or (element.end() < len(line) and line[element.end()] != ","):
            raise _unreadable("sends a Forwarded header that is not well-formed")
        found = [value for name, value in _PAIR.findall(element[0]) if name.lower() == "for"]
        if len(found) != 1:
            raise _unreadable("sends a Forwarded element without exactly one `for`")
        hops.append(found[0].removeprefix('"').removesuffix('"'))
        at = element.end() + 1
    return hops[::-1]


def _last(told: list[tuple[bytes, bytes]], name: bytes) -> str | None:
    values = [value for key, value in told if key == name]
    return values[-1].decode("latin-1").rpartition(",")[2].strip().lower() if values else None


def _scheme(text: str) -> str:
    if text not in ("http", "https"):
        raise _unreadable("says X-Forwarded-Proto with neither http nor https")
    return text


def _unreadable(what: str) -> ClientFault:
    detail = f"The ingress in front of this gateway {what}. Its operator must correct the headers that it sets."
    return ClientFault(detail, code=INVALID_REQUEST)
