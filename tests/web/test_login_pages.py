"""Signing in and out: through an identity provider, with a token; and what must not sign anybody in."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from gateway.core.errors import IdentityUnavailable, Unauthenticated
from gateway.core.types import Principal
from gateway.identity.login import Begun, SignedIn
from gateway.web.counter import DOOR
from tests.fakes.evidence import Clock
from tests.fakes.house import BOB, process
from tests.fakes.reviewing import URL, Provider, site, token

COOKIE, BEGUN = "__Host-phigate", "__Host-phigate-login"


@dataclass
class Work:
    """A way to sign in that lets BOB in, unless told otherwise."""

    name: str = "work"
    title: str = "Work <account>"
    who: Principal = BOB
    until: float = 0
    fault: Exception | None = None
    finished: list = field(default_factory=list)

    async def begin(self):
        if self.fault is not None:
            raise self.fault
        return Begun("https://idp.example/authorize?state=1", {"state": "1"})

    async def finish(self, kept, answer):
        self.finished.append((dict(kept), dict(answer)))
        if self.fault is not None:
            raise self.fault
        return SignedIn(self.who, self.until, self.until - 3600)


@pytest.fixture
async def house(tmp_path):
    async with process(tmp_path, Clock()) as opened:
        yield opened


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def work(house):
    return Work(until=house.clock().timestamp() + 3600)


@pytest.fixture
def app(house, provider, work):
    return site(house, provider, ways={"work": work})


class Browser:
    """Keeps cookies as a browser does: all of them, until they are taken back."""

    def __init__(self, app):
        self.client = app.test_client(use_cookies=False)
        self.cookies = {}

    async def get(self, path, **headers):
        return await self._ask("GET", path, headers)

    async def post(self, path, **form):
        return await self._ask("POST", path, {"Origin": URL}, form=form)

    async def sign_in(self, following="/approvals"):
        await self.get(f"/login/with/work?next={following}")
        return await self.get("/login/callback/work?code=synthetic&state=1", **{"Sec-Fetch-Site": "cross-site"})

    async def proof(self):
        page = await text(await self.get("/approvals"))
        return re.search(r'name="proof" value="([0-9a-f]{64})"', page)[1]

    async def _ask(self, method, path, headers, **rest):
        if self.cookies:
            headers = {**headers, "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        response = await self.client.open(path, method=method, headers=headers, **rest)
        for line in response.headers.getlist("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return response


@pytest.fixture
def browser(app):
    return Browser(app)


async def text(response):
    return await response.get_data(as_text=True)


async def test_a_person_signs_in_and_is_led_on_to_where_they_wanted_to_be(browser, provider, work):
    response = await browser.sign_in("/approvals/ap_1")

    # From a page of ours, because the provider's site led here: a strict cookie comes along only then.
    assert 'content="0; url=/approvals/ap_1"' in await text(response)
    assert work.finished == [({"state": "1"}, {"code": "synthetic", "state": "1"})]
    assert (await browser.get("/approvals")).status_code == 200
    assert "bob" in await text(await browser.get("/approvals"))
    assert provider.signed_in == [("bob", "oidc")]


async def test_the_login_page_has_a_button_for_each_way_and_a_form_for_a_token(browser):
    page = await text(await browser.get("/login?next=/approvals/ap_1"))

    assert 'href="/login/with/work?next=/approvals/ap_1"' in page
    assert "Work &lt;account&gt;" in page
    assert 'name="token"' in page


async def test_the_browser_keeps_what_it_began_with_sealed_and_out_of_reach(browser):
    response = await browser.get("/login/with/work")
    (cookie,) = response.headers.getlist("set-cookie")

    assert response.headers["location"] == "https://idp.example/authorize?state=1"
    assert cookie.startswith(f"{BEGUN}=")
    # Lax, because the provider's redirect must carry it; strict would not come along.
    for attribute in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"):
        assert attribute in cookie


async def test_the_logins_cookie_is_strict_names_nobody_and_what_began_is_forgotten(browser):
    response = await browser.sign_in()
    made, begun = response.headers.getlist("set-cookie")

    for attribute in ("Secure", "HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=3600"):
        assert attribute in made
    assert "bob" not in made
    assert begun.startswith(f"{BEGUN}=;")


async def test_login_csrf_a_browser_that_did_not_begin_is_not_signed_in(app, provider, work):
    response = await Browser(app).get("/login/callback/work?code=of-mallory&state=1")

    assert response.status_code == 401
    assert COOKIE not in [line.partition("=")[0] for line in response.headers.getlist("set-cookie")]
    assert work.finished == []
    assert provider.refused == {("login_unbegun", DOOR): 1}


async def test_login_csrf_what_was_begun_ends_after_ten_minutes(browser, house, work):
    await browser.get("/login/with/work")
    house.clock.passes(600)

    assert (await browser.get("/login/callback/work?code=x&state=1")).status_code == 401
    assert work.finished == []


async def test_mix_up_what_was_begun_one_way_does_not_end_another(house, provider, work):
    other = Work("other")
    browser = Browser(site(house, provider, ways={"work": work, "other": other}))
    await browser.get("/login/with/work")

    assert (await browser.get("/login/callback/other?code=x&state=1")).status_code == 401
    assert other.finished == []


async def test_a_login_cookie_is_no_begun_login_and_the_other_way_round(browser):
    await browser.get("/login/with/work")
    browser.cookies[COOKIE] = browser.cookies[BEGUN]

    assert (await browser.get("/approvals")).status_code == 303


async def test_a_refused_login_says_why_with_its_word_and_is_counted(browser, work, provider):
    await browser.get("/login/with/work")
    work.fault = Unauthenticated(
        "the identity provider did not let you in; ask its administrator", reason="login_declined"
    )
    response = await browser.get("/login/callback/work?error=access_denied&state=1&error_description=SECRET")
    page = await text(response)

    assert response.status_code == 401
    assert "The identity provider did not let you in; ask its administrator." in page
    assert "login_declined" in page
    assert "SECRET" not in page
    assert provider.refused == {("login_declined", DOOR): 1}
    assert provider.signed_in == []


@pytest.mark.parametrize("path", ["/login/with/work", "/login/callback/work?code=x&state=1"])
async def test_an_identity_provider_that_is_down_lets_nobody_in(browser, work, path):
    await browser.get("/login/with/work")
    work.fault = IdentityUnavailable("the issuer is down")

    assert (await browser.get(path)).status_code == 503
    assert (await browser.get("/approvals")).status_code == 303


async def test_there_is_no_other_way_in(browser):
    assert (await browser.get("/login/with/nothing")).status_code == 404
    assert (await browser.get("/login/callback/nothing?code=x")).status_code == 401


ELSEWHERE = ["https://evil.example", "//evil.example", "/approvals/../x", "/login/with/work", "javascript:alert(1)"]


@pytest.mark.parametrize("elsewhere", ELSEWHERE)
async def test_open_redirect_a_login_leads_to_our_own_pages_only(browser, elsewhere):
    assert 'content="0; url=/approvals"' in await text(await browser.sign_in(elsewhere))


async def test_a_login_ends_when_its_time_is_up(browser, house):
    await browser.sign_in()
    house.clock.passes(3600)

    assert (await browser.get("/approvals")).status_code == 303


async def test_a_login_ends_when_it_is_revoked(browser, provider):
    await browser.sign_in()
    provider.revoked.add("bob")

    assert (await browser.get("/approvals")).status_code == 303


async def test_signing_out_ends_the_login_for_whoever_kept_its_cookie(browser):
    await browser.sign_in()
    stolen = dict(browser.cookies)
    await browser.post("/logout", proof=await browser.proof())
    browser.cookies = stolen

    assert (await browser.get("/approvals")).status_code == 303


async def test_session_fixation_each_login_has_a_name_of_its_own(browser):
    await browser.sign_in()
    first = browser.cookies[COOKIE]
    await browser.sign_in()

    assert browser.cookies[COOKIE] != first


async def test_two_hundred_groups_are_no_trouble_for_the_cookie(browser, work):
    work.who = Principal(BOB.issuer, "bob", (*map(str, range(10**35, 10**35 + 200)), "privacy"))
    await browser.sign_in()

    assert len(browser.cookies[COOKIE]) < 400
    assert (await browser.get("/approvals")).status_code == 200


async def test_a_login_with_a_token_is_on_record_too(browser, provider):
    await browser.post("/login", token=token("bob"))

    assert provider.signed_in == [("bob", "token")]


async def test_pages_on_the_way_in_forbid_scripts_and_are_in_no_cache(browser):
    for path in ("/login", "/login/with/work", "/login/callback/work"):
        headers = (await browser.get(path)).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["cache-control"] == "no-store"
