"""A whole gateway in this process, in a thread of its own, and an upstream that says what each example wants.

The ASGI application, policy, masking, evidence and the HTTP side to the upstream are the real ones. What is asked of it
is asked from outside the thread, so that hypothesis can think meanwhile.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio

from gateway import config as configuration
from gateway.service import Gateway, open_gateway
from tests.e2e import harness
from tests.e2e.harness import Upstream
from tests.e2e.issuer import Issuer
from tests.upstream.wires import Asked, Wire

SSN = "219-09-9999"
"""Synthetic. What upstreams say of a patient: no analyst may get it, and nothing may note it in the clear."""
MARK = "Zyxwvut-PHI-Marker"
"""What clients say of one, wherever they can say something: nothing may note it in the clear."""
GROUP = "fuzz"
"""The group of whoever asks; its role may do much."""
LINGER_S = 0.8
"""How long a client listens to a standing stream, and `PATIENCE_S` how long it waits for any other answer: many times
what the upstream may take."""
PATIENCE_S = 8.0
STOP_S = 6.0
"""How long an exchange may go on once its client has left: the longest that a call may take, and some."""
CALL_S = 0.6
TOOLS = ("tool", "tool_pin")
"""Tables of what upstreams say of themselves: people must be able to read it before they accept it."""
Script = Callable[[Asked], Sequence[bytes]]
Header = tuple[bytes, bytes]


@dataclass(frozen=True)
class Question:
    """One HTTP request as the server hands it to the application. `hangs_up`: after so many pieces of the body."""

    method: str
    path: str
    headers: tuple[Header, ...]
    body: tuple[bytes, ...] = (b"",)
    hangs_up: bool = False

    @property
    def stands(self) -> bool:
        """Whether it may ask for a stream that ends by itself never."""
        return self.method == "GET" or b"subscriptions/listen" in b"".join(self.body)


@dataclass
class Answer:
    """What came back. `over`: whether the application said that it is the end; `left`: the client did not wait for it
    any longer."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    over: bool = False
    left: bool = False

    def messages(self) -> list[Any]:
        """The JSON-RPC messages in it, whether it is one document or a stream."""
        if self.headers.get(b"content-type") == b"text/event-stream":
            lines = self.body.split(b"\n")
            return [json.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]
        return [json.loads(self.body)] if self.body else []


class Notes(logging.Handler):
    """Everything that is logged, as text."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Note it."""
        self.said.append(self.format(record))


@dataclass
class House:
    """The running gateway. `place` is its directory."""

    place: harness.Gateway
    notes: Notes
    script: Script = lambda _: ()
    token: trio.lowlevel.TrioToken | None = None
    gateway: Gateway | None = None
    fault: BaseException | None = None
    _over: trio.Event | None = None
    _ready: threading.Event = field(default_factory=threading.Event)

    def ask(self, question: Question, script: Script) -> Answer:
        """The answer to one request, with an upstream that keeps to `script`. Raises what the application raises."""
        self.script = script
        return trio.from_thread.run(partial(self._ask, question), trio_token=self.token)

    async def _ask(self, question: Question) -> Answer:
        answer, left, body = Answer(), trio.Event(), list(question.body)

        async def receive() -> Mapping[str, Any]:
            await trio.lowlevel.checkpoint()
            if body:
                return {"type": "http.request", "body": body.pop(0), "more_body": bool(body) or question.hangs_up}
            if not question.hangs_up:
                await left.wait()
                answer.left = True
            return {"type": "http.disconnect"}

        async def send(event: Mapping[str, Any]) -> None:
            await trio.lowlevel.checkpoint()
            if event["type"] == "http.response.start":
                answer.status, answer.headers = event["status"], dict(event["headers"])
            else:
                answer.body += event.get("body", b"")
                answer.over = not event.get("more_body", False)

        path, _, query = question.path.partition("?")
        scope = {"type": "http", "method": question.method, "path": path, "query_string": query.encode()}
        scope |= {"headers": list(question.headers), "client": ("127.0.0.1", 1), "scheme": "http"}
        assert self.gateway is not None
        patience = LINGER_S if question.stands else PATIENCE_S
        with trio.fail_after(patience + STOP_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_leave, left, patience)
                await self.gateway.app(scope, receive, send)
                nursery.cancel_scope.cancel()
        return answer

    async def serve(self, port: int) -> None:
        """Open the gateway and its upstream, until told that it is over."""
        self._over = trio.Event()
        self.token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            serving = partial(trio.serve_tcp, self._upstream, port, host="127.0.0.1")
            await nursery.start(serving)
            async with open_gateway(configuration.load(self.place.config)) as self.gateway:
                self._ready.set()
                await self._over.wait()
            nursery.cancel_scope.cancel()

    async def _upstream(self, stream: trio.SocketStream) -> None:
        """One connection: each request is answered by the script's pieces; none, or an empty last one, closes it."""
        wire = Wire(stream)
        with suppress(trio.BrokenResourceError, trio.EndOfChannel, trio.ClosedResourceError, ValueError):
            while True:
                asked = await wire.request()
                pieces = self.script(asked)  # That of now: the connection may be kept from an earlier example.
                await wire.say(*pieces)
                if not pieces or not pieces[-1]:
                    await stream.aclose()
                    return

    def run(self, port: int) -> None:
        """The thread."""
        try:
            trio.run(self.serve, port)
        except BaseException as fault:
            self.fault = fault
        finally:
            self._ready.set()

    def finish(self) -> None:
        """End it."""
        if self._over is not None and self.fault is None:
            trio.from_thread.run_sync(self._over.set, trio_token=self.token)


async def _leave(left: trio.Event, after_s: float) -> None:
    await trio.sleep(after_s)
    left.set()


def opened(settings: dict[str, Any]) -> None:
    """A policy under which much passes: what is not let through is not put to the test."""
    settings["groups"][GROUP] = GROUP
    settings["precedence"].insert(0, GROUP)
    settings["roles"][GROUP] = {**settings["roles"]["analysis"], "writes": "allow"}
    settings["methods"]["fuzz/known"] = "protocol"
    settings["from_upstream"]["requests"] += ["elicitation/create", "sampling/createMessage", "roots/list"]
    settings["from_upstream"]["notifications"] += ["notifications/tasks", "notifications/tasks/status"]
    settings["from_upstream"]["opens"] += ["https://login.example"]


@contextmanager
def running(directory: Path, issuer: Issuer) -> Iterator[House]:
    """A gateway in `directory` while the block runs; checked when it has ended."""
    port = harness.free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    limits = {"connect_s": 1, "idle_s": 0.2, "call_s": CALL_S}
    upstreams = [Upstream(era, {"url": url, "era": era, **limits}) for era in ("legacy", "modern")]
    settings = {"gateway": {"hold_s": 0.1, "keepalive_s": 1}}
    change = partial(harness.change_settings, change=opened)
    place = harness.prepare(directory, issuer, upstreams, settings=settings, policy=change)
    notes = Notes()
    logging.getLogger().addHandler(notes)
    house = House(place, notes)
    thread = threading.Thread(target=house.run, args=(port,))
    thread.start()
    house._ready.wait()
    try:
        if house.fault is not None:
            raise house.fault
        yield house
    except BaseException:
        print(*notes.said[-20:], sep="\n")
        raise
    finally:
        house.finish()
        thread.join()
        logging.getLogger().removeHandler(notes)
        if house.fault is not None:
            raise house.fault
    check(house)


def check(house: House) -> None:
    """What must hold of what a gateway left: one end an exchange, evidence that verifies, nothing in the clear."""
    house.place.check_ends()
    with closing(sqlite3.connect(f"file:{house.place.store}?mode=ro", uri=True)) as store:
        names = [name for (name,) in store.execute("select name from sqlite_master where type = 'table'")]
        rows = [str(row) for name in names if name not in TOOLS for row in store.execute(f"select * from {name}")]
    for secret in (SSN, MARK):
        assert not [row for row in rows if secret in row], f"the store holds {secret} in the clear"
        assert not [line for line in house.notes.said if secret in line]
    house.place.verify()
