"""The invariants of an exchange, whatever the world does (docs/architecture.md).

Hypothesis plays the world: it answers each command with anything that command can be answered with, or with any fault
that performing it can raise, in any order and number, and a client that may be gone at any time. What must hold is then
read off the trace.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import orjson
from hypothesis import event, given
from hypothesis import strategies as st

from gateway.core import commands
from gateway.core.call import LISTEN, Call
from gateway.core.commands import Command, Resolution, Settled
from gateway.core.errors import ClientGone, EvidenceFault, GatewayError, InternalFault, MaskFault, UpstreamFault
from gateway.core.evidence.record import LeafType, Record
from gateway.core.exchange import exchange
from gateway.core.held import Claim, Task
from gateway.core.masking.plan import Masked
from gateway.core.masking.profile import Profile
from gateway.core.policy.decision import ApprovalTerms, Decision, Effect, Entrypoint, Reason
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Success
from gateway.core.replies import Reply
from gateway.core.types import ApprovalId, Era, LeafIndex
from tests.playbooks.playbook import call, decided

SECRET = "078-05-1120"
"""Stands in everything that an upstream sends, and in nothing that a mask lets through."""

DECISIONS = st.sampled_from(
    [
        decided(Decision(Effect.ALLOW, visible=frozenset({"t"}))),
        decided(Decision(Effect.ALLOW, labels={"emergency": True, "emergency_s": 60})),
        decided(Decision(Effect.DENY, (Reason("no", "no"),))),
        decided(Decision(Effect.REQUIRE_APPROVAL, approval=ApprovalTerms(("g",)))),
    ]
)
UPSTREAM_SAYS = st.sampled_from(
    [
        Notification("notifications/progress", {"message": SECRET}),
        Notification("made/up", {"x": SECRET}),
        Request("u", "sampling/createMessage", {"x": SECRET}),
        commands.Burst((Notification("notifications/progress", {"message": SECRET}), Notification("made/up"))),
        commands.Burst((Notification("notifications/progress", {"message": SECRET}),) * 3),
        Success(7, {"content": [{"type": "text", "text": SECRET}]}),
        Success(7, {"tools": [{"name": "t", "description": SECRET}, {"name": SECRET}]}),
        Success(7, {"resultType": "input_required", "requestState": SECRET}),
        Failure(7, -32000, SECRET, {"x": SECRET}),
        None,
    ]
)
TASKS = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}
URLS = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}}
CALLS = st.builds(
    call,
    st.sampled_from(
        [
            Request(7, "tools/call", {"name": "t", "arguments": {"q": "1"}}),
            Request(7, "tools/call", {"name": "t", "arguments": {}, "_meta": TASKS}),
            Request(7, "resources/read", {"uri": "a:b", "_meta": URLS}),
            Request(7, "tasks/get", {"taskId": "phigate.t", "_meta": TASKS}),
            Request(7, "tools/list"),
            Request(7, "made/up"),
            Notification("notifications/initialized"),
            Success("u", {"role": "assistant"}),
            LISTEN,
        ]
    ),
    era=st.sampled_from(Era),
    claim=st.sampled_from([None, None, Claim(None), Claim(ApprovalId("a")), Claim(ApprovalId("a"), 10, declined=True)]),
).map(lambda about: replace(about, task=Task("phigate.t", ApprovalId("a"))) if asks_after_a_task(about) else about)


def asks_after_a_task(about: Call) -> bool:
    return isinstance(about.message, Request) and about.message.method == "tasks/get"


@dataclass
class Trace:
    """What happened, in order: commands that succeeded, and records that are durable."""

    steps: list[Command] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    spent: bool = False
    effects: list[Effect] = field(default_factory=list)
    emergency_at_forward: bool = False
    """Whether the last decision before the forward was for an emergency's sake."""

    def of(self, kind: type[Command]) -> list[Command]:
        return [step for step in self.steps if isinstance(step, kind)]

    def ends(self) -> list[Record]:
        return [record for record in self.records if record.type is LeafType.EXCHANGE_OUTCOME]


class World:
    """Answers commands as hypothesis pleases."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        self.trace = Trace()
        self._messages = 0

    def perform(self, command: Command) -> object:
        answer = self._answer(command)
        self.trace.steps.append(command)
        if isinstance(command, commands.Append | commands.Spend) and answer is not False:
            self.trace.records.append(command.record)
        if isinstance(command, commands.AppendAll):
            self.trace.records.extend(command.records)
        return answer

    def _answer(self, command: Command) -> object:
        draw = self._data.draw
        match command:
            case commands.Decide():
                chosen = replace(draw(DECISIONS))  # Each answer is one of its own.
                self.trace.effects.append(chosen.decision.effect)
                if command.entrypoint is Entrypoint.CALL:
                    self.trace.emergency_at_forward = "emergency" in chosen.decision.labels
                return chosen
            case commands.Append() | commands.AppendAll():
                return self._or_fault(LeafIndex(0), EvidenceFault("full"), rarely=True)
            case commands.Spend():
                self.trace.spent = bool(self._or_fault(draw(st.booleans()), EvidenceFault("full"), rarely=True))
                return self.trace.spent
            case commands.Seal():
                return "sealed"
            case commands.Hold() | commands.Look() | commands.Resume():
                reply = {"jsonrpc": "2.0", "id": 1, "result": {}}
                state = draw(st.sampled_from(Settled))
                return self._or_fault(Resolution(ApprovalId("a"), state, {}, reply), ClientGone("gone"))
            case commands.Forward() | commands.Listen() | commands.Respond():
                return self._or_fault(None, UpstreamFault("broke", kind="closed"), rarely=True)
            case commands.Receive():
                self._messages += 1
                said = draw(UPSTREAM_SAYS) if self._messages < 6 else None
                return self._or_fault(
                    said, ClientGone("gone"), UpstreamFault("broke", kind="timeout"), InternalFault("bug"), rarely=True
                )
            case commands.Inspect():
                return self._or_fault(Profile(), InternalFault("bug"), rarely=True)
            case commands.InspectAll(values):
                return self._or_fault((Profile(),) * len(values), InternalFault("bug"), rarely=True)
            case commands.MaskAll(values):
                done = st.sampled_from([None, Masked({"masked": True}, {"counts": {"SSN": 1}}), Masked({"n": 1})])
                return tuple(draw(done) for _ in values)
            case commands.Mask():
                return self._or_fault(Masked({"masked": True}, {"counts": {"SSN": 1}}), MaskFault("no"))
            case commands.Present():
                return draw(st.booleans())
            case commands.Learn():
                return draw(st.sampled_from([frozenset(), frozenset({"t"})]))
            case _:
                return None

    def _or_fault(self, answer: object, *faults: GatewayError, rarely: bool = False) -> object:
        if self._data.draw(st.integers(0, 9 if rarely else 2)) == 0:
            raise self._data.draw(st.sampled_from(faults))
        return answer


def play(about: Call, world: World) -> Reply | None:
    """Run the exchange against the world; None when it ended in EvidenceFault."""
    script = exchange(about)
    try:
        command = next(script)
        while True:
            try:
                answer = world.perform(command)
            except GatewayError as fault:
                command = script.throw(fault)
            else:
                command = script.send(answer)
    except StopIteration as stop:
        reply: Reply = stop.value
        return reply
    except EvidenceFault:
        return None
    except InternalFault:
        # A bug while a refused exchange is being recorded: the driver answers it, and nothing was forwarded.
        return None


@given(CALLS, st.data())
def test_nothing_is_forwarded_before_its_intent_is_durable(about: Call, data: st.DataObject) -> None:
    """Invariant 1."""
    world = World(data)
    play(about, world)
    for position, step in enumerate(world.trace.steps):
        if isinstance(step, commands.Forward | commands.Listen):
            before = [s.record.type for s in world.trace.steps[:position] if isinstance(s, commands.Append)]
            assert LeafType.EXCHANGE_INTENT in before
            event("forwarded")


@given(CALLS, st.data())
def test_no_byte_is_returned_that_is_not_durable_first(about: Call, data: st.DataObject) -> None:
    """Invariants 2 and 5: the reply is the bytes of the last record, and each relayed message of the one before it."""
    world = World(data)
    reply = play(about, world)
    if reply is not None and reply.data:
        assert world.trace.records[-1].bodies["response"] == reply.data
    for position, step in enumerate(world.trace.steps):
        if isinstance(step, commands.Relay):
            previous = world.trace.steps[position - 1]
            assert isinstance(previous, commands.AppendAll)
            assert [data for record in previous.records for data in left(record)] == list(step.messages)


@given(CALLS, st.data())
def test_what_policy_does_not_allow_is_not_forwarded(about: Call, data: st.DataObject) -> None:
    """Invariant 3."""
    world = World(data)
    play(about, world)
    if world.trace.of(commands.Forward) or world.trace.of(commands.Listen):
        first = world.trace.effects[0]
        assert first is Effect.ALLOW or (first is Effect.REQUIRE_APPROVAL and world.trace.spent)


@given(CALLS, st.data())
def test_each_exchange_that_began_ends_exactly_once(about: Call, data: st.DataObject) -> None:
    """Invariant 4: one outcome for each intent, whatever fails; only evidence that cannot be written leaves none."""
    world = World(data)
    reply = play(about, world)
    began = [record for record in world.trace.records if record.type is LeafType.EXCHANGE_INTENT]
    assert len(world.trace.of(commands.Forward)) <= 1
    assert len(world.trace.ends()) <= 1
    if reply is not None:
        refused = [record for record in world.trace.records if record.type is LeafType.EXCHANGE_REFUSED]
        assert len(world.trace.ends()) == len(began)
        assert len(began) + len(refused) == 1


@given(CALLS, st.data())
def test_nothing_of_the_upstream_leaves_unmasked_or_stays_in_the_clear(about: Call, data: st.DataObject) -> None:
    """Invariants 5 and 9."""
    world = World(data)
    reply = play(about, world)
    secret = SECRET.encode()
    assert reply is None or secret not in reply.data
    relayed = [data for step in world.trace.steps if isinstance(step, commands.Relay) for data in step.messages]
    assert all(secret not in data for data in relayed)
    for record in world.trace.records:
        assert secret not in orjson.dumps(record.members)
        assert SECRET not in repr(record)
        assert all(secret not in body for body in record.bodies.values())


@given(CALLS, st.data())
def test_a_call_that_needs_approval_is_forwarded_only_after_a_grant_is_spent(about: Call, data: st.DataObject) -> None:
    """Invariant 6."""
    world = World(data)
    play(about, world)
    steps = world.trace.steps
    forwards = [i for i, step in enumerate(steps) if isinstance(step, commands.Forward)]
    if forwards and world.trace.effects[0] is Effect.REQUIRE_APPROVAL:
        spends = [i for i, step in enumerate(steps) if isinstance(step, commands.Spend)]
        assert spends
        assert spends[-1] < forwards[0]


@given(CALLS, st.data())
def test_an_emergency_is_forwarded_only_after_its_access_is_durable(about: Call, data: st.DataObject) -> None:
    """45 CFR 164.312(a)(2)(ii): whoever breaks the glass is on record before it has anything of it."""
    world = World(data)
    play(about, world)
    steps = world.trace.steps
    forwards = [i for i, step in enumerate(steps) if isinstance(step, commands.Forward | commands.Listen)]
    if forwards and world.trace.emergency_at_forward:
        alarms = [i for i, step in enumerate(steps) if _alarms(step)]
        assert alarms
        assert alarms[-1] < forwards[0]
        event("broke the glass")


@given(CALLS, st.data())
def test_no_legacy_caller_is_told_to_wait_in_a_way_that_it_cannot_take(about: Call, data: st.DataObject) -> None:
    """Neither `input_required` nor a task: the SDKs take the one for a success or a broken answer."""
    world = World(data)
    reply = play(about, world)
    if reply is not None and reply.data:
        result = orjson.loads(reply.data).get("result", {})
        kind = result.get("resultType") if isinstance(result, dict) else None
        assert about.era is Era.MODERN or kind is None
        if kind == "task":
            event("task")
            assert about.message.params.get("_meta") == TASKS
        if isinstance(result, dict) and "inputRequests" in result:
            event("page")
            assert about.message.params.get("_meta") == URLS


@given(CALLS, st.data())
def test_what_is_about_the_gateways_own_tasks_or_is_not_believed_is_never_forwarded(
    about: Call, data: st.DataObject
) -> None:
    world = World(data)
    play(about, world)
    if about.task is not None or (about.claim is not None and about.claim.approval is None):
        assert not world.trace.of(commands.Forward)
        assert not world.trace.of(commands.Listen)
        assert not world.trace.of(commands.Spend)


def left(record: Record) -> list[bytes]:
    """The messages that a record says have left."""
    if "messages" in record.bodies:
        return record.bodies["messages"].split(b"\n")
    return [record.bodies["message"]] if "message" in record.bodies else []


def _alarms(step: Command) -> bool:
    return isinstance(step, commands.Append) and step.record.type is LeafType.EMERGENCY_ACCESS
