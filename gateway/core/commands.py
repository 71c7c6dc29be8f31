"""What the exchange asks of the world: the whole vocabulary between the pure script and its driver.

A script is a generator that yields one command and is sent its answer. The lower-case functions give each command the
type of its answer; scripts use those and read as if they blocked. A fault is thrown into the script where it waits.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar, cast

from gateway.core.evidence.record import Record
from gateway.core.masking.plan import Masked
from gateway.core.masking.profile import Profile
from gateway.core.policy.approval import Ask
from gateway.core.policy.decision import Decision, Entrypoint, MaskRule
from gateway.core.protocol.jsonrpc import Message, Notification
from gateway.core.types import ApprovalId, Digest, Document, ExchangeId, Json, LeafIndex

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Decide:
    """Ask policy. The driver stamps the time into the input; the answer is always a decision, at worst a denial."""

    entrypoint: Entrypoint
    input: Document = field(repr=False)


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision, with the OPA decision-log event (JSON bytes) that proves what was asked and answered."""

    decision: Decision
    event: bytes = field(repr=False)
    bundle: Digest


@dataclass(frozen=True, slots=True)
class Append:
    """Make a record durable. The answer comes when it is; afterwards a crash cannot lose it. Throws EvidenceFault."""

    record: Record


@dataclass(frozen=True, slots=True)
class AppendAll:
    """Make several records of one exchange durable at once, none of which begins or ends it. Throws EvidenceFault, and
    then none of them counts as durable."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Hold:
    """Put the call before its reviewers and wait as long as this client can wait.

    Joins a live approval of exactly this call, or opens one (durably) when there is none.
    """

    ask: Ask
    joins: ApprovalId | None = None
    """The approval that the caller came back for: whatever has become of it is the answer, and no other is opened."""
    waits: bool = True
    """False: answer at once, with PENDING where nobody has spoken yet."""


class Settled(Enum):
    GRANTED = "granted"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    PENDING = "pending"
    """Nobody answered while the client could wait: it is told to ask again."""
    KEPT = "kept"
    """The approved call ran while its client was away; `reply` is the result that was kept for it."""
    LOST = "lost"
    """The approved call began and how it ended is not on record: the process died, or it is too long ago."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a hold ended. `detail` is what a grant tells policy (`input.approval`): id, reviewers, times; no PHI."""

    approval: ApprovalId
    state: Settled
    detail: Document = field(default_factory=dict, repr=False)
    reply: Json = field(default=None, repr=False)
    """For KEPT: the JSON-RPC response document that was recorded."""
    created: str = ""
    changed: str = ""
    """When it was asked, and when it last came to something else: RFC 3339."""
    lives_s: int = 0
    """How long after `created` it can be asked after at most."""
    place: str = ""
    """Which run of the call `reply` is of: the approval's, or the exchange of one that followed."""


@dataclass(frozen=True, slots=True)
class Look:
    """See where an approval stands, without waiting."""

    approval: ApprovalId


@dataclass(frozen=True, slots=True)
class Resume:
    """Begin the call that an approval was granted for, in an exchange of its own that nobody waits in; answer as soon
    as it has ended, and with PENDING when a poll can wait no longer. Its reply is kept."""

    approval: ApprovalId


@dataclass(frozen=True, slots=True)
class Answer:
    """Go on with a call that waits as a task, with what its upstream wanted to know, once that is all there."""

    approval: ApprovalId
    place: str
    """The run that asked: see `Resolution.place`."""
    given: Document = field(repr=False)
    """By the upstream's keys. Of two answers to one question the first counts."""
    wanted: frozenset[str]
    state: str | None = field(repr=False)
    """The `requestState` that the answer goes with, as it was handed out."""


@dataclass(frozen=True, slots=True)
class Withdraw:
    """The caller takes its question back. Nothing happens where it is not pending any more."""

    approval: ApprovalId


@dataclass(frozen=True, slots=True)
class Seal:
    """Make a document into text that only the gateway can read, good for one purpose and for so long."""

    document: Document = field(repr=False)
    purpose: str
    lives_s: int


@dataclass(frozen=True, slots=True)
class Spend:
    """Use up a grant for this exchange, durably, together with the record of it. False: somebody else already did."""

    approval: ApprovalId
    record: Record


@dataclass(frozen=True, slots=True)
class Forward:
    """Send the client's message upstream. `detached`: once sent, finish even if the client hangs up."""

    message: Message = field(repr=False)
    detached: bool = False


@dataclass(frozen=True, slots=True)
class Listen:
    """Open the legacy stream on which the upstream speaks outside any call."""


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for the upstream's next message; the answer is None when it has accepted a message that has no reply.

    A Burst when notifications have come together, or one soon after the other: they can be looked at, recorded and sent
    on together.
    """


@dataclass(frozen=True, slots=True)
class Burst:
    """Notifications that have come from the upstream together, in order."""

    messages: tuple[Notification, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Respond:
    """Answer a request that the upstream made, in the client's stead: policy did not let it reach the client."""

    message: Message = field(repr=False)


@dataclass(frozen=True, slots=True)
class Inspect:
    """Profile a value: what PHI it holds and where. Large values are inspected off the event loop."""

    value: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class InspectAll:
    """Profile several values, each as if it were alone. The answer has a Profile for each, in order."""

    values: tuple[Json, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mask:
    """Carry out a mask plan on a value. Throws MaskFault when any of it cannot be carried out."""

    value: Json = field(repr=False)
    profile: Profile = field(repr=False)
    """What inspecting it gave."""
    plan: tuple[MaskRule, ...]
    schema: Document | None = field(default=None, repr=False)
    """The JSON Schema that `structuredContent` promised, which it must still keep."""


@dataclass(frozen=True, slots=True)
class MaskAll:
    """Carry out one mask plan on several values, each by itself. The answer has what became of each, in order: None
    where the plan cannot be carried out."""

    values: tuple[Json, ...] = field(repr=False)
    profiles: tuple[Profile, ...] = field(repr=False)
    """What inspecting them gave."""
    plan: tuple[MaskRule, ...]


@dataclass(frozen=True, slots=True)
class Learn:
    """Remember tool definitions that the upstream has just listed, for later pins, annotations and schemas.

    The answer names those that are not defined as they were accepted.
    """

    tools: tuple[Document, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Relay:
    """Send already recorded messages to the client ahead of the reply, in one write."""

    messages: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Recall:
    """Look up what an exchange of this session sent its client, after the first `said` messages. The answer is
    Recalled; with `waits` not before there is something to tell, or the exchange has ended."""

    exchange: ExchangeId
    said: int
    waits: bool


@dataclass(frozen=True, slots=True)
class Recalled:
    """What is on record of an exchange that somebody comes back for: the very bytes that were sent."""

    leaves: tuple[LeafIndex, ...] = ()
    """Where `messages` are on record, each leaf once."""
    messages: tuple[bytes, ...] = field(default=(), repr=False)
    ended: bool = False
    answered: bool = False
    """Its reply is on record: the last of `messages`, unless the client had that already."""


@dataclass(frozen=True, slots=True)
class Present:
    """Ask whether the client is still there."""


Command = (
    Decide
    | Append
    | AppendAll
    | Hold
    | Look
    | Resume
    | Answer
    | Withdraw
    | Seal
    | Spend
    | Forward
    | Listen
    | Receive
    | Respond
    | Inspect
    | InspectAll
    | Mask
    | MaskAll
    | Learn
    | Relay
    | Recall
    | Present
)
Script = Generator[Command, Any, T]


def decide(entrypoint: Entrypoint, document: Document) -> Script[Decided]:
    return cast(Decided, (yield Decide(entrypoint, document)))


def append(record: Record) -> Script[LeafIndex]:
    return cast(LeafIndex, (yield Append(record)))


def append_all(records: tuple[Record, ...]) -> Script[None]:
    yield AppendAll(records)


def hold(ask: Ask, *, joins: ApprovalId | None, waits: bool) -> Script[Resolution]:
    return cast(Resolution, (yield Hold(ask, joins, waits)))


def look(approval: ApprovalId) -> Script[Resolution]:
    return cast(Resolution, (yield Look(approval)))


def resume(approval: ApprovalId) -> Script[Resolution]:
    return cast(Resolution, (yield Resume(approval)))


def answer(answered: Answer) -> Script[None]:
    yield answered


def withdraw(approval: ApprovalId) -> Script[None]:
    yield Withdraw(approval)


def seal(document: Document, purpose: str, lives_s: int) -> Script[str]:
    return cast(str, (yield Seal(document, purpose, lives_s)))


def spend(approval: ApprovalId, record: Record) -> Script[bool]:
    return cast(bool, (yield Spend(approval, record)))


def forward(message: Message, *, detached: bool) -> Script[None]:
    yield Forward(message, detached)


def listen() -> Script[None]:
    yield Listen()


def receive() -> Script[Message | Burst | None]:
    return cast("Message | Burst | None", (yield Receive()))


def respond(message: Message) -> Script[None]:
    yield Respond(message)


def inspect(value: Json) -> Script[Profile]:
    return cast(Profile, (yield Inspect(value)))


def inspect_all(values: tuple[Json, ...]) -> Script[tuple[Profile, ...]]:
    return cast("tuple[Profile, ...]", (yield InspectAll(values)))


def mask(value: Json, profile: Profile, plan: tuple[MaskRule, ...], schema: Document | None) -> Script[Masked]:
    return cast(Masked, (yield Mask(value, profile, plan, schema)))


def mask_all(
    values: tuple[Json, ...], profiles: tuple[Profile, ...], plan: tuple[MaskRule, ...]
) -> Script[tuple[Masked | None, ...]]:
    return cast("tuple[Masked | None, ...]", (yield MaskAll(values, profiles, plan)))


def learn(tools: tuple[Document, ...]) -> Script[frozenset[str]]:
    return cast("frozenset[str]", (yield Learn(tools)))


def relay(messages: tuple[bytes, ...]) -> Script[None]:
    yield Relay(messages)


def recall(exchange: ExchangeId, said: int, *, waits: bool) -> Script[Recalled]:
    return cast(Recalled, (yield Recall(exchange, said, waits)))


def present() -> Script[bool]:
    return cast(bool, (yield Present()))
