"""What the gateway hands out and believes when it comes back, and where else it is worth nothing."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.core.errors import InternalFault
from gateway.core.protocol.jsonrpc import Failure, Request, Success
from gateway.core.protocol.session import Ticket
from gateway.core.types import SessionId
from gateway.web.sealer import REQUEST_S, SESSION_S, Sealer

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SEALER = Sealer(b"k" * 32, lambda: NOON)
MINE, OTHER = SessionId("0199-mine"), SessionId("0199-other")
ASKED = Request(7, "elicitation/create", {"message": "Which patient?"})


def test_an_answer_goes_back_under_the_upstreams_own_id():
    given = SEALER.request(ASKED, MINE)

    assert given.id != 7
    assert SEALER.response(Success(given.id, {"action": "accept"}), MINE) == (
        Success(7, {"action": "accept"}),
        "elicitation/create",
    )


@pytest.mark.parametrize("answer", [Success, lambda ident, _: Failure(ident, -1, "no")])
def test_what_was_asked_in_one_session_cannot_be_answered_in_another(answer):
    given = SEALER.request(ASKED, MINE)

    assert SEALER.response(answer(given.id, {}), OTHER) is None
    with pytest.raises(InternalFault):
        SEALER.own_response(answer(given.id, {}), OTHER)


def test_a_session_id_is_not_the_id_of_a_request():
    ticket = SEALER.session_id(Ticket(MINE, "clinic", "actor", "2025-11-25"))

    assert SEALER.response(Success(ticket, {}), MINE) is None
    assert SEALER.ticket(str(SEALER.request(ASKED, MINE).id)) is None


@pytest.mark.parametrize("ident", [7, "7", "", None])
def test_an_id_that_the_gateway_did_not_make_answers_nothing(ident):
    assert SEALER.response(Failure(ident, -1, "no"), MINE) is None


def test_an_answer_that_comes_too_late_answers_nothing():
    given = SEALER.request(ASKED, MINE)
    later = Sealer(b"k" * 32, lambda: NOON + timedelta(seconds=REQUEST_S))

    assert later.response(Success(given.id, {}), MINE) is None


def test_a_cursor_is_good_for_its_own_purpose_and_for_its_time():
    given = SEALER.seal({"cursor": "row 50"}, "cursor of ada", 60)

    assert SEALER.unseal(given, "cursor of ada") == {"cursor": "row 50"}
    assert SEALER.unseal(given, "cursor of bob") is None
    assert SEALER.ticket(given) is None
    later = Sealer(b"k" * 32, lambda: NOON + timedelta(seconds=60))
    assert later.unseal(given, "cursor of ada") is None


@pytest.mark.parametrize("greeting", [None, {"clientInfo": {"name": "long " * 1000}}], ids=["remembered", "too long"])
def test_a_session_id_that_was_believed_is_believed_no_longer_than_its_time_and_under_its_key(greeting):
    ticket = Ticket(MINE, "clinic", "actor", "2025-11-25", greeting=greeting)
    given = SEALER.session_id(ticket)
    end = NOON + timedelta(seconds=SESSION_S)

    for now in (NOON, NOON, end - timedelta(microseconds=1)):
        assert Sealer(b"k" * 32, lambda now=now: now).ticket(given) == ticket
    assert Sealer(b"k" * 32, lambda: end).ticket(given) is None
    assert Sealer(b"x" * 32, lambda: NOON).ticket(given) is None
    for forged in (given[:-1] + ("A" if given[-1] != "A" else "B"), given + "=", given[:-4], ""):
        assert SEALER.ticket(forged) is None
