"""A legacy client that lost its connection comes back for the rest of an answer.

MCP 2025-11-25, Transports, Resumability and Redelivery: events carry ids, and a GET with `Last-Event-ID` brings what
came after it on that stream, and on no other. What is given here are the recorded bytes of the client's own exchange,
in their order, whichever process runs or ran it: the evidence log is the memory, so nothing is sent that is not in it.
The same rules hold as for a new call: policy is asked again, and that something is told again is on record first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gateway.core import records, replies
from gateway.core.call import Call
from gateway.core.commands import Recalled, Script, append, decide, recall, relay
from gateway.core.errors import ClientGone, EvidenceFault, InternalFault, UpstreamFault
from gateway.core.exchange import close, overhear
from gateway.core.policy import input as policy_input
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.core.protocol.jsonrpc import Message
from gateway.core.records import Ending, Status
from gateway.core.replies import Reply
from gateway.core.types import ExchangeId

PRIMED_SINCE = "2025-11-25"
"""The first revision whose clients take an event without data, which gives them an id before there is anything else."""

_EVENT_ID = re.compile(r"([0-9a-f-]{36})_(0|[1-9][0-9]{0,8})")


@dataclass(frozen=True, slots=True)
class Mark:
    """A place on the stream of one exchange: as an event id it says whose event that was, and which."""

    exchange: ExchangeId
    said: int = 0
    """Messages up to here."""

    def __str__(self) -> str:
        return f"{self.exchange}_{self.said}"


def parse(event_id: str) -> Mark | None:
    """The mark that an event id is; None where it is none of ours."""
    match = _EVENT_ID.fullmatch(event_id)
    return None if match is None else Mark(ExchangeId(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class Lost:
    """The exchange whose stream broke off, as it is on record."""

    message: Message = field(repr=False)
    effect: str
    """What policy said of it then."""
    left_waiting: bool
    """It ended because its client went while reviewers had not answered: nothing was forwarded."""


def resumption(call: Call, mark: Mark, lost: Lost) -> Script[Reply]:
    """Tell again what came after `mark`, and what still comes, of the exchange that `call` was; or refuse."""
    decided = yield from decide(Entrypoint.CALL, policy_input.for_call(call))
    effect = decided.decision.effect
    if effect is Effect.DENY or (effect is Effect.REQUIRE_APPROVAL and effect.value != lost.effect):
        # Whoever may not ask this now is not told what was answered then.
        reply = replies.refusal(call, decided.decision)
        yield from append(records.refused(call, decided, reply))
        return reply
    yield from append(records.intent(call, decided, resumes=mark.exchange))
    try:
        return (yield from _retell(call, mark))
    except EvidenceFault:
        raise  # As in `exchange`: nothing may be said.
    except InternalFault:
        return (yield from close(call, Ending(Status.FAILED, replies.internal(call), why="internal")))
    except UpstreamFault as fault:
        return (yield from close(call, Ending(Status.FAILED, replies.fault(call, fault), why=fault.kind)))
    except ClientGone:
        return (yield from close(call, Ending(Status.ABANDONED, Reply.nothing(), why="client_gone")))


def _retell(call: Call, mark: Mark) -> Script[Reply]:
    while True:
        found: Recalled = yield from recall(mark.exchange, mark.said, waits=not call.listens)
        if found.messages:
            count = len(found.messages)
            yield from append(records.retold(call, mark.exchange, found.leaves, after=mark.said, count=count))
            yield from relay(found.messages)
        if call.listens:
            return (yield from overhear(call))
        if found.ended:
            unknown = replies.unknown_end(call) if not found.answered else Reply.nothing()
            return (yield from close(call, Ending(Status.RESUMED, unknown)))
        mark = Mark(mark.exchange, mark.said + len(found.messages))
