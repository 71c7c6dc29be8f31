"""What an auditor checks: everything the log claims, from the leaves' bytes upwards, trusting only the public key.

One pass over the leaves. The tree is grown from the stored leaf hashes and compared with every signed checkpoint as it
is passed, while each leaf's bytes are compared with its hash: so an altered leaf is named, instead of making everything
after it look wrong. A check that could not be made says so; it never counts as passed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from typing import Protocol

from gateway.core.errors import EvidenceFault
from gateway.core.evidence import checkpoint, leaf, merkle
from gateway.core.evidence.checkpoint import Checkpoint
from gateway.core.evidence.leaf import Leaf
from gateway.core.evidence.merkle import Frontier
from gateway.core.evidence.note import Verifier
from gateway.core.evidence.record import LeafType
from gateway.core.types import Digest, ExchangeId, LeafIndex, SessionId

_BEGINS = frozenset({LeafType.EXCHANGE_INTENT, LeafType.EXCHANGE_REFUSED})
_ENDS = frozenset({LeafType.EXCHANGE_OUTCOME, LeafType.EXCHANGE_UNKNOWN})


class Evidence(Protocol):
    """A log to be checked, at one moment. Nothing that it says is believed."""

    def entries(self) -> Iterator[tuple[LeafIndex, bytes, bytes]]:
        """Index, bytes and stored hash of every leaf, by index."""

    def head(self) -> tuple[int, bytes]:
        """The size and root hash that the log gives itself."""

    def checkpoints(self) -> Iterator[str]:
        """Every checkpoint that was signed, smallest first."""

    def sealed(self, of: Leaf, position: int) -> bytes | None:
        """The ciphertext of one of a leaf's bodies; None when it is not there."""

    def archived(self, bundle: Digest) -> bytes | None:
        """A policy bundle as it was archived; None when it is not there."""

    def open_exchanges(self) -> frozenset[ExchangeId]:
        """Exchanges that the gateway takes to be still running."""


class Check(Enum):
    """What is checked; the value is what it means that it passed."""

    LEAVES = "every leaf is there, in order, and has its hash"
    TREE = "the leaves make the tree that the log says it is"
    CHECKPOINTS = "every checkpoint is signed by the log's key and extends the one before"
    SIGNED = "every leaf is under a signed checkpoint"
    ANCHOR = "the log extends the checkpoint that was kept elsewhere"
    SESSIONS = "every session's chain of leaves has no gap and its count is right"
    EXCHANGES = "everything forwarded has exactly one end on record"
    BODIES = "every sealed body has the digest that its leaf commits to"
    POLICIES = "every policy that was put in force is archived as its leaf says"
    OPENS = "every sealed body opens under the key that its leaf commits to"


class Status(Enum):
    PASS = "PASS"
    FAIL = "FAIL"
    NOT_CHECKED = "NOT CHECKED"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it must be, and where; `leaf` is None when it is about the log as a whole."""

    leaf: LeafIndex | None
    detail: str


@dataclass(frozen=True, slots=True)
class Result:
    """How one check went. `note` says what was counted, or why the check was not made."""

    check: Check
    status: Status
    note: str
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    size: int
    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed. What was not checked has not failed, and is listed for the reader to judge."""
        return all(result.status is not Status.FAIL for result in self.results)


@dataclass(slots=True)
class _Chain:
    """A session so far."""

    sseq: int = 0
    previous: str | None = None
    exchanges: int = 0
    closed: bool = False


@dataclass(slots=True)
class _State:
    """What the pass over the leaves has seen."""

    size: int = 0
    frontier: Frontier = ()
    findings: dict[Check, list[Finding]] = field(default_factory=lambda: {check: [] for check in Check})
    sessions: dict[SessionId, _Chain] = field(default_factory=dict)
    running: dict[ExchangeId, LeafIndex] = field(default_factory=dict)
    ended: set[ExchangeId] = field(default_factory=set)
    unreadable: int = 0
    bodies: int = 0
    policies: int = 0
    signed: int = 0
    checkpoints: int = 0

    def found(self, check: Check, at: LeafIndex | None, detail: str) -> None:
        self.findings[check].append(Finding(at, detail))


def verify(
    evidence: Evidence,
    verifiers: Sequence[Verifier],
    *,
    anchor: Checkpoint | None = None,
    unseal: Callable[[Leaf, str], object] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Check the whole of `evidence`; never raises for what it holds.

    `anchor` is a checkpoint that was kept where the log's keeper cannot change it; without one, a log that was rolled
    back as a whole cannot be told from one that never grew. `unseal` opens a body or raises EvidenceFault. `progress`
    is told each leaf's index.
    """
    state = _State()
    signed = _signed(evidence, verifiers, state)
    roots = {} if anchor is None else {anchor.size: anchor.root}
    pending = iter(signed)
    upcoming = next(pending, None)
    anchored = _matches(state, roots)
    for index, entry, stored in evidence.entries():
        progress(index)
        _leaf(state, evidence, index, entry, stored, unseal)
        while upcoming is not None and upcoming.size <= state.size:
            _checkpoint(state, upcoming)
            upcoming = next(pending, None)
        anchored = anchored or _matches(state, roots)
    if upcoming is not None:
        detail = (
            f"a checkpoint for {upcoming.size} leaves was signed, and only {state.size} are here: the end is missing"
        )
        state.found(Check.CHECKPOINTS, None, detail)
    _head(state, evidence)
    _ends(state, evidence.open_exchanges())
    return Report(state.size, tuple(_results(state, anchor, anchored=anchored, unsealed=unseal is not None)))


def _signed(evidence: Evidence, verifiers: Sequence[Verifier], state: _State) -> list[Checkpoint]:
    """The checkpoints whose signatures hold, smallest first."""
    found: list[Checkpoint] = []
    for position, data in enumerate(evidence.checkpoints()):
        state.checkpoints += 1
        try:
            found.append(checkpoint.verify(data, verifiers))
        except ValueError as error:
            state.found(Check.CHECKPOINTS, None, f"checkpoint {position + 1}: {error}")
    return sorted(found, key=lambda item: item.size)


def _matches(state: _State, roots: dict[int, bytes]) -> bool:
    return roots.get(state.size) == merkle.root(state.frontier) if state.size in roots else False


def _checkpoint(state: _State, signed: Checkpoint) -> None:
    if signed.size != state.size or signed.root != merkle.root(state.frontier):
        if not state.findings[Check.CHECKPOINTS]:  # All later ones differ for the same reason.
            where = f"one of the leaves {state.signed} to {signed.size - 1}"
            detail = f"{where} is not what was signed in the checkpoint for {signed.size} leaves"
            state.found(Check.CHECKPOINTS, None, detail)
    else:
        state.signed = signed.size


def _leaf(
    state: _State,
    evidence: Evidence,
    index: LeafIndex,
    entry: bytes,
    stored: bytes,
    unseal: Callable[[Leaf, str], object] | None,
) -> None:
    if index != state.size:
        gone = f"leaf {state.size} is" if index == state.size + 1 else f"leaves {state.size} to {index - 1} are"
        state.found(Check.LEAVES, LeafIndex(state.size), f"{gone} missing")
        state.size = index  # Go on with what is there; the tree cannot match any more.
    if merkle.leaf_hash(entry) != stored:
        state.found(Check.LEAVES, index, "its bytes were altered: they do not have the hash that is in the tree")
    state.frontier = _grow(state, stored)
    state.size += 1
    try:
        parsed = leaf.parse(entry)
    except ValueError as error:
        state.unreadable += 1
        state.found(Check.LEAVES, index, f"it cannot be read: {error}")
        return
    if parsed.index != index:
        state.found(Check.LEAVES, index, f"it was written as leaf {parsed.index} and stands in another's place")
    _session(state, parsed, stored)
    _exchange(state, parsed)
    _bodies(state, evidence, parsed, unseal)
    _policy(state, evidence, parsed)


def _grow(state: _State, stored: bytes) -> Frontier:
    if len(state.frontier) != state.size.bit_count():
        return state.frontier  # A gap was found before: there is no tree to grow.
    return merkle.append(state.size, state.frontier, stored)


def _session(state: _State, parsed: Leaf, stored: bytes) -> None:
    if parsed.session is None:
        return
    chain = state.sessions.setdefault(parsed.session, _Chain())
    place = parsed.place
    if (place.sseq, place.sprev) != (chain.sseq, chain.previous):
        detail = f"it is number {place.sseq} of its session where number {chain.sseq} must follow"
        if place.sseq == chain.sseq:
            detail = "it does not follow the leaf before it in its session"
        state.found(Check.SESSIONS, parsed.index, detail)
    if (parsed.type is LeafType.SESSION_OPEN) != (place.sseq == 0):
        state.found(Check.SESSIONS, parsed.index, "a session begins with session.open, and only once")
    if parsed.type in _BEGINS:
        chain.exchanges += 1
        if chain.closed:
            state.found(Check.SESSIONS, parsed.index, "an exchange began after its session was closed")
    if parsed.type is LeafType.SESSION_CLOSE:
        claimed = parsed.members.get("exchanges")
        if chain.closed or claimed != chain.exchanges:
            detail = f"the session was closed with {claimed} exchanges and {chain.exchanges} are on record"
            state.found(Check.SESSIONS, parsed.index, "it was closed twice" if chain.closed else detail)
        chain.closed = True
    chain.sseq, chain.previous = (place.sseq or 0) + 1, stored.hex()


def _exchange(state: _State, parsed: Leaf) -> None:
    exchange = parsed.exchange
    if exchange is None:
        return
    if parsed.type in _BEGINS:
        if exchange in state.running or exchange in state.ended:
            state.found(Check.EXCHANGES, parsed.index, "its exchange began twice")
        if parsed.type is LeafType.EXCHANGE_INTENT:
            state.running[exchange] = parsed.index
        else:
            state.ended.add(exchange)
    elif parsed.type in _ENDS:
        if state.running.pop(exchange, None) is None:
            twice = exchange in state.ended
            detail = "its exchange had ended already" if twice else "its exchange has no intent on record"
            state.found(Check.EXCHANGES, parsed.index, detail)
        state.ended.add(exchange)


def _bodies(state: _State, evidence: Evidence, parsed: Leaf, unseal: Callable[[Leaf, str], object] | None) -> None:
    for position, ref in enumerate(parsed.bodies):
        state.bodies += 1
        data = evidence.sealed(parsed, position)
        if data is None:
            state.found(Check.BODIES, parsed.index, f"its body `{ref.name}` is missing")
        elif len(data) != ref.length or sha256(data).hexdigest() != ref.sha256:
            state.found(Check.BODIES, parsed.index, f"its body `{ref.name}` was altered")
        elif unseal is not None:
            try:
                unseal(parsed, ref.name)
            except EvidenceFault as fault:
                state.found(Check.OPENS, parsed.index, fault.detail)


def _policy(state: _State, evidence: Evidence, parsed: Leaf) -> None:
    if parsed.type is not LeafType.BUNDLE_ACTIVATED:
        return
    state.policies += 1
    digest = Digest(str(parsed.members.get("bundle")))
    data = evidence.archived(digest)
    if data is None:
        state.found(Check.POLICIES, parsed.index, "the policy it put in force is not in the archive")
    elif sha256(data).hexdigest() != digest:
        state.found(Check.POLICIES, parsed.index, "the archived policy is not the one it put in force")


def _head(state: _State, evidence: Evidence) -> None:
    size, root = evidence.head()
    if size != state.size:
        state.found(Check.TREE, None, f"the log says it has {size} leaves, and {state.size} are here")
    elif len(state.frontier) != state.size.bit_count() or root != merkle.root(state.frontier):
        state.found(Check.TREE, None, "the leaves do not make the root hash that the log says it has")


def _ends(state: _State, running: frozenset[ExchangeId]) -> None:
    for exchange, index in state.running.items():
        if exchange not in running:
            state.found(Check.EXCHANGES, index, "its exchange has no end on record, and none is awaited")


def _results(state: _State, anchor: Checkpoint | None, *, anchored: bool, unsealed: bool) -> Iterator[Result]:
    yield _result(state, Check.LEAVES, f"{state.size} leaves")
    yield _result(state, Check.TREE, f"root hash of {state.size} leaves")
    yield _result(state, Check.CHECKPOINTS, _many(state.checkpoints, "checkpoint"))
    yield _covered(state)
    if anchor is None:
        note = "no checkpoint from elsewhere was given, so a rollback of the whole store would not show"
        yield Result(Check.ANCHOR, Status.NOT_CHECKED, note)
    elif anchored:
        yield Result(Check.ANCHOR, Status.PASS, f"it had {anchor.size} leaves")
    else:
        detail = (
            f"the log is not an extension of the one that had {anchor.size} leaves: it was rolled back or rewritten"
        )
        yield Result(Check.ANCHOR, Status.FAIL, f"it had {anchor.size} leaves", (Finding(None, detail),))
    yield _result(state, Check.SESSIONS, _many(len(state.sessions), "session"))
    running = len(state.running)
    yield _result(
        state, Check.EXCHANGES, f"{len(state.ended)} ended" + (f", {running} still running" if running else "")
    )
    yield _result(state, Check.BODIES, f"{state.bodies} bodies")
    yield _result(state, Check.POLICIES, f"{state.policies} put in force")
    if unsealed:
        yield _result(state, Check.OPENS, f"{state.bodies} bodies")
    else:
        yield Result(Check.OPENS, Status.NOT_CHECKED, "the keys that open bodies were not given")


def _covered(state: _State) -> Result:
    loose = state.size - state.signed
    if not loose:
        return Result(Check.SIGNED, Status.PASS, f"{state.signed} leaves")
    note = f"the last {loose} leaves are not signed yet; a running gateway signs them within a second"
    return Result(Check.SIGNED, Status.NOT_CHECKED, note)


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _result(state: _State, check: Check, note: str) -> Result:
    if state.unreadable and check in (Check.SESSIONS, Check.EXCHANGES):
        # What such a leaf said is unknown, so those after it would be blamed for its fault.
        return Result(check, Status.NOT_CHECKED, f"{state.unreadable} of the leaves cannot be read")
    findings = tuple(state.findings[check])
    return Result(check, Status.FAIL if findings else Status.PASS, note, findings)
