"""What is counted of a shadow candidate, as leaves say it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.evidence import leaf
from gateway.core.evidence.leaf import Place
from gateway.core.evidence.record import LeafType, Record
from gateway.core.policy import shadow
from gateway.core.policy.change import Change, Kind
from gateway.core.policy.decision import Entrypoint
from gateway.core.policy.shadow import Candidate, Tally
from gateway.core.types import Digest, LeafIndex

CANDIDATE = Candidate(Digest("c" * 64), "2026.1")
ACTIVE = Digest("a" * 64)
CHANGES = st.lists(
    st.builds(Change, st.sampled_from(list(Kind)), st.lists(st.sampled_from("pqr"), min_size=1).map(tuple)), max_size=3
)


@given(st.lists(CHANGES))
def test_every_decision_is_counted_once_and_every_change_by_its_kind(decisions):
    tally = Tally()
    for changes in decisions:
        tally.count(changes)

    told = tally.members(CANDIDATE, ACTIVE)

    assert told["compared"] == len(decisions)
    assert told["differing"] == sum(bool(changes) for changes in decisions)
    assert sum(told["kinds"].values()) == sum(len(changes) for changes in decisions)
    assert bool(tally) == bool(decisions)


def test_dropped_decisions_alone_are_worth_a_summary():
    assert Tally(dropped=1)
    assert not Tally()


@pytest.mark.parametrize("count", [1, 5_000])
def test_a_summary_fits_a_leaf_whatever_the_policy_calls_its_rules(count):
    tally = Tally()
    for number in range(count):
        tally.count([Change(Kind.NEWLY_DENIED, (f"{'r' * 100}: {'c' * 60}{number}",))])
    members = tally.members(CANDIDATE, ACTIVE)

    entry = leaf.format(Record(LeafType.POLICY_SHADOW, members), Place(LeafIndex(1), "id", "time"), ())

    assert len(members["causes"]) == min(count, shadow.CAUSES_MOST)
    assert len(entry) < leaf.LIMIT


def test_a_difference_names_the_exchange_and_what_would_change():
    changes = [Change(Kind.NEWLY_DENIED, ("a: b", "c")), Change(Kind.OTHERWISE, ("d",))]

    told = shadow.difference(CANDIDATE, ACTIVE, "x", Entrypoint.CALL, changes)

    assert told["kinds"] == ["newly-denied", "otherwise"]
    assert told["causes"] == ["newly-denied: a: b", "newly-denied: c", "otherwise: d"]
    assert (told["exchange"], told["candidate"], told["active"]) == ("x", CANDIDATE.digest, ACTIVE)
