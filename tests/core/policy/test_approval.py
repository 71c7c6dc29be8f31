"""The rules of an approval: what a grant is bound to, who may give it, and that it is used once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.call import Call
from gateway.core.errors import InternalFault
from gateway.core.policy import approval
from gateway.core.policy.approval import NEXT, VOLATILE, Approval, Ground, Objection, State, Verdict
from gateway.core.policy.decision import ApprovalTerms, Decision, Effect, Reason
from gateway.core.protocol.jsonrpc import Failure, Message, Notification, Request, Success
from gateway.core.types import (
    ApprovalId,
    Digest,
    Document,
    Era,
    ExchangeId,
    Json,
    Principal,
    SessionId,
    Tool,
    UpstreamRef,
)

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ISSUER = "https://id.example"
ALICE = Principal(ISSUER, "alice", ("clinicians",), "agent")
BOB = Principal(ISSUER, "bob", ("privacy",), "browser")
CAROL = Principal(ISSUER, "carol", ("privacy",), "browser")
PIN = Digest("a" * 64)
COUNTS = Decision(Effect.ALLOW, counts=True)
PARAMS: Document = {"name": "run_sql", "arguments": {"sql": "SELECT * FROM patient", "limit": 5000}}


def call(
    *,
    principal: Principal = ALICE,
    upstream: str = "clinic",
    message: Message | None = None,
    pin: str | None = PIN,
    answers: str = "",
    justification: str = "",
) -> Call:
    return Call(
        exchange=ExchangeId("0199-exchange"),
        session=SessionId("0199-session"),
        actor="f" * 32,
        era=Era.LEGACY,
        version="2025-11-25",
        principal=principal,
        upstream=UpstreamRef(upstream),
        message=message if message is not None else Request(1, "tools/call", PARAMS),
        tool=Tool("run_sql", Digest(pin), {}) if pin is not None else None,
        answers=answers,
        justification=justification,
    )


def question(*, quorum: int = 1, expires_s: int = 900, demand: bool = False, justification: str = "") -> approval.Ask:
    terms = ApprovalTerms(("privacy",), quorum, expires_s, demand)
    return approval.ask(
        call(justification=justification),
        Decision(Effect.REQUIRE_APPROVAL, (Reason("bulk_select", "more than 50 rows"),), approval=terms),
    )


def pending(*, quorum: int = 1, demand: bool = False, justification: str = "") -> Approval:
    return approval.opened(
        ApprovalId("ap_1"), question(quorum=quorum, demand=demand, justification=justification), at=NOON
    )


def grant(
    held: Approval,
    reviewer: Principal = BOB,
    *,
    verdict: Verdict = Verdict.GRANT,
    reason: str = "",
    after_s: float = 60,
    decision: Decision = COUNTS,
) -> Approval | Objection:
    at = NOON + timedelta(seconds=after_s)
    return approval.review(held, reviewer, verdict=verdict, reason=reason, at=at, decision=decision)


def taken(reviewed: Approval | Objection) -> Approval:
    assert isinstance(reviewed, Approval), reviewed
    return reviewed


def ground(reviewed: Approval | Objection) -> Ground:
    assert isinstance(reviewed, Objection)
    return reviewed.ground


# What a grant is bound to.


@pytest.mark.parametrize(
    "other",
    [
        call(principal=replace(ALICE, subject="mallory")),
        call(principal=replace(ALICE, issuer="https://evil.example")),
        call(principal=replace(ALICE, client="another agent")),
        call(principal=replace(ALICE, chain=("sub-agent",))),
        call(upstream="billing"),
        call(message=Request(1, "tools/list", PARAMS)),
        call(message=Notification("tools/call", PARAMS)),
        call(message=Request(1, "tools/call", {**PARAMS, "name": "drop_sql"})),
        call(message=Request(1, "tools/call", {"name": "run_sql", "arguments": {"sql": "SELECT 1", "limit": 5000}})),
        call(message=Request(1, "tools/call", {**PARAMS, "task": {"ttl": 1}})),
        call(message=Request(1, "tools/call", {**PARAMS, "_meta": {"tenant": "b"}})),
        call(pin="b" * 64),
        call(pin=None),
    ],
    ids=lambda other: f"{other.upstream.name}-{type(other.message).__name__}",
)
def test_a_grant_cannot_be_spent_on_another_call(other: Call) -> None:
    assert approval.binding(other) != approval.binding(call())


def test_a_retry_with_another_id_trace_and_progress_token_has_the_same_binding() -> None:
    meta: Document = {name: f"fresh {name}" for name in VOLATILE}
    retry = call(message=Request("retry-7", "tools/call", {"_meta": meta, **PARAMS}))

    assert approval.binding(retry) == approval.binding(call())


@pytest.mark.parametrize("name", ["baggage", "requestState", "phigate/justification"])
def test_meta_that_could_tell_the_upstream_something_else_cannot_be_swapped_under_a_grant(name: str) -> None:
    asked, swapped = ({**PARAMS, "_meta": {name: value}} for value in ("tenant=reviewed", "tenant=other"))
    one, other = (call(message=Request(1, "tools/call", params)) for params in (asked, swapped))

    assert approval.binding(one) != approval.binding(other)


def test_the_order_of_members_does_not_change_the_binding() -> None:
    turned: Document = {"arguments": {"limit": 5000, "sql": "SELECT * FROM patient"}, "name": "run_sql"}

    assert approval.binding(call(message=Request(1, "tools/call", turned))) == approval.binding(call())


def test_groups_and_login_strength_are_left_to_policy_and_not_bound() -> None:
    promoted = replace(ALICE, groups=("clinicians", "oncall"), acr="loa3")

    assert approval.binding(call(principal=promoted)) == approval.binding(call())


def test_numbers_that_an_upstream_can_tell_apart_are_not_the_same_call() -> None:
    bindings = {
        approval.binding(call(message=Request(1, "tools/call", {"arguments": {"n": n}})))
        for n in (1, 1.0, True, "1", -1, 10**40, 1e40)
    }

    assert len(bindings) == 7


def test_a_meta_that_is_no_object_counts_as_it_stands() -> None:
    odd = call(message=Request(1, "tools/call", {**PARAMS, "_meta": "progressToken"}))

    assert approval.binding(odd) != approval.binding(call())


def test_answers_to_an_upstream_are_bound_to_what_they_answer() -> None:
    answers = [
        call(message=Success(1, {"action": "accept"}), answers="elicitation/create"),
        call(message=Success(1, {"action": "accept"}), answers="sampling/createMessage"),
        call(message=Success(1, {"action": "decline"}), answers="elicitation/create"),
        call(message=Failure(1, -1, "no"), answers="elicitation/create"),
        call(message=Failure(1, -1, "never"), answers="elicitation/create"),
    ]

    assert len({approval.binding(answer) for answer in answers}) == len(answers)


VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.text(min_size=1, max_size=6)


def spelled(value: Json) -> str:
    """A value's identity: unlike `==`, tells 1, 1.0 and True apart and ignores the order of members."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{spelled(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(spelled(item) for item in value) + "]"
    return repr(value)


@settings(max_examples=150)
@given(st.dictionaries(NAMES, VALUES, max_size=3), st.dictionaries(NAMES, VALUES, max_size=3))
def test_two_calls_share_a_binding_only_if_their_arguments_are_the_same(one: Document, other: Document) -> None:
    first, second = (call(message=Request(1, "tools/call", {"arguments": sent})) for sent in (one, other))

    assert (approval.binding(first) == approval.binding(second)) == (spelled(one) == spelled(other))


@settings(max_examples=80)
@given(
    st.dictionaries(NAMES, VALUES, max_size=3),
    st.dictionaries(st.sampled_from(sorted(VOLATILE)), VALUES),
    st.dictionaries(NAMES.filter(lambda name: name not in VOLATILE), VALUES, min_size=1, max_size=2),
)
def test_volatile_meta_never_counts_and_any_other_always_does(
    arguments: Document, volatile: Document, lasting: Document
) -> None:
    bare = call(message=Request(1, "tools/call", {"arguments": arguments}))
    dressed = call(message=Request(1, "tools/call", {"arguments": arguments, "_meta": volatile}))
    laden = call(message=Request(1, "tools/call", {"arguments": arguments, "_meta": {**lasting, **volatile}}))

    assert approval.binding(dressed) == approval.binding(bare)
    assert approval.binding(laden) != approval.binding(bare)


def test_an_ask_carries_what_the_reviewer_must_see_and_policy_must_re_decide() -> None:
    sent = Request(1, "tools/call", {**PARAMS, "_meta": {"progressToken": 7, "tenant": "b"}})
    terms = ApprovalTerms(("privacy",), 2, 60)
    reasons = (Reason("bulk_select", "more than 50 rows"),)
    asked = approval.ask(
        call(message=sent, justification="audit"), Decision(Effect.REQUIRE_APPROVAL, reasons, approval=terms)
    )

    assert (asked.upstream, asked.method, asked.name) == ("clinic", "tools/call", "run_sql")
    assert (asked.terms, asked.reasons, asked.justification) == (terms, reasons, "audit")
    assert asked.meta == {"tenant": "b"}
    assert asked.input["message"] == {
        "kind": "request", "method": "tools/call", "name": "run_sql", "arguments": PARAMS["arguments"], "params": {},
    }  # fmt: skip


def test_a_decision_without_terms_can_not_be_asked() -> None:
    with pytest.raises(InternalFault):
        approval.ask(call(), Decision(Effect.REQUIRE_APPROVAL))


def test_arguments_and_justifications_stay_out_of_reprs() -> None:
    shown = repr(taken(grant(pending(justification="for 123-45-6789"), reason="seen 123-45-6789")))

    assert "123-45-6789" not in shown
    assert "SELECT" not in shown


# Who may release it.


def test_one_eligible_reviewer_grants_when_one_is_enough() -> None:
    granted = taken(grant(pending()))

    assert granted.state is State.GRANTED
    assert granted.resolved == NOON + timedelta(seconds=60)


def test_a_grant_is_good_for_as_long_again_and_no_longer() -> None:
    granted = taken(grant(pending()))
    end = NOON + timedelta(seconds=960)

    assert granted.expires == end
    assert approval.spend(granted, at=end - timedelta(microseconds=1)) is not None
    assert approval.spend(granted, at=end) is None
    assert approval.expire(granted, at=end).state is State.EXPIRED


@pytest.mark.parametrize("groups", [(), ("privacy",), ("admins", "privacy")])
def test_the_requester_cannot_approve_their_own_call_whatever_their_groups(groups: tuple[str, ...]) -> None:
    assert ground(grant(pending(), replace(ALICE, groups=groups))) is Ground.SELF_APPROVAL


def test_the_requester_cannot_approve_through_another_client_or_agent() -> None:
    disguised = Principal(ISSUER, "alice", ("privacy",), "browser", acr="loa3", chain=("assistant",))

    assert ground(grant(pending(), disguised)) is Ground.SELF_APPROVAL


def test_an_actor_in_the_requesters_chain_cannot_approve_what_it_asked_for() -> None:
    asked = approval.ask(
        call(principal=replace(ALICE, chain=("bob",))),
        Decision(Effect.REQUIRE_APPROVAL, approval=ApprovalTerms(("privacy",))),
    )

    assert ground(grant(approval.opened(ApprovalId("ap_1"), asked, at=NOON))) is Ground.SELF_APPROVAL


def test_the_same_name_at_another_issuer_is_another_person() -> None:
    namesake = Principal("https://other.example", "alice", ("privacy",), "browser")

    assert taken(grant(pending(), namesake)).state is State.GRANTED


@pytest.mark.parametrize(
    "machine", [replace(BOB, chain=("assistant",)), replace(BOB, client="bob"), replace(BOB, agent=True)]
)
def test_an_agent_with_a_reviewers_token_is_not_a_person(machine: Principal) -> None:
    assert ground(grant(pending(), machine)) is Ground.NOT_A_PERSON


def test_one_person_with_two_clients_is_one_vote() -> None:
    once = taken(grant(pending(quorum=2)))

    assert once.state is State.PENDING
    assert ground(grant(once, replace(BOB, client="phone"))) is Ground.ALREADY_VOTED


def test_a_quorum_of_two_takes_two_people() -> None:
    both = taken(grant(taken(grant(pending(quorum=2))), CAROL))

    assert both.state is State.GRANTED
    assert [vote.reviewer.subject for vote in both.votes] == ["bob", "carol"]


@pytest.mark.parametrize("quorum", [0, -3])
def test_a_quorum_below_one_still_takes_one(quorum: int) -> None:
    uncounted = taken(grant(pending(quorum=quorum), decision=Decision(Effect.ALLOW)))

    assert uncounted.state is State.PENDING
    assert taken(grant(uncounted, CAROL)).state is State.GRANTED


def test_a_vote_that_does_not_count_is_kept_and_does_not_grant() -> None:
    held = taken(grant(pending(), decision=Decision(Effect.ALLOW)))

    assert (held.state, len(held.votes), held.grants) == (State.PENDING, 1, 0)


@pytest.mark.parametrize("effect", [Effect.DENY, Effect.REQUIRE_APPROVAL])
def test_only_a_reviewer_whom_policy_allows_is_heard(effect: Effect) -> None:
    decision = Decision(effect, (Reason("not_a_reviewer", "reviewers are in privacy"),), counts=True)
    refused = grant(pending(), decision=decision)

    assert isinstance(refused, Objection)
    assert refused.ground is Ground.DENIED
    assert "reviewers are in privacy" in refused.message


def test_one_refusal_ends_it_even_after_a_grant() -> None:
    refused = taken(grant(taken(grant(pending(quorum=2))), CAROL, verdict=Verdict.REFUSE, reason="too many rows"))

    assert refused.state is State.REFUSED
    assert ground(grant(refused, Principal(ISSUER, "dave"))) is Ground.NOT_PENDING


def test_a_question_that_lapsed_cannot_be_granted() -> None:
    assert ground(grant(pending(), after_s=900)) is Ground.LAPSED
    assert taken(grant(pending(), after_s=899)).state is State.GRANTED


def test_a_demanded_justification_must_be_there_on_both_sides() -> None:
    silent = pending(demand=True)
    spoken = pending(demand=True, justification="quarterly audit")

    assert ground(grant(silent, reason="ok")) is Ground.NO_JUSTIFICATION
    assert ground(grant(spoken, reason="  ")) is Ground.NO_REASON
    assert taken(grant(silent, verdict=Verdict.REFUSE, reason="why?")).state is State.REFUSED
    assert taken(grant(spoken, reason="checked")).state is State.GRANTED


# What may follow what.


def test_ends_are_ends_and_every_state_has_its_row() -> None:
    assert set(NEXT) == set(State)
    assert {state for state, after in NEXT.items() if not after} == {
        State.REFUSED, State.EXPIRED, State.CANCELLED, State.SPENT,
    }  # fmt: skip


def test_a_grant_is_spent_once() -> None:
    spent = approval.spend(taken(grant(pending())), at=NOON + timedelta(seconds=61))

    assert spent is not None
    assert spent.state is State.SPENT
    assert approval.spend(spent, at=NOON + timedelta(seconds=62)) is None


def test_what_is_not_granted_cannot_be_spent() -> None:
    assert approval.spend(pending(), at=NOON) is None


def test_a_question_is_withdrawn_only_while_it_is_pending() -> None:
    assert approval.cancel(pending(), at=NOON, why="requester").why == "requester"
    with pytest.raises(InternalFault):
        approval.cancel(taken(grant(pending())), at=NOON, why="requester")


def test_a_grant_is_cancelled_only_where_the_log_was_restored() -> None:
    restored = approval.cancel(taken(grant(pending())), at=NOON, why=approval.RESTORED)

    assert (restored.state, restored.why) == (State.CANCELLED, "restored")
    assert approval.spend(restored, at=NOON) is None
    with pytest.raises(InternalFault):
        approval.cancel(restored, at=NOON, why=approval.RESTORED)


def test_an_approval_expires_only_when_its_time_is_over() -> None:
    with pytest.raises(InternalFault):
        approval.expire(pending(), at=NOON)


class Life(RuleBasedStateMachine):
    """Reviewers, requesters, clocks and spenders in any order: the promises hold after every step."""

    people = (ALICE, replace(ALICE, client="browser"), BOB, replace(BOB, client="phone"), CAROL)

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.releases = 0
        self.held = pending(quorum=2)
        self.path = [State.PENDING]

    def became(self, now: Approval) -> None:
        if now.state is not self.path[-1]:
            self.path.append(now.state)
        self.held = now

    @rule(
        who=st.sampled_from(people),
        verdict=st.sampled_from(Verdict),
        effect=st.sampled_from(Effect),
        counts=st.booleans(),
    )
    def review(self, who: Principal, verdict: Verdict, effect: Effect, counts: bool) -> None:
        decision = Decision(effect, counts=counts)
        reviewed = approval.review(self.held, who, verdict=verdict, reason="", at=self.now, decision=decision)
        if isinstance(reviewed, Approval):
            assert effect is Effect.ALLOW
            assert who.subject != "alice"
            assert self.now < self.held.expires
            self.became(reviewed)

    @rule(who=st.sampled_from([BOB, CAROL]))
    def grant(self, who: Principal) -> None:
        self.review(who, Verdict.GRANT, Effect.ALLOW, True)

    @rule(seconds=st.sampled_from([1, 100, 450, 900]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.held.lapsed(self.now))
    @rule()
    def expire(self) -> None:
        self.became(approval.expire(self.held, at=self.now))

    @precondition(lambda self: self.held.state is State.PENDING)
    @rule()
    def withdraw(self) -> None:
        self.became(approval.cancel(self.held, at=self.now, why="requester"))

    @rule()
    def spend(self) -> None:
        spent = approval.spend(self.held, at=self.now)
        if spent is not None:
            assert self.now < self.held.expires
            self.releases += 1
            self.became(spent)

    @invariant()
    def at_most_one_call_is_released(self) -> None:
        assert self.releases == (self.held.state is State.SPENT)

    @invariant()
    def every_release_had_its_quorum_of_distinct_people(self) -> None:
        voters = [vote.reviewer.subject for vote in self.held.votes]
        assert len(voters) == len(set(voters))
        if self.held.state in (State.GRANTED, State.SPENT):
            granting = {v.reviewer.subject for v in self.held.votes if v.counts and v.verdict is Verdict.GRANT}
            assert len(granting) >= 2

    @invariant()
    def states_follow_the_table(self) -> None:
        assert all(after in NEXT[before] for before, after in pairwise(self.path))


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
TestLife = Life.TestCase
