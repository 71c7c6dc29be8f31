"""People sign in, and programs turn assertions into tokens, through whole gateways and real identity providers."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from contextlib import asynccontextmanager
from urllib.parse import urljoin

import httpx2
import pytest
import trio
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests import oidc_provider, saml_idp
from tests.e2e import harness
from tests.saml_idp import ENTITY, GROUPS, needs_xmlsec1, pair

OFFICER = "officer-of-saml-900-45"
"""The person who signs in with SAML: a name that must be found nowhere in the clear."""


USER = {"user": {"name": OFFICER, "groups": ["privacy-officers", "clinicians"]}}

needs_chromium = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="needs Debian's chromium: apt-get install chromium"
)


def kinds(gateway, kind, since=0):
    return [leaf["members"] for leaf in gateway.leaves()[since:] if leaf["type"] == kind]


@pytest.fixture(scope="module")
def saml():
    with saml_idp.running() as running:
        running.answers(**USER)
        yield running


@pytest.fixture(scope="module")
def served(tmp_path_factory, people, clinic_upstream, saml):
    """A gateway of two workers with SAML and an authority, which browsers know as another site than its providers."""
    place = tmp_path_factory.mktemp("logins")
    gateway = harness.prepare(place, people, [clinic_upstream], workers=2)
    known_as_localhost(gateway)
    # No OIDC provider: with SAML and an authority, nobody else's tokens are needed.
    gateway.config.write_text(re.sub(r"\[\[issuer\]\]\n.*\n.*\n", "", gateway.config.read_text()))
    (place / "idp.xml").write_bytes(saml.metadata())
    (place / "saml.key").write_text(pair("gateway").key)
    (place / "saml.crt").write_text(pair("gateway").certificate)
    (place / "secret").write_text("agent-secret-" * 3)
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


@pytest.fixture
def whole(served):
    yield served
    served.check()


@pytest.fixture
def since(whole):
    """How many leaves there were before."""
    return len(whole.leaves())


def known_as_localhost(gateway):
    """To a browser, `localhost` and 127.0.0.1 are two sites: the identity providers are at the latter."""
    text = gateway.config.read_text()
    gateway.config.write_text(text.replace("[gateway]\n", f'[gateway]\npublic_url = "{public(gateway)}"\n'))


def public(gateway):
    return f"http://localhost:{gateway.port}"


def browse(url, profile):
    """What a real browser shows in the end, scripts and redirects done. One that ends without a word is started anew:
    on a busy machine it does not always come up."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    for attempt in range(3):
        more = [f"--user-data-dir={profile}-{attempt}", "--virtual-time-budget=20000", "--dump-dom", url]
        done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=120, check=False)
        if done.stdout:
            return done.stdout
    raise AssertionError(f"the browser showed nothing and ended with {done.returncode}: {done.stderr[-500:]}")


def step(page):
    return re.search(r'content="0; url=([^"]*)"', page.text)[1]


async def with_saml(gateway, saml, browser, **options):
    """What our consumer service answers to what the identity provider posts, without our cookies."""
    begun = await browser.get(f"{public(gateway)}/login/with/hospital")
    answer = saml.browsed(begun.headers["location"], **{**USER, **options})
    async with httpx2.AsyncClient(timeout=60) as stranger:
        return answer, await stranger.post(f"{public(gateway)}/saml/acs", data={"SAMLResponse": answer})


@needs_xmlsec1
async def test_a_person_signs_in_with_saml_whichever_process_each_step_reaches(whole, saml, since):
    for _ in range(4):  # Two workers share the port: steps reach either.
        async with httpx2.AsyncClient(headers={"connection": "close"}, timeout=60) as browser:
            _, posted = await with_saml(whole, saml, browser)
            onward = await browser.get(urljoin(public(whole), step(posted)))
            inbox = await browser.get(urljoin(public(whole), step(onward)))
            assert inbox.status_code == 200
            assert OFFICER in inbox.text

    logins = kinds(whole, "login.succeeded", since)
    assert [each["by"] for each in logins] == ["saml"] * 4
    assert len({each["actor"] for each in logins}) == 1


@needs_xmlsec1
@needs_chromium
async def test_a_real_browser_signs_in_with_saml_across_sites(whole, saml, tmp_path):
    saml.answers(**USER)
    page = await trio.to_thread.run_sync(browse, f"{public(whole)}/login/with/hospital", tmp_path / "profile")

    assert OFFICER in page
    assert "<h1>Approvals</h1>" in page


REFUSED = {("saml_replayed", "approvals"), ("saml_wrong_audience", "approvals")}


@needs_xmlsec1
async def test_a_replayed_or_wrong_answer_is_refused_by_every_process_and_on_record(whole, saml, since):
    async with httpx2.AsyncClient(headers={"connection": "close"}, timeout=60) as browser:
        answer, _ = await with_saml(whole, saml, browser)
        for _ in range(4):
            again = await browser.post(f"{public(whole)}/saml/acs", data={"SAMLResponse": answer})
            assert (again.status_code, "saml_replayed" in again.text) == (401, True)
        _, wrong = await with_saml(whole, saml, browser, audience="https://other.example")
        assert "saml_wrong_audience" in wrong.text
    with trio.fail_after(30):  # They are counted, and put on record once a second.
        # What others were refused just before may be put on record now too.
        while not {(each["reason"], each["upstream"]) for each in kinds(whole, "login.failed", since)} >= REFUSED:
            await trio.sleep(0.05)


async def token_for(gateway, assertion):
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:saml2-bearer",
        "assertion": base64.urlsafe_b64encode(assertion.encode()).decode().rstrip("="),
        "resource": f"{public(gateway)}/mcp/clinic",
    }
    async with httpx2.AsyncClient(headers={"connection": "close"}, timeout=60) as http:
        return await http.post(f"{public(gateway)}/oauth/token", data=form, auth=("agent", "agent-secret-" * 3))


@needs_xmlsec1
async def test_an_assertion_becomes_a_token_once_and_policy_sees_whose_groups_it_has(whole, saml, since):
    where = f"{public(whole)}/oauth/token"
    answer = saml.browsed(
        f"{saml.url}/sso",
        audience=f"{public(whole)}/saml/metadata",
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
        Client(streamable_http_client(f"{public(whole)}/mcp/clinic", http_client=http)) as client,
    ):
        tools = {tool.name for tool in (await client.list_tools()).tools}
    assert "run_sql" in tools

    again = await token_for(whole, assertion)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    (issued,) = kinds(whole, "token.issued", since)
    assert issued["issuer"] == ENTITY
    assert OFFICER not in json.dumps(issued)


@asynccontextmanager
async def with_oidc(tmp_path, people, upstream):
    """A gateway whose people sign in at a real OIDC provider."""
    async with oidc_provider.running() as provider:
        gateway = harness.prepare(tmp_path, people, [upstream], workers=2)
        known_as_localhost(gateway)
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


@needs_chromium
async def test_a_real_browser_signs_in_with_oidc_across_sites(tmp_path, people, clinic_upstream):
    async with with_oidc(tmp_path, people, clinic_upstream) as (gateway, _):
        page = await trio.to_thread.run_sync(browse, f"{public(gateway)}/login/with/work", tmp_path / "profile")

    assert "alice" in page
    assert "<h1>Approvals</h1>" in page


async def test_a_person_signs_in_with_oidc_and_out_again(tmp_path, people, clinic_upstream):
    async with with_oidc(tmp_path, people, clinic_upstream) as (gateway, _):
        async with httpx2.AsyncClient(headers={"connection": "close"}, timeout=60) as browser:
            url = f"{public(gateway)}/login/with/work"
            while not url.startswith(f"{public(gateway)}/login/callback"):
                url = urljoin(url, (await browser.get(url)).headers["location"])
            onward = await browser.get(url)
            inbox = await browser.get(urljoin(public(gateway), step(onward)))
            assert (inbox.status_code, "alice" in inbox.text) == (200, True)

            assert (await browser.get(url)).status_code == 401  # The code is used up, and so is what was begun.

            proof = re.search(r'name="proof" value="([^"]*)"', inbox.text)[1]
            await browser.post(f"{public(gateway)}/logout", data={"proof": proof}, headers={"origin": public(gateway)})
            assert (await browser.get(f"{public(gateway)}/approvals")).status_code == 303
        assert [each["by"] for each in kinds(gateway, "login.succeeded")] == ["oidc"]
