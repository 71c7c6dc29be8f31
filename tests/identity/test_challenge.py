"""What a client without a usable token is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.identity.challenge import challenge, metadata, metadata_url
from gateway.identity.reasons import Reason, refused

RESOURCE = "https://gateway.example/mcp/ehr"
METADATA = "https://gateway.example/.well-known/oauth-protected-resource/mcp/ehr"


def test_the_metadata_stands_between_host_and_path():
    assert metadata_url(RESOURCE) == METADATA


def test_the_metadata_names_the_resource_its_issuers_and_the_header_as_the_only_way():
    assert metadata(RESOURCE, ["https://idp.example"]) == {
        "resource": RESOURCE,
        "authorization_servers": ["https://idp.example"],
        "bearer_methods_supported": ["header"],
    }


def test_a_request_without_a_token_is_challenged_without_an_error():
    assert challenge(refused(Reason.MISSING), RESOURCE) == (401, f'Bearer resource_metadata="{METADATA}"')


def test_a_refused_token_is_told_why_in_a_constant_sentence():
    status, value = challenge(refused(Reason.EXPIRED), RESOURCE)
    assert status == 401
    assert value.startswith('Bearer error="invalid_token", error_description="the token has expired')
    assert value.endswith(f'resource_metadata="{METADATA}"')


def test_a_token_for_another_resource_is_told_which_one_was_wanted():
    assert refused(Reason.WRONG_AUDIENCE, RESOURCE).detail.endswith(f"with this resource (RFC 8707): {RESOURCE}")


@pytest.mark.parametrize("odd", ['api://"phigate', "api://phi\\gate", "api://phigaté", "two words", "line\r\nbreak"])
def test_an_audience_that_no_challenge_may_hold_is_not_told(odd):
    assert refused(Reason.WRONG_AUDIENCE, odd).detail == refused(Reason.WRONG_AUDIENCE).detail


def test_a_token_in_the_url_is_a_bad_request():
    status, value = challenge(refused(Reason.IN_URL), RESOURCE)
    assert status == 400
    assert 'error="invalid_request"' in value


def test_the_scopes_of_an_upstream_stand_in_its_metadata_and_in_every_challenge():
    scopes = ("mcp:read", "mcp:write")
    assert metadata(RESOURCE, ["https://idp.example"], scopes)["scopes_supported"] == ["mcp:read", "mcp:write"]
    status, value = challenge(refused(Reason.MISSING), RESOURCE, scopes)
    assert (status, value) == (401, f'Bearer scope="mcp:read mcp:write", resource_metadata="{METADATA}"')
    assert 'scope="mcp:read mcp:write"' in challenge(refused(Reason.EXPIRED), RESOURCE, scopes)[1]


def test_a_token_without_a_required_scope_is_forbidden_and_told_which_to_ask_for():
    status, value = challenge(refused(Reason.INSUFFICIENT_SCOPE), RESOURCE, ("mcp:read",))
    assert status == 403
    assert value.startswith('Bearer error="insufficient_scope", error_description="the token lacks a scope')
    assert value.endswith(f'scope="mcp:read", resource_metadata="{METADATA}"')


def test_every_reason_is_explained_to_operators_and_no_other():
    page = (Path(__file__).parents[2] / "docs" / "identity" / "README.md").read_text()
    rows = page.split("<!-- reasons")[1].split("\n\n")[0].splitlines()[3:]
    told = [word for row in rows for word in re.findall(r"`([a-z_]+)`", row.split("|")[1])]
    assert sorted(told) == sorted(reason.value for reason in Reason)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence_that_fits_into_the_header(reason):
    fault = refused(reason)
    assert fault.reason == reason.value
    # RFC 6750 §3: error_description is %x20-21 / %x23-5B / %x5D-7E.
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", fault.detail)
    assert re.fullmatch(r"[a-z_]+", fault.reason)
