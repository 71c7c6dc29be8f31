"""Performs an exchange's commands: the one place where the pure script meets the world.

The driver is run shielded from cancellation, because an exchange that has begun must end on record. Only a hang-up of
the client reaches the script, as ClientGone, and only where it waits for reviewers or for an upstream that nobody needs
an answer from any more.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

import orjson
import trio

from gateway.core import commands, records, replies
from gateway.core.call import Call
from gateway.core.commands import Command, Decided, Resolution, Script, Settled
from gateway.core.errors import ClientGone, EvidenceFault, GatewayError, InternalFault, SessionEnded
from gateway.core.evidence.record import LeafType
from gateway.core.masking import plan, profile
from gateway.core.masking.plan import Masked
from gateway.core.masking.profile import Profile
from gateway.core.policy.decision import Entrypoint
from gateway.core.protocol.jsonrpc import Message, Notification, Request
from gateway.core.records import Ending, Status
from gateway.core.replies import Reply
from gateway.core.types import ApprovalId, Json, LeafIndex
from gateway.telemetry.watch import Arrival, Watch
from gateway.upstream.base import Conversation, Link, Upstream
from gateway.world import Client, World

T = TypeVar("T")

logger = logging.getLogger("phigate.emergency")

RESULT_S = 10.0
"""How long a poll may be kept while the call that it asks after runs; most calls have ended by then."""
INLINE_BYTES = 64 * 1024
"""Values up to this size are inspected and masked on the event loop; the detectors release the GIL for larger ones."""
PACE_S = 0.2
"""While nothing but notifications come, a stream is written to no more often than this: progress and log lines are for
people, who do not read five of them a second. What comes first after a pause waits for nothing."""
TICK_S = PACE_S / 4
"""Streams take their turns at multiples of this, so that several share a commit and not all keep the others waiting."""

_UNSEEN = Profile()


class Tasks(Protocol):
    """What becomes of calls that wait as tasks of the gateway's own."""

    async def granted(self, approval: ApprovalId) -> Json:
        """Begin the call that an approval was granted for, by itself; its reply's document when it has ended. Safe to
        cancel: the call goes on."""

    async def look(self, approval: ApprovalId) -> Resolution:
        """Where the task stands that was given for an approval."""

    async def answer(self, answer: commands.Answer) -> None:
        """See `commands.Answer`."""


def _itself(upstream: Upstream) -> Upstream:
    return upstream


@dataclass(slots=True)
class Driver:
    """One exchange being performed."""

    call: Call
    world: World
    link: Link
    client: Client
    tasks: Tasks | None = None
    """None where nobody can ask after one."""
    arrival: Arrival | None = None
    around: Callable[[Upstream], Upstream] = _itself
    """What stands between the upstream and this exchange."""
    conversation: Conversation | None = None
    detached: bool = False
    _until: float = math.inf
    """When a standing stream ends, on trio's clock."""
    _hearing: trio.CancelScope | None = None
    """Around the wait for the upstream's next message, where the client's hang-up or `_until` may end it."""
    _open: bool = False
    """Whether the exchange has begun on record and has no end there yet."""
    _profile: Profile = _UNSEEN
    """Of the value inspected last, which policy's budgets count; they do not go with bursts."""
    _large: bool = False
    """Whether what was inspected last, and is masked next, is looked at beside the event loop."""
    _turn: float = -math.inf
    """When notifications may leave again, on trio's clock."""
    _came: str | None = None
    """When the burst that is being looked at came: the time at which all of it is decided."""
    _closing: AbstractAsyncContextManager[Conversation] | None = None
    """What ends the conversation."""
    _watch: Watch = field(init=False)

    async def drive(self, script: Script[Reply]) -> Reply:
        """Run the script to its end and return its reply. Raises EvidenceFault when the end cannot be recorded, and
        InternalFault for a bug of ours, after which the exchange still has its outcome."""
        with trio.CancelScope(shield=True):
            self._watch = self.world.observer.begins(self.call, self.arrival)
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
                await self._close()
        return reply

    def end_stream(self) -> None:
        """The gateway goes down: a standing stream ends now, on record, as it would when its time is up."""
        if self.call.stands:
            self._until = -math.inf
            if self._hearing is not None:
                self._hearing.deadline = self._until

    async def _steps(self, script: Script[Reply]) -> Reply:
        watch = self._watch
        resume: Callable[[Any], Command] = script.send
        answer: object = None
        while True:
            try:
                command = resume(answer)
            except StopIteration as stop:
                reply: Reply = stop.value
                return reply
            began = time.perf_counter()
            try:
                answer = await PERFORMED[type(command)](self, command)
            except GatewayError as fault:
                watch.failed(command, fault, began)
                resume, answer = script.throw, fault
            else:
                watch.did(command, answer, began)
                resume = script.send

    async def _close(self) -> None:
        try:
            if self._closing is not None:
                await self._closing.__aexit__(None, None, None)
        finally:
            self._watch.ends()

    async def _decide(self, decide: commands.Decide) -> Decided:
        document = decide.input
        if decide.entrypoint is not Entrypoint.CATALOGUE:
            document = await self.world.standing.stamp(document, self._profile)
        return self.world.pdp().decide(decide.entrypoint, document, at=self._came or timestamp(self.world.now()))

    async def _append(self, append: commands.Append) -> LeafIndex:
        record = self.world.standing.charge(self.call, append.record, self._profile)
        index = await self.world.evidence.append(record)
        self._open = record.type.opens_exchange or (self._open and not record.type.closes_exchange)
        if record.type is LeafType.EMERGENCY_ACCESS:
            _alert(self.call)
        return index

    async def _append_all(self, append: commands.AppendAll) -> None:
        charge = self.world.standing.charge
        await self.world.evidence.append_all([charge(self.call, each, self._profile) for each in append.records])

    async def _forward(self, forward: commands.Forward) -> None:
        self.detached = forward.detached
        conversation = await self._converse(self.around(self.world.upstream).converse(self.link))
        await conversation.send(self._watch.outgoing(forward.message))

    async def _listen(self, _: commands.Listen) -> None:
        await self._converse(self.around(self.world.upstream).listen(self.link))
        await self.client.open_stream(self.call.exchange)

    async def _converse(self, closing: AbstractAsyncContextManager[Conversation]) -> Conversation:
        if self.call.stands:
            self._until = min(self._until, trio.current_time() + self.world.stream_s)
        self.conversation = await closing.__aenter__()
        self._closing = closing
        return self.conversation

    async def _receive(self, _: commands.Receive) -> Message | commands.Burst | None:
        self._came = None
        message = await (self._talk().receive() if self.detached else self._hear())
        if isinstance(message, Notification):
            return await self._with_others(message)
        return self.world.seal_request(message, self.call.session) if isinstance(message, Request) else message

    async def _hear(self) -> Message | None:
        """The upstream's next message, or None when the time of a standing stream is up. Raises ClientGone."""
        with self.client.interruptible() as self._hearing:
            if self.call.stands:
                self._hearing.deadline = self._until
            return await self._talk().receive()
        if self.client.gone:
            raise ClientGone("the client hung up while the upstream was at work")
        return None

    async def _with_others(self, first: Notification) -> Notification | commands.Burst:
        """The notification, together with those that came with it and those that come until the stream's next turn."""
        if self.world.standing.patient_key is not None:
            return first  # Policy has budgets: what one message uses of them is counted before the next is decided.
        others = await self._talk().together(self._turn)
        self._came = self._time()
        self._turn = (trio.current_time() + PACE_S) // TICK_S * TICK_S
        return commands.Burst((first, *others)) if others else first

    def _time(self) -> str:
        """When what comes in this turn is decided: at the time of the turn, which is that of other streams too, so that
        what they ask of policy in the same words is asked once. Now, where nobody waited for it."""
        now, late_s = self.world.now(), trio.current_time() - self._turn
        if not 0 <= late_s < PACE_S:
            return timestamp(now)
        turn = now - timedelta(seconds=late_s)
        return timestamp(turn.replace(microsecond=turn.microsecond // 1000 * 1000))

    async def _respond(self, respond: commands.Respond) -> None:
        await self._talk().respond(self.world.unseal_response(respond.message, self.call.session))

    async def _hold(self, hold: commands.Hold) -> Resolution:
        if hold.waits:
            self._watch.holds()
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

    async def _look(self, look: commands.Look) -> Resolution:
        return await self._waiting_calls().look(look.approval)

    async def _answer(self, answer: commands.Answer) -> None:
        await self._waiting_calls().answer(answer)

    def _waiting_calls(self) -> Tasks:
        if self.tasks is None:
            raise InternalFault("a call that nobody can ask after was asked after")
        return self.tasks

    async def _resume(self, resume: commands.Resume) -> Resolution:
        reply: Json = None
        with self.client.interruptible() as hung_up, self.client.patience(RESULT_S):
            reply = await self._waiting_calls().granted(resume.approval)
        if hung_up.cancelled_caught:
            raise ClientGone("the client hung up while its call was running")
        found = await self._waiting_calls().look(resume.approval)
        if found.state is not Settled.GRANTED:
            return found
        # It has not begun, or something was against it in the end: then that is its reply.
        return replace(found, state=Settled.PENDING if reply is None else Settled.KEPT, reply=reply)

    async def _withdraw(self, withdraw: commands.Withdraw) -> None:
        await self.world.approvals.cancel(withdraw.approval, self.call.principal)

    async def _spend(self, spend: commands.Spend) -> bool:
        return await self.world.approvals.spend(spend.approval, spend.record)

    async def _seal(self, seal: commands.Seal) -> str:
        return self.world.seal(seal.document, seal.purpose, seal.lives_s)

    async def _inspect(self, inspect: commands.Inspect) -> Profile:
        value = inspect.value
        look = partial(profile.inspect, value, patient_key=self.world.standing.patient_key)
        self._large = _is_large(value)
        self._profile = found = await _compute(look, beside=self._large)
        return found

    async def _mask(self, mask: commands.Mask) -> Masked:
        key, survey = self.world.mask_key, mask.profile.survey
        work = partial(plan.apply, mask.value, mask.plan, key=key, schema=mask.schema, survey=survey)
        return await _compute(work, beside=self._large)

    async def _inspect_all(self, inspect: commands.InspectAll) -> tuple[Profile, ...]:
        values = inspect.values
        if len(values) == 1:
            return (await self._inspect(commands.Inspect(values[0])),)
        self._large = _is_large(values)
        return await _compute(partial(profile.inspect_all, values), beside=self._large)

    async def _mask_all(self, mask: commands.MaskAll) -> tuple[Masked | None, ...]:
        surveys = [found.survey for found in mask.profiles]
        work = partial(plan.apply_all, mask.values, surveys, mask.plan, key=self.world.mask_key)
        return await _compute(work, beside=self._large)

    async def _learn(self, learn: commands.Learn) -> frozenset[str]:
        return await self.world.evidence.learn(self.call.upstream.name, learn.tools)

    async def _relay(self, relay: commands.Relay) -> None:
        await self.client.relay(relay.messages)

    async def _present(self, _: commands.Present) -> bool:
        return not self.client.gone

    def _talk(self) -> Conversation:
        if self.conversation is None:
            raise InternalFault("the script spoke to the upstream before it forwarded anything")
        return self.conversation


PERFORMED: Mapping[type[object], Callable[[Driver, Any], Awaitable[object]]] = {
    commands.Decide: Driver._decide,
    commands.Append: Driver._append,
    commands.AppendAll: Driver._append_all,
    commands.Hold: Driver._hold,
    commands.Look: Driver._look,
    commands.Resume: Driver._resume,
    commands.Answer: Driver._answer,
    commands.Withdraw: Driver._withdraw,
    commands.Seal: Driver._seal,
    commands.Spend: Driver._spend,
    commands.Forward: Driver._forward,
    commands.Listen: Driver._listen,
    commands.Receive: Driver._receive,
    commands.Respond: Driver._respond,
    commands.Inspect: Driver._inspect,
    commands.InspectAll: Driver._inspect_all,
    commands.Mask: Driver._mask,
    commands.MaskAll: Driver._mask_all,
    commands.Learn: Driver._learn,
    commands.Relay: Driver._relay,
    commands.Recall: Driver._recall,
    commands.Present: Driver._present,
}
"""How each command is performed."""


def _is_large(value: Json | tuple[Json, ...]) -> bool:
    return len(orjson.dumps(value)) > INLINE_BYTES


async def _compute(work: Callable[[], T], *, beside: bool) -> T:
    return await trio.to_thread.run_sync(work) if beside else work()


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
    """A moment in UTC as RFC 3339 with microseconds, as decisions and leaves carry it."""
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
