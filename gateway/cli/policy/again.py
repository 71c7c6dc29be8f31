"""What a child of `policy replay` and `policy diff` does: decides its share of the recorded exchanges again.

Each child opens the store for itself, read-only. Nothing leaves a child but words that leaves may carry as well, unless
the caller's reading of bodies is on record and it says `values`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from gateway.core.errors import EvidenceFault, GatewayError, PolicyFault
from gateway.core.evidence import leaf as leaves
from gateway.core.evidence.leaf import Leaf
from gateway.core.policy import bundle as bundles
from gateway.core.types import Digest, Document, Json
from gateway.pdp import diff, replay
from gateway.pdp.diff import Asked
from gateway.pdp.engine import Pdp
from gateway.store import engines
from gateway.store import keys as keystore
from gateway.store.keys import Keys
from gateway.store.reader import Reader
from gateway.store.transaction import as_bytes

BODIES = ("decision", "catalogue", "recheck")
"""The sealed bodies that hold a decision event."""
SHORTEST_PSEUDONYM = 8
"""Digits of a pseudonym that may stand for all of it."""


@dataclass(frozen=True, slots=True)
class Job:
    """One child's work, as it travels to it."""

    store: str = field(repr=False)
    """As `engines.pack` writes it."""
    keys: str
    ranges: list[tuple[int, int]]
    """First leaf and the one after the last."""
    careful: bool = False
    """Say each leaf before it is decided, so that whoever waits knows which one ended the child."""
    session: str | None = None
    exchange: str | None = None
    since: str | None = None
    until: str | None = None
    principal: str | None = None
    """A subject, or the pseudonym that leaves carry, or its beginning."""
    upstream: str | None = None
    activated: list[tuple[int, str, str, str]] = field(default_factory=list)
    """Of each `bundle.activated` leaf: index, revision, digest and engine."""
    values: bool = False
    candidate: str = field(default="", repr=False)
    """The bundle to compare with, base64."""
    base: str = field(default="", repr=False)
    """The bundle to compare it to; empty: what is on record."""

    def format(self) -> bytes:
        """The job as bytes for `parse`."""
        return orjson.dumps(asdict(self))

    @staticmethod
    def parse(data: bytes) -> Job:
        """The job that these bytes are."""
        document = orjson.loads(data)
        document["ranges"] = [(first, last) for first, last in document["ranges"]]
        document["activated"] = [tuple(item) for item in document["activated"]]
        return Job(**document)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One decision on record; `event` is None when `fault` says why it cannot be read."""

    leaf: Leaf
    body: str
    event: Document | None = field(repr=False)
    question: Asked | None = field(repr=False)
    fault: str = ""


Judge = Callable[[Recorded], Document | None]
"""What there is to tell of a decision; None when nothing is."""


def replayed(payload: bytes) -> Iterator[bytes]:
    """Decide a job's decisions again with the bundles archived at the time, and tell those that differ."""
    job = Job.parse(payload)

    def judge(reader: Reader, _: Keys) -> Judge:
        archive = Archive(reader, job)
        return lambda recorded: _difference(archive, recorded, values=job.values)

    return _working(job, judge)


def compared(payload: bytes) -> Iterator[bytes]:
    """Have a job's decisions made by the candidate, and tell those that would be others."""
    job = Job.parse(payload)
    candidate = Pdp(bundles.read(base64.b64decode(job.candidate)))
    base = Pdp(bundles.read(base64.b64decode(job.base))) if job.base else None

    def judge(_: Reader, keys: Keys) -> Judge:
        return lambda recorded: _change(candidate, base, recorded, keys)

    return _working(job, judge)


def _working(job: Job, make: Callable[[Reader, Keys], Judge]) -> Iterator[bytes]:
    try:
        keys = keystore.load(Path(job.keys))
        with Reader.open(engines.unpack(job.store), keys) as reader:
            judge = make(reader, keys)
            yield orjson.dumps({"leaves": 0})  # Ready: what goes wrong from here on has to do with a decision.
            for first, last in job.ranges:
                yield from _range(job, reader, keys, judge, first, last)
    except PolicyFault:
        raise
    except GatewayError as fault:
        raise PolicyFault(fault.detail) from None


def _range(job: Job, reader: Reader, keys: Keys, judge: Judge, first: int, last: int) -> Iterator[bytes]:
    found: list[Json] = []
    decisions = 0
    for leaf in _leaves(job, reader, first, last):
        if job.careful:
            yield orjson.dumps({"at": leaf.index})
        for recorded in _decisions(reader, leaf):
            if not _wanted(job, keys, recorded.question):
                continue
            decisions += 1
            told = judge(recorded)
            if told is not None:
                found.append(told)
    yield orjson.dumps({"leaves": last - first, "decisions": decisions, "found": found})


def _leaves(job: Job, reader: Reader, first: int, last: int) -> Iterator[Leaf]:
    query, values = "SELECT idx, entry FROM leaf WHERE idx >= ? AND idx < ?", list[object]((first, last))
    for column, wanted in (("session", job.session), ("exchange", job.exchange)):
        if wanted is not None:
            query, values = f"{query} AND {column} = ?", [*values, wanted]
    for index, entry in reader.connection.execute(f"{query} ORDER BY idx", values):
        try:
            leaf = leaves.parse(as_bytes(entry))
        except ValueError as error:
            raise EvidenceFault(f"Leaf {index} was altered: {error}.") from None
        if (job.since or "") <= leaf.place.time and (job.until is None or leaf.place.time < job.until):
            yield leaf


def _decisions(reader: Reader, leaf: Leaf) -> Iterator[Recorded]:
    for name in BODIES:
        if leaf.body(name) is None:
            continue
        try:
            event = replay.parse(reader.body(leaf, name))
        except EvidenceFault as fault:
            yield Recorded(leaf, name, None, None, fault.detail)
            continue
        question = None if event is None else diff.asked(event)
        yield Recorded(leaf, name, event, question, "" if event is not None else "the body is not a decision event")


def _wanted(job: Job, keys: Keys, question: Asked | None) -> bool:
    if job.upstream is not None and (question is None or question.upstream != job.upstream):
        return False
    if job.principal is None:
        return True
    if question is None:
        return False
    given = job.principal
    pseudonym = len(given) >= SHORTEST_PSEUDONYM and keys.actor(question.principal).startswith(given)
    return pseudonym or question.principal.subject == given


class Archive:
    """The bundles of a store, each loaded when first asked for."""

    def __init__(self, reader: Reader, job: Job) -> None:
        self._reader = reader
        self._activated = job.activated
        self._loaded: dict[Digest, Pdp] = {}

    def digests(self, leaf: Leaf, event: Document) -> list[Digest]:
        """The bundles that an event can have been decided with: the leaf's own, then those of the same revision."""
        named = leaf.members.get("bundle")
        found = [Digest(named)] if isinstance(named, str) else []
        revisions = replay.revisions(event)
        for index, revision, digest, _ in self._activated:
            if index < leaf.index and revision in revisions and digest not in found:
                found.append(Digest(digest))
        return found

    def pdp(self, digest: Digest) -> Pdp:
        """The archived bundle, ready to decide. Raises EvidenceFault when it is not there, or not what it was."""
        if digest not in self._loaded:
            bundle = bundles.read(self._reader.bundle(digest))
            if bundle.digest != digest:
                raise EvidenceFault(f"The archived bundle {digest} was altered: its digest is {bundle.digest}.")
            self._loaded[digest] = Pdp(bundle)
        return self._loaded[digest]

    def engine(self, leaf: Leaf, digest: Digest) -> str:
        """The engine that the bundle was last activated under before `leaf`; empty when that is not on record."""
        found = [engine for index, _, each, engine in self._activated if each == digest and index < leaf.index]
        return found[-1] if found else ""


def _difference(archive: Archive, recorded: Recorded, *, values: bool) -> Document | None:
    leaf, event = recorded.leaf, recorded.event
    if event is None:
        return _told(recorded, "body", recorded.fault)
    kind, why, parted = "bundle", "no bundle of its revision was ever activated here", list[Json]()
    try:
        for digest in archive.digests(leaf, event):
            pdp = archive.pdp(digest)
            found = replay.difference(pdp, event)
            if found is None:
                # A leaf's effect is that of its last decision, which is the body called `decision`.
                effect = leaf.members.get("effect") if recorded.body == "decision" else None
                disagrees = replay.disagreement(event, effect)
                return None if disagrees is None else _told(recorded, "leaf", disagrees)
            if pdp.revision in replay.revisions(event):
                kind, why = "answer", found + _other_engine(archive.engine(leaf, digest))
                parted = _values(pdp, event) if values else []
            elif kind == "bundle":
                why = found
    except (EvidenceFault, PolicyFault) as fault:
        return _told(recorded, "bundle", fault.detail)
    return _told(recorded, kind, why) | ({"values": parted} if parted else {})


def _other_engine(engine: str) -> str:
    if not engine or engine == replay.engine():
        return ""
    return f" (it was decided by {engine}; this is {replay.engine()})"


def _values(pdp: Pdp, event: Document) -> list[Json]:
    return [
        {"path": part.path, "recorded": part.recorded, "replayed": part.answered} for part in replay.parting(pdp, event)
    ]


def _told(recorded: Recorded, kind: str, why: str) -> Document:
    leaf = recorded.leaf
    return {
        "leaf": leaf.index,
        "type": leaf.type.value,
        "exchange": leaf.exchange,
        "body": recorded.body,
        "kind": kind,
        "why": why,
    }


def _change(candidate: Pdp, base: Pdp | None, recorded: Recorded, keys: Keys) -> Document | None:
    leaf, event, question = recorded.leaf, recorded.event, recorded.question
    if event is None:
        return {"unreadable": leaf.index, "why": recorded.fault}
    if question is None:
        return None  # It could not be put to policy then, and cannot be now.
    found = diff.changes(candidate, event, question, base)
    return diff.row(leaf.index, leaf.exchange or "", question, found, keys.actor).document if found else None
