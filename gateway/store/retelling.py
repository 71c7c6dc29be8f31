"""What is on record of an exchange, for its own client to come back to: its request, and what it was sent.

The log is looked through by the session's index and nothing is kept beside it: clients lose connections rarely.
"""

from __future__ import annotations

from gateway.core.call import LISTEN
from gateway.core.commands import Recalled
from gateway.core.evidence.leaf import Leaf
from gateway.core.evidence.record import LeafType
from gateway.core.policy.decision import Effect
from gateway.core.protocol import jsonrpc
from gateway.core.protocol.jsonrpc import DEPTH_CEILING, Limits, Notification
from gateway.core.resuming import Lost
from gateway.core.types import ExchangeId, LeafIndex, SessionId
from gateway.store.engine import Connection
from gateway.store.transaction import Transaction

_RECORDED = Limits(max_bytes=1 << 30, max_depth=DEPTH_CEILING)
"""What is on record was within the limits of its day."""

_TOLD = {
    LeafType.EXCHANGE_MESSAGE: ("message", "messages"),
    LeafType.EXCHANGE_OUTCOME: ("response",),
    LeafType.EXCHANGE_REFUSED: ("response",),
}
"""The bodies that were sent to the client, by the leaf that has them."""


def lost(transaction: Transaction, session: SessionId, exchange: ExchangeId) -> Lost | None:
    """The exchange as it was asked for in this session; None where it was not. Raises EvidenceFault."""
    leaves = _leaves(transaction, session, exchange)
    if not leaves or leaves[0].type is not LeafType.EXCHANGE_INTENT:
        return None
    asked, end = leaves[0], leaves[-1].members
    message = jsonrpc.parse(transaction.unseal(asked.index, "request"), _RECORDED)
    if isinstance(message, Notification) and message == LISTEN:
        message = LISTEN
    effect = str(asked.members.get("effect"))
    # A legacy call that was forwarded is brought to its end, so only one that was not can be left by its client.
    gone = (end.get("status"), end.get("why")) == ("abandoned", "client_gone")
    return Lost(message, effect, gone and effect == Effect.REQUIRE_APPROVAL.value)


def told(transaction: Transaction, session: SessionId, exchange: ExchangeId, said: int) -> Recalled:
    """What the exchange sent its client, after the first `said` messages. Raises EvidenceFault."""
    leaves: list[LeafIndex] = []
    messages: list[bytes] = []
    ended = answered = False
    passed = 0
    for leaf in _leaves(transaction, session, exchange):
        ended = ended or leaf.type.closes_exchange or leaf.type is LeafType.EXCHANGE_REFUSED
        name = _told_in(leaf)
        answered = answered or name == "response"
        count = _count(leaf) if name == "messages" else int(bool(name))
        if name and passed + count > said:
            data = transaction.unseal(leaf.index, name)
            lines = data.split(b"\n") if name == "messages" else [data]
            leaves.append(leaf.index)
            messages += lines[max(0, said - passed) :]
        passed += count
    return Recalled(tuple(leaves), tuple(messages), ended, answered)


def length(connection: Connection, session: SessionId, exchange: ExchangeId) -> int:
    """How many leaves the exchange has by now: unless that grew, there is nothing new to tell."""
    query = "SELECT count(*) FROM leaf WHERE session = ? AND exchange = ?"
    (count,) = connection.execute(query, (session, exchange)).fetchone()
    return int(count)


def _leaves(transaction: Transaction, session: SessionId, exchange: ExchangeId) -> list[Leaf]:
    query = "SELECT idx FROM leaf WHERE session = ? AND exchange = ? ORDER BY idx"
    rows = transaction.connection.execute(query, (session, exchange)).fetchall()
    return [transaction.leaf(LeafIndex(row[0])) for row in rows]


def _told_in(leaf: Leaf) -> str:
    """The body of a leaf that was sent to the client; empty where there is none."""
    return next((ref.name for ref in leaf.bodies if ref.name in _TOLD.get(leaf.type, ())), "")


def _count(leaf: Leaf) -> int:
    """How many messages a leaf of several tells of."""
    count = leaf.members.get("count")
    return count if isinstance(count, int) else 0
