"""An organisation changes settings, not Rego: whatever it makes of them within their schema, the bundle is admitted."""

import copy
import json
from pathlib import Path

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from gateway.core.errors import PolicyFault
from gateway.pdp import admission, loader, suite

POLICIES = Path(__file__).parents[2] / "policies"
SOURCES = loader.sources(POLICIES)
SHIPPED = json.loads(SOURCES["gateway/settings/data.json"])
SCHEMA = jsonschema_rs.validator_for(json.loads((POLICIES / "schema" / "settings.json").read_text()))

GROUPS = st.sampled_from(["clinicians", "analysts", "engineers", "privacy-officers", "auditors", "nurses", "staff"])
ROLES = st.sampled_from([*SHIPPED["roles"]])
NAMES = st.sampled_from(["*", "read_*", "run_sql", "read_patient", "chart"])
TERMS = st.fixed_dictionaries(
    {"groups": st.lists(GROUPS, min_size=1, max_size=3, unique=True)},
    optional={
        "quorum": st.integers(1, 3),
        "expires_s": st.integers(60, 86_400),
        "justification": st.sampled_from(["optional", "required"]),
    },
)
ROLE = st.fixed_dictionaries(
    {
        "upstreams": st.dictionaries(
            st.sampled_from(["*", "clinic", "web"]),
            st.dictionaries(st.sampled_from(["tool", "resource", "prompt"]), st.lists(NAMES, max_size=2)),
            max_size=2,
        ),
        "phi": st.booleans(),
        "rows": st.integers(0, 5_000),
        "writes": st.sampled_from(["allow", "require_approval", "deny"]),
        "mask": st.sampled_from([*SHIPPED["masks"]]),
    }
)
ACCESS = st.fixed_dictionaries(
    {"groups": st.lists(GROUPS, unique=True), "local": st.booleans(), "purpose": st.booleans()}
)
PURPOSES = st.sampled_from(["TREAT", "HRESCH", "HOPERAT"])
EDITS = {
    "groups": st.dictionaries(GROUPS, ROLES),
    "precedence": st.permutations(SHIPPED["precedence"]),
    "roles": st.fixed_dictionaries({}, optional=dict.fromkeys(SHIPPED["roles"], ROLE)),
    "tools": st.dictionaries(
        st.sampled_from(["clinic", "web"]), st.dictionaries(NAMES, st.sampled_from(["read", "write", "deny"]))
    ),
    "changed_tools": st.sampled_from(["hide", "deny", "require_approval", "ignore"]),
    "approvals": st.fixed_dictionaries({}, optional=dict.fromkeys(SHIPPED["approvals"], TERMS)),
    "access": st.fixed_dictionaries({}, optional=dict.fromkeys(("sessions", "evidence", "plaintext", "tools"), ACCESS)),
    "descriptive": st.lists(st.sampled_from(SHIPPED["descriptive"]), unique=True),
    "identifiers": st.lists(st.sampled_from(SHIPPED["identifiers"]), min_size=1, unique=True),
    "from_upstream": st.fixed_dictionaries(
        {},
        optional={"requests": st.lists(st.sampled_from(["ping", "roots/list", "sampling/createMessage"]), unique=True)},
    ),
    "guards": st.fixed_dictionaries(
        {},
        optional={
            "purpose": st.fixed_dictionaries(
                {"roles": st.dictionaries(ROLES, st.fixed_dictionaries({"may": st.lists(PURPOSES, unique=True)}))}
            ),
            "hours": st.fixed_dictionaries(
                {
                    "zone": st.sampled_from(["UTC", "Europe/Berlin"]),
                    "closed": st.just(["2026-12-25"]),
                    "unbound": st.lists(GROUPS, max_size=1),
                    "roles": st.dictionaries(
                        ROLES,
                        st.fixed_dictionaries(
                            {
                                "days": st.just(["Monday"]),
                                "from": st.sampled_from(["00:00", "07:30", "22:00"]),
                                "to": st.sampled_from(["06:00", "18:00", "24:00"]),
                                "outside": st.sampled_from(["deny", "require_approval"]),
                            }
                        ),
                    ),
                }
            ),
            "budgets": st.dictionaries(
                ROLES,
                st.fixed_dictionaries(
                    {"P1D": st.fixed_dictionaries({"rows": st.integers(0, 999), "over": st.just("require_approval")})}
                ),
            ),
        },
    ),
}


@st.composite
def edited(draw):
    """The shipped settings with some of them changed: whole ones, or a few members of them."""
    found = copy.deepcopy(SHIPPED)
    for name in draw(st.lists(st.sampled_from(sorted(EDITS)), min_size=1, max_size=5, unique=True)):
        value = draw(EDITS[name])
        merged = isinstance(value, dict) and name not in ("groups", "tools")
        found[name] = {**found[name], **value} if merged else value
    return found


def bundle(changed):
    return loader.bundles.read(
        loader.bundles.build({**SOURCES, "gateway/settings/data.json": json.dumps(changed).encode()})
    )


QUICK = (HealthCheck.too_slow, HealthCheck.data_too_large)


@settings(max_examples=20, suppress_health_check=QUICK, phases=(Phase.explicit, Phase.generate))
@given(edited())
def test_the_librarys_own_tests_hold_whatever_an_organisation_sets(changed):
    SCHEMA.validate(changed)

    assert [outcome.name for outcome in suite.run(bundle(changed)) if outcome.word != "PASS"] == []


NOBODY_IN_COMMON = {
    **SHIPPED,
    "changed_tools": "require_approval",
    "approvals": {
        **SHIPPED["approvals"],
        "tool_changed": {"groups": ["staff"]},
        "write": {"groups": ["auditors", "analysts"]},
    },
}
"""A changed tool that writes is held for two reasons, and no group may approve it for both."""


@settings(max_examples=4, suppress_health_check=QUICK, phases=(Phase.explicit, Phase.generate))
@example(NOBODY_IN_COMMON)
@given(edited())
def test_whatever_an_organisation_sets_is_admitted(changed):
    admission.admit(bundle(changed))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"groups": {"nurses": "nursing"}}, "test_every_role_that_a_group_gives_is_defined_and_has_precedence"),
        ({"precedence": []}, "test_every_role_that_a_group_gives_is_defined_and_has_precedence"),
        (
            {"roles": {**SHIPPED["roles"], "audit": {**SHIPPED["roles"]["audit"], "mask": "none"}}},
            "test_every_role_has_a_mask_profile",
        ),
        ({"guards": {"budgets": {"treatment": {"soon": {"rows": 1, "over": "deny"}}}}}, "P1D"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused_and_named(fault, told):
    with pytest.raises(PolicyFault, match=told):
        admission.admit(bundle({**SHIPPED, **fault}))


def test_what_the_tests_assume_is_what_is_shipped():
    assert json.loads(SOURCES["gateway/defaults/data.json"]) == SHIPPED
    assert (POLICIES / "gateway" / "defaults" / "data.json").is_symlink()
