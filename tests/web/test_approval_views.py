"""What people are shown of an approval: every value that will run, in letters that are what they seem."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.policy import approval
from gateway.core.policy.approval import UNJUSTIFIED, Approval, Ask, State
from gateway.core.policy.decision import ApprovalTerms
from gateway.core.protocol import mcp
from gateway.core.types import ApprovalId, Digest, ExchangeId, Principal, SessionId
from gateway.web import approval_views
from gateway.web.approval_views import Part

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
WHO = Principal("https://id.example", "alice", client="agent")


def held(arguments, *, params=None, meta=None) -> Approval:
    asked = Ask(
        ExchangeId("e"), SessionId("s"), WHO, "clinic", "tools/call", "run_sql", Digest("a" * 64),
        ApprovalTerms(("privacy",), 2), (), {"message": {"arguments": arguments, "params": params or {}}},
        meta=meta or {},
    )  # fmt: skip
    return approval.opened(ApprovalId("ap_1"), asked, at=NOON)


def test_every_value_that_will_be_sent_is_shown():
    shown = approval_views.parts(held({"sql": "SELECT\n1", "limit": 5.0}, params={"task": None}, meta={"tenant": "b"}))

    assert shown == [Part("sql", "SELECT\n1"), Part("limit", "5.0"), Part("task", "null"), Part("_meta / tenant", "b")]


def test_arguments_that_are_no_object_are_shown_as_they_are():
    assert approval_views.parts(held(["a", 10**30])) == [Part("arguments", '[\n  "a",\n  1' + "0" * 30 + "\n]")]


def test_text_that_looks_like_a_value_is_told_from_the_value():
    shown = approval_views.parts(held({"a": "null", "b": None, "c": [" x"]}))

    assert shown[2].text == '[\n  " x"\n]'


@given(st.text())
def test_no_character_hides_or_turns_the_writing_round(text):
    shown = approval_views.plainly(text)

    assert not {"\u202e", "\u2066", "\u200b", "\u00ad", "\ufeff", "\x1b", "\r", "\u2028"} & set(shown)
    assert approval_views.plainly(shown) == shown


def test_ordinary_writing_is_left_alone():
    ordinary = "Müller, 山田 👩 SELECT\n\t1"

    assert approval_views.plainly(ordinary) == ordinary


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1, "no time"), (0, "no time"), (1, "1 second"), (61, "1 minute 1 second"), (90_061, "1 day 1 hour")],
)
def test_what_remains_is_told_in_two_units(seconds, words):
    each = replace(held({}), expires=NOON + timedelta(seconds=seconds))

    assert approval_views.remaining(each, NOON) == words


@pytest.mark.parametrize("state", State)
def test_every_state_has_its_sentence(state):
    told = approval_views.story(replace(held({}), state=state, why=UNJUSTIFIED))

    assert told.endswith(".")
    assert ("was not run" in told) == (state in (State.REFUSED, State.EXPIRED, State.CANCELLED))


def test_of_a_grant_in_a_restored_log_nobody_says_that_its_call_was_not_run():
    restored = replace(held({}), state=State.CANCELLED, why=approval.RESTORED)

    assert approval_views.story(restored).endswith("Whether the call was run after that is not on record.")


def test_what_clients_say_with_every_request_is_told_apart_and_nothing_else_can_pass_for_it():
    meta = {mcp.PROTOCOL_VERSION: "2026-07-28", "io.modelcontextprotocol/other": "a", "tenant": "b"}
    shown = approval_views.parts(held({f"_meta / {mcp.CLIENT_INFO}": "1", mcp.CLIENT_INFO: "2"}, meta=meta))

    assert [part.name for part in shown if part.usual] == [f"_meta / {mcp.PROTOCOL_VERSION}"]
    assert len(shown) == 5
