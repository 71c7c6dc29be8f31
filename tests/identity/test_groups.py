"""Groups as the providers write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import Unauthenticated
from gateway.identity.groups import elsewhere, read
from gateway.identity.settings import MAX_GROUPS

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=5,
)
GROUPS = (("groups",),)
LINK = {"src1": {"endpoint": "https://graph.example/users/1/getMemberObjects"}}


def reason(claims, paths=GROUPS) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        read(claims, paths)
    return refusal.value.reason


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
    assert read(claims, [path]) == groups


def test_the_groups_of_several_claims_are_put_together_each_once():
    claims = {"groups": ["b", "a"], "realm_access": {"roles": ["a", "c"]}}
    assert read(claims, [("groups",), ("realm_access", "roles"), ("roles",)]) == ("b", "a", "c")


@pytest.mark.parametrize("claims", [{}, {"groups": None}, {"realm_access": {}}, {"realm_access": None}])
def test_a_token_without_the_claim_has_no_groups(claims):
    assert read(claims, [("groups",), ("realm_access", "roles")]) == ()


@pytest.mark.parametrize(
    "groups", [1, True, "", {}, {"a": 1}, [1], ["a", None], [["a"]], [""], ["x" * 257], {"roles": ["a"]}]
)
def test_groups_that_cannot_be_read_are_a_refusal_and_not_an_absence(groups):
    assert reason({"groups": groups}) == "groups_unreadable"


@pytest.mark.parametrize("inner", ["nurse", ["nurse"], 1, True])
def test_a_path_that_leads_through_what_has_no_members_is_a_refusal(inner):
    assert reason({"realm_access": inner}, [("realm_access", "roles")]) == "groups_unreadable"


def test_more_groups_than_can_be_held_are_a_refusal_rather_than_some_of_them():
    assert len(read({"groups": [str(n) for n in range(MAX_GROUPS)]}, GROUPS)) == MAX_GROUPS
    assert reason({"groups": [str(n) for n in range(MAX_GROUPS + 1)]}) == "groups_unreadable"


@pytest.mark.parametrize(
    "claims",
    [
        {"_claim_names": {"groups": "src1"}, "_claim_sources": LINK},
        {"_claim_names": {"groups": "src1"}},
        {"groups": "src1", "_claim_sources": LINK},
        {"_claim_names": ["groups"], "_claim_sources": LINK},
        {"_claim_names": None},
        {"hasgroups": True},
        {"hasgroups": "true"},
        {"hasgroups": None},
    ],
)
def test_a_link_to_groups_is_told_from_no_groups(claims):
    assert elsewhere(claims, GROUPS) == {"groups"}


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"groups": ["a"]},
        {"_claim_names": {"address": "src1"}, "_claim_sources": LINK},
        {"hasgroups": False},
        {"hasgroups": True, "groups": ["a"]},
    ],
)
def test_a_link_to_something_else_is_none_to_groups(claims):
    assert elsewhere(claims, GROUPS) == frozenset()


def test_where_nobody_asks_for_groups_a_link_to_them_does_not_matter():
    overage = {"_claim_names": {"groups": "src1"}, "_claim_sources": LINK, "roles": ["nurse"]}
    assert elsewhere(overage, [("roles",)]) == frozenset()
    assert elsewhere({"hasgroups": True}, [("roles",)]) == frozenset()
    assert elsewhere(overage, []) == frozenset()


@given(st.dictionaries(st.sampled_from("ab"), json_values), st.lists(st.sampled_from("abc"), min_size=1, max_size=3))
def test_whatever_is_claimed_is_groups_or_a_refusal(claims, path):
    elsewhere(claims, [tuple(path)])
    try:
        found = read(claims, [tuple(path)])
    except Unauthenticated:
        return
    assert len(set(found)) == len(found) <= MAX_GROUPS
    assert all(isinstance(group, str) and group for group in found)
