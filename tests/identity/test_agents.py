"""Whose token it is: a program's own, by each provider's marks, or a person's through a program."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.policy.input import principal_document
from gateway.identity import tokens
from gateway.identity.agents import is_agent
from tests.identity.minting import CONFIG, claims

AGENTS = {
    "RFC 9068": {"sub": "scheduler", "client_id": "scheduler"},
    "OpenID Connect": {"sub": "scheduler", "azp": "scheduler"},
    "Okta": {"sub": "0oa1synthetic", "cid": "0oa1synthetic", "scp": ["mcp"], "ver": 1},
    "Entra ID with idtyp": {"sub": "a1b2", "oid": "a1b2", "azp": "c3d4", "idtyp": "app", "roles": ["Reader"]},
    "Entra ID v2": {"sub": "a1b2", "oid": "a1b2", "azp": "c3d4", "azpacr": "1", "roles": ["Reader"], "ver": "2.0"},
    "Entra ID v1": {"sub": "a1b2", "oid": "a1b2", "appid": "c3d4", "appidacr": "2", "ver": "1.0"},
    "Keycloak": {"sub": "f00d", "azp": "scheduler", "preferred_username": "service-account-scheduler"},
    "Auth0": {"sub": "awZf@clients", "azp": "awZf", "gty": "client-credentials"},
    "Auth0, RFC 9068 profile": {"sub": "awZf@clients", "client_id": "awZf"},
    "Google service account": {"sub": "1138", "azp": "1138", "email": "job@clinic.iam.gserviceaccount.com"},
    "Kubernetes": {"sub": "system:serviceaccount:clinic:scheduler"},
    "SPIFFE": {"sub": "spiffe://clinic.example/scheduler"},
}
PEOPLE = {
    "RFC 9068": {"sub": "alice", "client_id": "care-assistant"},
    "Okta": {"sub": "alice@clinic.example", "cid": "0oa1synthetic", "uid": "00u1", "scp": ["mcp"]},
    "Entra ID": {"sub": "pairwise", "oid": "a1b2", "azp": "c3d4", "scp": "mcp", "idtyp": "user"},
    "Entra ID where both ids agree": {"sub": "a1b2", "oid": "a1b2", "azp": "c3d4", "scp": "mcp"},
    "Keycloak": {"sub": "f00d", "azp": "care-assistant", "preferred_username": "alice"},
    "Auth0": {"sub": "auth0|6553", "azp": "awZf", "gty": ["authorization_code", "refresh_token"]},
    "Google": {"sub": "1138", "azp": "42.apps.googleusercontent.com", "email": "alice@clinic.example"},
    "on behalf of": {"sub": "alice", "client_id": "care-assistant", "act": {"sub": "care-assistant"}},
}


@pytest.mark.parametrize("provider", AGENTS)
def test_a_programs_own_token_is_an_agents(provider):
    assert is_agent(AGENTS[provider])
    assert tokens.principal(claims(**{"client_id": None, **AGENTS[provider]}), CONFIG).agent


@pytest.mark.parametrize("provider", PEOPLE)
def test_a_token_for_a_person_is_theirs_whatever_program_sends_it(provider):
    assert not is_agent(PEOPLE[provider])
    assert not tokens.principal(claims(**{"client_id": None, **PEOPLE[provider]}), CONFIG).agent


@pytest.mark.parametrize("odd", [7, None, [], {}, True, [7, None]])
def test_marks_of_another_type_mark_nothing(odd):
    shape = dict.fromkeys(("client_id", "azp", "gty", "idtyp", "oid", "preferred_username", "email"), odd)
    assert not is_agent({"sub": "alice", **shape})


def test_without_a_subject_there_is_no_mark_in_its_absence_elsewhere():
    assert not is_agent({})
    assert not is_agent({"sub": "", "client_id": "", "oid": ""})


def test_an_issuer_for_workloads_makes_everybody_an_agent():
    assert tokens.principal(claims(), replace(CONFIG, only_agents=True)).agent
    assert not tokens.principal(claims(), CONFIG).agent


def test_policy_sees_the_person_the_agent_that_acts_now_and_those_before_it():
    # RFC 8693 §4.1: the outermost `act` is who acts now; those within it acted before and are history.
    chain = {"sub": "charting-agent", "act": {"sub": "care-assistant"}}
    found = principal_document(tokens.principal(claims(act=chain, client_id="charting-agent"), CONFIG))
    assert found["kind"] == "person"
    assert found["sub"] == "alice"
    assert found["chain"] == ["charting-agent", "care-assistant"]
    assert found["client"] == "charting-agent"
