"""`/mcp/<upstream>`: the front of MCP's Streamable HTTP, as raw ASGI.

Raw, because every message takes this road and a web framework would cost more than all the rest. Here it is settled
who calls, from where and for which upstream; `visit.py` takes it from there.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gateway.core import replies
from gateway.core.errors import (
    ClientFault,
    ClientGone,
    EvidenceFault,
    GatewayError,
    IdentityUnavailable,
    SessionEnded,
    Unauthenticated,
)
from gateway.core.protocol.jsonrpc import INVALID_REQUEST
from gateway.core.replies import Reply
from gateway.core.types import Document, SessionId
from gateway.upstream.credentials import caller
from gateway.web import cors
from gateway.web.client import Headers, HttpClient, Receive, Send
from gateway.web.clients import Clients
from gateway.web.desk import Aggregate, Desk, Door
from gateway.web.gathering import Gathering
from gateway.web.inbound import Inbound
from gateway.web.visit import WITHDRAWN, Visit

PREFIX = "/mcp/"
RETRY_S = b"1"
"""When a principal that has too many requests in flight may try again."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Endpoint:
    """The ASGI application behind `/mcp/`."""

    desk: Desk
    clients: Clients = field(default_factory=Clients)
    _in_flight: Counter[str] = field(default_factory=Counter)
    """Requests being served, by the principal's pseudonym."""

    @contextmanager
    def open(self) -> Iterator[None]:
        """Hear what clients take back at other processes while the block runs."""
        with self.desk.mail.listen(WITHDRAWN, self._withdrawn):
            yield

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one HTTP request (ASGI 3, `http` scope)."""
        request = Inbound.of(scope)
        page = cors.origin(request.headers, self.desk.origins)
        if page is not None:
            send = cors.marked(send, page)
        try:
            self._check_source(request)
            if page is not None and cors.is_preflight(request.method, request.headers):
                await cors.answer(send, request.headers)
            else:
                await self._serve(request, receive, send)
        except ClientGone:
            return  # It hung up before there was anything to decide.
        except GatewayError as fault:
            reply, headers = self._explain(fault, request)
            client = HttpClient(send)
            client.headers = lambda _: headers
            await client.finish(reply)

    def hurry(self) -> None:
        """The drain begins: calls that wait for reviewers end as pending, and their approvals live on."""
        for client in self.clients:
            client.hurry()

    def end_streams(self) -> None:
        """The drain begins: end the streams that would otherwise last as long as it."""
        for client in self.clients:
            client.dismiss()

    def leave_all(self) -> None:
        """The drain is over: end what is still held or streaming, on record."""
        for client in self.clients:
            client.leave()

    def _withdrawn(self, document: Document) -> None:
        match document:
            case {"session": str(session), "id": str() | int() as ident}:
                for client in self.clients:
                    client.withdraw((SessionId(session), ident))

    async def _serve(self, request: Inbound, receive: Receive, send: Send) -> None:
        door = self._door(request)
        token = request.header(b"authorization")
        principal = await self.desk.identify(
            token,
            resource=door.resource,
            query=request.query,
            scopes=door.scopes,
            certificate=request.peer.certificate,
        )
        actor = self.desk.actor(principal)
        visit: Gathering | Visit
        if isinstance(door, Aggregate):
            visit = Gathering(self.desk, door, principal, request, send, self.clients, actor)
        else:
            visit = Visit(self.desk, door, principal, request, send, self.clients, actor)
        self._take_turn(actor)
        try:
            with caller.calling(token):
                await self._visit(visit, receive)
        finally:
            self._end_turn(actor)

    async def _visit(self, visit: Visit | Gathering, receive: Receive) -> None:
        match visit.request.method:
            case "POST":
                await visit.post(receive)
            case "GET":
                await visit.get(receive)
            case "DELETE":
                await visit.delete()
            case _:
                raise ClientFault("Use POST, GET or DELETE here.", code=INVALID_REQUEST, status=405)

    def _take_turn(self, actor: str) -> None:
        """One of the requests that a principal may have in flight: held calls and streams count while they last.

        Without a bound one principal could take every upstream connection and leave none to the others. Raises
        ClientFault 429.
        """
        most = self.desk.max_in_flight
        if self._in_flight[actor] >= most:
            detail = (
                f"You have {most} requests in flight here, as many as one principal may; this one was not looked at. "
                "Wait for some of them to end, or cancel some, and send it again."
            )
            raise ClientFault(detail, code=replies.REFUSED, status=429)
        self._in_flight[actor] += 1

    def _end_turn(self, actor: str) -> None:
        self._in_flight[actor] -= 1
        if not self._in_flight[actor]:
            del self._in_flight[actor]  # A principal that has gone leaves nothing behind.

    def _door(self, request: Inbound) -> Door | Aggregate:
        door = self.desk.doors.get(request.path.removeprefix(PREFIX))
        if door is None:
            raise ClientFault("There is no such upstream here. Check the URL.", code=INVALID_REQUEST, status=404)
        return door

    def _check_source(self, request: Inbound) -> None:
        """Host and Origin must be ours: a page elsewhere must not reach us through a browser (DNS rebinding)."""
        host, origin = request.header(b"host"), request.header(b"origin")
        if host is None or host.lower() not in self.desk.hosts:
            detail = "This Host is not served here. Use the gateway's own address, or add it to allowed_hosts."
            raise ClientFault(detail, code=INVALID_REQUEST, status=403)
        if origin is not None and origin.lower() not in self.desk.origins:
            raise ClientFault("This Origin may not call the gateway.", code=INVALID_REQUEST, status=403)

    def _explain(self, fault: GatewayError, request: Inbound) -> tuple[Reply, Headers]:
        """The answer to a fault that came before there was an exchange."""
        match fault:
            case ClientFault(status=405):
                return replies.client_fault(fault, None), [(b"allow", b"DELETE, GET, POST")]  # RFC 9110 §15.5.6
            case ClientFault(status=429):
                return replies.client_fault(fault, None), [(b"retry-after", RETRY_S)]  # RFC 6585 §4
            case ClientFault():
                return replies.client_fault(fault, None), []
            case Unauthenticated():
                door = self._door(request)
                self.desk.failed_login(fault.reason, door.ref.name, request.peer.address)
                status, challenge = self.desk.challenge(fault, door.resource, door.scopes)
                return replies.problem(fault, replies.REFUSED, status), [(b"www-authenticate", challenge.encode())]
            case SessionEnded():
                return replies.problem(fault, replies.NO_SESSION, 404), []
            case IdentityUnavailable() | EvidenceFault():
                return replies.problem(fault, replies.INTERNAL, 503), [(b"retry-after", b"5")]
            case _:
                logger.error("a request failed before its exchange: %s", type(fault).__name__)
                return replies.problem(fault, replies.INTERNAL, 500), []
