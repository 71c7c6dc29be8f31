"""A legacy client that comes back for what it lost is told recorded bytes, by the rules that hold for a new call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import resuming
from gateway.core.call import LISTEN
from gateway.core.commands import Append, Decide, Listen, Recall, Recalled, Receive, Relay
from gateway.core.errors import ClientGone, EvidenceFault
from gateway.core.evidence.record import LeafType
from gateway.core.policy.decision import Entrypoint
from gateway.core.resuming import Lost, Mark
from gateway.core.types import ExchangeId
from tests.playbooks import playbook
from tests.playbooks.playbook import Playbook, allow, ask_first, deny

LOST = ExchangeId("01a204b2-e0d9-7d28-a372-cf08550dcfff")
ALLOWED = Lost(playbook.call().message, "allow", left_waiting=False)
TOLD = Recalled((4, 5), (b"one", b"two"))
END = Recalled((9,), (b"reply",), ended=True, answered=True)


def played(call, lost=ALLOWED, said=0):
    return Playbook(call, resuming.resumption(call, Mark(LOST, said), lost))


def begun(call, lost=ALLOWED, decided=None, said=0):
    play = played(call, lost, said)
    play.decides(Entrypoint.CALL, decided or allow())
    play.records(LeafType.EXCHANGE_INTENT, resumes=LOST)
    return play


def test_what_is_told_again_is_on_record_before_it_leaves_and_nothing_is_forwarded():
    play = begun(playbook.call(), said=1)
    assert play.expects(Recall, TOLD) == Recall(LOST, 1, waits=True)
    play.records(LeafType.EXCHANGE_MESSAGE, status="retold", of=LOST, leaves=[4, 5], after=1, count=2)
    assert play.expects(Relay).messages == (b"one", b"two")
    assert play.expects(Recall, END) == Recall(LOST, 3, waits=True)
    play.records(LeafType.EXCHANGE_MESSAGE, status="retold", leaves=[9], after=3, count=1)
    assert play.expects(Relay).messages == (b"reply",)
    play.records(LeafType.EXCHANGE_OUTCOME, status="resumed")
    assert play.ends().data == b""


@pytest.mark.parametrize("now", [deny(), ask_first()], ids=["denied", "to be approved"])
def test_who_may_not_ask_it_any_more_is_not_told_what_was_answered(now):
    play = played(playbook.call())
    play.decides(Entrypoint.CALL, now)
    play.records(LeafType.EXCHANGE_REFUSED)
    assert b"Refused by policy" in play.ends().data


def test_a_call_that_was_approved_is_told_to_the_one_it_was_approved_for():
    lost = Lost(playbook.call().message, "require_approval", left_waiting=False)
    play = begun(playbook.call(), lost, ask_first())
    play.expects(Recall, END)
    play.records(LeafType.EXCHANGE_MESSAGE, status="retold")
    play.expects(Relay)
    play.records(LeafType.EXCHANGE_OUTCOME, status="resumed")
    play.ends()


def test_an_end_that_is_not_on_record_is_said_to_be_unknown():
    play = begun(playbook.call())
    play.expects(Recall, Recalled(ended=True))
    record = play.records(LeafType.EXCHANGE_OUTCOME, status="resumed")
    reply = play.ends()
    assert b"unknown_end" in reply.data
    assert record.bodies["response"] == reply.data


def test_a_client_that_goes_again_ends_the_resumption_on_record():
    play = begun(playbook.call())
    play.faults(Recall, ClientGone("gone"))
    play.records(LeafType.EXCHANGE_OUTCOME, status="abandoned", why="client_gone")
    assert play.ends().data == b""


def test_nothing_is_told_when_it_cannot_be_recorded():
    play = begun(playbook.call())
    play.expects(Recall, TOLD)
    play.faults(Append, EvidenceFault("full"))
    with pytest.raises(EvidenceFault):
        play.ends()


def test_the_standing_stream_goes_on_after_what_was_missed():
    play = begun(playbook.call(LISTEN))
    assert play.expects(Recall, TOLD) == Recall(LOST, 0, waits=False)
    play.records(LeafType.EXCHANGE_MESSAGE, status="retold")
    play.expects(Relay)
    play.expects(Listen)
    play.expects(Receive, None)
    play.records(LeafType.EXCHANGE_OUTCOME, status="ended")
    play.ends()


def test_policy_is_asked_about_the_very_call():
    play = played(playbook.call())
    command = play.expects(Decide, deny())
    assert command.input["message"]["name"] == "read_patient"


@given(st.uuids(), st.integers(0, 999_999_999))
def test_an_event_id_says_its_place_and_is_read_back(exchange, said):
    mark = Mark(ExchangeId(str(exchange)), said)
    assert resuming.parse(str(mark)) == mark


@given(st.text())
def test_any_text_is_an_event_id_of_ours_or_none(text):
    mark = resuming.parse(text)
    assert mark is None or str(mark) == text
