"""A world in memory for one driver: every part answers from what the test gave it, and notes what it was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import trio

from gateway.core.call import Call
from gateway.core.commands import Decided, Resolution, Settled
from gateway.core.errors import EvidenceFault
from gateway.core.evidence.record import LeafType, Record
from gateway.core.masking.profile import Profile
from gateway.core.policy.approval import Ask
from gateway.core.policy.decision import Entrypoint
from gateway.core.protocol.jsonrpc import Message, Notification
from gateway.core.types import ApprovalId, Document, ExchangeId, LeafIndex, Principal
from gateway.upstream.base import Link
from gateway.world import World

MOMENT = datetime(2026, 11, 22, 12, tzinfo=UTC)
Step = Callable[[str], None]
"""Called with the name of each await point that is passed."""


@dataclass
class FakePdp:
    """Answers each entrypoint with the next of its decisions; the last one stays."""

    answers: dict[Entrypoint, list[Decided]]
    asked: list[tuple[Entrypoint, Document]] = field(default_factory=list)
    times: list[str] = field(default_factory=list)

    def decide(self, entrypoint: Entrypoint, document: Document, *, at: str) -> Decided:
        self.asked.append((entrypoint, document))
        self.times.append(at)
        queue = self.answers[entrypoint]
        return queue.pop(0) if len(queue) > 1 else queue[0]


@dataclass
class MemoryEvidence:
    """A log in memory. `fails_at` makes the append of that position raise EvidenceFault."""

    step: Step
    fails_at: int | None = None
    records: list[Record] = field(default_factory=list)
    learned: list[Document] = field(default_factory=list)
    abandoned: list[ExchangeId] = field(default_factory=list)

    async def append(self, record: Record) -> LeafIndex:
        self.step(f"append {record.type.value}")
        await trio.lowlevel.checkpoint()
        if self.fails_at == len(self.records):
            raise EvidenceFault("the evidence store is full")
        self.records.append(record)
        return LeafIndex(len(self.records) - 1)

    async def append_all(self, records: Sequence[Record]) -> None:
        for record in records:
            await self.append(record)

    def abandon(self, exchange: ExchangeId) -> None:
        self.abandoned.append(exchange)

    async def learn(self, upstream: str, definitions: tuple[Document, ...]) -> frozenset[str]:
        self.learned.extend(definitions)
        return frozenset()

    def types(self) -> list[LeafType]:
        return [record.type for record in self.records]


@dataclass
class FakeConversation:
    """Hands out messages in turn; an exception among them is raised; when they run out it waits for ever."""

    script: list[Message | Exception | None]
    step: Step
    sent: list[Message] = field(default_factory=list)
    responded: list[Message] = field(default_factory=list)
    upstream_session: str | None = None
    together_most: int = 0
    """How many notifications come together with the one before them."""
    waited_until: list[float] = field(default_factory=list)

    async def send(self, message: Message) -> None:
        self.step("send")
        self.sent.append(message)
        await trio.lowlevel.checkpoint()

    async def receive(self) -> Message | None:
        self.step("receive")
        await trio.lowlevel.checkpoint()
        if not self.script:
            await trio.sleep_forever()
        message = self.script.pop(0)
        if isinstance(message, Exception):
            raise message
        return message

    async def together(self, until: float) -> tuple[Notification, ...]:
        found: list[Notification] = []
        self.waited_until.append(until)
        while self.together_most > len(found) and self.script and isinstance(message := self.script[0], Notification):
            found.append(message)
            del self.script[0]
        return tuple(found)

    async def respond(self, message: Message) -> None:
        self.responded.append(message)
        await trio.lowlevel.checkpoint()


@dataclass
class FakeUpstream:
    """One conversation, opened at most once."""

    conversation: FakeConversation
    name: str = "clinic"
    local: bool = False
    opened: int = 0
    closed: int = 0

    @asynccontextmanager
    async def converse(self, link: Link) -> AsyncIterator[FakeConversation]:
        self.opened += 1
        try:
            yield self.conversation
        finally:
            self.closed += 1

    listen = converse

    async def end(self, link: Link) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@dataclass
class FakeApprovals:
    """One approval, resolved by the test."""

    step: Step
    at_request: Settled = Settled.PENDING
    resolved: trio.Event = field(default_factory=trio.Event)
    becomes: Settled = Settled.GRANTED
    spends: bool = True
    spent: list[Record] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)
    seen: list[Settled] = field(default_factory=lambda: [Settled.PENDING])
    """What `look` finds, one after the other; the last one stays."""
    cancelled: list[tuple[ApprovalId, Principal]] = field(default_factory=list)

    async def request(self, ask: Ask, joins: ApprovalId | None = None) -> Resolution:
        self.step("request")
        self.asks.append(ask)
        await trio.lowlevel.checkpoint()
        return Resolution(joins or ApprovalId("ap"), self.at_request)

    async def look(self, approval: ApprovalId) -> Resolution:
        self.step("look")
        await trio.lowlevel.checkpoint()
        return Resolution(approval, self.seen.pop(0) if len(self.seen) > 1 else self.seen[0])

    async def asked(self, approval: ApprovalId) -> Message:
        raise AssertionError("no test here comes so far")

    async def cancel(self, approval: ApprovalId, requester: Principal) -> None:
        self.step("cancel")
        self.cancelled.append((approval, requester))
        await trio.lowlevel.checkpoint()

    async def wait(self, approval: ApprovalId, *, joined: bool = False) -> Resolution:
        self.step("wait")
        await self.resolved.wait()
        return Resolution(approval, self.becomes, {"id": approval})

    async def spend(self, approval: ApprovalId, record: Record) -> bool:
        self.step("spend")
        await trio.lowlevel.checkpoint()
        if self.spends:
            self.spent.append(record)
        return self.spends


class FakeClient:
    """A client that can be made to hang up."""

    def __init__(self) -> None:
        self.gone = False
        self.streaming = False
        self.relayed: list[bytes] = []
        self.waits = 0
        self._scopes: list[trio.CancelScope] = []

    def leave(self) -> None:
        self.gone = True
        for scope in self._scopes:
            scope.cancel()

    def interruptible(self) -> trio.CancelScope:
        scope = trio.CancelScope()
        self._scopes.append(scope)
        if self.gone:
            scope.cancel()
        return scope

    def patience(self, seconds: float) -> trio.CancelScope:
        self.waiting = trio.move_on_after(seconds)
        return self.waiting

    async def open_stream(self, of) -> None:
        self.streaming = True
        await trio.lowlevel.checkpoint()

    async def relay(self, messages: Sequence[bytes]) -> None:
        self.relayed.extend(messages)
        await trio.lowlevel.checkpoint()

    async def wait_for(self, resolution: Resolution) -> None:
        self.waits += 1
        await trio.sleep_forever()


class NoStanding:
    """Nothing is counted, and nobody owes a review."""

    patient_key: bytes | None = None

    async def stamp(self, document: Document, profile: Profile) -> Document:
        return document

    def charge(self, call: Call, record: Record, profile: Profile) -> Record:
        return record


@dataclass
class Scene:
    """All of it, and a hook that is called at each await point with a running number."""

    answers: dict[Entrypoint, list[Decided]]
    script: Sequence[Message | Exception | None]
    on_step: Callable[[int, str], None] = lambda number, name: None
    fails_at: int | None = None
    steps: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = FakeClient()
        self.pdp = FakePdp({entrypoint: list(decisions) for entrypoint, decisions in self.answers.items()})
        self.evidence = MemoryEvidence(self._step, self.fails_at)
        self.conversation = FakeConversation(list(self.script), self._step)
        self.upstream = FakeUpstream(self.conversation)
        self.approvals = FakeApprovals(self._step)
        self.standing = NoStanding()

    def _step(self, name: str) -> None:
        self.steps.append(name)
        self.on_step(len(self.steps), name)

    def world(self) -> World:
        return World(
            pdp=lambda: self.pdp,
            evidence=self.evidence,
            approvals=self.approvals,
            upstream=self.upstream,
            now=lambda: MOMENT,
            mask_key=b"k" * 32,
            seal_request=lambda request, _: request,
            unseal_response=lambda message, _: message,
            seal=lambda document, purpose, lives_s: f"sealed {document} for {purpose}",
            standing=self.standing,
        )
