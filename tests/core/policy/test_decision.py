import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.policy.decision import (
    ApprovalTerms,
    Decision,
    Effect,
    Entrypoint,
    MaskRule,
    Operator,
    Phase,
    Reason,
    Selector,
    decode,
    deny,
)

TERMS = {"groups": ["reviewers"]}
REASON = {"code": "bulk_select", "message": "Too many."}
MASK = [{"select": {"class": "SSN"}, "operator": {"name": "partial", "keep": 4}}]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
words = st.sampled_from(
    "effect reasons mask approval labels counts visible allow deny require_approval select operator class name groups "
    "quorum expires_s justification phase code message rule redact SSN".split()
)
near_decisions = st.dictionaries(
    words,
    st.recursive(scalars | words, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner)),
    max_size=6,
)


def is_malformed(decision):
    return decision.effect is Effect.DENY and [reason.code for reason in decision.reasons] == ["policy_malformed"]


@given(st.sampled_from(Entrypoint), anything | near_decisions)
def test_decoding_never_raises_and_allows_only_what_says_so(entrypoint, result):
    decision = decode(entrypoint, result)

    if decision.effect is not Effect.DENY:
        assert isinstance(result, dict)
        assert result["effect"] == decision.effect.value


@given(st.sampled_from(Entrypoint), near_decisions, words, anything)
def test_a_member_that_the_entrypoint_does_not_have_denies(entrypoint, result, word, value):
    decision = decode(entrypoint, {**result, "effect": "allow", f"{word}_": value})

    assert is_malformed(decision)


def test_a_whole_call_decision_is_read():
    result = {
        "effect": "require_approval",
        "reasons": [{**REASON, "rule": "gateway.sql"}],
        "approval": {
            "groups": ["a", "b"],
            "quorum": 2,
            "expires_s": 60,
            "justification": "required",
            "phase": "call",
        },
        "labels": {"purpose": "TREAT"},
    }

    assert decode(Entrypoint.CALL, result) == Decision(
        Effect.REQUIRE_APPROVAL,
        reasons=(Reason("bulk_select", "Too many.", "gateway.sql"),),
        approval=ApprovalTerms(("a", "b"), 2, 60, True, Phase.CALL),
        labels={"purpose": "TREAT"},
    )


def test_a_whole_result_decision_is_read():
    decision = decode(Entrypoint.RESULT, {"effect": "allow", "mask": MASK})

    assert decision.mask == (MaskRule(Selector("class", "SSN"), Operator("partial", {"keep": 4})),)


def test_terms_have_the_phase_of_their_entrypoint():
    result = {"effect": "require_approval", "approval": TERMS}

    call, held = decode(Entrypoint.CALL, result).approval, decode(Entrypoint.RESULT, result).approval

    assert call is not None
    assert held is not None
    assert (call.phase, held.phase) == (Phase.CALL, Phase.RESULT)
    assert (call.quorum, call.expires_s, call.justification_required) == (1, 900, False)


def test_a_catalogue_names_what_is_visible():
    decision = decode(Entrypoint.CATALOGUE, {"effect": "allow", "visible": ["a", "b", "a"]})

    assert decision.visible == {"a", "b"}


def test_an_approval_decision_says_whether_the_word_counts():
    assert decode(Entrypoint.APPROVAL, {"effect": "allow", "counts": True}).counts
    assert not decode(Entrypoint.APPROVAL, {"effect": "allow"}).counts


@pytest.mark.parametrize(
    ("entrypoint", "result"),
    [
        (Entrypoint.CALL, None),
        (Entrypoint.CALL, "allow"),
        (Entrypoint.CALL, True),
        (Entrypoint.CALL, []),
        (Entrypoint.CALL, {}),
        (Entrypoint.CALL, {"effect": "ALLOW"}),
        (Entrypoint.CALL, {"effect": "allow "}),
        (Entrypoint.CALL, {"effect": True}),
        (Entrypoint.CALL, {"effect": ["allow"]}),
        (Entrypoint.CALL, {"allow": True}),
        (Entrypoint.CALL, {"effect": "allow", "mask": MASK}),
        (Entrypoint.CALL, {"effect": "allow", "approval": TERMS}),
        (Entrypoint.CALL, {"effect": "require_approval"}),
        (Entrypoint.CALL, {"effect": "require_approval", "approval": None}),
        (Entrypoint.CALL, {"effect": "require_approval", "approval": {}}),
        (Entrypoint.CALL, {"effect": "allow", "reasons": None}),
        (Entrypoint.CALL, {"effect": "allow", "reasons": {}}),
        (Entrypoint.CALL, {"effect": "allow", "labels": []}),
        (Entrypoint.CATALOGUE, {"effect": "allow"}),
        (Entrypoint.CATALOGUE, {"effect": "allow", "visible": "everything"}),
        (Entrypoint.CATALOGUE, {"effect": "allow", "visible": [1]}),
        (Entrypoint.CATALOGUE, {"effect": "require_approval", "approval": TERMS, "visible": []}),
        (Entrypoint.APPROVAL, {"effect": "require_approval", "approval": TERMS}),
        (Entrypoint.APPROVAL, {"effect": "allow", "counts": 1}),
        (Entrypoint.APPROVAL, {"effect": "allow", "counts": "true"}),
        (Entrypoint.ACCESS, {"effect": "require_approval", "approval": TERMS}),
        (Entrypoint.ACCESS, {"effect": "allow", "counts": True}),
    ],
)
def test_what_is_not_plainly_a_decision_is_denied(entrypoint, result):
    assert is_malformed(decode(entrypoint, result))


@pytest.mark.parametrize(
    "change",
    [
        {"groups": []},
        {"groups": "reviewers"},
        {"groups": [""]},
        {"groups": [None]},
        {"quorum": 0},
        {"quorum": -1},
        {"quorum": 11},
        {"quorum": 1.0},
        {"quorum": True},
        {"quorum": "1"},
        {"expires_s": 0},
        {"expires_s": 2_592_001},
        {"expires_s": 900.5},
        {"justification": True},
        {"justification": "maybe"},
        {"phase": "result"},
        {"reviewers": ["x"]},
    ],
)
def test_terms_that_cannot_be_kept_deny(change):
    assert is_malformed(decode(Entrypoint.CALL, {"effect": "require_approval", "approval": {**TERMS, **change}}))


@pytest.mark.parametrize(
    "rule",
    [
        None,
        {},
        {"select": {"class": "SSN"}},
        {"operator": {"name": "redact"}},
        {"select": {}, "operator": {"name": "redact"}},
        {"select": {"class": "SSN", "field": "ssn"}, "operator": {"name": "redact"}},
        {"select": {"regex": ".*"}, "operator": {"name": "redact"}},
        {"select": {"class": ""}, "operator": {"name": "redact"}},
        {"select": {"class": 1}, "operator": {"name": "redact"}},
        {"select": "SSN", "operator": {"name": "redact"}},
        {"select": {"class": "SSN"}, "operator": {"name": "redcat"}},
        {"select": {"class": "SSN"}, "operator": {"name": ["redact"]}},
        {"select": {"class": "SSN"}, "operator": {}},
        {"select": {"class": "SSN"}, "operator": "redact"},
        {"select": {"class": "SSN"}, "operator": {"name": "redact"}, "unless": "x"},
    ],
)
def test_a_mask_rule_that_is_not_understood_denies_the_whole_result(rule):
    assert is_malformed(decode(Entrypoint.RESULT, {"effect": "allow", "mask": [*MASK, rule]}))


@pytest.mark.parametrize(
    "reason",
    [
        "too many",
        {"code": "a"},
        {"message": "a"},
        {"code": "", "message": "a"},
        {"code": "Bulk Select", "message": "a"},
        {"code": "a" * 65, "message": "a"},
        {"code": "ä", "message": "a"},
        {"code": "a", "message": ""},
        {"code": "a", "message": "a" * 1001},
        {"code": "a", "message": "a", "rule": 1},
        {"code": "a", "message": "a", "severity": "high"},
    ],
)
def test_a_reason_that_is_not_one_denies(reason):
    assert is_malformed(decode(Entrypoint.CALL, {"effect": "allow", "reasons": [reason]}))


def test_more_reasons_or_mask_rules_than_anyone_reads_deny():
    assert is_malformed(decode(Entrypoint.CALL, {"effect": "deny", "reasons": [REASON] * 65}))
    assert is_malformed(decode(Entrypoint.RESULT, {"effect": "allow", "mask": MASK * 1001}))


def test_what_is_wrong_is_told_without_a_value_of_the_answer():
    decision = decode(Entrypoint.CALL, {"effect": "allow", "Jane Roe": "123-45-6789"})

    assert "Roe" not in repr(decision)
    assert "6789" not in repr(decision)


def test_our_own_denial_says_why():
    decision = deny("policy_slow", "It took too long.", rule="gateway/call/decision")

    assert decision.effect is Effect.DENY
    assert decision.reasons == (Reason("policy_slow", "It took too long.", "gateway/call/decision"),)
