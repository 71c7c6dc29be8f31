"""Signing in with SAML through the pages, with a real identity provider between both steps."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest

from gateway.core.policy.approval import State
from gateway.web.counter import DOOR
from tests import saml_idp
from tests.fakes.evidence import Clock
from tests.fakes.house import ISSUER, process
from tests.fakes.reviewing import URL, Provider, site
from tests.identity.saml.parts import Once, idp, provider
from tests.saml_idp import needs_xmlsec1
from tests.web.test_login_pages import BEGUN, COOKIE, Browser, text

pytestmark = needs_xmlsec1


@pytest.fixture
async def house(tmp_path):
    clock = Clock(datetime.fromtimestamp(int(time.time()), UTC))
    async with process(tmp_path, clock) as opened:
        yield opened


@pytest.fixture(scope="module")
def real():
    with saml_idp.running() as running:
        yield running


@pytest.fixture
def people():
    return Provider()


@pytest.fixture
async def app(house, real, people, tmp_path):
    (tmp_path / "idp.xml").write_bytes(real.metadata())
    return site(house, people, saml=provider(idp(tmp_path / "idp.xml"), once=Once()))


async def posted(browser, real, following="/approvals", **options):
    """The identity provider's page posts to us: from another site, so without any of our cookies."""
    url = (await browser.get(f"/login/with/work?next={following}")).headers["location"]
    answer = real.browsed(url, **options)
    return await browser.client.post(
        "/saml/acs", form={"SAMLResponse": answer, "RelayState": ""}, headers={"Origin": real.url}
    )


def next_step(page):
    return re.search(r'content="0; url=([^"]*)"', page)[1]


async def test_a_person_signs_in_with_saml_and_is_led_on(app, real, people):
    browser = Browser(app)
    first = await posted(browser, real, "/approvals/ap_1")
    assert "set-cookie" not in first.headers
    second = await browser.get(next_step(await text(first)))

    assert next_step(await text(second)) == "/approvals/ap_1"
    assert "alice" in await text(await browser.get("/approvals"))
    assert people.signed_in == [("alice", "saml")]
    assert browser.cookies[BEGUN] == ""


async def reviewing(browser, real, **user):
    """Signed in with SAML as somebody."""
    await browser.get(next_step(await text(await posted(browser, real, user=user))))
    return browser


async def test_groups_of_an_assertion_drive_approvals_as_those_of_a_token_do(app, real, house):
    held = (await house.hold(await house.call())).approval
    bob = await reviewing(Browser(app), real, name="bob", groups=["privacy"])
    eve = await reviewing(Browser(app), real, name="eve", groups=["interns"])

    assert (await eve.get(f"/approvals/{held}")).status_code == 404
    granted = await bob.post(f"/approvals/{held}/grant", proof=await bob.proof(), reason="checked")
    assert granted.status_code == 303
    assert (await house.approvals.get(held)).state is State.GRANTED


async def test_self_approval_whoever_is_one_person_by_configuration_cannot_approve_by_the_other_way(
    house, real, people, tmp_path
):
    """Alice asked with a token of ISSUER; her SAML identity is the same person only where `people_of` says so."""
    held = (await house.hold(await house.call())).approval
    (tmp_path / "idp.xml").write_bytes(real.metadata())
    same = site(house, people, saml=provider(idp(tmp_path / "idp.xml", principal_issuer=ISSUER)))
    alice = await reviewing(Browser(same), real, name="alice", groups=["privacy"])
    refused = await alice.post(f"/approvals/{held}/grant", proof=await alice.proof(), reason="mine")

    assert (refused.status_code, "somebody else has to review it" in await text(refused)) == (403, True)
    assert (await house.approvals.get(held)).state is State.PENDING


async def test_login_csrf_a_browser_that_did_not_ask_cannot_use_the_answer(app, real, people):
    mallory, victim = Browser(app), Browser(app)
    ticket = next_step(await text(await posted(mallory, real)))
    response = await victim.get(ticket)

    assert response.status_code == 401
    assert COOKIE not in victim.cookies
    assert people.signed_in == []
    assert people.refused == {("login_unbegun", DOOR): 1}


async def test_login_csrf_one_who_asked_for_something_else_cannot_either(app, real):
    mallory, victim = Browser(app), Browser(app)
    ticket = next_step(await text(await posted(mallory, real)))
    await victim.get("/login/with/work")

    assert (await victim.get(ticket)).status_code == 401


async def test_replay_a_ticket_is_used_once(app, real):
    browser = Browser(app)
    ticket = next_step(await text(await posted(browser, real)))
    cookies = dict(browser.cookies)
    await browser.get(ticket)
    browser.cookies = cookies

    assert (await browser.get(ticket)).status_code == 401


async def test_a_refused_answer_says_why_with_its_word_and_is_counted(app, real, people):
    response = await posted(Browser(app), real, audience="https://other.example")
    page = await text(response)

    assert response.status_code == 401
    assert "The assertion is for another application than this gateway" in page
    assert "saml_wrong_audience" in page
    assert "alice" not in page
    assert people.refused == {("saml_wrong_audience", DOOR): 1}


FORMS = [({}, 401), ({"SAMLResponse": "x" * 300_000}, 413), ({"SAMLResponse": "<x/>"}, 401)]


@pytest.mark.parametrize(("form", "status"), FORMS, ids=["empty", "oversize", "not base64"])
async def test_a_form_with_nothing_in_it_lets_nobody_in(app, form, status):
    assert (await Browser(app).client.post("/saml/acs", form=form)).status_code == status


async def test_nobody_signs_in_by_following_a_link(app):
    assert (await Browser(app).get("/saml/acs?SAMLResponse=x")).status_code == 405


async def test_our_metadata_is_there_for_identity_providers(app):
    response = await Browser(app).get("/saml/metadata")

    assert response.headers["content-type"] == "application/samlmetadata+xml"
    assert f"{URL}/saml/acs" in await text(response)


@pytest.mark.parametrize("path", ["/saml/metadata", "/saml/acs"])
async def test_without_saml_there_is_none(house, people, path):
    browser = Browser(site(house, people))
    method = "POST" if path == "/saml/acs" else "GET"

    assert (await browser.client.open(path, method=method)).status_code == 404
