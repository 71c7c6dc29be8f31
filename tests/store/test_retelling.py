"""What is told again of an exchange: each message by its number, however many share a leaf."""

import pytest

from gateway.core.evidence.record import LeafType, Record
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import Clock, intent, make_keys

EXCHANGE = "x1"
SAID = [b'{"n":1}', b'{"n":2}', b'{"n":3}', b'{"n":4}', b'{"id":1}']


@pytest.fixture
async def log(store, tmp_path):
    async with EvidenceLog.open(store, make_keys(tmp_path), now=Clock()) as opened:
        yield opened


@pytest.fixture
async def session(log):
    """A session with an exchange that sent one message, had one withheld, sent three, had two withheld, and ended."""
    found = await log.session("client", members={}, idle_s=60)

    def message(status, more=(), **bodies):
        members = {"status": status, **dict(more)}
        return Record(LeafType.EXCHANGE_MESSAGE, members, found, EXCHANGE, bodies={"decision": b"{}", **bodies})

    await log.append(intent(found, EXCHANGE))
    await log.append_all(
        [
            message("relayed", message=SAID[0]),
            message("withheld"),
            message("relayed", {"count": 3}, messages=b"\n".join(SAID[1:4])),
            message("withheld", {"count": 2}),
        ]
    )
    await log.append(
        Record(LeafType.EXCHANGE_OUTCOME, {"status": "replied"}, found, EXCHANGE, bodies={"response": SAID[4]})
    )
    return found


@pytest.mark.parametrize("said", range(7))
async def test_a_client_is_told_what_comes_after_the_messages_that_it_has(log, session, said):
    found = await log.recall(session, EXCHANGE, said, waits=False)
    assert list(found.messages) == SAID[said:]
    assert found.ended
    assert found.answered


async def test_who_was_refused_is_told_so(log, session):
    await log.append(Record(LeafType.EXCHANGE_REFUSED, {"effect": "deny"}, session, "x2", bodies={"response": SAID[4]}))
    found = await log.recall(session, "x2", 0, waits=False)
    assert (found.messages, found.ended, found.answered) == ((SAID[4],), True, True)


async def test_a_leaf_of_several_messages_is_named_once(log, session):
    found = await log.recall(session, EXCHANGE, 2, waits=False)
    own, other = found.leaves
    assert (own, other) == (4, 6)
