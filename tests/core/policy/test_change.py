"""What a candidate changes: total, empty beside itself, and never blind to what real masking would let through."""

from __future__ import annotations

import json
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import MaskFault
from gateway.core.masking import plan, profile
from gateway.core.policy import change, decision
from gateway.core.policy.change import Change, Kind, compare
from gateway.core.policy.decision import (
    ApprovalTerms,
    Decision,
    Effect,
    Entrypoint,
    MaskRule,
    Operator,
    Reason,
    Selector,
)

KEY = b"k" * 32
PROFILED = {"profile": {"classes": {"SSN": 2, "NAME": 1}, "paths": ["$.rows[*].name", "$.rows[*].ssn"], "rows": 2}}

REASONS = st.lists(
    st.builds(Reason, st.sampled_from(["no_role", "bulk_select", "policy_error", "Jane Roe"]), st.just("m"), st.text()),
    max_size=2,
).map(tuple)
SELECTORS = st.one_of(
    st.builds(Selector, st.just("class"), st.sampled_from(["SSN", "NAME", "PHI", "ZIP", "GEO", "DATE", "BIRTH_DATE"])),
    st.builds(Selector, st.just("field"), st.sampled_from(["ssn", "Name", "zip", "note", "birth_date"])),
    st.builds(
        Selector,
        st.just("path"),
        st.sampled_from(
            ["$..ssn", "$.structuredContent.rows[*].ssn", "$.structuredContent.rows[0]", "$..*", "$..note"]
        ),
    ),
)
RULES = st.lists(
    st.builds(MaskRule, SELECTORS, st.sampled_from(["redact", "null", "token", "keep"]).map(Operator)), max_size=4
).map(tuple)
DECISIONS = st.builds(
    Decision,
    st.sampled_from(list(Effect)),
    REASONS,
    RULES,
    st.none() | st.builds(ApprovalTerms, st.just(("privacy",)), st.integers(1, 3)),
    st.sampled_from([{}, {"purpose": "TREAT"}]),
    st.booleans(),
    st.frozensets(st.sampled_from(["a", "b", "c"])),
)
INPUTS = st.sampled_from(
    [
        None,
        [],
        {},
        PROFILED,
        {"profile": {"classes": {"SSN": 1, "nonsense": 1}, "paths": ["$", "no path", 7]}},
        {"profile": {"classes": [], "paths": {}}},
        {"catalogue": {"kind": "tools", "items": [{"name": "a"}, {"name": "b"}, {"name": 1}, None]}},
        {"catalogue": {"kind": "Jane Roe", "items": {}}},
    ]
)


@given(st.sampled_from(list(Entrypoint)), INPUTS, DECISIONS)
def test_a_policy_changes_nothing_beside_itself(entrypoint, asked, decided):
    assert compare(entrypoint, asked, decided, decided) == ()


@given(st.sampled_from(list(Entrypoint)), INPUTS, DECISIONS, DECISIONS)
def test_any_two_decisions_that_differ_are_told_to_differ(entrypoint, asked, before, after):
    found = compare(entrypoint, asked, before, after)

    assert bool(found) == (before != after)
    assert all(each.causes for each in found)
    assert "Jane Roe" not in str(found)


@given(st.sampled_from(list(Entrypoint)), INPUTS, DECISIONS, DECISIONS)
def test_what_one_policy_loosens_the_other_tightens(entrypoint, asked, one, other):
    mirror = {
        Kind.NEWLY_ALLOWED: {Kind.NEWLY_DENIED},
        Kind.NEWLY_APPROVABLE: {Kind.NEWLY_DENIED},
        Kind.NO_LONGER_NEEDING_APPROVAL: {Kind.NEWLY_NEEDING_APPROVAL},
        Kind.NEWLY_UNMASKED: {Kind.NEWLY_MASKED},
        Kind.NEWLY_VISIBLE: {Kind.NEWLY_HIDDEN},
    }
    there = {each.kind for each in compare(entrypoint, asked, one, other)}
    back = {each.kind for each in compare(entrypoint, asked, other, one)}

    for kind in there & mirror.keys():
        assert back & (mirror[kind] | {Kind.FAILS}), (there, back)


ALLOW = Decision(Effect.ALLOW)
ASK = Decision(Effect.REQUIRE_APPROVAL, (Reason("bulk_select", "", "gateway.sql"),), approval=ApprovalTerms(("p",)))
DENY = Decision(Effect.DENY, (Reason("no_role", "", "gateway.roles"), Reason("write", "")))


@pytest.mark.parametrize(
    ("before", "after", "kind", "causes"),
    [
        (ALLOW, DENY, Kind.NEWLY_DENIED, ("gateway.roles: no_role", "write")),
        (ASK, DENY, Kind.NEWLY_DENIED, ("gateway.roles: no_role", "write")),
        (DENY, ALLOW, Kind.NEWLY_ALLOWED, ("gateway.roles: no_role", "write")),
        (DENY, ASK, Kind.NEWLY_APPROVABLE, ("gateway.roles: no_role", "write")),
        (ALLOW, ASK, Kind.NEWLY_NEEDING_APPROVAL, ("gateway.sql: bulk_select",)),
        (ASK, ALLOW, Kind.NO_LONGER_NEEDING_APPROVAL, ("gateway.sql: bulk_select",)),
        (ALLOW, decision.deny("policy_error", "x"), Kind.FAILS, ("policy_error",)),
        (decision.deny("policy_error", "x"), ALLOW, Kind.NEWLY_ALLOWED, ("policy_error",)),
        (DENY, Decision(Effect.DENY), Kind.OTHERWISE, ("(no reason given)",)),
        (ALLOW, Decision(Effect.ALLOW, labels={"a": 1}), Kind.OTHERWISE, ("(no reason given)",)),
        (ASK, Decision(Effect.REQUIRE_APPROVAL, ASK.reasons, approval=ApprovalTerms(("p",), 2)), Kind.APPROVAL_TERMS,
         ("gateway.sql: bulk_select",)),
    ],
)  # fmt: skip
def test_a_change_of_effect_is_named_and_explained_by_the_reasons_of_the_stricter(before, after, kind, causes):
    assert compare(Entrypoint.CALL, {}, before, after) == (Change(kind, causes),)


def test_every_change_of_effect_has_a_name():
    for before, after in product(Effect, repeat=2):
        found = compare(Entrypoint.CALL, {}, Decision(before), Decision(after, labels={"x": 1}))
        assert len(found) == 1


def masked(*rules):
    return Decision(Effect.ALLOW, mask=tuple(rules))


def rule(by, value, operator="redact"):
    return MaskRule(Selector(by, value), Operator(operator))


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ([rule("class", "PHI")], [rule("class", "SSN")], [Change(Kind.NEWLY_UNMASKED, ("mask: NAME",))]),
        ([rule("class", "SSN")], [rule("class", "PHI")], [Change(Kind.NEWLY_MASKED, ("mask: NAME",))]),
        ([rule("class", "PHI")], [], [Change(Kind.NEWLY_UNMASKED, ("mask: NAME", "mask: SSN"))]),
        (
            [rule("class", "SSN")],
            [rule("class", "NAME")],
            [Change(Kind.NEWLY_UNMASKED, ("mask: SSN",)), Change(Kind.NEWLY_MASKED, ("mask: NAME",))],
        ),
        (
            [rule("class", "SSN")],
            [rule("class", "SSN", "partial")],
            [Change(Kind.MASKED_DIFFERENTLY, ("mask: SSN: redact → partial",))],
        ),
        ([rule("class", "EMAIL")], [], [Change(Kind.OTHERWISE, ("(no reason given)",))]),
        ([rule("class", "PHI")], [rule("path", "$..*")], [Change(Kind.OTHERWISE, ("(no reason given)",))]),
        ([rule("path", "$.other.ssn")], [], [Change(Kind.OTHERWISE, ("(no reason given)",))]),
        (
            [rule("field", "ssn")],
            [rule("class", "SSN", "keep"), rule("field", "ssn")],
            [Change(Kind.NEWLY_UNMASKED, ("mask: SSN",))],
        ),
        (
            [rule("field", "SSN"), rule("class", "PHI")],
            [rule("class", "PHI"), rule("field", "ssn")],
            [Change(Kind.OTHERWISE, ("(no reason given)",))],
        ),
    ],
)
def test_masks_are_compared_on_the_classes_and_places_that_the_profile_tells(before, after, found):
    assert list(compare(Entrypoint.RESULT, PROFILED, masked(*before), masked(*after))) == found


def test_a_listing_is_compared_by_what_of_it_would_be_seen():
    asked = {"catalogue": {"kind": "tools", "items": [{"name": "read"}, {"name": "write"}]}}
    both, one, other = (
        Decision(Effect.ALLOW, visible=frozenset(names.split())) for names in ("read write", "read", "x")
    )

    assert compare(Entrypoint.CATALOGUE, asked, both, one) == (Change(Kind.NEWLY_HIDDEN, ("catalogue: tools",)),)
    assert compare(Entrypoint.CATALOGUE, asked, other, one) == (Change(Kind.NEWLY_VISIBLE, ("catalogue: tools",)),)
    assert compare(Entrypoint.CATALOGUE, asked, both, DENY)[0].kind is Kind.NEWLY_HIDDEN
    assert compare(Entrypoint.CATALOGUE, asked, other, DENY)[0].kind is Kind.OTHERWISE


SSN, NAME, ZIP, BORN = "219-09-9999", "Wilhelmina Featherstone", "94117", "1961-02-03"
ROWS = st.lists(
    st.fixed_dictionaries(
        {"ssn": st.just(SSN)},
        optional={
            "name": st.just(NAME),
            "zip": st.just(ZIP),
            "birth_date": st.just(BORN),
            "note": st.sampled_from([f"SSN: {SSN}", f"Patient: {NAME}", "well", f"born {BORN}"]),
            "colour": st.just("mauve"),
        },
    ),
    min_size=1,
    max_size=3,
)
VALUES = ROWS.map(
    lambda rows: {"content": [{"type": "text", "text": json.dumps(rows)}], "structuredContent": {"rows": rows}}
)


@settings(max_examples=300)
@given(VALUES, RULES, RULES)
def test_what_real_masking_would_newly_show_is_told(value, before, after):
    """The oracle is the masking itself, on a value that the comparison never sees."""
    try:
        was = json.dumps(plan.apply(value, before, key=KEY, schema=None).value)
        now = json.dumps(plan.apply(value, after, key=KEY, schema=None).value)
    except MaskFault:
        return
    asked = {"profile": profile.inspect(value).document}
    found = {each.kind for each in compare(Entrypoint.RESULT, asked, masked(*before), masked(*after))}

    for phi in (SSN, NAME, ZIP, BORN):
        if now.count(phi) > was.count(phi):
            assert Kind.NEWLY_UNMASKED in found, (before, after, asked)


def test_every_fault_is_one_of_the_gateways_own_codes():
    assert all(change.fails(decision.deny(code, "x")) for code in change.FAULTS)
    assert not change.fails(DENY)
