"""One HTTP request at an aggregate endpoint: handed to the upstream that it is for, or put to all and answered once.

What is about one thing goes through the door of its upstream as if it had come there: decided, recorded and pinned as
one of that upstream. What is about all is asked at each door; the answers, each an exchange with its own record, are
put together, and what leaves is on record before it leaves.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import trio

from gateway.core import held as waiting
from gateway.core import merging, records, replies
from gateway.core.errors import ClientFault, EvidenceFault, GatewayError, InternalFault, SessionEnded
from gateway.core.merging import Part
from gateway.core.protocol import aggregate, jsonrpc, mcp, versions
from gateway.core.protocol.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    Failure,
    Message,
    Notification,
    Request,
    Success,
)
from gateway.core.protocol.session import Pass, Ticket
from gateway.core.replies import Reply
from gateway.core.types import Document, Era, ExchangeId, Principal, SessionId
from gateway.upstream.renaming import Renaming
from gateway.web.client import Headers, HttpClient, Receive, Send
from gateway.web.clients import Clients
from gateway.web.desk import Aggregate, Desk, Door
from gateway.web.gathered import Gathered, places
from gateway.web.inbound import Inbound, read_body
from gateway.web.parts import Asked, Early, attending, leave, until_done, whose
from gateway.web.visit import SESSION_HEADER, Visit, session_key
from gateway.web.within import Within

_REWRITTEN = frozenset({b"content-length", b"last-event-id", b"mcp-name", SESSION_HEADER})

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Gathering:
    """One HTTP request whose principal is known, at an aggregate endpoint."""

    desk: Desk
    door: Aggregate
    principal: Principal
    request: Inbound
    send: Send
    clients: Clients
    actor: str
    """The principal's pseudonym."""
    _exchange: ExchangeId = field(init=False)

    def __post_init__(self) -> None:
        self._exchange = self.desk.new_exchange()

    async def post(self, receive: Receive) -> None:
        """A client's message."""
        data = await read_body(receive, limit=self.desk.limits.max_bytes)
        message = jsonrpc.parse(data, self.desk.limits)
        client = HttpClient(self.send, keepalive_s=self.desk.keepalive_s)
        try:
            era, version = versions.identify(self.request.headers, message)
            held = None if era is Era.MODERN or mcp.greets(message) else await self._pass()
            goal = self._goal(message, era, held)
            if goal is not None:
                await self._through(*goal, held, receive)
            elif not isinstance(message, Request):
                await self._tell(message, held, client)
            else:
                await self._attend(message, era, version, held, client, receive)
        except ClientFault as fault:
            await client.finish(replies.client_fault(fault, message.id if isinstance(message, Request) else None))

    async def get(self, receive: Receive) -> None:
        """A legacy client listens for what the upstreams say outside any call."""
        held = await self._pass()
        tickets = {name: held.members[name] for name in self._members(held)}
        last = self.request.header(b"last-event-id")
        found = await places(last, tickets, self.desk.sessions) if last else {}
        if last and found is None:
            member = await whose(last, tickets, self.desk.sessions)
            await self._visit(self.desk, member, None, held, last=last).get(receive)
            return
        client = Gathered(self.send, keepalive_s=self.desk.keepalive_s, version=held.own.version)
        back = found or {}
        asked = [self._ask(each, None, held, partial(client.tell, each), last=back.get(each, "")) for each in tickets]
        async with attending(client, receive) as nursery:
            nursery.start_soon(client.keep_alive)
            with trio.move_on_after(self.door.wait_s):
                for each in asked:
                    await each.within.begun.wait()
            heard = any(each.within.status == 200 for each in asked)
            if heard:
                await client.stand(asked, back)
            else:
                leave(asked)
            nursery.cancel_scope.cancel()
        client.leave_off()
        await client.finish(Reply.nothing() if heard else Reply(b"", 405))

    async def delete(self) -> None:
        """A legacy client ends its session, and with it those with the upstreams."""
        held = await self._pass()
        await self.desk.sessions.close_session(held.own.session, why="client")
        asked = [self._ask(member, None, held, _nobody, method="DELETE") for member in self._members(held)]
        with trio.move_on_after(self.door.wait_s):
            for each in asked:
                await each.within.done.wait()
        await HttpClient(self.send).finish(Reply(b"", 204))

    def _goal(self, message: Message, era: Era, held: Pass | None) -> tuple[str, Message] | None:
        """The one upstream that the message is for, and the message as it knows it; None: it is for all, or nobody."""
        if isinstance(message, Success | Failure):
            for name, ticket in held.members.items() if held is not None else ():
                if self.desk.sealer.response(message, ticket.session) is not None:
                    return name, message
            raise ClientFault("This answers no request that was sent through here.", code=INVALID_REQUEST)
        found = self._own_task(message, era) or aggregate.routed(message, self.door.names)
        if found is not None and found[0] in self._doors():
            return found
        return None

    def _own_task(self, message: Message, era: Era) -> tuple[str, Message] | None:
        """Whose call a task of the gateway's own stands for: its id is sealed for one upstream."""
        for name in self._doors() if isinstance(message, Request) and message.method.startswith("tasks/") else ():
            task = waiting.opened(era, message, self.principal, name, self.desk.sealer.unseal).task
            if task is not None and task.approval is not None:
                return name, message
        return None

    async def _through(self, member: str, message: Message, held: Pass | None, receive: Receive) -> None:
        """Through the door of its own upstream, to the client itself."""
        body: list[bytes] = [jsonrpc.format(message)]

        async def first() -> dict[str, object]:
            return {"type": "http.request", "body": body.pop(), "more_body": False} if body else await receive()

        await self._visit(self.desk, member, message, held).post(first)

    async def _tell(self, message: Message, held: Pass | None, client: HttpClient) -> None:
        """A notification is told to all that it may concern; one of nobody's thing is dropped."""
        everybody = isinstance(message, Notification) and message.method in aggregate.EVERYBODY
        asked = [self._ask(member, message, held, _nobody) for member in self._members(held) if everybody]
        with trio.move_on_after(self.door.wait_s):
            for each in asked:
                await each.within.done.wait()
        statuses = sorted(each.within.status for each in asked if each.within.status)
        failed = 502 if everybody else 202
        await client.finish(Reply(b"", statuses[0] if statuses else failed))

    async def _attend(
        self, message: Request, era: Era, version: str, held: Pass | None, client: HttpClient, receive: Receive
    ) -> None:
        """A request is put to all, and answered once."""
        session = held.own.session if held is not None else await self._session(message, era, version)
        async with attending(client, receive) as nursery:
            if not mcp.greets(message):
                nursery.start_soon(client.keep_alive)
            try:
                reply = await self._answered(message, era, version, held, session, client)
            except ClientFault as fault:
                reply = replies.client_fault(fault, message.id)
            except SessionEnded as ended:
                reply = replies.problem(ended, replies.NO_SESSION, 404, message.id)
            except EvidenceFault as fault:
                reply = replies.problem(fault, replies.INTERNAL, 503, message.id)
            await client.finish(reply)
            nursery.cancel_scope.cancel()

    async def _answered(
        self, message: Request, era: Era, version: str, held: Pass | None, session: SessionId, client: HttpClient
    ) -> Reply:
        if message.method not in aggregate.EVERYBODY:
            return await self._recorded(message, era, session, [], Reply.of(merging.own(message), era))
        said: list[bytes] = []
        early: Early | None = None
        if message.method == mcp.LISTEN:
            record = partial(self._record, era, session)
            early = Early(message, client, self.door.wait_s, record)

        async def keep(messages: Sequence[bytes]) -> None:
            said.extend(messages)

        relay = keep if mcp.greets(message) else early.relay if early is not None else client.relay
        cursors = self._cursors(message)
        asked = [
            self._ask(member, self._question(message, member, cursors), held, relay)
            for member in self._members(held)
            if not cursors or member in cursors
        ]
        if early is not None:
            await early.stand(asked)
        else:
            await until_done(asked, client, self.door.wait_s)
        parts = [each.part(message) for each in asked]
        faults = [each.fault for each in asked]
        if faults and all(isinstance(fault, ClientFault) for fault in faults) and faults[0] is not None:
            raise faults[0]
        parts += [Part(name, why="session_ended") for name in self._doors() if held and name not in held.members]
        merged = merging.merge(message, parts, self.door.names, era, self.door.ref.name)
        answer = merged.answer
        if merged.cursors and isinstance(answer, Success) and isinstance(answer.result, dict):
            cursor = self.desk.sealer.cursors(merged.cursors, self._listing(message))
            answer = Success(answer.id, {**answer.result, "nextCursor": cursor})
        if mcp.greets(message) and isinstance(answer, Success):
            headers = self._greeting(message, version, session, asked, answer)
            client.headers = lambda _: headers
        if said:
            await client.relay(said)
        return await self._recorded(message, era, session, asked, Reply.of(answer, era))

    async def _record(self, era: Era, session: SessionId, message: Message, asked: list[Asked], data: bytes) -> None:
        """What leaves here, which no single exchange has on record."""
        with trio.CancelScope(shield=True):
            await self.door.evidence.append(
                records.merged(
                    self.door.ref.name,
                    self.actor,
                    era,
                    session,
                    self.desk.new_exchange(),
                    message,
                    of=[each.exchange for each in asked],
                    data=data,
                )
            )

    async def _recorded(
        self, message: Message, era: Era, session: SessionId, asked: list[Asked], reply: Reply
    ) -> Reply:
        await self._record(era, session, message, asked, reply.data)
        return reply

    def _ask(
        self,
        member: str,
        message: Message | None,
        held: Pass | None,
        relay: Callable[[Sequence[bytes]], Awaitable[None]],
        *,
        method: str = "GET",
        last: str = "",
    ) -> Asked:
        """Begin one upstream's part. It comes to its end, on record, whether or not anybody waits for it."""
        within = Within(jsonrpc.format(message) if message is not None else b"", relay)
        asked = Asked(member, self.desk.new_exchange(), within)
        desk = replace(self.desk, new_exchange=lambda: asked.exchange)

        async def run() -> None:
            try:
                visit = self._visit(desk, member, message, held, within, last=last)
                if message is not None:
                    await visit.post(within.receive)
                elif method == "GET":
                    await visit.get(within.receive)
                else:
                    await visit.delete()
            except GatewayError as fault:
                asked.fault = fault
            except Exception as bug:  # This part is lost, and said to be; the nursery is everybody's.
                logger.error("exchange %s: %s", asked.exchange, type(bug).__name__)
                asked.fault = InternalFault("a part of an aggregate's answer failed")
            finally:
                within.end()

        self.door.nursery.start_soon(run)
        return asked

    def _visit(
        self,
        desk: Desk,
        member: str,
        message: Message | None,
        held: Pass | None,
        within: Within | None = None,
        *,
        last: str = "",
    ) -> Visit:
        """The request as it would have come to the upstream's own door. `last`: the event id that it came back with."""
        send, hung_up = (self.send, self.request.hung_up) if within is None else (within.send, within.left)
        door = self._doors()[member]
        outward = partial(aggregate.renamed, names=self.door.names, member=member)
        renamed = partial(Renaming, outward=outward, inward=_as_it_is)
        headers = [(key, value) for key, value in self.request.headers if key not in _REWRITTEN]
        if message is not None and (name := mcp.name(message)) is not None:
            headers.append((b"mcp-name", versions.encode_header(name).encode()))
        if last:
            headers.append((b"last-event-id", last.encode()))
        ticket = held.members.get(member) if held is not None else None
        if ticket is not None:
            headers.append((SESSION_HEADER, self.desk.sealer.session_id(ticket).encode()))
        elif held is not None:
            raise SessionEnded("This session does not reach that upstream. Send `initialize`.")
        request = replace(self.request, headers=headers, hung_up=hung_up)
        return Visit(desk, door, self.principal, request, send, self.clients, self.actor, renamed)

    def _doors(self) -> Mapping[str, Door]:
        """The doors behind this one, as they are now."""
        found = {name: self.desk.doors.get(name) for name in self.door.names.members}
        return {name: door for name, door in found.items() if isinstance(door, Door)}

    def _members(self, held: Pass | None) -> list[str]:
        """Whom to ask: of a legacy session's upstreams those that are there."""
        return [name for name in self._doors() if held is None or name in held.members]

    async def _pass(self) -> Pass:
        """The legacy session that the client names. Whatever is wrong with it, the session does not exist for it.

        While it lives it is as if each upstream had been heard of: one that is seldom called does not fall out of it.
        """
        text = self.request.header(SESSION_HEADER)
        if text is None:
            detail = "The Mcp-Session-Id header is missing. Send `initialize` first and repeat the id it returns."
            raise ClientFault(detail, code=INVALID_REQUEST)
        held = self.desk.sealer.pass_(text)
        if held is None or (held.own.upstream, held.own.actor) != (self.door.ref.name, self.actor):
            raise SessionEnded("This session does not exist here. Send `initialize`.")
        await self.desk.sessions.touch(held.own.session, idle_s=self.desk.session_idle_s)
        members = {name: await self._renewed(ticket) for name, ticket in held.members.items()}
        return replace(held, members=members)

    async def _renewed(self, ticket: Ticket) -> Ticket:
        """A ticket with the session that is live under its key; in a pass, the key stands where the session would."""
        members = self._opening(ticket.upstream, Era.LEGACY, ticket.version)
        session = await self.desk.sessions.session(ticket.session, members=members, idle_s=self.desk.session_idle_s)
        return replace(ticket, session=session)

    async def _session(self, message: Message, era: Era, version: str) -> SessionId:
        name = self.door.ref.name
        key = self._exchange if mcp.greets(message) else session_key(self.actor, self.principal.client, name)
        members = self._opening(name, era, version)
        return await self.desk.sessions.session(key, members=members, idle_s=self.desk.session_idle_s)

    def _opening(self, upstream: str, era: Era, version: str) -> Document:
        return {"actor": self.actor, "upstream": upstream, "era": era.value, "version": version}

    def _greeting(
        self, message: Request, version: str, session: SessionId, asked: list[Asked], answer: Success
    ) -> Headers:
        """The session id: it holds a ticket for each upstream that has taken the client's greeting."""
        members: dict[str, Ticket] = {}
        for each in asked:
            text = each.within.headers.get(SESSION_HEADER, b"").decode()
            if (ticket := self.desk.sealer.ticket(text)) is not None:
                members[each.member] = replace(ticket, session=SessionId(each.exchange))  # Its key: see `_renewed`.
        agreed = answer.result.get("protocolVersion") if isinstance(answer.result, dict) else None
        greeting = message.params if any(ticket.greeting is not None for ticket in members.values()) else None
        version = agreed if isinstance(agreed, str) else version
        own = Ticket(session, self.door.ref.name, self.actor, version, greeting=greeting)
        return [(SESSION_HEADER, self.desk.sealer.pass_id(Pass(own, members)).encode())]

    def _question(self, message: Request, member: str, cursors: Mapping[str, str]) -> Message:
        """A request to all as one upstream is asked it."""
        cursor = cursors.get(member)
        if cursor is None:
            return aggregate.for_member(message, self.door.names, member)
        return Request(message.id, message.method, {**message.params, "cursor": cursor})

    def _cursors(self, message: Request) -> Mapping[str, str]:
        """Where each upstream's listing goes on; empty at its beginning."""
        cursor = message.params.get("cursor") if message.method in aggregate.LISTED else None
        if cursor is None:
            return {}
        found = self.desk.sealer.cursors_of(cursor, self._listing(message)) if isinstance(cursor, str) else None
        if not found:
            # MCP, Pagination: Error Handling.
            raise ClientFault("This cursor is not of this listing, or is too old.", code=INVALID_PARAMS)
        return found

    def _listing(self, message: Request) -> str:
        return f"{message.method} at {self.door.ref.name} by {self.actor}"


def _as_it_is(message: Message) -> Message:
    """What a member is told bears its own names already: see `_through`."""
    return message


async def _nobody(_: Sequence[bytes]) -> None:
    """Nobody listens for what comes ahead of this answer."""
