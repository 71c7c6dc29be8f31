"""The auditor's checks: an honest log passes, and each way to tamper with one is found and named."""

from dataclasses import dataclass, field, replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import EvidenceFault
from gateway.core.evidence import checkpoint, leaf, merkle, verify
from gateway.core.evidence.checkpoint import Checkpoint
from gateway.core.evidence.leaf import BodyRef, Place
from gateway.core.evidence.note import Signer
from gateway.core.evidence.record import LeafType, Record
from gateway.core.evidence.verify import Check, Status

SIGNER = Signer("example.org/log", b"\x07" * 32)
KEY = sha256(b"key").hexdigest()
POLICY = sha256(b"policy").hexdigest()


@dataclass
class Log:
    """An evidence log in memory, which a test then tampers with. Implements `verify.Evidence`."""

    rows: list = field(default_factory=list)
    bodies: dict = field(default_factory=dict)
    signed: list = field(default_factory=list)
    running: frozenset = frozenset()
    claimed: tuple | None = None
    chains: dict = field(default_factory=dict)
    archive: dict = field(default_factory=lambda: {POLICY: b"policy"})

    def add(self, kind, session=None, exchange=None, bodies=(), **members):
        index = len(self.rows)
        sseq, previous = self.chains.get(session, (0, None))
        place = Place(index, f"id-{index}", "time", None if session is None else sseq, previous if session else None)
        refs = []
        for position, data in enumerate(bodies):
            self.bodies[index, position] = data
            refs.append(BodyRef(f"body{position}", sha256(data).hexdigest(), len(data), "dek", KEY))
        entry = leaf.format(Record(kind, members, session, exchange), place, tuple(refs))
        self.rows.append((index, entry, merkle.leaf_hash(entry)))
        if session is not None:
            self.chains[session] = (sseq + 1, merkle.leaf_hash(entry).hex())
        return self

    def sign(self):
        self.signed.append(checkpoint.sign(self.tree(), SIGNER))
        return self

    def tree(self):
        hashes = [digest for _, _, digest in self.rows]
        return Checkpoint(SIGNER.name, len(hashes), merkle.root(merkle.frontier_of(hashes)))

    def entries(self):
        return iter(self.rows)

    def head(self):
        return self.claimed or (self.tree().size, self.tree().root)

    def checkpoints(self):
        return iter(self.signed)

    def sealed(self, of, position):
        return self.bodies.get((of.index, position))

    def archived(self, bundle):
        return self.archive.get(bundle)

    def open_exchanges(self):
        return self.running


def honest():
    log = Log().add(LeafType.BUNDLE_ACTIVATED, bundle=POLICY).add(LeafType.SESSION_OPEN, "s").sign()
    log.add(LeafType.EXCHANGE_INTENT, "s", "x1", (b"sealed request",)).add(LeafType.EXCHANGE_MESSAGE, "s", "x1")
    log.add(LeafType.EXCHANGE_OUTCOME, "s", "x1", (b"sealed response", b"sealed manifest")).sign()
    log.add(LeafType.EXCHANGE_REFUSED, "s", "x2").add(LeafType.EXCHANGE_INTENT, "s", "x3").sign()
    log.add(LeafType.EXCHANGE_UNKNOWN, "s", "x3").add(LeafType.SESSION_CLOSE, "s", exchanges=3, why="idle")
    return log.add(LeafType.HEARTBEAT).sign()


def judge(log, **options):
    return verify.verify(log, [SIGNER.verifier], **options)


def failed(report):
    return {result.check: result.findings for result in report.results if result.status is Status.FAIL}


def only(report, check):
    """The findings of a report in which nothing else failed."""
    found = failed(report)
    assert set(found) == {check}
    return [(finding.leaf, finding.detail) for finding in found[check]]


def reseal(log, index, entry):
    """Rewrite a leaf as a forger who can change all of the store but cannot sign: hash and head follow."""
    log.rows[index] = (index, entry, merkle.leaf_hash(entry))


def test_an_honest_log_passes():
    seen = []
    report = judge(honest(), progress=seen.append)

    assert report.passed
    assert report.size == 10
    assert seen == list(range(10))


def test_an_empty_log_passes_and_an_empty_log_that_was_not_empty_does_not():
    assert judge(Log()).passed
    assert only(judge(Log(signed=honest().signed)), Check.CHECKPOINTS)


def test_what_was_not_checked_is_said_and_has_not_failed():
    log = honest().add(LeafType.HEARTBEAT)
    statuses = {result.check: result.status for result in judge(log).results}

    assert statuses[Check.ANCHOR] is statuses[Check.OPENS] is statuses[Check.SIGNED] is Status.NOT_CHECKED


@given(st.integers(0, 9), st.data())
def test_a_flipped_bit_in_any_leaf_is_found_and_named(index, data):
    log = honest()
    entry = bytearray(log.rows[index][1])
    entry[data.draw(st.integers(0, len(entry) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    log.rows[index] = (index, bytes(entry), log.rows[index][2])

    findings = failed(judge(log))[Check.LEAVES]

    assert {finding.leaf for finding in findings} == {index}


def test_a_leaf_rewritten_with_its_hash_contradicts_what_was_signed():
    log = honest()
    reseal(log, 3, log.rows[3][1].replace(b"exchange.message", b"exchange.refused"))

    findings = failed(judge(log))

    assert "leaves 2 to 4" in findings[Check.CHECKPOINTS][0].detail
    assert findings[Check.SESSIONS][0].leaf == 4


def test_a_removed_leaf_is_named():
    log = honest()
    del log.rows[4]

    assert "leaf 4 is missing" in [
        finding.detail
        for finding in failed(
            judge(
                log,
            )
        )[Check.LEAVES]
    ]


def test_removed_leaves_at_the_end_are_missed_by_the_checkpoint():
    log = honest()
    del log.rows[7:]
    log.running = frozenset({"x3"})

    assert "the end is missing" in only(judge(log), Check.CHECKPOINTS)[0][1]


def test_two_leaves_that_changed_places_are_found():
    log = honest()
    one, two = log.rows[0], log.rows[9]
    log.rows[0], log.rows[9] = (0, two[1], two[2]), (9, one[1], one[2])

    assert {finding.leaf for finding in failed(judge(log))[Check.LEAVES]} == {0, 9}


def test_a_head_that_is_not_that_of_the_leaves_is_found():
    log = honest()
    log.claimed = (10, b"\x00" * 32)
    assert only(judge(log), Check.TREE)
    log.claimed = (11, log.tree().root)
    assert only(judge(log), Check.TREE)


def test_a_checkpoint_signed_by_a_stranger_is_found():
    log = honest()
    log.signed[1] = checkpoint.sign(log.tree(), Signer(SIGNER.name, b"\x09" * 32))

    assert "checkpoint 2" in only(judge(log), Check.CHECKPOINTS)[0][1]


def test_a_log_that_extends_the_anchor_passes():
    anchor = checkpoint.verify(honest().signed[1], [SIGNER.verifier])

    assert judge(honest(), anchor=anchor).passed


def test_a_rolled_back_log_is_found_by_an_older_checkpoint_kept_elsewhere():
    anchor = honest().tree()
    log = honest()
    del log.rows[7:]
    log.signed.pop()
    log.running = frozenset({"x3"})

    assert "rolled back" in only(judge(log, anchor=anchor), Check.ANCHOR)[0][1]


def test_a_forked_log_is_found_by_an_older_checkpoint_kept_elsewhere():
    log = Log()
    for _ in range(12):
        log.add(LeafType.HEARTBEAT)

    assert only(judge(log.sign(), anchor=honest().tree()), Check.ANCHOR)


def test_an_altered_body_is_named_and_so_is_a_missing_one():
    log = honest()
    log.bodies[2, 0] = b"sealed requesT"
    del log.bodies[4, 1]

    assert only(judge(log), Check.BODIES) == [
        (2, "its body `body0` was altered"),
        (4, "its body `body1` is missing"),
    ]


@pytest.mark.parametrize("archive", [{}, {POLICY: b"policY"}], ids=["missing", "swapped"])
def test_a_policy_that_is_not_the_one_put_in_force_is_found(archive):
    log = honest()
    log.archive = archive

    assert [at for at, _ in only(judge(log), Check.POLICIES)] == [0]


def test_a_body_that_does_not_open_is_named():
    def unseal(of, name):
        if of.index == 4:
            raise EvidenceFault(f"Body `{name}` does not open.")

    assert [at for at, _ in only(judge(honest(), unseal=unseal), Check.OPENS)] == [4, 4]


def started():
    return Log().add(LeafType.SESSION_OPEN, "s")


@pytest.mark.parametrize(
    ("log", "at", "words"),
    [
        (started().add(LeafType.EXCHANGE_INTENT, "s", "x"), 1, "no end on record"),
        (started().add(LeafType.EXCHANGE_OUTCOME, "s", "x"), 1, "no intent"),
        (
            started()
            .add(LeafType.EXCHANGE_INTENT, "s", "x")
            .add(LeafType.EXCHANGE_OUTCOME, "s", "x")
            .add(LeafType.EXCHANGE_UNKNOWN, "s", "x"),
            3,
            "ended already",
        ),
        (
            started()
            .add(LeafType.EXCHANGE_INTENT, "s", "x")
            .add(LeafType.EXCHANGE_INTENT, "s", "x")
            .add(LeafType.EXCHANGE_OUTCOME, "s", "x"),
            2,
            "began twice",
        ),
    ],
)
def test_an_exchange_without_exactly_one_end_is_named(log, at, words):
    ((leaf_index, detail),) = only(judge(log.sign()), Check.EXCHANGES)

    assert leaf_index == at
    assert words in detail


def test_an_exchange_that_is_still_running_is_no_finding():
    log = started().add(LeafType.EXCHANGE_INTENT, "s", "x").sign()
    log.running = frozenset({"x"})

    assert judge(log).passed


def test_a_gap_in_a_session_is_named():
    log = started()
    log.chains["s"] = (2, log.chains["s"][1])
    log.add(LeafType.EXCHANGE_REFUSED, "s", "x")

    assert only(judge(log.sign()), Check.SESSIONS)[0][0] == 1


def test_a_leaf_that_follows_another_than_it_says_is_named():
    log = started()
    log.chains["s"] = (1, KEY)
    log.add(LeafType.EXCHANGE_REFUSED, "s", "x")

    assert only(judge(log.sign()), Check.SESSIONS) == [(1, "it does not follow the leaf before it in its session")]


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (started().add(LeafType.SESSION_CLOSE, "s", exchanges=1), "1 exchanges and 0"),
        (
            started().add(LeafType.SESSION_CLOSE, "s", exchanges=0).add(LeafType.SESSION_CLOSE, "s", exchanges=0),
            "twice",
        ),
        (
            started().add(LeafType.SESSION_CLOSE, "s", exchanges=0).add(LeafType.EXCHANGE_REFUSED, "s", "x"),
            "after its session was closed",
        ),
        (started().add(LeafType.SESSION_OPEN, "s"), "only once"),
        (Log().add(LeafType.EXCHANGE_REFUSED, "s", "x"), "begins with session.open"),
    ],
)
def test_a_session_that_does_not_add_up_is_named(log, words):
    assert words in only(judge(log.sign()), Check.SESSIONS)[0][1]


def test_what_reviewers_say_after_the_session_was_closed_still_belongs_to_it():
    log = started().add(LeafType.SESSION_CLOSE, "s", exchanges=0).add(LeafType.APPROVAL_RESOLVED, "s")

    assert judge(log.sign()).passed


def test_a_report_is_about_values_that_can_be_compared():
    report = judge(honest())

    assert replace(report) == judge(honest())
