"""The assertion grant (RFC 7522): an assertion that a real identity provider made becomes a token, once."""

from __future__ import annotations

import base64
import re
import time

import pytest

from gateway.core.errors import GrantRefused
from gateway.identity.authority.settings import ClientConfig
from gateway.identity.saml.grant import GRANT_TYPE, SamlBearer
from tests import saml_idp
from tests.identity.saml.parts import CONSUMER, TOKEN_URL, US, idp, provider
from tests.saml_idp import needs_xmlsec1

pytestmark = needs_xmlsec1

CLIENT = ClientConfig("agent", "s" * 32, None)
RESOURCE = "https://gate.example/mcp/ehr"


@pytest.fixture(scope="module")
def real():
    with saml_idp.running() as running:
        yield running


@pytest.fixture
def service(real, tmp_path):
    (tmp_path / "idp.xml").write_bytes(real.metadata())
    return provider(idp(tmp_path / "idp.xml"))


@pytest.fixture
def revoked():
    return set()


@pytest.fixture
def grant(service, revoked):
    return SamlBearer(
        service.asserted, token_url=TOKEN_URL, revokes=lambda who, since: who.subject in revoked, now=time.time
    )


async def presented(real, url=None, **options):
    """The form with an assertion as a client gets one: the provider made it unasked, for the token endpoint."""
    usual = {"audience": US, "recipient": TOKEN_URL, "destination": TOKEN_URL}
    answer = real.browsed(url or f"{real.url}/sso", **{**usual, **options})
    found = re.search(r"<saml:Assertion .*</saml:Assertion>", base64.b64decode(answer).decode(), re.DOTALL)[0]
    return form(found)


def form(assertion):
    encoded = base64.urlsafe_b64encode(assertion.encode()).decode().rstrip("=")
    return {"grant_type": GRANT_TYPE, "assertion": encoded, "resource": RESOURCE}


async def test_an_assertion_for_the_token_endpoint_is_granted_for_one_resource_and_no_longer_than_it_lasts(grant, real):
    found = await grant.authorise(await presented(real), CLIENT)

    assert (found.principal.subject, found.principal.groups) == ("alice", ("privacy", "clinicians"))
    assert found.resource == RESOURCE
    assert 300 < found.lifetime_s <= 331
    assert found.once
    assert "alice" not in str(found.evidence)


async def test_replay_the_same_assertion_names_the_same_use(grant, real):
    asked = await presented(real)

    assert (await grant.authorise(asked, CLIENT)).once == (await grant.authorise(asked, CLIENT)).once


WRONG = [
    ("wrong recipient: a login's", {"recipient": CONSUMER}, "saml_wrong_recipient"),
    ("wrong audience", {"audience": "https://other.example"}, "saml_wrong_audience"),
    ("it answers a request", {"inResponseTo": "_some-login"}, "saml_unexpected_request"),
    ("unsigned", {"signAssertion": False}, "saml_unsigned"),
    ("only the response is signed", {"signAssertion": False, "signResponse": True}, "saml_unsigned"),
    ("SHA-1", {"signatureAlgorithm": "rsa-sha1"}, "saml_alg_refused"),
]


@pytest.mark.parametrize(("options", "reason"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG])
async def test_an_assertion_that_is_not_for_this_is_refused(grant, real, options, reason):
    with pytest.raises(GrantRefused) as refusal:
        await grant.authorise(await presented(real, **options), CLIENT)
    assert refusal.value.code == "invalid_grant"
    assert reason in refusal.value.detail


async def test_a_login_cannot_be_turned_into_a_token(grant, real, service):
    url = (await service.ways["work"].begin()).url
    with pytest.raises(GrantRefused) as refusal:
        await grant.authorise(await presented(real, url), CLIENT)
    assert "saml_unexpected_request" in refusal.value.detail


FORMS = [
    ("no assertion", {"assertion": ""}, "invalid_request"),
    ("not base64url", {"assertion": "<saml/>"}, "invalid_grant"),
    ("plain base64", {"assertion": "PHg+PC94Pg=+"}, "invalid_grant"),
    ("no XML", {"assertion": "aGVsbG8"}, "invalid_grant"),
    ("no resource", {"resource": ""}, "invalid_request"),
]


@pytest.mark.parametrize(("changes", "code"), [each[1:] for each in FORMS], ids=[each[0] for each in FORMS])
async def test_a_form_that_is_not_right_is_told_what_is_missing(grant, real, changes, code):
    with pytest.raises(GrantRefused) as refusal:
        await grant.authorise({**await presented(real), **changes}, CLIENT)
    assert refusal.value.code == code


async def test_a_whole_response_is_no_assertion(grant, real):
    answer = real.browsed(f"{real.url}/sso", audience=US, recipient=TOKEN_URL, destination=TOKEN_URL)
    with pytest.raises(GrantRefused) as refusal:
        await grant.authorise(form(base64.b64decode(answer).decode()), CLIENT)
    assert "saml_malformed" in refusal.value.detail


async def test_who_was_revoked_gets_no_token(grant, real, revoked):
    revoked.add("alice")
    with pytest.raises(GrantRefused):
        await grant.authorise(await presented(real), CLIENT)


def by_hand(place, at, **changes):
    """An assertion that the provider signed, made at this time by its own clock (seconds since 1970)."""
    made = saml_idp.assertion(at, recipient=TOKEN_URL, audience=US, begin=saml_idp.instant(time.time() - 5), **changes)
    return form(saml_idp.signed(made, place))


async def test_a_provider_whose_clock_is_ahead_does_not_date_an_assertion_past_its_subjects_revocation(
    service, real, tmp_path
):
    revoked_at = time.time()
    grant = SamlBearer(
        service.asserted, token_url=TOKEN_URL, revokes=lambda _, since: since <= revoked_at, now=time.time
    )
    with pytest.raises(GrantRefused, match="revoked"):
        await grant.authorise(by_hand(tmp_path, revoked_at + 25), CLIENT)


async def test_an_assertion_from_the_future_is_refused_so_that_none_outlives_a_revocation(grant, real, tmp_path):
    with pytest.raises(GrantRefused, match="saml_not_yet_valid"):
        await grant.authorise(by_hand(tmp_path, time.time() + 120), CLIENT)
