"""Logins of people with OIDC, against a real provider; and every answer that must not sign anybody in."""

from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import replace
from functools import partial
from urllib.parse import parse_qs, parse_qsl, urljoin, urlsplit

import httpx2
import orjson
import pytest
import trio
import trio.testing

from gateway.core.errors import IdentityUnavailable, Unauthenticated
from gateway.identity import oidc, tokens
from gateway.identity.code_flow import CodeFlow, CodeFlowConfig
from gateway.identity.provider import Provider
from tests import oidc_provider
from tests.identity.minting import CONFIG, ISSUER, NOW, Published, mint, signing_key

CALLBACK = "https://gate.example/login/callback/work"
WORK = CodeFlowConfig("work", "Work", ISSUER, "pages", "pages-secret: + %", ("openid",), None, 3600.0)


# Against the real provider.


async def browsed(url):
    """The query with which a browser that goes to `url` comes back; every login there succeeds."""
    async with httpx2.AsyncClient() as http:
        while not url.startswith((CALLBACK, "http://127.0.0.1/login/callback")):
            reply = await http.get(url)
            assert reply.is_redirect, reply.text
            url = urljoin(url, reply.headers["location"])
    return dict(parse_qsl(urlsplit(url).query))


def of(issuer):
    async def principal(claims):
        return tokens.principal(claims, issuer)

    return principal


def through(provider, http, config=WORK, redirect_uri=CALLBACK):
    """A flow through a running provider."""
    issuer = Provider(replace(CONFIG, url=provider.issuer), partial(oidc.fetch, http))
    config = replace(config, issuer=provider.issuer)
    return CodeFlow(config, issuer, http, redirect_uri=redirect_uri, principal=of(issuer.issuer), now=time.time)


@pytest.fixture
async def provider():
    async with oidc_provider.running() as running:
        yield running


@pytest.fixture
async def http():
    async with oidc.client() as opened:
        yield opened


async def test_a_person_signs_in_with_their_groups(provider, http):
    flow = through(provider, http)
    begun = await flow.begin()
    found = await flow.finish(begun.kept, await browsed(begun.url))

    assert (found.principal.issuer, found.principal.subject) == (provider.issuer, "alice")
    assert found.principal.groups == ("clinicians", "cardiology")
    assert found.principal.client == "pages"


async def test_a_public_client_signs_in_by_pkce_alone(provider, http):
    public = replace(WORK, client_id="public-pages", client_secret=None)
    flow = through(provider, http, public, "http://127.0.0.1/login/callback/work")
    begun = await flow.begin()

    assert (await flow.finish(begun.kept, await browsed(begun.url))).principal.subject == "alice"


async def test_a_stolen_code_is_worth_nothing_without_the_verifier(provider, http):
    flow = through(provider, http)
    begun = await flow.begin()
    answer = await browsed(begun.url)
    with pytest.raises(Unauthenticated) as refusal:
        await flow.finish({**begun.kept, "verifier": "another"}, answer)
    assert refusal.value.reason == "login_code_refused"


async def test_a_code_is_redeemed_once(provider, http):
    flow = through(provider, http)
    begun = await flow.begin()
    answer = await browsed(begun.url)
    await flow.finish(begun.kept, answer)
    with pytest.raises(Unauthenticated) as refusal:
        await flow.finish(begun.kept, answer)
    assert refusal.value.reason == "login_code_refused"


async def test_a_provider_that_is_gone_is_an_outage_and_no_login(provider, http):
    flow = through(provider, http)
    begun = await flow.begin()
    answer = await browsed(begun.url)
    await provider.stop()
    with pytest.raises(IdentityUnavailable):
        await flow.finish(begun.kept, answer)


# Against a provider that answers what a test wants.


async def streamed(data):
    """As an answer comes over a network: read once."""
    yield data


class Scripted:
    """An issuer whose metadata, token answer and ID token are what a test says."""

    def __init__(self, *, config=WORK, metadata=None, status=200, algorithm="RS256", header=None, reply=None, **claims):
        self.algorithm, self.header, self.claims = algorithm, header or {}, claims
        self.status, self.reply = status, reply
        self.metadata = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize?tenant=1",
            "token_endpoint": f"{ISSUER}/token",
            **(metadata or {}),
        }
        self.asked = []
        self.nonce = ""
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(self.answer))

        provider = Provider(CONFIG, Published(signing_key(algorithm).jwk()))
        self.flow = CodeFlow(config, provider, http, redirect_uri=CALLBACK, principal=of(CONFIG), now=lambda: NOW)

    def answer(self, request):
        if request.method == "GET":
            return httpx2.Response(200, content=streamed(orjson.dumps(self.metadata)))
        self.asked.append(request)
        made = self.reply if self.reply is not None else orjson.dumps(self.tokens())
        return httpx2.Response(self.status, content=streamed(made))

    def tokens(self):
        claims = {
            "iss": ISSUER, "sub": "bob", "aud": "pages", "nonce": self.nonce,
            "exp": NOW + 60, "iat": NOW, "groups": ["privacy"], **self.claims,
        }  # fmt: skip
        kept = {name: value for name, value in claims.items() if value is not None}
        token = mint(signing_key(self.algorithm), kept, **{"typ": "JWT", **self.header})
        return {"id_token": token.removeprefix("Bearer "), "access_token": "synthetic-access"}

    async def signed_in(self, **changes):
        begun = await self.flow.begin()
        self.nonce = begun.kept["nonce"]
        answer = {"code": "synthetic-code", "state": begun.kept["state"], **changes}
        return await self.flow.finish(begun.kept, {name: value for name, value in answer.items() if value is not None})


async def test_what_the_provider_is_asked_holds_state_nonce_and_the_verifiers_digest():
    begun = await Scripted().flow.begin()
    asked = parse_qs(urlsplit(begun.url).query)

    digest = hashlib.sha256(begun.kept["verifier"].encode()).digest()
    assert asked["tenant"] == ["1"]
    assert asked["code_challenge"] == [base64.urlsafe_b64encode(digest).rstrip(b"=").decode()]
    assert asked["code_challenge_method"] == ["S256"]
    assert (asked["state"], asked["nonce"]) == ([begun.kept["state"]], [begun.kept["nonce"]])
    assert begun.kept["verifier"] not in begun.url


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_right_answer_signs_in_until_the_lifetime_ends(algorithm):
    hashing = hashlib.sha512 if algorithm == "EdDSA" else hashlib.sha256
    digest = hashing(b"synthetic-access").digest()
    at_hash = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    found = await Scripted(algorithm=algorithm, at_hash=at_hash).signed_in()

    assert (found.principal.subject, found.principal.groups, found.until) == ("bob", ("privacy",), NOW + 3600)


async def test_a_login_that_was_under_way_when_its_person_was_revoked_counts_from_before():
    vouched_at = NOW - 20
    found = await Scripted(iat=vouched_at).signed_in()

    assert found.since == vouched_at - CONFIG.clock_skew_s


SECRETS = [(None, "authorization"), (["client_secret_post"], "body"), (["client_secret_basic"], "authorization")]


@pytest.mark.parametrize(("methods", "where"), SECRETS, ids=["unsaid", "post", "basic"])
async def test_the_secret_goes_where_the_provider_takes_it(methods, where):
    scripted = Scripted(metadata={"token_endpoint_auth_methods_supported": methods} if methods else {})
    await scripted.signed_in()
    (asked,) = scripted.asked

    form = parse_qs(asked.content.decode())
    if where == "body":
        assert form["client_secret"] == ["pages-secret: + %"]
        assert "authorization" not in asked.headers
    else:
        both = base64.b64decode(asked.headers["authorization"].removeprefix("Basic ")).decode()
        assert both == "pages:pages-secret%3A%20%2B%20%25"  # RFC 6749 §2.3.1: each half is encoded first.
        assert "client_secret" not in form


ANSWERS = [
    ("cross-site request forgery: another login's state", {"state": "another"}, "login_unbegun"),
    ("cross-site request forgery: no state", {"state": None}, "login_unbegun"),
    ("mix-up: another issuer answered", {"iss": "https://evil.example"}, "login_wrong_issuer"),
    ("the person was not let in", {"error": "access_denied", "code": None}, "login_declined"),
    ("an error beside a code", {"error": "server_error"}, "login_declined"),
    ("no code", {"code": None}, "login_declined"),
]


@pytest.mark.parametrize(("answer", "reason"), [each[1:] for each in ANSWERS], ids=[each[0] for each in ANSWERS])
async def test_an_answer_that_does_not_fit_signs_nobody_in_and_redeems_no_code(answer, reason):
    scripted = Scripted()
    with pytest.raises(Unauthenticated) as refusal:
        await scripted.signed_in(**answer)
    assert refusal.value.reason == reason
    assert scripted.asked == []


async def test_mix_up_an_issuer_that_promises_to_say_who_it_is_must():
    with pytest.raises(Unauthenticated) as refusal:
        await Scripted(metadata={"authorization_response_iss_parameter_supported": True}).signed_in()
    assert refusal.value.reason == "login_wrong_issuer"


CLAIMS = [
    ("replay: another nonce", {"nonce": "another"}, "login_wrong_nonce"),
    ("replay: no nonce", {"nonce": None}, "login_wrong_nonce"),
    ("for another client", {"aud": "another"}, "login_wrong_client"),
    ("for several, without azp", {"aud": ["pages", "another"]}, "login_wrong_client"),
    ("for several, asked for by another", {"aud": ["pages", "another"], "azp": "another"}, "login_wrong_client"),
    ("asked for by another", {"azp": "another"}, "login_wrong_client"),
    ("from another issuer", {"iss": "https://evil.example"}, "login_wrong_issuer"),
    ("expired", {"exp": NOW - 31}, "expired"),
    ("without expiry", {"exp": None}, "malformed"),
    ("from the future", {"iat": NOW + 31}, "not_yet_valid"),
    ("token substitution: another access token", {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "login_wrong_hash"),
    ("without a subject", {"sub": None}, "no_subject"),
    ("somebody who acts for another", {"act": {"sub": "agent"}}, "login_not_a_person"),
    ("an access token", {"header": {"typ": "at+jwt"}}, "wrong_type"),
    ("a refresh token of Keycloak's", {"typ": "Refresh"}, "wrong_type"),
]


@pytest.mark.parametrize(("claims", "reason"), [each[1:] for each in CLAIMS], ids=[each[0] for each in CLAIMS])
async def test_an_id_token_that_is_not_right_signs_nobody_in(claims, reason):
    with pytest.raises(Unauthenticated) as refusal:
        await Scripted(**claims).signed_in()
    assert refusal.value.reason == reason
    assert "bob" not in refusal.value.detail


async def test_algorithm_confusion_an_unsigned_id_token_signs_nobody_in():
    scripted = Scripted()
    claims = base64.urlsafe_b64encode(b'{"iss":"%s"}' % ISSUER.encode()).rstrip(b"=").decode()
    scripted.reply = orjson.dumps({"id_token": f"eyJhbGciOiJub25lIn0.{claims}."})
    with pytest.raises(Unauthenticated) as refusal:
        await scripted.signed_in()
    assert refusal.value.reason == "alg_refused"


async def test_an_answer_without_an_id_token_signs_nobody_in():
    with pytest.raises(Unauthenticated) as refusal:
        await Scripted(reply=b'{"access_token":"synthetic"}').signed_in()
    assert refusal.value.reason == "login_no_id_token"


FAILURES = [
    ("html", {"reply": b"<html>"}),
    ("not an object", {"reply": b"[]"}),
    ("a server error", {"status": 500}),
    ("a bomb", {"reply": b" " * 300_000}),
    ("token endpoint over http", {"metadata": {"token_endpoint": "http://idp.example/token"}}),
    ("token endpoint elsewhere, with a password", {"metadata": {"token_endpoint": "https://a:b@evil.example/"}}),
    ("no token endpoint", {"metadata": {"token_endpoint": None}}),
    ("no URL", {"metadata": {"token_endpoint": "https://["}}),
    ("token endpoint at a port that is none", {"metadata": {"token_endpoint": "https://idp.example:99999/token"}}),
    ("response splitting", {"metadata": {"authorization_endpoint": "https://idp.example/\r\nset-cookie: a=b"}}),
    ("authorization endpoint is a script", {"metadata": {"authorization_endpoint": "javascript:alert(1)"}}),
    ("calls itself something else", {"metadata": {"issuer": "https://evil.example"}}),
]


@pytest.mark.parametrize("failure", [each[1] for each in FAILURES], ids=[each[0] for each in FAILURES])
async def test_a_provider_that_answers_nonsense_is_an_outage_and_no_login(failure):
    with pytest.raises(IdentityUnavailable) as outage:
        await Scripted(**failure).signed_in()
    assert ISSUER in outage.value.detail


async def test_strangers_who_begin_logins_do_not_make_us_flood_a_provider_that_is_down():
    asked = []

    async def down(request):
        asked.append(request.url.path)
        await trio.testing.wait_all_tasks_blocked()
        raise httpx2.ConnectError("refused")

    async def begin():
        with pytest.raises(IdentityUnavailable, match="could not be reached"):
            await scripted.flow.begin()

    scripted = Scripted()
    scripted.flow._http = httpx2.AsyncClient(transport=httpx2.MockTransport(down))
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(begin)
    await begin()
    assert len(asked) == 1


async def test_a_refused_code_is_the_persons_to_try_again():
    with pytest.raises(Unauthenticated) as refusal:
        await Scripted(status=400, reply=b'{"error":"invalid_grant"}').signed_in()
    assert refusal.value.reason == "login_code_refused"
