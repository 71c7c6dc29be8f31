"""The front of MCP's Streamable HTTP, asked through ASGI: how much one principal may take, and how sessions end."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from gateway.core.errors import UpstreamFault
from gateway.core.policy.decision import Entrypoint
from gateway.core.protocol.jsonrpc import Limits, Success
from gateway.core.protocol.session import Ticket
from gateway.core.types import ExchangeId, Principal, SessionId, UpstreamRef
from gateway.driver import Driver
from gateway.upstream.base import Link
from gateway.web.client import HttpClient
from gateway.web.desk import Desk, Door
from gateway.web.endpoint import Endpoint
from gateway.web.errands import Errands
from gateway.web.sealer import Sealer
from gateway.web.visit import Visit
from tests.fakes.mail import FakeMail
from tests.fakes.world import MOMENT, FakeUpstream, Scene
from tests.playbooks.playbook import allow, deny

SEALER = Sealer(b"k" * 32, lambda: MOMENT)
HEADERS = [
    (b"host", b"gw.example"),
    (b"content-type", b"application/json"),
    (b"accept", b"application/json, text/event-stream"),
]


class Sessions:
    """Notes which sessions were closed."""

    def __init__(self):
        self.closed = []

    async def session(self, key, *, members, idle_s):
        raise AssertionError("no test here comes so far")

    async def close_session(self, session, *, why):
        await trio.lowlevel.checkpoint()
        self.closed.append((session, why))

    async def tool(self, upstream, name):
        raise AssertionError("no test here comes so far")


@dataclass
class Answer:
    """One request at the endpoint and what came of it; its body arrives when it is `released`."""

    endpoint: Endpoint
    who: str = "ada"
    method: str = "POST"
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    released: trio.Event = field(default_factory=trio.Event)
    status: int = 0
    sent: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    said: bytes = b"no JSON"

    async def __call__(self):
        scope = {"method": self.method, "path": "/mcp/clinic", "query_string": b""}
        scope["headers"] = [*HEADERS, (b"authorization", self.who.encode()), *self.headers]
        await self.endpoint(scope, self._receive, self._send)
        return self

    async def _receive(self):
        await self.released.wait()
        return {"type": "http.request", "body": self.said, "more_body": False}

    async def _send(self, event):
        if event["type"] == "http.response.start":
            self.status, self.sent = event["status"], dict(event["headers"])
        self.body += event.get("body", b"")


async def identify(authorization, *, resource, query, scopes, certificate):
    await trio.lowlevel.checkpoint()
    return Principal("https://idp.example", authorization, ())


def serving(*, upstream=None, most=2, scene=None, sessions=None):
    """An endpoint, and the sessions behind it."""
    scene = scene or Scene({}, [])
    scene.upstream = upstream or scene.upstream
    sessions = sessions or Sessions()
    door = Door(UpstreamRef("clinic"), "https://gw.example/mcp/clinic", scene.world(), facts=lambda _: {})
    desk = Desk(
        doors={"clinic": door},
        identify=identify,
        challenge=lambda fault, resource, scopes: (401, ""),
        failed_login=lambda reason, upstream, address: None,
        actor=lambda principal: principal.subject,
        sessions=sessions,
        sealer=SEALER,
        errands=Errands(),
        mail=FakeMail(),
        new_exchange=lambda: ExchangeId("0198-exchange"),
        limits=Limits(),
        hosts=frozenset({"gw.example"}),
        origins=frozenset(),
        max_in_flight=most,
    )
    return Endpoint(desk), sessions


async def test_one_principal_cannot_take_all_that_the_gateway_has(nursery):
    endpoint, _ = serving(most=2)
    held = [Answer(endpoint), Answer(endpoint)]
    for request in held:
        nursery.start_soon(request)
    await trio.testing.wait_all_tasks_blocked()

    over = await Answer(endpoint)()
    other = Answer(endpoint, who="bob")
    other.released.set()
    await other()

    assert (over.status, over.sent[b"retry-after"]) == (429, b"1")
    error = json.loads(over.body)["error"]
    assert "2 requests in flight" in error["message"]
    assert "send it again" in error["message"]
    assert other.status == 400, "another principal is served: its message is read, and is no JSON"


@pytest.mark.parametrize("ending", ["answered", "cancelled"])
async def test_a_request_that_is_over_makes_room_however_it_ended(ending):
    endpoint, _ = serving(most=1)
    async with trio.open_nursery() as nursery:
        first = Answer(endpoint)
        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked()
        assert (await Answer(endpoint)()).status == 429
        if ending == "answered":
            first.released.set()
        else:
            nursery.cancel_scope.cancel()

    again = Answer(endpoint)
    again.released.set()
    assert (await again()).status == 400
    assert not endpoint._in_flight, "who has nothing in flight is not remembered"


@dataclass
class Unreachable(FakeUpstream):
    """An upstream that cannot be told that a session ended."""

    told: list[Link] = field(default_factory=list)

    async def end(self, link):
        await trio.lowlevel.checkpoint()
        self.told.append(link)
        raise UpstreamFault("it cannot be reached", kind="unreachable")


async def test_a_session_ends_although_the_upstream_is_down():
    upstream = Unreachable(Scene({}, []).conversation)
    endpoint, sessions = serving(upstream=upstream)
    ticket = SEALER.session_id(Ticket(SessionId("0199-mine"), "clinic", "ada", "2025-11-25", "their-session"))

    ended = await Answer(endpoint, method="DELETE", headers=[(b"mcp-session-id", ticket.encode())])()

    assert (ended.status, ended.body) == (204, b"")
    assert sessions.closed == [("0199-mine", "client")]
    assert [link.upstream_session for link in upstream.told] == ["their-session"]


class Served(Sessions):
    """Every call belongs to one session, and no tool was ever listed."""

    async def session(self, key, *, members, idle_s):
        await trio.lowlevel.checkpoint()
        return SessionId("s")

    async def tool(self, upstream, name):
        await trio.lowlevel.checkpoint()


def claimed(**meta):
    about = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "agent", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "read", "arguments": {}, "_meta": {**about, **meta}}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()


MODERN = [(b"mcp-protocol-version", b"2026-07-28"), (b"mcp-method", b"tools/call"), (b"mcp-name", b"read")]


@pytest.mark.parametrize(
    ("meta", "told"),
    [
        ({"phigate/emergency": True, "phigate/justification": "unconscious"}, {"requested": True, "justified": True}),
        ({"phigate/emergency": True}, {"requested": True, "justified": False}),
        (
            {"phigate/emergency": True, "phigate/justification": ["unconscious"]},
            {"requested": True, "justified": False},
        ),
        ({"phigate/emergency": "true", "phigate/justification": "unconscious"}, None),
        ({"phigate/emergency": 1}, None),
        ({"phigate/emergency": False}, None),
        ({}, None),
    ],
)
async def test_an_emergency_is_claimed_in_plain_words_or_not_at_all(meta, told):
    scene = Scene({Entrypoint.CALL: [deny()]}, [])
    endpoint, _ = serving(scene=scene, sessions=Served())
    answer = Answer(endpoint, headers=MODERN, said=claimed(**meta))
    answer.released.set()
    await answer()

    ((_, asked),) = scene.pdp.asked
    assert asked.get("emergency") == told


@pytest.mark.parametrize(
    ("meta", "purpose", "why"),
    [
        ({"phigate/purpose": "TREAT", "phigate/justification": "ward round"}, "TREAT", "ward round"),
        ({"phigate/purpose": ["TREAT"], "phigate/justification": 1}, "", None),
        ({}, "", None),
    ],
)
async def test_what_for_and_why_a_client_calls_is_told_as_it_says_it(meta, purpose, why):
    scene = Scene({Entrypoint.CALL: [deny()]}, [])
    endpoint, _ = serving(scene=scene, sessions=Served())
    answer = Answer(endpoint, headers=MODERN, said=claimed(**meta))
    answer.released.set()
    await answer()

    ((_, asked),) = scene.pdp.asked
    assert (asked["purpose"], asked.get("justification")) == (purpose, why)


async def test_what_a_call_was_about_is_gone_from_memory_when_it_is_over():
    """A ring of references would keep it, and whatever PHI it holds, until the garbage collector comes by."""
    scene = Scene({Entrypoint.CALL: [allow()], Entrypoint.RESULT: [allow()]}, [Success(1, {"content": []})])
    endpoint, _ = serving(scene=scene, sessions=Served())
    answer = Answer(endpoint, headers=MODERN, said=claimed())
    answer.released.set()
    gc.collect()
    gc.disable()
    try:
        await answer()
        left = [each for each in gc.get_objects() if type(each) in (Visit, Driver, HttpClient)]
    finally:
        gc.enable()
    assert (answer.status, left) == (200, [])
