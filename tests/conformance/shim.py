"""Adds a bearer token to what the conformance suite sends, which it has no option for, and changes nothing else.

A program of its own: `python -m tests.conformance.shim PORT GATEWAY_PORT`, with the token in the environment.
"""

from __future__ import annotations

import os
import re
import sys
from functools import partial

import trio

TOKEN = "CONFORMANCE_TOKEN"
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_HEAD_MAX = 64 * 1024


async def _forward(gateway_port: int, authorization: bytes, client: trio.SocketStream) -> None:
    try:
        async with (
            client,
            await trio.open_tcp_stream("127.0.0.1", gateway_port) as gateway,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_requests, client, gateway, authorization, nursery.cancel_scope)
            async for data in gateway:
                await client.send_all(data)
            nursery.cancel_scope.cancel()
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # Either side hung up, and the other has been told by closing it.


async def _requests(
    client: trio.SocketStream, gateway: trio.SocketStream, authorization: bytes, done: trio.CancelScope
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
    port, gateway_port = map(int, sys.argv[1:])
    forward = partial(_forward, gateway_port, f"Bearer {os.environ[TOKEN]}".encode())
    trio.run(partial(trio.serve_tcp, forward, port, host="127.0.0.1"))
