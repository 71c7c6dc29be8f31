"""`subscriptions/listen` to a legacy upstream: what it says of itself as a whole, as much as one client asked for."""

from __future__ import annotations

from contextlib import ExitStack

import trio

from gateway.core.protocol import bridge, mcp
from gateway.core.protocol.jsonrpc import Message, Notification, Request
from gateway.core.types import Json
from gateway.upstream.base import Conversation, Link
from gateway.upstream.bridge.feed import Feed, Feeds
from gateway.upstream.bridge.sessions import LEAVE_S, Session, Sessions
from gateway.upstream.bridge.translated import Translated

URIS = 256
"""Resources that one subscription may be about; those beyond are not acknowledged."""


class Subscription(Translated):
    """One `subscriptions/listen`. It ends when its client or the gateway ends it."""

    def __init__(self, sessions: Sessions, feeds: Feeds, link: Link) -> None:
        self.upstream_session: str | None = None
        self._sessions = sessions
        self._feeds = feeds
        self._link = link
        self._stack = ExitStack()
        self._feed: Feed | None = None
        self._request: Request | None = None
        self._methods: frozenset[str] = frozenset()
        self._uris: list[str] = []
        self._waiting: dict[tuple[str, str], Notification] = {}
        """What the client has to be told, each once: that something changed twice is no more than that it changed."""
        self._news = trio.Event()
        self._acknowledged = False

    async def __aenter__(self) -> Conversation:
        return self

    async def __aexit__(self, *_: object) -> None:
        with self._stack, trio.CancelScope(shield=True, deadline=trio.current_time() + LEAVE_S):
            for uri in self._uris:
                if self._feed is not None:
                    await self._feed.unsubscribe(uri)

    async def send(self, message: Message) -> None:
        """See `Conversation`."""
        assert isinstance(message, Request)
        self._request = message
        session = await self._sessions.session(self._link, mcp.meta(message))
        self._stack.enter_context(session.use())
        self._methods, wanted = bridge.subscription(message, session.capabilities)
        self._hear_in(session)
        self._feed = await self._feeds.join(session)
        self._stack.callback(self._feeds.leave, session, self._feed)
        for uri in wanted[:URIS]:
            if await self._feed.subscribe(uri):
                self._uris.append(uri)

    async def receive(self) -> Message | None:
        """See `Conversation`."""
        assert self._request is not None
        if not self._acknowledged:
            self._acknowledged = True
            return bridge.acknowledged(self._request, self._methods, tuple(self._uris))
        while not self._waiting:
            await self._news.wait()
            self._news = trio.Event()
        key = next(iter(self._waiting))
        return bridge.of_subscription(self._waiting.pop(key), self._request.id)

    async def respond(self, message: Message) -> None:
        """See `Conversation`. Nothing is asked on this stream."""

    def _hear_in(self, session: Session) -> None:
        session.hears.add(self._hear)
        self._stack.callback(session.hears.discard, self._hear)

    def _hear(self, message: Notification) -> None:
        uri: Json = message.params.get("uri")
        about = uri if isinstance(uri, str) else ""
        if message.method in self._methods or (message.method == bridge.UPDATED and about in self._uris):
            self._waiting[message.method, about] = message
            self._news.set()
