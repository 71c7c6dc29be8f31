"""People sign in, and programs turn assertions into tokens, through whole gateways and real identity providers."""

from __future__ import annotations

import base64
import json
import re
from contextlib import asynccontextmanager
from urllib.parse import urljoin

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests import oidc_provider, saml_idp
from tests.e2e import harness
from tests.saml_idp import ENTITY, GROUPS, needs_xmlsec1, pair

OFFICER = "officer-of-saml-900-45"
"""The person who signs in with SAML: a name that must be found nowhere in the clear."""


def kinds(gateway, kind):
    return [leaf["members"] for leaf in gateway.leaves() if leaf["type"] == kind]


@pytest.fixture
async def saml():
    async with saml_idp.running() as running:
        await running.answers(user={"name": OFFICER, "groups": ["privacy-officers", "clinicians"]})
        yield running


@pytest.fixture
async def whole(tmp_path, people, clinic_upstream, saml):
    """A gateway of two workers with SAML and an authority."""
    gateway = harness.prepare(tmp_path, people, [clinic_upstream], workers=2)
    (tmp_path / "idp.xml").write_bytes(await saml.metadata())
    (tmp_path / "saml.key").write_text(pair("gateway").key)
    (tmp_path / "saml.crt").write_text(pair("gateway").certificate)
    (tmp_path / "secret").write_text("agent-secret-" * 3)
    with gateway.config.open("a") as file:
        file.write('[saml]\nkey = "saml.key"\ncertificate = "saml.crt"\n[[saml.idp]]\nname = "hospital"\n')
        file.write(f'entity_id = "{ENTITY}"\nmetadata_file = "idp.xml"\ngroups_attribute = "{GROUPS}"\n')
        file.write('[authority]\n[[authority.client]]\nid = "agent"\nsecret_file = "secret"\n')
    gateway.phi.add(OFFICER)
    try:
        gateway.start()
        yield gateway
        gateway.stop()
        gateway.check()
    finally:
        gateway.kill()


def step(page):
    return re.search(r'content="0; url=([^"]*)"', page.text)[1]


async def with_saml(gateway, saml, browser, **options):
    """What our consumer service answers to what the identity provider posts, without our cookies."""
    begun = await browser.get(f"{gateway.url}/login/with/hospital")
    user = {"name": OFFICER, "groups": ["privacy-officers", "clinicians"]}
    answer = await saml.browsed(begun.headers["location"], **{"user": user, **options})
    async with httpx2.AsyncClient() as stranger:
        return answer, await stranger.post(f"{gateway.url}/saml/acs", data={"SAMLResponse": answer})


@needs_xmlsec1
async def test_a_person_signs_in_with_saml_whichever_process_each_step_reaches(whole, saml):
    for _ in range(4):  # Two workers share the port: steps reach either.
        async with httpx2.AsyncClient(headers={"connection": "close"}) as browser:
            _, posted = await with_saml(whole, saml, browser)
            onward = await browser.get(urljoin(whole.url, step(posted)))
            inbox = await browser.get(urljoin(whole.url, step(onward)))
            assert inbox.status_code == 200
            assert OFFICER in inbox.text

    logins = kinds(whole, "login.succeeded")
    assert [each["by"] for each in logins] == ["saml"] * 4
    assert len({each["actor"] for each in logins}) == 1


@needs_xmlsec1
async def test_a_replayed_or_wrong_answer_is_refused_by_every_process_and_on_record(whole, saml):
    async with httpx2.AsyncClient(headers={"connection": "close"}) as browser:
        answer, _ = await with_saml(whole, saml, browser)
        for _ in range(4):
            again = await browser.post(f"{whole.url}/saml/acs", data={"SAMLResponse": answer})
            assert (again.status_code, "saml_replayed" in again.text) == (401, True)
        _, wrong = await with_saml(whole, saml, browser, audience="https://other.example")
        assert "saml_wrong_audience" in wrong.text
    whole.stop()
    counted = {(each["reason"], each["upstream"]) for each in kinds(whole, "login.failed")}
    whole.start()

    assert counted == {("saml_replayed", "approvals"), ("saml_wrong_audience", "approvals")}


async def token_for(gateway, assertion):
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:saml2-bearer",
        "assertion": base64.urlsafe_b64encode(assertion.encode()).decode().rstrip("="),
        "resource": gateway.mcp("clinic"),
    }
    async with httpx2.AsyncClient(headers={"connection": "close"}) as http:
        return await http.post(f"{gateway.url}/oauth/token", data=form, auth=("agent", "agent-secret-" * 3))


@needs_xmlsec1
async def test_an_assertion_becomes_a_token_once_and_policy_sees_whose_groups_it_has(whole, saml):
    where = f"{whole.url}/oauth/token"
    answer = await saml.browsed(
        f"{saml.url}/sso",
        audience=f"{whole.url}/saml/metadata",
        recipient=where,
        destination=where,
        user={"name": OFFICER, "groups": ["clinicians"]},
    )
    assertion = re.search(r"<saml:Assertion .*</saml:Assertion>", base64.b64decode(answer).decode(), re.DOTALL)[0]
    reply = await token_for(whole, assertion)
    assert reply.status_code == 200, reply.text
    headers = {"authorization": f"Bearer {reply.json()['access_token']}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(whole.mcp("clinic"), http_client=http)) as client,
    ):
        tools = {tool.name for tool in (await client.list_tools()).tools}
    assert "run_sql" in tools

    again = await token_for(whole, assertion)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    (issued,) = kinds(whole, "token.issued")
    assert issued["issuer"] == ENTITY
    assert OFFICER not in json.dumps(issued)


@asynccontextmanager
async def with_oidc(tmp_path, people, upstream):
    """A gateway whose people sign in at a real OIDC provider."""
    async with oidc_provider.running() as provider:
        gateway = harness.prepare(tmp_path, people, [upstream], workers=2)
        with gateway.config.open("a") as file:
            file.write(f'[[issuer]]\nurl = "{provider.issuer}"\n[[login]]\nissuer = "{provider.issuer}"\n')
            file.write('name = "work"\nclient_id = "public-pages"\nscopes = ["openid"]\n')
        try:
            gateway.start()
            yield gateway, provider
            gateway.stop()
            gateway.check()
        finally:
            gateway.kill()


async def test_a_person_signs_in_with_oidc_and_out_again(tmp_path, people, clinic_upstream):
    async with with_oidc(tmp_path, people, clinic_upstream) as (gateway, _):
        async with httpx2.AsyncClient(headers={"connection": "close"}) as browser:
            url = f"{gateway.url}/login/with/work"
            while not url.startswith(f"{gateway.url}/login/callback"):
                url = urljoin(url, (await browser.get(url)).headers["location"])
            onward = await browser.get(url)
            inbox = await browser.get(urljoin(gateway.url, step(onward)))
            assert (inbox.status_code, "alice" in inbox.text) == (200, True)

            assert (await browser.get(url)).status_code == 401  # The code is used up, and so is what was begun.

            proof = re.search(r'name="proof" value="([^"]*)"', inbox.text)[1]
            await browser.post(f"{gateway.url}/logout", data={"proof": proof}, headers={"origin": gateway.url})
            assert (await browser.get(f"{gateway.url}/approvals")).status_code == 303
        assert [each["by"] for each in kinds(gateway, "login.succeeded")] == ["oidc"]
