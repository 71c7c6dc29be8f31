"""An upstream that does what a test's script says, without a wire; and clients' sides of a bridge over it."""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Success
from gateway.core.types import Era, SessionId
from gateway.upstream.base import Link
from gateway.upstream.bridge import Bridge
from gateway.upstream.bridge.translated import BRIDGED
from tests.fakes.mail import FakeMail, Post

META = {
    mcp.PROTOCOL_VERSION: "2026-07-28",
    mcp.CLIENT_INFO: {"name": "agent", "version": "3"},
    mcp.CLIENT_CAPABILITIES: {"elicitation": {}, "sampling": {}, "roots": {}},
}
MODERN = Link(SessionId("s"), Era.MODERN, "2026-07-28")
GREETING = {
    "protocolVersion": "2025-11-25",
    "clientInfo": {"name": "agent", "version": "3"},
    "capabilities": {"elicitation": {}, "sampling": {}, "roots": {}},
}
LEGACY = Link(SessionId("s"), Era.LEGACY, "2025-11-25", upstream_session=BRIDGED, greeting=GREETING)
CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}


def modern(method="tools/call", params=None, ident=1, **meta):
    """A modern client's request."""
    return Request(ident, method, {**({"name": "query"} if params is None else params), mcp.META: {**META, **meta}})


def call(ident=1, name="query", **more):
    """A legacy client's call."""
    return Request(ident, "tools/call", {"name": name, **more})


class Talk:
    """One conversation with the script, as the bridge has it."""

    def __init__(self, upstream, link):
        self.upstream = upstream
        self.link = link
        self.upstream_session = None
        self.message = None
        self.responses = deque()
        self.left = False
        self.answered = False
        self._said = deque()
        self._news = trio.Event()

    async def __aenter__(self):
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *_):
        self.left = True
        if self.message is not None and not self.answered:
            self.upstream.abandoned.append(self.message)

    async def send(self, message):
        await trio.lowlevel.checkpoint()
        self.message = message
        self.upstream.heard.append((self.link, message))
        await self.upstream.script(self, message)

    async def receive(self):
        while not self._said:
            await self._news.wait()
            self._news = trio.Event()
        said = self._said.popleft()
        if isinstance(said, UpstreamFault):
            raise UpstreamFault(said.detail, kind=said.kind)
        if isinstance(said, Exception):
            raise said
        self.answered = self.answered or said is None or isinstance(said, Success | Failure)
        return said

    async def respond(self, message):
        await trio.lowlevel.checkpoint()
        self.responses.append(message)
        await self.upstream.answered(self, message)

    def say(self, *messages):
        """Have the bridge hear these, in order; a fault is raised there."""
        self._said.extend(messages)
        self._news.set()

    def result(self, **result):
        self.say(Success(self.message.id, result))


@dataclass(eq=False)
class Scripted:
    """See `gateway.upstream.base.Upstream`. `script` plays each message, `answered` each answer to a question."""

    script: object
    answered: object = None
    opened: object = None
    """Plays each listening stream; None: there is none."""
    local: bool = False
    name: str = "clinic"
    heard: list = field(default_factory=list)
    abandoned: list = field(default_factory=list)
    """Messages whose conversations were left before their answers."""
    ended: list = field(default_factory=list)
    streams: list = field(default_factory=list)

    def converse(self, link):
        return Talk(self, link)

    @asynccontextmanager
    async def listen(self, link):
        if self.opened is None:
            raise UpstreamFault("it answered HTTP 405", kind="status")
        stream = Talk(self, link)
        self.streams.append(stream)
        await self.opened(stream)
        try:
            yield stream
        finally:
            self.streams.remove(stream)

    async def end(self, link):
        await trio.lowlevel.checkpoint()
        self.ended.append(link)

    async def aclose(self):
        pass

    def methods(self):
        """What it was sent, by method."""
        return [getattr(message, "method", type(message).__name__) for _, message in self.heard]

    def of(self, method):
        """The messages of one method that it was sent."""
        return [message for _, message in self.heard if getattr(message, "method", None) == method]


def legacy_server(play=None, *, capabilities=None, answered=None, **more):
    """An upstream that knows `initialize` only; `play` is given each other request."""
    sessions = iter(range(1, 10_000))

    async def script(talk, message):
        match message:
            case Request(method="initialize"):
                talk.upstream_session = f"up-{next(sessions)}"
                talk.result(
                    protocolVersion=message.params["protocolVersion"],
                    capabilities=CAPABILITIES if capabilities is None else capabilities,
                    serverInfo={"name": "old", "version": "1"},
                )
            case Request(method="server/discover"):
                talk.say(Failure(message.id, -32601, "Method not found"))
            case Request() if play is not None:
                await play(talk, message)
            case Request():
                talk.result(content=[], echo=message.method)
            case _:
                talk.say(None)

    async def ignore(talk, message):
        pass

    return Scripted(script, answered or ignore, **more)


def modern_server(play=None, **more):
    """An upstream that knows `server/discover` only; `play` is given each other request."""

    async def script(talk, message):
        match message:
            case Request(method="server/discover"):
                talk.result(resultType="complete", supportedVersions=["2026-07-28"], capabilities=CAPABILITIES)
            case Request(method="initialize"):
                talk.say(Failure(message.id, -32601, "Method not found"))
            case Request(method=mcp.LISTEN):
                talk.say(Notification("notifications/subscriptions/acknowledged", {"notifications": {}}))
            case Request() if play is not None:
                await play(talk, message)
            case Request():
                talk.result(resultType="complete", content=[])
            case _:
                talk.say(None)

    return Scripted(script, **more)


@asynccontextmanager
async def processes(*upstreams, era=None):
    """A bridge in front of each of `upstreams`, which are one upstream as several processes have it."""
    post = Post()
    async with trio.open_nursery() as nursery:
        bridges = []
        for number, upstream in enumerate(upstreams):
            mail = FakeMail(f"018f0000-0000-7000-8000-{number:012}", post)
            bridges.append(await nursery.start(_open, upstream, mail, era))
        yield bridges
        nursery.cancel_scope.cancel()


async def _open(upstream, mail, era, task_status):
    async with Bridge.open(upstream, mail, era) as bridge:
        task_status.started(bridge)
        await trio.sleep_forever()


async def ask(bridge, message, link):
    """Everything that comes back for one message, the answer last."""
    async with bridge.converse(link) as conversation:
        await conversation.send(message)
        return await rest(conversation)


async def rest(conversation):
    """What is still to come in a conversation, the answer last."""
    heard = []
    while True:
        heard.append(await conversation.receive())
        if heard[-1] is None or isinstance(heard[-1], Success | Failure):
            return heard


async def answer_to(bridge, message, link):
    """The answer to one message."""
    return (await ask(bridge, message, link))[-1]


def retry(request, asked, answer, **meta):
    """A modern client's request again, with an answer to what its result asked."""
    params = {
        **request.params,
        "inputResponses": {"answer": answer},
        "requestState": asked.result["requestState"],
        mcp.META: {**META, **meta},
    }
    return replace(request, id=f"{request.id}+", params=params)
