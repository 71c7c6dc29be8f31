"""The legacy session id as a ticket: what is sealed into it comes out of it, and nothing else is one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.protocol import session
from gateway.core.protocol.session import Ticket

some = st.text(min_size=1, max_size=8)
tickets = st.builds(Ticket, some, some, some, some, st.none() | some, st.none() | st.dictionaries(some, st.integers()))
WHOLE = Ticket("s", "clinic", "actor", "2025-11-25").document()


@given(tickets)
def test_a_ticket_is_read_back_from_its_document(ticket):
    assert session.of(ticket.document()) == ticket


@pytest.mark.parametrize("key", ["s", "u", "a", "v"])
def test_a_document_that_lacks_a_part_is_no_ticket(key):
    for odd in (None, "", 3, ["x"]):
        assert session.of({**WHOLE, key: odd}) is None
    assert session.of({name: value for name, value in WHOLE.items() if name != key}) is None


@pytest.mark.parametrize("key", ["i", "g"])
def test_an_upstream_session_or_greeting_of_another_type_makes_no_ticket(key):
    assert session.of({**WHOLE, key: 3}) is None


def test_neither_the_upstreams_session_nor_the_greeting_is_in_a_repr():
    assert "secret" not in repr(Ticket("s", "u", "a", "v", "secret", {"clientInfo": "secret"}))
