"""The policy enforcement point: the life of one client message, as a script of commands.

Nothing here performs anything. `exchange` yields what must be done next, the driver does it and sends the answer back,
so this page is the whole of the enforcement and can be played through in a test without a socket, a clock or a disk.
The order of the lines is the promise (docs/architecture.md, invariants 1 to 6):

- nothing is forwarded before its intent is durable (commit point 1);
- nothing reaches the client before its outcome is durable (commit point 2), and it is the very bytes recorded;
- what policy does not plainly allow is refused, and each forward ends in exactly one outcome.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

from gateway.core import held, records, replies, waiting
from gateway.core.call import Call, Emergency
from gateway.core.commands import (
    Burst,
    Decided,
    Resolution,
    Script,
    Settled,
    append,
    append_all,
    decide,
    forward,
    hold,
    inspect,
    inspect_all,
    learn,
    listen,
    mask,
    mask_all,
    present,
    receive,
    relay,
    respond,
    seal,
    spend,
    withdraw,
)
from gateway.core.errors import ClientGone, EvidenceFault, InternalFault, MaskFault, UpstreamFault
from gateway.core.held import Way
from gateway.core.policy import approval, catalogue
from gateway.core.policy import input as policy_input
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.core.protocol import bridge_tasks, caching, jsonrpc, paging
from gateway.core.protocol.jsonrpc import Failure, Message, Request, Response, Success
from gateway.core.records import Ending, Status, Told
from gateway.core.replies import Reply, promised_schema
from gateway.core.types import Era, Json


def exchange(call: Call) -> Script[Reply]:
    """Decide a client's message, forward it if policy allows, and return the reply that was recorded."""
    decided = yield from decide(Entrypoint.CALL, policy_input.for_call(call))
    if decided.decision.effect is Effect.DENY:
        reply = replies.refusal(call, decided.decision)
        yield from append(records.refused(call, decided, reply))
        return reply
    yield from append(records.intent(call, decided))  # Commit point 1.
    grant: Resolution | None = None
    try:
        if call.claim is not None and call.claim.approval is None:
            return (yield from close(call, waiting.unbelieved(call)))
        if call.task is not None:
            return (yield from close(call, (yield from waiting.attend(call, decided))))
        if decided.decision.effect is Effect.REQUIRE_APPROVAL:
            granted = yield from await_grant(call, decided)
            if isinstance(granted, Ending):
                return (yield from close(call, granted))
            grant = granted
        else:
            call = yield from break_glass(call, decided)
        if call.listens:
            return (yield from overhear(call))
        return (yield from carry(call, grant))
    except EvidenceFault:
        raise  # Nothing can be recorded, so nothing may be said; the store closes the exchange when it recovers.
    except InternalFault:
        return (yield from close(call, failed(replies.internal(call), "internal", grant)))
    except UpstreamFault as fault:
        return (yield from close(call, failed(replies.fault(call, fault), fault.kind, grant)))
    except ClientGone:
        return (yield from close(call, Ending(Status.ABANDONED, Reply.nothing(), why="client_gone")))


def await_grant(call: Call, decided: Decided) -> Script[Resolution | Ending]:
    """Hold the call for its reviewers: the grant that was spent on it, or the end that says why there is none."""
    if not approval.reviewable(call):
        return Ending(Status.REFUSED, replies.unreviewable(call), why="unreviewable")
    joins = call.claim.approval if call.claim is not None else None
    if joins is not None and call.claim is not None and call.claim.declined:
        yield from withdraw(joins)
    waits = held.way(call.era, call.message, call.claim) in (Way.STATE, Way.HOLD)
    found = yield from hold(approval.ask(call, decided.decision), joins=joins, waits=waits)
    if found.state is Settled.PENDING:
        return (yield from waiting.put_off(call, found))
    if found.state is not Settled.GRANTED:
        return Ending(records.status_of(found.state), replies.held(call, found), approval=found.approval)
    # Policy speaks last: between the question and the grant a new bundle may have come to deny this call, or to want
    # more than this grant is. Only a plain allow releases it.
    again = yield from decide(Entrypoint.CALL, policy_input.for_call(call, approval=found.detail))
    if again.decision.effect is not Effect.ALLOW:
        reply = replies.refusal(call, again.decision)
        return Ending(Status.REFUSED, reply, decided=(again,), approval=found.approval)
    if not (yield from spend(found.approval, records.spent(call, found.approval, again))):
        return Ending(Status.REFUSED, replies.spent(call, found), approval=found.approval)
    # On record like any other; but the result is judged by what reviewers granted, and no emergency overrides more.
    yield from break_glass(call, again)
    return found


def break_glass(call: Call, decided: Decided) -> Script[Call]:
    """The call as it goes on: what policy allows for an emergency's sake is on record, for review, before it runs."""
    if decided.decision.labels.get("emergency") is not True:
        return call
    yield from append(records.emergency(call, decided))
    return replace(call, emergency=Emergency.GRANTED)


def carry(call: Call, grant: Resolution | None) -> Script[Reply]:
    """Forward the message and bring back all that comes of it, message by message."""
    # A legacy client that drops its connection has not cancelled (MCP 2025-11-25, Cancellation), and an approved call
    # runs once whether or not its client waited: both are brought to their end. A standing stream has none of its own.
    detached = (grant is not None or call.era is Era.LEGACY) and not call.stands
    yield from forward(call.outgoing, detached=detached)
    while True:
        message = yield from receive()
        match message:
            case None if call.stands:
                return (yield from close(call, Ending(Status.ENDED, replies.ended(call))))
            case None:
                return (yield from close(call, Ending(Status.ACCEPTED, Reply.accepted())))
            case Success() | Failure():
                return (yield from answer(call, message, grant))
            case Burst(messages):
                yield from pass_on(call, messages)
            case _:
                yield from pass_on(call, (message,))


def overhear(call: Call) -> Script[Reply]:
    """Bring over what a legacy upstream sends outside any call, until either side ends the stream."""
    yield from listen()
    while True:
        message = yield from receive()
        if message is None:
            return (yield from close(call, Ending(Status.ENDED, Reply.nothing())))
        yield from pass_on(call, message.messages if isinstance(message, Burst) else (message,))


def pass_on(call: Call, came: tuple[Message, ...]) -> Script[None]:
    """Relay what the upstream sent ahead of its result, or withhold it: each message decided and masked by itself,
    those that came together recorded and sent on together."""
    told = yield from judge(call, came)
    yield from append_all(records.messages(call, told))
    relayed = tuple([each.data for each in told if each.data is not None])
    if relayed:
        yield from relay(relayed)
    for each in told:
        if each.data is None and isinstance(each.message, Request):
            yield from respond(replies.withheld(each.message))


def judge(call: Call, came: tuple[Message, ...]) -> Script[list[Told]]:
    """What becomes of messages ahead of the result. Those that put the same question to policy, at one time and in the
    same words, share its one answer; no answer outlives the burst that it was given for."""
    bodies = tuple(map(jsonrpc.body, came))
    profiles = yield from inspect_all(bodies)
    answers: dict[bytes, Decided] = {}
    told: list[Told] = []
    questions = list(policy_input.for_results(call, came, profiles))
    for key, group in groupby(range(len(came)), key=lambda place: questions[place][0]):
        places = list(group)
        alike = slice(places[0], places[-1] + 1)
        if key not in answers:
            answers[key] = yield from decide(Entrypoint.RESULT, questions[alike.start][1])
        decided = answers[key]
        if decided.decision.effect is Effect.ALLOW:
            masked = yield from mask_all(bodies[alike], profiles[alike], decided.decision.mask)
        else:
            masked = (None,) * len(places)
        # One that cannot be masked is withheld like one that policy denies.
        told += [Told.of(message, decided, done) for message, done in zip(came[alike], masked, strict=True)]
    return told


def answer(call: Call, message: Response, grant: Resolution | None) -> Script[Reply]:
    """Turn the upstream's response into the reply: filtered, decided, masked and recorded, in this order."""
    page, cursor = paging.apart(call.message, message)
    page, state = held.without_state(call.era, page)
    seen, listed = yield from filter_catalogue(call, page)
    body = jsonrpc.body(seen)
    profile = yield from inspect(body)
    terms = grant.detail if grant is not None else None
    decided = yield from decide(Entrypoint.RESULT, policy_input.for_result(call, seen, profile, approval=terms))
    decisions = (*listed, decided)
    if decided.decision.effect is not Effect.ALLOW:
        # The upstream has run and its result may not leave: it is recorded as withheld and goes no further.
        reply = replies.withheld_result(call, decided.decision)
        return (yield from close(call, Ending(Status.WITHHELD, reply, decided=decisions, upstream=message)))
    try:
        masked = yield from mask(body, profile, decided.decision.mask, promised_schema(call, seen))
    except MaskFault:
        reply = replies.unmaskable(call)
        ending = Ending(Status.WITHHELD, reply, decided=decisions, upstream=message, why="unmaskable")
        return (yield from close(call, ending))
    value = caching.scoped(declared(call, masked.value), decided.decision.labels)
    if cursor is not None and isinstance(call.message, Request):
        purpose = paging.purpose(call.actor, call.upstream.name, call.message)
        value = paging.together(value, (yield from seal(cursor, purpose, paging.LIVES_S)))
    if state is not None:
        value = held.with_state(value, (yield from seal_state(call, state)))
    reply = Reply.of(jsonrpc.with_body(seen, value), call.era)
    status = Status.REPLIED
    if not (yield from present()):
        status = Status.ABANDONED if grant is None else Status.KEPT
    released_by = grant.approval if grant is not None else None
    ending = Ending(status, reply, decisions, message, masked.manifest, released_by)
    return (yield from close(call, ending))


def declared(call: Call, value: Json) -> Json:
    """A masked answer with what the gateway makes of tasks: that it may answer calls with some, and lists none. A
    listing of tools is pinned before."""
    value = held.declared(call.era, call.message, value)
    match call.message:
        case Request(method="tools/list") if call.makes_tasks:
            return bridge_tasks.supported(value)
        case Request(method="initialize"):
            return bridge_tasks.unlisted(value)
    return value


def seal_state(call: Call, state: str) -> Script[str]:
    """An upstream's `requestState`, so that nobody reads it, changes it or brings it for another call or caller."""
    purpose = held.purpose("state", call.principal, call.upstream.name)
    return (yield from seal(held.state_of_upstream(call.message, state), purpose, held.UPSTREAM_STATE_S))


def filter_catalogue(call: Call, message: Response) -> Script[tuple[Response, tuple[Decided, ...]]]:
    """Leave in a listing only the items that policy lets this principal see."""
    listing = catalogue.listing(call.message, message)
    if listing is None:
        return message, ()
    changed = (yield from learn(listing.items)) if listing.kind == "tools" else frozenset[str]()
    items = listing.summaries(changed)
    decided = yield from decide(Entrypoint.CATALOGUE, policy_input.for_catalogue(call, listing.kind, items))
    visible = decided.decision.visible if decided.decision.effect is Effect.ALLOW else frozenset()
    return listing.only(visible), (decided,)


def failed(reply: Reply, why: str, grant: Resolution | None) -> Ending:
    """The end of an exchange that broke; of an approved call it is what a retry is told."""
    return Ending(Status.FAILED, reply, why=why, approval=grant.approval if grant is not None else None)


def close(call: Call, ending: Ending) -> Script[Reply]:
    """End the exchange: its one outcome is durable before the reply is returned (commit point 2)."""
    yield from append(records.outcome(call, ending))
    return ending.reply
