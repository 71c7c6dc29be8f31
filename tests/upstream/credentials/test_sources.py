"""What is shown to an upstream, by whose call it is: the gateway's own token, an exchanged one, or the caller's."""

from __future__ import annotations

from contextlib import asynccontextmanager

import jwt
import pytest
import trio

from gateway.core.errors import UpstreamFault
from gateway.core.types import SessionId
from gateway.upstream import credentials
from gateway.upstream.credentials.caller import calling, token
from gateway.upstream.credentials.settings import EndpointSettings, Kind, Settings
from tests import oidc_provider
from tests.upstream.credentials.answering import GOOD, answer, answering

HERE = "https://gateway.example/mcp/ehr"
THERE = "https://ehr.example/mcp"
SESSION = SessionId("session")
SECRET = "gateway-secret-of-forty-characters-long-x"


def settings(kind, url, *, secret="gateway secret", **changes):
    whole = {"scope": "", "resource": "", "audience": "", "key": None, "key_id": "", "timeout_s": 5, **changes}
    return Settings(
        kind, EndpointSettings(url=url, client_id="gateway", secret=secret, assertion_audience=url, **whole)
    )


@asynccontextmanager
async def source(kind, **changes):
    """A source over a token endpoint that answers token-1, token-2, …"""
    async with answering() as said:
        said.says(*(answer({**GOOD, "access_token": f"token-{number}"}) for number in range(1, 20)))
        async with credentials.opened(settings(kind, said.url, **changes)) as made:
            yield said, made


async def unavailable(made, session=SESSION):
    with pytest.raises(UpstreamFault) as fault:
        await made.authorization(session)
    assert fault.value.kind == "credentials_unavailable"
    return fault.value.detail


async def test_the_gateways_own_token_is_the_same_for_everybody():
    async with source(Kind.CLIENT_CREDENTIALS) as (said, made):
        for who in ("Bearer alice", "Bearer bob", None):
            with calling(who):
                assert await made.authorization(SESSION) == "Bearer token-1"
        (asked,) = said.asked
        assert asked.form["grant_type"] == "client_credentials"
        assert "alice" not in str(asked.form) + str(asked.headers)


async def test_each_callers_token_is_exchanged_for_one_of_their_own():
    async with source(Kind.TOKEN_EXCHANGE) as (said, made):
        shown = []
        for who in ("Bearer alice", "bearer  bob", "Bearer alice"):
            with calling(who):
                shown.append(await made.authorization(SESSION))
        assert shown == ["Bearer token-1", "Bearer token-2", "Bearer token-1"]
        assert [asked.form["subject_token"] for asked in said.asked] == ["alice", "bob"]


async def test_a_weaker_token_of_the_same_person_is_not_served_with_what_a_stronger_one_got():
    async with source(Kind.TOKEN_EXCHANGE) as (_, made):
        with calling("Bearer alice-all"):
            strong = await made.authorization(SESSION)
        with calling("Bearer alice-read"):
            assert await made.authorization(SESSION) != strong


async def test_work_that_goes_on_without_its_client_keeps_whose_it_is():
    async with source(Kind.TOKEN_EXCHANGE) as (said, made), trio.open_nursery() as nursery:
        go, shown = trio.Event(), []

        async def errand():
            await go.wait()
            shown.append(await made.authorization(SESSION))

        with calling("Bearer alice"):
            nursery.start_soon(errand)
        with calling("Bearer bob"):
            go.set()
            await trio.testing.wait_all_tasks_blocked(0.01)
        while not shown:
            await trio.sleep(0.01)
        assert said.asked[0].form["subject_token"] == "alice"
    assert token() is None


async def test_what_a_session_needs_without_its_client_is_done_with_what_it_was_served_with_last():
    async with source(Kind.TOKEN_EXCHANGE) as (_, made):
        assert "nobody's access token is at hand" in await unavailable(made)
        with calling("Bearer alice"):
            await made.authorization(SESSION)
        assert await made.authorization(SESSION) == "Bearer token-1"
        assert await made.authorization(SessionId("session.5f2a")) == "Bearer token-1"
        await unavailable(made, SessionId("another session"))


@pytest.mark.parametrize("who", [None, "", "Basic YTpi", "Negotiate x"])
async def test_a_caller_without_an_access_token_gets_no_exchanged_one(who):
    async with source(Kind.TOKEN_EXCHANGE) as (said, made):
        with calling(who):
            await unavailable(made)
        assert said.asked == []


async def test_when_the_exchange_is_refused_the_caller_gets_nothing():
    async with source(Kind.TOKEN_EXCHANGE) as (said, made):
        said.says(answer({"error": "invalid_grant"}, "400 Bad Request"))
        with calling("Bearer alice-secret-token"):
            told = await unavailable(made)
        assert "invalid_grant" in told
        assert "alice" not in told


def bearer(audience):
    return "Bearer " + jwt.encode({"aud": audience}, "k" * 32, "HS256")


@pytest.mark.parametrize("audience", [THERE, [HERE, THERE]])
async def test_a_token_that_is_for_the_upstream_is_passed_on_where_that_is_configured(audience):
    async with credentials.opened(Settings(Kind.PASSTHROUGH, None, THERE)) as made:
        with calling(bearer(audience)):
            assert await made.authorization(SESSION) == bearer(audience)


@pytest.mark.parametrize("who", [bearer(HERE), bearer([]), bearer(f"{THERE}/"), "Bearer opaque", "Bearer a.b.c", None])
async def test_a_token_that_is_not_for_the_upstream_is_never_passed_on(who):
    async with credentials.opened(Settings(Kind.PASSTHROUGH, None, THERE)) as made:
        with calling(who):
            await unavailable(made)


async def test_a_real_provider_gives_the_gateway_a_token_of_its_own_by_secret():
    async with oidc_provider.running() as provider:
        made = settings(Kind.CLIENT_CREDENTIALS, f"{provider.issuer}/token", secret=SECRET, resource=THERE, scope="mcp")
        async with credentials.opened(made) as own:
            shown = await own.authorization(SESSION)
    claims = jwt.decode(shown.removeprefix("Bearer "), options={"verify_signature": False})
    assert (claims["aud"], claims["client_id"]) == (THERE, "gateway")


async def test_a_real_provider_exchanges_a_persons_token_and_says_who_acts_for_them():
    async with oidc_provider.running() as provider:
        theirs = (await provider.login_tokens(HERE))["access_token"]
        made = settings(Kind.TOKEN_EXCHANGE, f"{provider.issuer}/token", secret=SECRET, resource=THERE)
        async with credentials.opened(made) as exchanged:
            with calling(f"Bearer {theirs}"):
                shown = {await exchanged.authorization(SESSION) for _ in range(5)}
        assert await provider.exchanges() == 1
    (one,) = shown
    claims = jwt.decode(one.removeprefix("Bearer "), options={"verify_signature": False})
    assert (claims["aud"], claims["sub"], claims["act"]) == (THERE, "alice", {"sub": "gateway"})
    assert theirs not in one
