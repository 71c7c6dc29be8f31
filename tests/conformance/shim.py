"""Adds a bearer token to what the conformance suite sends, which it has no option for, and changes nothing else.

A program of its own: `python -m tests.conformance.shim PORT GATEWAY_PORT [CA_FILE]`, with the token in the environment;
with certificates to trust, it speaks TLS to an ingress in front of the gateway.
"""

from __future__ import annotations

import os
import re
import ssl
import sys
from functools import partial

import trio

TOKEN = "CONFORMANCE_TOKEN"
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_HEAD_MAX = 64 * 1024


async def _connect(port: int, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    plain = await trio.open_tcp_stream("127.0.0.1", port)
    return plain if tls is None else trio.SSLStream(plain, tls, server_hostname="localhost", https_compatible=True)


async def _forward(
    gateway_port: int, authorization: bytes, tls: ssl.SSLContext | None, client: trio.SocketStream
) -> None:
    try:
        async with client, await _connect(gateway_port, tls) as gateway, trio.open_nursery() as nursery:
            nursery.start_soon(_requests, client, gateway, authorization, nursery.cancel_scope)
            while data := await gateway.receive_some(_HEAD_MAX):
                await client.send_all(data)
            nursery.cancel_scope.cancel()
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # Either side hung up, and the other has been told by closing it.


async def _requests(
    client: trio.SocketStream, gateway: trio.abc.Stream, authorization: bytes, done: trio.CancelScope
) -> None:
    """Pass on requests one after the other; a hang-up of the client is one towards the gateway."""
    held = b""
    while True:
        while b"\r\n\r\n" not in held and len(held) < _HEAD_MAX:
            data = await client.receive_some()
            if not data:
                done.cancel()
                return
            held += data
        head, _, held = held.partition(b"\r\n\r\n")
        await gateway.send_all(head + b"\r\nAuthorization: " + authorization + b"\r\n\r\n")
        length = _LENGTH.search(head)
        left = int(length.group(1)) if length else 0
        while left:
            data = held or await client.receive_some()
            if not data:
                done.cancel()
                return
            part, held = data[:left], data[left:]
            await gateway.send_all(part)
            left -= len(part)


if __name__ == "__main__":
    port, gateway_port = map(int, sys.argv[1:3])
    trusted = ssl.create_default_context(cafile=sys.argv[3]) if len(sys.argv) > 3 else None
    forward = partial(_forward, gateway_port, f"Bearer {os.environ[TOKEN]}".encode(), trusted)
    trio.run(partial(trio.serve_tcp, forward, port, host="127.0.0.1"))
