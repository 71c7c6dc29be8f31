"""The input that policy was really given for an exchange, out of the evidence, and the bundle that answered it.

An input is PHI: it is opened for a purpose, when policy allows it, after the reading is on record.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import orjson
import trio

from gateway.cli import opening, places
from gateway.core.errors import EvidenceFault
from gateway.core.evidence.leaf import Leaf
from gateway.core.evidence.record import LeafType
from gateway.core.policy import bundle as bundles
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.core.types import Digest, Document, LeafIndex
from gateway.pdp import replay
from gateway.store import keys as keystore
from gateway.store.reader import Reader

_BODIES = ("decision", "catalogue", "recheck")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One decision on record: what was asked, of which bundle, and where it stands."""

    input: bytes = field(repr=False)
    bundle: Bundle
    told: str
    """A sentence for people, free of PHI."""


def add(verb: argparse.ArgumentParser) -> None:
    """Let a verb take its input from the evidence."""
    verb.add_argument("--exchange", metavar="ID", help="take the input that was recorded for this exchange")
    verb.add_argument("--purpose", metavar="TEXT", help="with --exchange: why you need to read PHI; recorded first")
    verb.add_argument("--leaf", type=int, metavar="N", help="with --exchange: the decision in this leaf, of several")
    places.add_store(verb)
    verb.add_argument("--keys", type=Path, metavar="DIR", help="keys directory; default: the configuration's")


def read(arguments: argparse.Namespace, entrypoint: Entrypoint | None) -> Recorded:
    """The last input that was put to `entrypoint` in the exchange; without one, the first put to any.

    Raises EvidenceFault when there is none, when it cannot be opened, and when policy does not let this operator.
    """
    if arguments.purpose is None:
        raise EvidenceFault("What an exchange asked is PHI. Say why you read it: --purpose TEXT (recorded first).")
    path, keys = places.store(arguments), keystore.load(places.keys(arguments))
    with Reader.open(path, keys) as reader:
        leaves = _leaves(reader, arguments.exchange)
        bundle = _in_force(reader)
    session, exchange = leaves[0].session, leaves[0].exchange
    if session is None:
        raise EvidenceFault(f"The exchange {exchange} belongs to no session.")

    decided = trio.run(partial(opening.ask, exchange=exchange), path, keys, session, arguments.purpose, bundle)
    if decided.decision.effect is not Effect.ALLOW:
        why = "; ".join(reason.message.rstrip(".") for reason in decided.decision.reasons) or "no policy allows it"
        raise EvidenceFault(f"Policy does not let you read this exchange: {why}. The attempt is on record.")
    with Reader.open(path, keys) as reader:
        return _chosen(reader, leaves, entrypoint, arguments.leaf)


def _leaves(reader: Reader, given: str) -> tuple[Leaf, ...]:
    """The leaves of the one exchange whose id `given` begins or ends."""
    query = "SELECT DISTINCT exchange FROM leaf WHERE exchange IS NOT NULL"
    ids = [str(row[0]) for row in reader.connection.execute(query)]
    found = [given] if given in ids else [each for each in ids if each.startswith(given) or each.endswith(given)]
    if len(found) != 1 or not given:
        what = "No exchange has" if not found else f"{len(found)} exchanges have"
        raise EvidenceFault(f"{what} an id that begins or ends with {given!r}. `phigate sessions show` tells them.")
    rows = reader.connection.execute("SELECT idx FROM leaf WHERE exchange = ? ORDER BY idx", (found[0],)).fetchall()
    return tuple(reader.leaf(LeafIndex(row[0])) for row in rows)


def _chosen(reader: Reader, leaves: tuple[Leaf, ...], entrypoint: Entrypoint | None, wanted: int | None) -> Recorded:
    asked = list(_events(reader, leaves))
    found = [
        (leaf, event)
        for leaf, event in asked
        if entrypoint in (None, _entrypoint(event)) and wanted in (None, leaf.index)
    ]
    if not found:
        there = "; ".join(f"leaf {leaf.index}: {event.get('path')}" for leaf, event in asked) or "no decision"
        raise EvidenceFault(f"The exchange has no such decision on record. It has: {there}.")
    leaf, event = found[0] if entrypoint is None else found[-1]
    told = f"The input is that of leaf {leaf.index} ({leaf.type.value}), put to {event.get('path')}"
    others = sorted({other.index for other, _ in found} - {leaf.index})
    more = f"; there are others, in leaf {', '.join(map(str, others))} (--leaf)" if others else ""
    asked_text = orjson.dumps(event.get("input"), option=orjson.OPT_SORT_KEYS)
    return Recorded(asked_text, _bundle(reader, leaf, event), f"{told}{more}.")


def _events(reader: Reader, leaves: tuple[Leaf, ...]) -> Iterator[tuple[Leaf, Document]]:
    for leaf in leaves:
        for name in _BODIES:
            event = replay.parse(reader.body(leaf, name)) if leaf.body(name) is not None else None
            if event is not None:
                yield leaf, event


def _entrypoint(event: Document) -> Entrypoint | None:
    return next((each for each in Entrypoint if each.value == event.get("path")), None)


def _bundle(reader: Reader, leaf: Leaf, event: Document) -> Bundle:
    """The archived bundle that decided an event: the leaf's own when its revision fits, else the newest that does."""
    named = leaf.members.get("bundle")
    digests = [Digest(named)] if isinstance(named, str) else []
    for other in reversed(_activations(reader)):
        digest = other.members.get("bundle")
        if other.index < leaf.index and isinstance(digest, str):
            digests.append(Digest(digest))
    for digest in digests:
        bundle = _archived(reader, digest)
        if bundle.manifest.revision in replay.revisions(event):
            return bundle
    raise EvidenceFault("No bundle of the revision that decided this was ever activated here. Name one with -b or -d.")


def _in_force(reader: Reader) -> Bundle:
    """The bundle that was activated last: it says who may read."""
    for leaf in reversed(_activations(reader)):
        digest = leaf.members.get("bundle")
        if isinstance(digest, str):
            return _archived(reader, Digest(digest))
    raise EvidenceFault("No policy was ever in force in this store, so that nobody may read what is sealed in it.")


def _activations(reader: Reader) -> tuple[Leaf, ...]:
    query = "SELECT idx FROM leaf WHERE type = ? AND session IS NULL ORDER BY idx"
    rows = reader.connection.execute(query, (LeafType.BUNDLE_ACTIVATED.value,)).fetchall()
    return tuple(reader.leaf(LeafIndex(row[0])) for row in rows)


def _archived(reader: Reader, digest: Digest) -> Bundle:
    bundle = bundles.read(reader.bundle(digest))
    if bundle.digest != digest:
        raise EvidenceFault(f"The archived bundle {digest} was altered: its digest is {bundle.digest}.")
    return bundle
