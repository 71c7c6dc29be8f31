"""What a legacy upstream says outside any call, in one session, for all subscriptions that modern clients have in it.

One stream for all of them: upstreams refuse a second one in a session, and a resource is subscribed to once however
many want to hear of it.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import bridge
from gateway.core.protocol.jsonrpc import Notification, Request, Success
from gateway.upstream.base import Link
from gateway.upstream.bridge.sessions import LEAVE_S, Session, Sessions, decline

OPENED_S = 10.0
"""How long an upstream may take to open its stream, its sessions begun anew on the way."""
_RETRY_S = 1.0
_RETRY_MOST_S = 30.0
"""How long a stream that broke off is left alone: the first time, and at most."""


class Feed:
    """The stream of one session, open while anybody listens."""

    def __init__(self, sessions: Sessions, session: Session) -> None:
        self.users = 0
        self._sessions = sessions
        self._session = session
        self._uris: Counter[str] = Counter()
        self._subscribed_in: Link | None = None
        """Where the upstream was told of the URIs."""
        self._turn = trio.Lock()
        self._opened = trio.Event()
        self._fault: UpstreamFault | None = None
        self._scope = trio.CancelScope()

    async def join(self) -> None:
        """One listener more; returns when the stream is open. Raises UpstreamFault when it cannot be opened: one that
        forgets each session as soon as its stream is asked for would be tried for ever."""
        self.users += 1
        if self.users == 1:
            self._sessions.beside.start_soon(self._pump)
        with trio.move_on_after(OPENED_S):
            await self._opened.wait()
        if not self._opened.is_set():
            raise UpstreamFault("it did not open the stream on which it tells of changes", kind="timeout")
        if self._fault is not None:
            raise UpstreamFault(self._fault.detail, kind=self._fault.kind)

    def leave(self) -> None:
        """One listener less."""
        self.users -= 1
        if not self.users:
            self._scope.cancel()

    async def subscribe(self, uri: str) -> bool:
        """Have the upstream tell of changes of a resource; whether it does. Raises UpstreamFault."""
        async with self._turn:
            if not self._uris[uri]:
                answer = await self._sessions.ask(self._session, "resources/subscribe", {"uri": uri})
                if not isinstance(answer, Success):
                    return False
                self._subscribed_in = self._session.link
            self._uris[uri] += 1
            return True

    async def unsubscribe(self, uri: str) -> None:
        """One that wanted to hear of a resource does not any more."""
        async with self._turn:
            self._uris[uri] -= 1
            if self._uris[uri]:
                return
            del self._uris[uri]
            with suppress(UpstreamFault), trio.move_on_after(LEAVE_S):
                await self._sessions.ask(self._session, "resources/unsubscribe", {"uri": uri})

    async def _pump(self) -> None:
        pause = _RETRY_S
        with self._scope, self._session.use():
            while True:
                try:
                    if await self._listen():
                        pause = _RETRY_S
                except UpstreamFault as fault:
                    if fault.kind == "status":  # It has no such stream, and says what it has to say during calls.
                        self._opened.set()
                        return
                    if not self._opened.is_set():
                        self._fault = fault
                        self._opened.set()
                        return
                await trio.sleep(pause)
                pause = min(2 * pause, _RETRY_MOST_S)

    async def _listen(self) -> bool:
        """One stream, to its end; whether anything was heard on it. Raises UpstreamFault."""
        link, heard = self._session.link, False
        try:
            async with self._sessions.inner.listen(link) as stream:
                await self._subscribe_again(link)
                self._opened.set()
                while (message := await stream.receive()) is not None:
                    heard = True
                    if isinstance(message, Request):
                        await decline(stream, message)
                    elif isinstance(message, Notification) and message.method in bridge.STANDING:
                        self._session.told(message)
        except UpstreamFault as fault:
            if fault.kind != "ended":
                raise
            await self._sessions.again(self._session, link)
        return heard

    async def _subscribe_again(self, link: Link) -> None:
        """Tell a session that was begun anew what its predecessor had been told."""
        async with self._turn:
            if self._subscribed_in is not None and self._subscribed_in is not link:
                for uri in self._uris:
                    await self._sessions.ask(self._session, "resources/subscribe", {"uri": uri})
                self._subscribed_in = link


class Feeds:
    """The feeds that are open in this process."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._feeds: dict[Session, Feed] = {}

    async def join(self, session: Session) -> Feed:
        """The session's feed, with one listener more; `leave` it. Raises UpstreamFault."""
        feed = self._feeds.get(session)
        if feed is None:
            feed = self._feeds[session] = Feed(self._sessions, session)
        try:
            await feed.join()
        except BaseException:  # Failed or cancelled: nobody will leave a feed that he never got.
            self.leave(session, feed)
            raise
        return feed

    def leave(self, session: Session, feed: Feed) -> None:
        """One listener less."""
        feed.leave()
        if not feed.users and self._feeds.get(session) is feed:
            del self._feeds[session]
