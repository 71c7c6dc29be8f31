"""A token endpoint on loopback that answers what the test says, byte for byte, and remembers what it was asked."""

from __future__ import annotations

import base64
from collections import deque
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, unquote

import orjson
import trio

GOOD = {"access_token": "synthetic-upstream-token", "token_type": "Bearer", "expires_in": 300}


class Asked:
    """One request: its headers, by lower-case name, and its form."""

    def __init__(self, head: bytes, body: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")[1:]
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        self.form = {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}

    @property
    def basic(self) -> tuple[str, str]:
        """Client id and secret of the Authorization header."""
        ident, _, secret = base64.b64decode(self.headers["authorization"].split()[1]).decode().partition(":")
        return unquote(ident), unquote(secret)


class Answering:
    """What it answers: `answers` in turn, the last of them for ever."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[Asked] = []
        self.answers: deque[bytes] = deque([answer(GOOD)])
        self.waits: trio.Event | None = None
        """While this is not set, nobody is answered."""
        self.came = trio.Event()

    def says(self, *answers: bytes) -> None:
        self.answers = deque(answers)

    async def serve(self, stream) -> None:
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                chunk = await stream.receive_some(65536)
                if not chunk:
                    return
                data += chunk
            head, _, body = data.partition(b"\r\n\r\n")
            asked = Asked(head, b"")
            while len(body) < int(asked.headers.get("content-length", 0)):
                body += await stream.receive_some(65536)
            self.asked.append(Asked(head, body))
            self.came.set()
            if self.waits is not None:
                await self.waits.wait()
            with suppress(trio.BrokenResourceError):  # It had enough of it.
                await stream.send_all(self.answers.popleft() if len(self.answers) > 1 else self.answers[0])


def answer(document, status="200 OK", **headers) -> bytes:
    """A whole HTTP answer with a JSON document, or with these very bytes."""
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


@asynccontextmanager
async def answering():
    """The endpoint, while the block runs."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        endpoint = Answering(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/token")
        nursery.start_soon(trio.serve_listeners, endpoint.serve, listeners)
        yield endpoint
        nursery.cancel_scope.cancel()
