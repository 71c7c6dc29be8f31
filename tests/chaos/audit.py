"""What must hold of a gateway's evidence after anything, against what clients got and what the upstream counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.evidence.record import LeafType
from gateway.store import keys as keystore
from gateway.store.reader import Reader
from tests.chaos.wire import Answer
from tests.e2e.harness import Gateway

_REFUSED = LeafType.EXCHANGE_REFUSED
_ANSWERED = {"replied", "kept", "withheld"}
_RAN = _ANSWERED | {"failed", "abandoned", LeafType.EXCHANGE_UNKNOWN.value}
"""How an exchange can have ended that was forwarded."""


@dataclass
class Seen:
    """What clients received whole, by the id of the request that it answers. Ids and tokens are never used twice."""

    replies: dict[str, bytes] = field(default_factory=dict)
    ahead: list[tuple[str, bytes]] = field(default_factory=list)
    """Messages of the upstream's that came ahead of a reply."""
    unrecorded: int = 0
    """Answers by which the gateway said that it could not put the call on record."""

    def note(self, ident: str, answer: Answer) -> None:
        """Take in what arrived for a request."""
        for data in answer.messages:
            message = json.loads(data)
            if message.get("id") == ident and answer.status != 503 and not _unrecorded(message):
                self.replies[ident] = data
            elif "method" in message:
                self.ahead.append((ident, data))
            else:
                self.unrecorded += 1


@dataclass
class Exchange:
    """One exchange as the log tells it."""

    token: str | None = None
    ident: object = None
    begun: int = 0
    ends: list[str] = field(default_factory=list)
    said: set[bytes] = field(default_factory=set)
    relayed: list[bytes] = field(default_factory=list)
    why: str = ""


@dataclass
class Told:
    """The whole log, read with the keys."""

    exchanges: dict[str, Exchange] = field(default_factory=dict)
    spent: Counter[str] = field(default_factory=Counter)
    """How many times each approval was used."""
    kinds: Counter[str] = field(default_factory=Counter)
    still_open: int = 0

    def with_ident(self, ident: str) -> list[Exchange]:
        """The exchanges of one request id."""
        return [each for each in self.exchanges.values() if each.ident == ident]


def read(gateway: Gateway) -> Told:
    """Read everything that is on record, bodies too."""
    told = Told()
    with Reader.open(gateway.store, keystore.load(gateway.place / "keys")) as reader:
        told.still_open = len(reader.open_exchanges())
        for leaf in reader.leaves():
            told.kinds[leaf.type.value] += 1
            if leaf.type is LeafType.APPROVAL_RESOLVED and leaf.members.get("state") == "spent":
                told.spent[str(leaf.approval)] += 1
            if leaf.exchange is None:
                continue
            exchange = told.exchanges.setdefault(leaf.exchange, Exchange())
            bodies = {ref.name: reader.body(leaf, ref.name) for ref in leaf.bodies if ref.name != "decision"}
            if leaf.type in (LeafType.EXCHANGE_INTENT, _REFUSED):
                request = json.loads(bodies["request"])
                exchange.ident = request.get("id")
                exchange.token = request.get("params", {}).get("arguments", {}).get("token")
                exchange.begun += leaf.type is LeafType.EXCHANGE_INTENT
            if leaf.type.closes_exchange or leaf.type is _REFUSED:
                exchange.ends.append(str(leaf.members.get("status", leaf.type.value)))
                exchange.why = str(leaf.members.get("why", ""))
            if "response" in bodies:
                exchange.said.add(bodies["response"])
            if "message" in bodies:
                exchange.relayed.append(bodies["message"])
            if "messages" in bodies:  # A burst: each on a line of its own.
                exchange.relayed += bodies["messages"].split(b"\n")
    return told


def audit(gateway: Gateway, seen: Seen, calls: Mapping[str, int], *, at_rest: bool) -> Told:
    """Assert that nothing was lost, doubled or made up. `calls`: the upstream's own count of each token.

    While a gateway serves, exchanges may be open; afterwards none may. `Gateway.check` verifies the log itself.
    """
    told = read(gateway)
    by_ident: dict[object, list[Exchange]] = {}
    by_token: dict[str | None, list[Exchange]] = {}
    for name, exchange in told.exchanges.items():
        assert len(exchange.ends) == 1 or not at_rest, f"{name} has the ends {exchange.ends}"
        assert exchange.begun + exchange.ends.count(_REFUSED.value) == 1, f"{name} began {exchange.begun} times"
        by_ident.setdefault(exchange.ident, []).append(exchange)
        by_token.setdefault(exchange.token, []).append(exchange)
    assert told.still_open == 0 or not at_rest
    for ident, reply in seen.replies.items():
        assert any(reply in each.said for each in by_ident.get(ident, [])), f"a reply to {ident} is not on record"
    for ident, message in seen.ahead:
        assert any(message in each.relayed for each in by_ident.get(ident, [])), f"a message for {ident} is not"
    for token, count in calls.items():
        assert count == 1, f"{token} ran {count} times"
        ends = {end for each in by_token.get(token, []) if each.begun for end in each.ends}
        assert ends & _RAN or not at_rest, f"{token} ran, and what is on record of it is {ends}"
    for token, exchanges in by_token.items():
        ends = {end for each in exchanges for end in each.ends}
        assert token is None or calls.get(token) or not ends & _ANSWERED, f"{token} was answered and never ran"
    doubled = [approval for approval, count in told.spent.items() if count > 1]
    assert not doubled, f"spent more than once: {doubled}"
    return told


def _unrecorded(message: dict[str, object]) -> bool:
    error = message.get("error")
    return isinstance(error, dict) and error.get("data", {}) == {"code": "unrecorded"}
