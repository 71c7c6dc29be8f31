"""What is written about an approval is what is read back, whatever the client sent."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.policy import approval, approval_bodies
from gateway.core.policy.approval import Approval, Ask, Verdict, Vote
from gateway.core.policy.decision import ApprovalTerms, Phase, Reason
from gateway.core.types import ApprovalId, Digest, Document, ExchangeId, Principal, SessionId

NAME = ApprovalId("ap_1")
ALICE = Principal("https://id.example", "alice", ("clinicians",), "agent", "loa2", ("pwd",), ("helper",))
BOB = Principal("https://id.example", "bob", ("privacy",), "browser")
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def ask(document: Document, *, justification: str = "", meta: Document | None = None) -> Ask:
    return Ask(
        ExchangeId("exchange-1"), SessionId("session-1"), ALICE, "clinic", "tools/call", "run_sql", Digest("a" * 64),
        ApprovalTerms(("privacy", "on call"), 2, 60, True, Phase.CALL), (Reason("bulk", "many rows", "sql"),),
        document, justification, meta or {},
    )  # fmt: skip


@settings(max_examples=100)
@given(st.dictionaries(TEXT, JSON, max_size=3), TEXT, st.dictionaries(TEXT, JSON, max_size=2), TIMES)
def test_a_question_is_read_back_digit_for_digit(document, justification, meta, at):
    question = ask(document, justification=justification, meta=meta)
    read = approval_bodies.parse_ask(approval_bodies.format_ask(NAME, question, at=at))

    assert read == (NAME, question, at)
    assert repr(read[1].input) == repr(document)  # 1, 1.0 and True are equal and not the same argument.


@settings(max_examples=60)
@given(st.sampled_from(Verdict), st.booleans(), TIMES, TEXT)
def test_a_vote_is_read_back(verdict, counts, at, reason):
    vote = Vote(BOB, verdict, counts, at, reason)

    assert approval_bodies.parse_vote(approval_bodies.format_vote(NAME, vote)) == (NAME, vote)


@given(TIMES, TIMES)
def test_written_times_sort_as_the_times_do(one, other):
    assert (approval_bodies.format_time(one) < approval_bodies.format_time(other)) == (one < other)


def test_policy_is_told_of_a_review_without_the_arguments():
    held = approval.opened(NAME, ask({"message": {"arguments": {"sql": "SELECT 1"}}}), at=NOON)
    held = Approval(NAME, held.ask, held.created, held.expires, votes=(Vote(BOB, Verdict.GRANT, True, NOON, "fine"),))
    asked = approval_bodies.for_review(held, BOB)

    assert "SELECT" not in str(asked)
    assert asked["principal"]["sub"] == "bob"
    assert asked["approval"]["requester"] == {"iss": "https://id.example", "sub": "alice", "groups": ["clinicians"]}
    assert asked["approval"]["terms"] == {
        "groups": ["privacy", "on call"], "quorum": 2, "expires_s": 60, "justification": "required", "phase": "call",
    }  # fmt: skip
    assert [vote["reviewer"]["sub"] for vote in asked["approval"]["votes"]] == ["bob"]


def test_a_grant_names_only_the_reviewers_whose_word_counted():
    votes = (Vote(BOB, Verdict.GRANT, False, NOON), Vote(ALICE, Verdict.GRANT, True, NOON))
    held = Approval(NAME, ask({}), NOON, NOON, votes=votes, resolved=NOON)

    assert [each["sub"] for each in approval_bodies.granted_document(held)["reviewers"]] == ["alice"]
