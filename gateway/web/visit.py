"""One HTTP request at one door, from bytes to a Call and from the Reply to bytes.

Everything that can be wrong with a message is found here; from the Call on, types are believed.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import orjson
import trio

from gateway.core import held, replies, resuming
from gateway.core.call import EMERGENCY, JUSTIFICATION, LISTEN, PURPOSE, Call, Emergency
from gateway.core.commands import Script
from gateway.core.errors import ClientFault, EvidenceFault, InternalFault, SessionEnded, UpstreamFault
from gateway.core.exchange import exchange
from gateway.core.held import Opened
from gateway.core.policy import input as policy_input
from gateway.core.protocol import jsonrpc, mcp, mirrored, paging, tasks, versions
from gateway.core.protocol.jsonrpc import INVALID_PARAMS, INVALID_REQUEST, Failure, Message, Request, RequestId, Success
from gateway.core.protocol.session import Ticket
from gateway.core.replies import Reply
from gateway.core.resuming import Lost, Mark
from gateway.core.types import Document, Era, ExchangeId, Principal, SessionId, Tool
from gateway.driver import Driver
from gateway.telemetry.watch import Arrival
from gateway.upstream.base import Link, Upstream
from gateway.upstream.bridge.translated import WITH_TASKS, is_bridged
from gateway.upstream.renaming import Renaming
from gateway.web.client import Headers, HttpClient, Receive, Send
from gateway.web.clients import Clients
from gateway.web.desk import Desk, Door
from gateway.web.errands import Away
from gateway.web.inbound import Inbound, read_body
from gateway.web.legs import Legs

SESSION_HEADER = b"mcp-session-id"
WITHDRAWN = "withdrawn"
"""The box for what clients take back: each process looks whether it holds that."""
UNKNOWN_EVENT = "This Last-Event-ID was not given in this session. Open the stream without one."
FACTS_INLINE_BYTES = 2048
"""Facts of messages up to this size are found on the event loop; larger ones beside it: 64 KB of SQL take seconds."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Visit:
    """One HTTP request whose principal and door are known."""

    desk: Desk
    door: Door
    principal: Principal
    request: Inbound
    send: Send
    clients: Clients
    """This visit's is among them while it lasts."""
    actor: str
    """The principal's pseudonym."""
    renamed: Callable[[Upstream], Upstream] | None = None
    """The upstream under other names, where those are not its own."""
    _of_tasks: frozenset[str] | None = None
    """The tasks that a subscription is about, by their names upstream; None where this is no subscription."""
    _exchange: ExchangeId = field(init=False)
    _arrival: Arrival = field(init=False)

    def __post_init__(self) -> None:
        self._exchange = self.desk.new_exchange()
        self._arrival = Arrival(time.perf_counter(), self.request.header(b"traceparent"))

    async def post(self, receive: Receive) -> None:
        """A client's message (MCP 2025-11-25 and 2026-07-28, Transports: Sending Messages to the Server)."""
        self._check_media()
        data = await read_body(receive, limit=self.desk.limits.max_bytes)
        message = jsonrpc.parse(data, self.desk.limits)
        try:
            era, version = versions.identify(self.request.headers, message)
            self._own_task(message, era)
            link = await self._link(message, era, version)
            message, answers = self._unsealed(self._resumed(message, era), link)
            opened = held.opened(era, message, self.principal, self.door.ref.name, self.desk.sealer.unseal)
            message = opened.message
            tool = await self._tool(message)
            if mirrored := self._mirrored(message, tool, link):
                link = replace(link, mirrored=mirrored)
            facts = await self._facts(message, len(data))
        except ClientFault as fault:
            reply = replies.client_fault(fault, _ident(message))
            await HttpClient(self.send).finish(reply)
            return
        except EvidenceFault as fault:
            # Said here and not in `endpoint.py`, because only here it is known which request is answered.
            await HttpClient(self.send).finish(replies.problem(fault, replies.INTERNAL, 503, _ident(message)))
            return
        if (taken_back := mcp.cancelled(message)) is not None:
            await self._withdraw(link.session, taken_back)
        await self._perform(self._call(opened, link, facts, tool, answers), link, receive)

    async def get(self, receive: Receive) -> None:
        """A legacy client listens for what the upstream says outside any call."""
        if not self.request.accepts("text/event-stream"):
            raise ClientFault("A GET here answers with text/event-stream only.", code=INVALID_REQUEST, status=406)
        link = self._link_of(self._ticket())
        last = self.request.header(b"last-event-id")
        if last:
            await self._come_back(last, link, receive)
        else:
            await self._perform(self._call(Opened(LISTEN), link, {}), link, receive)

    async def _come_back(self, last: str, link: Link, receive: Receive) -> None:
        """A client that lost a stream wants the rest of it (MCP 2025-11-25, Resumability and Redelivery)."""
        mark = resuming.parse(last)
        lost = await self.desk.sessions.lost(link.session, mark.exchange) if mark is not None else None
        if mark is None or lost is None:
            raise ClientFault(UNKNOWN_EVENT, code=INVALID_REQUEST)
        tool = await self._tool(lost.message)
        facts: Document = {}
        if lost.message is not LISTEN:
            facts = await self._facts(lost.message, len(jsonrpc.format(lost.message)))
        call = self._call(
            Opened(lost.message), replace(link, mirrored=self._mirrored(lost.message, tool, link)), facts, tool
        )
        if lost.left_waiting:
            await self._perform(call, link, receive)  # Asking again is how a held call goes on: it joins its approval.
        else:
            await self._perform(call, link, receive, resumes=(mark, lost))

    async def delete(self) -> None:
        """A legacy client ends its session. Nothing is asked of policy: giving up access needs no permission."""
        ticket = self._ticket()
        await self.desk.sessions.close_session(ticket.session, why="client")
        try:
            await self.door.world.upstream.end(self._link_of(ticket))
        except UpstreamFault as fault:
            # The client's session has ended all the same, on record. The upstream's own is nobody's now and falls idle.
            logger.warning("upstream %s was not told that a session ended: %s", self.door.ref.name, fault.kind)
        await HttpClient(self.send).finish(Reply(b"", 204))

    async def _withdraw(self, session: SessionId, taken_back: RequestId) -> None:
        """A call that waits for reviewers is not run any more, whichever process holds it."""
        found = [client.withdraw((session, taken_back)) for client in self.clients]
        if not any(found):
            with suppress(EvidenceFault):  # Nothing is carried out in that case either; the exchange says so.
                await self.desk.mail.send(WITHDRAWN, {"session": session, "id": taken_back})

    def _check_media(self) -> None:
        kind = (self.request.header(b"content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise ClientFault("Send the message as application/json.", code=INVALID_REQUEST, status=415)
        if not (self.request.accepts("application/json") and self.request.accepts("text/event-stream")):
            detail = "Accept both application/json and text/event-stream: either may be the answer."
            raise ClientFault(detail, code=INVALID_REQUEST, status=406)

    async def _link(self, message: Message, era: Era, version: str) -> Link:
        """The session that this message belongs to, opened on record if it is the first."""
        if era is Era.LEGACY and not mcp.greets(message):
            return self._link_of(self._ticket())
        # A modern client has no session of its own: what it does until it falls idle is one (design 4.7).
        legacy = era is Era.LEGACY
        key = self._exchange if legacy else session_key(self.actor, self.principal.client, self.door.ref.name)
        members: Document = {
            "actor": self.actor,
            "upstream": self.door.ref.name,
            "era": era.value,
            "version": version,
        }
        session = await self.desk.sessions.session(key, members=members, idle_s=self.desk.session_idle_s)
        greeting = message.params if legacy and self.door.greets and isinstance(message, Request) else None
        return Link(session, era, version, greeting=greeting)

    def _ticket(self) -> Ticket:
        """The legacy session that the client names. Whatever is wrong with it, the session does not exist for it."""
        text = self.request.header(SESSION_HEADER)
        if text is None:
            detail = "The Mcp-Session-Id header is missing. Send `initialize` first and repeat the id it returns."
            raise ClientFault(detail, code=INVALID_REQUEST)
        ticket = self.desk.sealer.ticket(text)
        mine = ticket is not None and ticket.upstream == self.door.ref.name and ticket.actor == self.actor
        if ticket is None or not mine:
            raise SessionEnded("This session does not exist here. Send `initialize`.")
        return ticket

    def _link_of(self, ticket: Ticket) -> Link:
        return Link(ticket.session, Era.LEGACY, ticket.version, ticket.upstream_session, ticket.greeting)

    def _unsealed(self, message: Message, link: Link) -> tuple[Message, str]:
        """A response under the id that the upstream gave its request, and that request's method."""
        if not isinstance(message, Success | Failure):
            return message, ""
        opened = self.desk.sealer.response(message, link.session)
        if opened is None:
            raise ClientFault("This answers no request that was sent through here.", code=INVALID_REQUEST)
        return opened

    def _resumed(self, message: Message, era: Era) -> Message:
        """A request for a further page under the upstream's own cursor."""
        cursor = paging.brought(message)
        if cursor is None or not isinstance(message, Request):
            return message
        purpose = paging.purpose(self.actor, self.door.ref.name, message)
        opened = self.desk.sealer.unseal(cursor, purpose) if isinstance(cursor, str) else None
        resumed = paging.resumed(message, opened) if opened is not None else None
        if resumed is None:
            # Pagination, Error Handling: invalid params.
            detail = "This cursor was not given to you here, or is too old. List from the beginning, without a cursor."
            raise _invalid(detail, era)
        return resumed

    def _own_task(self, message: Message, era: Era) -> None:
        """A task that was not made for this principal is none; who takes none is told of none. Raises ClientFault."""
        if tasks.concerned(message) and era is Era.MODERN and not mcp.declares_tasks(message):
            detail = "Declare the tasks extension."
            raise ClientFault(detail, code=versions.MISSING_CAPABILITY, data=mcp.without_tasks())
        if tasks.answers_nothing(message):
            raise ClientFault("`inputResponses` is missing or no object.", code=INVALID_PARAMS)
        ident = tasks.asked(message)
        if not tasks.asks(message) or (ident is not None and (held.names_own(message) or self._opened(ident) != ident)):
            return
        raise _invalid("There is no such task for you here. Make the call again.", era)

    def _around(self, upstream: Upstream) -> Upstream:
        """The upstream as this principal knows it."""
        own = Renaming(upstream, outward=self._outward, inward=self._inward)
        return own if self.renamed is None else self.renamed(own)

    def _outward(self, message: Message) -> Message:
        return tasks.outward(message, self._sealed)

    def _inward(self, message: Message) -> Message:
        told = tasks.inward(message, self._opened)
        self._of_tasks = tasks.subscribed(told)
        return told

    def _sealed(self, ident: str) -> str:
        if self._of_tasks is not None and ident not in self._of_tasks:
            ident = ""  # Told unasked on a subscription, it may be anybody's: sealed, it would be this client's own.
        return tasks.sealed(ident, self.desk.sealer.key, self._whose_tasks())

    def _opened(self, ident: str) -> str:
        return tasks.own(ident, self.desk.sealer.key, self._whose_tasks()) or ident

    def _whose_tasks(self) -> str:
        return held.purpose("task of the upstream", self.principal, self.door.ref.name)

    async def _facts(self, message: Message, size: int) -> Document:
        if size <= FACTS_INLINE_BYTES:
            return self.door.facts(message)
        return await trio.to_thread.run_sync(self.door.facts, message)

    def _call(self, opened: Opened, link: Link, facts: Document, tool: Tool | None = None, answers: str = "") -> Call:
        message, meta = opened.message, mcp.meta(opened.message)
        why, what_for = meta.get(JUSTIFICATION), meta.get(PURPOSE)
        return Call(
            exchange=self._exchange,
            session=link.session,
            actor=self.actor,
            era=link.era,
            version=link.version,
            principal=self.principal,
            upstream=self.door.ref,
            message=message,
            tool=tool,
            facts=facts,
            answers=answers,
            purpose=what_for if isinstance(what_for, str) else "",
            justification=why if isinstance(why, str) else "",
            emergency=Emergency.CLAIMED if meta.get(EMERGENCY) is True else Emergency.NONE,
            claim=opened.claim,
            task=opened.task,
            makes_tasks=link.upstream_session == WITH_TASKS,
        )

    async def _tool(self, message: Message) -> Tool | None:
        if not isinstance(message, Request) or message.method != "tools/call":
            return None
        return await self.desk.sessions.tool(self.door.ref.name, policy_input.name_of(message))

    def _mirrored(self, message: Message, tool: Tool | None, link: Link) -> tuple[tuple[str, str], ...]:
        """The `Mcp-Param-*` headers that go on: the client's that repeat the body, or those that a bridge adds."""
        if link.era is Era.MODERN:
            return mirrored.passing(self.request.headers, message, tool)
        return mirrored.needed(message, tool) if is_bridged(link) else ()

    async def _run(self, link: Link, opened: Opened, ident: ExchangeId) -> Reply:
        """Make a call in an exchange of its own that its client does not wait in."""
        message = opened.message
        tool = await self._tool(message)
        link = replace(link, mirrored=mirrored.needed(message, tool))
        facts = await self._facts(message, len(jsonrpc.format(message)))
        call = replace(self._call(opened, link, facts, tool), exchange=ident)
        driver = Driver(call, self.door.world, link, Away(), around=self._around)
        return await _driven(driver, call, exchange(call))

    async def _perform(
        self, call: Call, link: Link, receive: Receive, *, resumes: tuple[Mark, Lost] | None = None
    ) -> None:
        mark = Mark(call.exchange) if resumes is None else resumes[0]
        client = self._client(call, mark)
        legs = self._legs(call, link)
        driver = Driver(call, self.door.world, link, client, legs, self._arrival, self._around)
        script = exchange(call) if resumes is None else resuming.resumption(call, *resumes)
        client.dismiss = driver.end_stream
        if link.era is Era.LEGACY and mcp.greets(call.message):
            client.headers = self._greeting_headers(link, driver)
        client.answers = (link.session, call.message.id) if isinstance(call.message, Request) else None

        async def work() -> None:
            if self.request.method == "GET" and not call.listens:
                await client.open_stream(mark.exchange)  # What answers a GET is a stream, whatever is said on it.
            await client.finish(await _driven(driver, call, script))

        await self.clients.serve(client, receive, work)

    def _legs(self, call: Call, link: Link) -> Legs | None:
        if call.task is None:
            return None
        world, desk, run = self.door.world, self.desk, partial(self._run, link)
        clerks = (world.approvals, world.evidence, desk.mail, desk.errands, world.now, desk.sealer.unseal)
        return Legs(*clerks, self.principal, self.door.ref.name, link.session, desk.new_exchange, run)

    def _client(self, call: Call, mark: Mark) -> HttpClient:
        streams = call.listens or (isinstance(call.message, Request) and not mcp.greets(call.message))
        return HttpClient(
            self.send,
            keepalive_s=self.desk.keepalive_s if streams else math.inf,
            progress=mcp.progress_token(call.message),
            mark=mark if call.era is Era.LEGACY else None,
            primed=call.version >= resuming.PRIMED_SINCE,
            hung_up=self.request.hung_up,
        )

    def _greeting_headers(self, link: Link, driver: Driver) -> Callable[[Reply | None], Headers]:
        """The session id, made when the response starts: only then is it known what the upstream answered."""

        def headers(reply: Reply | None) -> Headers:
            if driver.conversation is None:
                return []
            version = _negotiated(reply)
            if reply is not None and version is None:
                return []  # The upstream, or policy, said no: there is no session.
            ticket = Ticket(
                link.session,
                self.door.ref.name,
                self.actor,
                version or link.version,
                driver.conversation.upstream_session,
                link.greeting,
            )
            return [(SESSION_HEADER, self.desk.sealer.session_id(ticket).encode())]

        return headers


async def _driven(driver: Driver, call: Call, script: Script[Reply]) -> Reply:
    """The reply of the exchange, or what may be said when it could not be brought to its end."""
    try:
        return await driver.drive(script)
    except SessionEnded as ended:  # By a DELETE that this message crossed: found out where its first leaf is written.
        return replies.problem(ended, replies.NO_SESSION, 404, _ident(call.message))
    except EvidenceFault:
        logger.error("exchange %s: evidence could not be written", call.exchange)
        return replies.unrecorded(call)
    except InternalFault as fault:
        logger.error("exchange %s: %s", call.exchange, type(fault.__cause__ or fault).__name__)
        return replies.internal(call)


def _invalid(detail: str, era: Era) -> ClientFault:
    """What a request names is none of its client's. A legacy client reads errors in answers of status 200 only."""
    return ClientFault(detail, code=INVALID_PARAMS, status=200 if era is Era.LEGACY else 400)


def _ident(message: Message) -> RequestId | None:
    return message.id if isinstance(message, Request) else None


def _negotiated(reply: Reply | None) -> str | None:
    """The protocol version that the upstream agreed to, if the reply is its agreement."""
    document = orjson.loads(reply.data) if reply is not None and reply.data else {}
    match document:
        case {"result": {"protocolVersion": str(version)}}:
            return version
    return None


def session_key(actor: str, client: str, upstream: str) -> str:
    """The key of the one session that a principal's client has with an upstream, where it has none of its own."""
    return hashlib.sha256(orjson.dumps((actor, client, upstream))).hexdigest()
