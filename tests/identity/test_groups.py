"""Groups as the providers write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.groups import MAX_GROUPS, extract

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("claims", "path", "groups"),
    [
        ({"groups": ["clinicians", "cardiology"]}, ("groups",), ("clinicians", "cardiology")),
        ({"realm_access": {"roles": ["nurse"]}}, ("realm_access", "roles"), ("nurse",)),
        ({"https://acme.example/groups": ["a"]}, ("https://acme.example/groups",), ("a",)),
        ({"role": "billing"}, ("role",), ("billing",)),
        ({"groups": ["b", "a", "b"]}, ("groups",), ("b", "a")),
        ({"groups": []}, ("groups",), ()),
    ],
)
def test_groups_are_found_where_the_provider_puts_them(claims, path, groups):
    assert extract(claims, path) == groups


@pytest.mark.parametrize(
    "groups", [None, 1, True, "", {}, {"a": 1}, [1], ["a", None], [["a"]], [""], ["x" * 257], {"roles": ["a"]}]
)
def test_what_is_not_plainly_groups_is_no_groups(groups):
    assert extract({"groups": groups}, ("groups",)) == ()


def test_more_groups_than_can_be_held_are_none_rather_than_some():
    assert len(extract({"groups": [str(n) for n in range(MAX_GROUPS)]}, ("groups",))) == MAX_GROUPS
    assert extract({"groups": [str(n) for n in range(MAX_GROUPS + 1)]}, ("groups",)) == ()


def test_an_entra_overage_link_is_no_groups():
    overage = {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example"}}}
    assert extract(overage, ("groups",)) == ()


@given(st.dictionaries(st.sampled_from("ab"), json_values), st.lists(st.sampled_from("abc"), min_size=1, max_size=3))
def test_extraction_is_total(claims, path):
    found = extract(claims, path)
    assert len(set(found)) == len(found) <= MAX_GROUPS
    assert all(isinstance(group, str) and group for group in found)
