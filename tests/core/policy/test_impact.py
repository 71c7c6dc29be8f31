"""Changes counted: what cannot come about is left out, and each is found by rule, principal, upstream and tool."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.policy import impact
from gateway.core.policy.change import Change, Kind
from gateway.core.policy.decision import Entrypoint
from gateway.core.policy.impact import Row


def row(leaf, exchange, kind, entrypoint=Entrypoint.CALL, **more):
    given = {"principal": "ab" * 16, "groups": ("analysts",), "upstream": "clinic", "about": "run_sql"} | more
    return Row(leaf, exchange, entrypoint, changes=(Change(kind, ("gateway.sql: ddl",)),), **given)


def test_a_call_that_would_be_denied_has_no_result_to_change():
    rows = [
        row(3, "a", Kind.NEWLY_UNMASKED, Entrypoint.RESULT),
        row(2, "a", Kind.NEWLY_DENIED),
        row(4, "b", Kind.NEWLY_UNMASKED, Entrypoint.RESULT),
        row(5, "", Kind.NEWLY_DENIED, Entrypoint.APPROVAL),
        row(6, "", Kind.NEWLY_DENIED, Entrypoint.APPROVAL),
    ]

    kept, moot = impact.settled(rows)

    assert [each.leaf for each in kept] == [2, 4, 5, 6]
    assert moot == 1


def test_changes_are_counted_by_rule_principal_upstream_and_tool_with_samples():
    rows = [row(number, f"x{number}", Kind.NEWLY_DENIED) for number in range(5)]
    rows += [row(9, "y", Kind.NEWLY_ALLOWED, about="read", groups=())]

    allowed, denied = impact.shares(rows, samples=2)

    assert allowed.document()["loosens"] is True
    assert denied.document() == {
        "kind": "newly-denied",
        "loosens": False,
        "decisions": 5,
        "exchanges": 5,
        "by_rule": [{"rule": "gateway.sql: ddl", "decisions": 5, "samples": ["x0", "x1"]}],
        "by_principal": [{"principal": "abababababab (analysts)", "decisions": 5}],
        "by_upstream": [{"upstream": "clinic", "decisions": 5}],
        "by_tool": [{"tool": "run_sql", "decisions": 5}],
    }


@given(st.sampled_from(list(Kind)), st.sampled_from(list(Entrypoint)))
def test_a_row_survives_its_way_between_processes(kind, entrypoint):
    one = row(1, "a", kind, entrypoint)

    assert impact.parse(json.loads(json.dumps(one.document))) == one


@pytest.mark.parametrize("document", [{}, {**row(1, "a", Kind.FAILS).document, "changes": [{}]}])
def test_what_is_no_row_is_refused(document):
    with pytest.raises(ValueError, match="not a"):
        impact.parse(document)
