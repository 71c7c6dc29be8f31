"""Performs an exchange's commands: the one place where the pure script meets the world.

The driver is run shielded from cancellation, because an exchange that has begun must end on record. Only a hang-up of
the client reaches the script, as ClientGone, and only where it waits for reviewers or for an upstream that nobody needs
an answer from any more.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TypeVar, assert_never

import orjson
import trio

from gateway.core import commands, records, replies
from gateway.core.call import Call
from gateway.core.commands import Command, Decided, Resolution, Script, Settled
from gateway.core.errors import ClientGone, EvidenceFault, GatewayError, InternalFault, SessionEnded
from gateway.core.evidence.record import LeafType, Record
from gateway.core.masking import plan, profile
from gateway.core.masking.plan import Masked
from gateway.core.masking.profile import Profile
from gateway.core.masking.survey import Survey
from gateway.core.policy.decision import Entrypoint
from gateway.core.protocol.jsonrpc import Message, Notification, Request
from gateway.core.records import Ending, Status
from gateway.core.replies import Reply
from gateway.core.types import ApprovalId, Document, Json, LeafIndex
from gateway.telemetry.watch import Arrival, Watch
from gateway.upstream.base import Conversation, Link
from gateway.world import Client, World

T = TypeVar("T")

logger = logging.getLogger("phigate.emergency")

RESULT_S = 10.0
"""How long a poll may be kept while the call that it asks after runs; most calls have ended by then."""
INLINE_BYTES = 64 * 1024
"""Values up to this size are inspected and masked on the event loop; the detectors release the GIL for larger ones."""
BURST_MOST = 32
"""Notifications that are looked at together: enough to share a commit, few enough not to keep the others waiting."""


async def _nothing_runs(_: ApprovalId) -> Json:
    raise InternalFault("nobody is here to run a call that waited as a task")


@dataclass(slots=True)
class Driver:
    """One exchange being performed."""

    call: Call
    world: World
    link: Link
    client: Client
    resume: Callable[[ApprovalId], Awaitable[Json]] = _nothing_runs
    """Begins the call that an approval was granted for, by itself, and answers its reply's document when it has ended.
    Safe to cancel: the call goes on."""
    arrival: Arrival | None = None
    conversation: Conversation | None = None
    detached: bool = False
    _until: float = math.inf
    """When a standing stream ends, on trio's clock."""
    _waiting: trio.CancelScope = field(default_factory=trio.CancelScope)
    """Around the wait for the upstream's next message."""
    _open: bool = False
    _seen: tuple[Json, Survey | None] = (None, None)
    """The value inspected last and what was seen of it, for masking it next."""
    _profile: Profile = field(default_factory=Profile)
    """Of the value inspected last."""
    _came: str | None = None
    """When the burst that is being looked at came: the time at which all of it is decided."""
    _closing: AsyncExitStack = field(default_factory=AsyncExitStack)
    _watch: Watch = field(init=False)

    async def drive(self, script: Script[Reply]) -> Reply:
        """Run the script to its end and return its reply. Raises EvidenceFault when the end cannot be recorded, and
        InternalFault for a bug of ours, after which the exchange still has its outcome."""
        with trio.CancelScope(shield=True):
            self._watch = self.world.observer.begins(self.call, self.arrival)
            self._closing.callback(self._watch.ends)
            try:
                reply = await self._steps(script)
            except EvidenceFault:
                if self._open:
                    self.world.evidence.abandon(self.call.exchange)
                raise
            except SessionEnded:
                raise
            except Exception as bug:  # The script is dead of it, but what it began must still have its one end.
                if self._open:
                    ending = Ending(Status.FAILED, replies.internal(self.call), why="internal")
                    await self.world.evidence.append(records.outcome(self.call, ending))
                raise InternalFault(f"exchange {self.call.exchange} failed in the gateway") from bug
            finally:
                await self._closing.aclose()
        return reply

    def end_stream(self) -> None:
        """The gateway goes down: a standing stream ends now, on record, as it would when its time is up."""
        if self.call.stands:
            self._until = self._waiting.deadline = -math.inf

    async def _steps(self, script: Script[Reply]) -> Reply:
        resume: Callable[[], Command] = partial(next, script)
        while True:
            try:
                command = resume()
            except StopIteration as stop:
                reply: Reply = stop.value
                return reply
            began = self._watch.starts(command)
            try:
                answer = await self._perform(command)
            except GatewayError as fault:
                self._watch.failed(command, fault, began)
                resume = partial(script.throw, fault)
            else:
                self._watch.did(command, answer, began)
                resume = partial(script.send, answer)

    async def _perform(self, command: Command) -> object:
        match command:
            case commands.Decide(entrypoint, document):
                return await self._decide(entrypoint, document)
            case commands.Append(record):
                return await self._append(record)
            case commands.AppendAll(records):
                charge = self.world.standing.charge
                await self.world.evidence.append_all([charge(self.call, each, self._profile) for each in records])
            case commands.Forward(message, detached):
                await self._forward(message, detached)
            case commands.Listen():
                await self._listen()
            case commands.Receive():
                return await self._receive()
            case commands.Inspect(value):
                return await self._inspect(value)
            case commands.Mask():
                return await self._mask(command)
            case commands.Relay(messages):
                await self.client.relay(messages)
            case commands.Recall():
                return await self._recall(command)
            case commands.Present():
                return not self.client.gone
            case commands.Hold():
                return await self._hold(command)
            case commands.Look(approval):
                return await self.world.approvals.look(approval)
            case commands.Resume(approval):
                return await self._resume(approval)
            case commands.Withdraw(approval):
                await self.world.approvals.cancel(approval, self.call.principal)
            case commands.Seal(document, purpose, lives_s):
                return self.world.seal(document, purpose, lives_s)
            case commands.Spend(approval, record):
                return await self.world.approvals.spend(approval, record)
            case commands.Respond(message):
                await self._talk().respond(self.world.unseal_response(message, self.call.session))
            case commands.Learn(tools):
                return await self.world.evidence.learn(self.call.upstream.name, tools)
            case _:
                assert_never(command)
        return None

    async def _decide(self, entrypoint: Entrypoint, document: Document) -> Decided:
        if entrypoint is not Entrypoint.CATALOGUE:
            document = await self.world.standing.stamp(document, self._profile)
        return self.world.pdp().decide(entrypoint, document, at=self._came or timestamp(self.world.now()))

    async def _append(self, record: Record) -> LeafIndex:
        record = self.world.standing.charge(self.call, record, self._profile)
        index = await self.world.evidence.append(record)
        self._open = record.type.opens_exchange or (self._open and not record.type.closes_exchange)
        if record.type is LeafType.EMERGENCY_ACCESS:
            _alert(self.call)
        return index

    async def _forward(self, message: Message, detached: bool) -> None:
        self.detached = detached
        self._begin_stream()
        self.conversation = await self._closing.enter_async_context(self.world.upstream.converse(self.link))
        await self.conversation.send(self._watch.outgoing(message))

    def _begin_stream(self) -> None:
        if self.call.stands:
            self._until = min(self._until, trio.current_time() + self.world.stream_s)

    async def _listen(self) -> None:
        self._begin_stream()
        self.conversation = await self._closing.enter_async_context(self.world.upstream.listen(self.link))
        await self.client.open_stream(self.call.exchange)

    async def _receive(self) -> Message | commands.Burst | None:
        self._came = None
        with trio.CancelScope(deadline=self._until) as self._waiting:
            message = await self._hear()
            if isinstance(message, Notification):
                return self._with_those_at_hand(message)
            return self.world.seal_request(message, self.call.session) if isinstance(message, Request) else message
        return None

    def _with_those_at_hand(self, first: Notification) -> Notification | commands.Burst:
        """The notification, together with those that came with it."""
        if self.world.standing.patient_key is not None:
            return first  # Policy has budgets: what one message uses of them is counted before the next is decided.
        others = tuple(islice(iter(self._talk().at_hand, None), BURST_MOST - 1))
        self._came = timestamp(self.world.now())
        return commands.Burst((first, *others)) if others else first

    async def _hear(self) -> Message | None:
        if self.detached:
            return await self._talk().receive()
        with self.client.interruptible():
            return await self._talk().receive()
        raise ClientGone("the client hung up while the upstream was at work")

    async def _hold(self, hold: commands.Hold) -> Resolution:
        resolution = await self.world.approvals.request(hold.ask, hold.joins)
        if resolution.state is not Settled.PENDING or not hold.waits:
            return resolution
        joined = hold.joins is not None
        with self.client.interruptible() as hung_up, self.client.patience(self.world.hold_s):
            fault: EvidenceFault | None = None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.client.wait_for, resolution)
                try:
                    resolution = await self.world.approvals.wait(resolution.approval, joined=joined)
                except EvidenceFault as error:
                    fault = error  # Raised below: out of the nursery it would come wrapped in an ExceptionGroup.
                nursery.cancel_scope.cancel()
            if fault is not None:
                raise fault
        if hung_up.cancelled_caught:
            raise ClientGone("the client hung up while its call was waiting for approval")
        return resolution

    async def _recall(self, recall: commands.Recall) -> commands.Recalled:
        with self.client.interruptible() as hung_up:
            found = await self.world.evidence.recall(
                self.call.session, recall.exchange, recall.said, waits=recall.waits
            )
        if hung_up.cancelled_caught:
            raise ClientGone("the client hung up while it was told again what it had lost")
        return found

    async def _resume(self, approval: ApprovalId) -> Resolution:
        reply: Json = None
        with self.client.interruptible() as hung_up, self.client.patience(RESULT_S):
            reply = await self.resume(approval)
        if hung_up.cancelled_caught:
            raise ClientGone("the client hung up while its call was running")
        found = await self.world.approvals.look(approval)
        if found.state is not Settled.GRANTED:
            return found
        # It has not begun, or something was against it in the end: then that is its reply.
        return replace(found, state=Settled.PENDING if reply is None else Settled.KEPT, reply=reply)

    async def _inspect(self, value: Json) -> Profile:
        look = partial(profile.inspect, value, patient_key=self.world.standing.patient_key)
        found = await self._compute(value, look)
        self._seen = value, found.survey
        self._profile = found
        return found

    async def _mask(self, command: commands.Mask) -> Masked:
        seen, survey = self._seen
        self._seen = None, None
        work = partial(
            plan.apply,
            command.value,
            command.plan,
            key=self.world.mask_key,
            schema=command.schema,
            survey=survey if seen is command.value else None,
        )
        return await self._compute(command.value, work)

    async def _compute(self, value: Json, work: Callable[[], T]) -> T:
        if len(orjson.dumps(value)) <= INLINE_BYTES:
            return work()
        return await trio.to_thread.run_sync(work)

    def _talk(self) -> Conversation:
        if self.conversation is None:
            raise InternalFault("the script spoke to the upstream before it forwarded anything")
        return self.conversation


def _alert(call: Call) -> None:
    """Tell the operators at once. Whoever watches the log for this logger's name can wake somebody up."""
    logger.critical(
        "emergency access by %s to upstream %s in exchange %s; it is on record and waits for its review: "
        "phigate emergency list",
        call.actor,
        call.upstream.name,
        call.exchange,
    )


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, as decisions and leaves carry it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
