"""What an exchange is performed with: each part of the gateway as its driver sees it, and all of them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import trio

from gateway.core.call import Call
from gateway.core.commands import Decided, Recalled, Resolution
from gateway.core.evidence.record import Record
from gateway.core.masking.profile import Profile
from gateway.core.policy.approval import Ask
from gateway.core.policy.decision import Entrypoint
from gateway.core.protocol.jsonrpc import Message, Request
from gateway.core.types import ApprovalId, Document, ExchangeId, LeafIndex, Principal, SessionId
from gateway.telemetry.watch import NOBODY, Observer
from gateway.upstream.base import Upstream


class Pdp(Protocol):
    """Decides, with the time stamped into the input. Total: whatever goes wrong in there is a denial."""

    def decide(self, entrypoint: Entrypoint, document: Document, *, at: str) -> Decided: ...


class Evidence(Protocol):
    """Makes records durable, or raises EvidenceFault."""

    async def append(self, record: Record) -> LeafIndex: ...

    async def append_all(self, records: Sequence[Record]) -> None: ...

    def abandon(self, exchange: ExchangeId) -> None:
        """The exchange ended without an outcome on record: end it as unknown as soon as the store can."""

    async def recall(self, session: SessionId, exchange: ExchangeId, said: int, *, waits: bool) -> Recalled:
        """What the exchange of this session sent its client after `said` messages; safe to cancel."""

    async def learn(self, upstream: str, definitions: tuple[Document, ...]) -> frozenset[str]:
        """Remember tool definitions; the names of those that are not defined as they were accepted."""


class Approvals(Protocol):
    """Puts questions to reviewers; everything it answers is durable."""

    async def request(self, ask: Ask, joins: ApprovalId | None = None) -> Resolution: ...

    async def look(self, approval: ApprovalId) -> Resolution: ...

    async def asked(self, approval: ApprovalId) -> Message: ...

    async def wait(self, approval: ApprovalId, *, joined: bool = False) -> Resolution: ...

    async def cancel(self, approval: ApprovalId, requester: Principal) -> object: ...

    async def spend(self, approval: ApprovalId, record: Record) -> bool: ...


class Standing(Protocol):
    """How a principal stands: what it used of its budgets, which reviews it owes. Free where policy does not ask."""

    @property
    def patient_key(self) -> bytes | None:
        """The key under which patients are told apart; None when nobody counts them."""

    async def stamp(self, document: Document, profile: Profile) -> Document:
        """A decision input with the standing of its principal; `profile` is of what was inspected last."""

    def charge(self, call: Call, record: Record, profile: Profile) -> Record:
        """`record` with what it counts against budgets."""


class Client(Protocol):
    """The client that waits for the reply."""

    @property
    def gone(self) -> bool:
        """Whether it has hung up, as far as can be seen now."""

    def interruptible(self) -> trio.CancelScope:
        """A scope that is cancelled when the client hangs up, at once if it already has. One is in use at a time."""

    def patience(self, seconds: float) -> trio.CancelScope:
        """A scope that ends when the client should not be kept waiting any longer: it is told to ask again."""

    async def open_stream(self, of: ExchangeId) -> None:
        """Let the client know that it is listening, before there is anything to hear of this exchange."""

    async def relay(self, messages: Sequence[bytes]) -> None:
        """Send messages ahead of the reply; a client that is gone is no error."""

    async def wait_for(self, resolution: Resolution) -> None:
        """Tell the client, for as long as it takes, that reviewers have not answered yet. Cancelled when they have."""


@dataclass(frozen=True, slots=True)
class World:
    """What commands are performed with; the same for every exchange of one upstream."""

    pdp: Callable[[], Pdp]
    evidence: Evidence
    approvals: Approvals
    upstream: Upstream
    now: Callable[[], datetime]
    mask_key: bytes = field(repr=False)
    seal_request: Callable[[Request, SessionId], Request]
    """Gives an upstream's own request an id that only the gateway can have made, and that is good in one session."""
    unseal_response: Callable[[Message, SessionId], Message]
    seal: Callable[[Document, str, int], str]
    """Makes a document into text for one purpose, good for so many seconds."""
    standing: Standing
    hold_s: float = 45.0
    """How long a client is kept waiting for reviewers; clients give up at 60 s."""
    stream_s: float = 900.0
    """How long a standing stream lasts. Its principal was identified when it began: whoever opens the next is
    identified anew, so a token that expired or groups that were taken away end here."""
    observer: Observer = NOBODY
