"""What a revocation's leaf says, and that nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.revocation import Kind, Revocation, decode

GOOD = Revocation(Kind.SUBJECT, "https://idp.example", "ab" * 16, "2026-11-22T17:30:00.000000Z")
json_values = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=2))


def test_what_is_written_is_read_back():
    assert decode({**GOOD.members(), "actor": "cd" * 16}) == GOOD
    assert GOOD.before_s == 1795368600.0


@pytest.mark.parametrize(
    "change",
    [{"kind": "everything"}, {"kind": None}, {"issuer": 7}, {"of": None}, {"before": "yesterday"}, {"before": 0}],
)
def test_what_says_no_revocation_is_none(change):
    assert decode({**GOOD.members(), **change}) is None


@given(st.dictionaries(st.sampled_from(["kind", "issuer", "of", "before"]), json_values))
def test_decoding_is_total(members):
    decode(members)
