"""The authority over HTTP: every answer as RFC 6749 §5 wants it, and nothing of a request in any of them."""

from __future__ import annotations

import pytest
from quart_trio import QuartTrio

from gateway.core.errors import EvidenceFault
from gateway.web import oauth
from tests.identity.authority.parts import BY_SECRET, CREDENTIALS, RESOURCE, SECRET, URL, Always, House

GOOD = {"grant_type": Always.grant_type, **CREDENTIALS}


class Door:
    """A token endpoint, and what it noted of failures."""

    def __init__(self) -> None:
        self.house = House()
        self.failed: list[tuple[str, str]] = []
        app = QuartTrio(__name__)
        app.register_blueprint(oauth.blueprint(self.house.authority, lambda *noted: self.failed.append(noted)))
        self.client = app.test_client()

    async def post(self, form=None, **more):
        return await self.client.post("/oauth/token", **({"form": form} if form is not None else {}), **more)


async def test_a_token_is_answered_and_kept_by_no_cache():
    door = Door()
    reply = await door.post(GOOD)
    assert reply.status_code == 200
    assert reply.headers["cache-control"] == "no-store"
    assert (await reply.get_json())["token_type"] == "Bearer"
    assert door.failed == []


async def test_a_refusal_says_which_error_of_the_book_it_is_and_is_noted():
    door = Door()
    reply = await door.post({**GOOD, "grant_type": "password"})
    assert reply.status_code == 400
    assert (await reply.get_json())["error"] == "unsupported_grant_type"
    assert reply.headers["cache-control"] == "no-store"
    assert door.failed == [("unsupported_grant_type", "authority")]


async def test_a_client_that_failed_in_the_header_is_told_the_scheme():
    door = Door()
    reply = await door.post({"grant_type": Always.grant_type}, headers={"authorization": "Basic eDp5"})
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"].startswith("Basic ")
    in_form = await door.post({**GOOD, "client_secret": "wrong"})
    assert (in_form.status_code, "www-authenticate" in in_form.headers) == (401, False)


@pytest.mark.parametrize(
    ("data", "kind", "error"),
    [
        (b"grant_type=a&grant_type=b", "application/x-www-form-urlencoded", "invalid_request"),
        (b"resource=a&resource=b", "application/x-www-form-urlencoded", "invalid_target"),
        (b"grant_type=%ff", "application/x-www-form-urlencoded", "invalid_request"),
        (b"\xff", "application/x-www-form-urlencoded", "invalid_request"),
        (b"&".join(b"a%d=1" % n for n in range(40)), "application/x-www-form-urlencoded", "invalid_request"),
        (b"a=" + b"x" * 70_000, "application/x-www-form-urlencoded", "invalid_request"),
        (b'{"grant_type":"a"}', "application/json", "invalid_request"),
        (b"", "application/x-www-form-urlencoded", "invalid_client"),
    ],
)
async def test_a_request_that_is_no_form_has_its_error(data, kind, error):
    reply = await Door().post(data=data, headers={"content-type": kind})
    assert reply.status_code == (401 if error == "invalid_client" else 400)
    assert (await reply.get_json())["error"] == error


async def test_a_secret_in_the_url_is_not_looked_at():
    door = Door()
    query = "&".join(f"{name}={value}" for name, value in GOOD.items())
    reply = await door.client.post(f"/oauth/token?{query}", form={"grant_type": Always.grant_type})
    assert reply.status_code == 401


async def test_nothing_of_the_request_is_in_any_answer():
    door = Door()
    marker = "synthetic-marker-0815"
    for form in (
        {**GOOD, "grant_type": marker},
        {**GOOD, "client_id": marker},
        {**GOOD, "client_secret": marker},
        {**GOOD, "resource": marker},
        {**GOOD, "client_assertion": marker},
        {"client_assertion": marker, "client_assertion_type": marker},
    ):
        reply = await door.post(form)
        assert reply.status_code in (400, 401)
        assert marker.encode() not in await reply.get_data()
        assert SECRET.encode() not in await reply.get_data()


async def test_without_evidence_no_token_leaves_and_the_client_may_try_again():
    door = Door()

    async def full(_):
        raise EvidenceFault("the disk is full")

    door.house.authority._record = full
    reply = await door.post(GOOD)
    assert reply.status_code == 503
    assert (await reply.get_json())["error"] == "temporarily_unavailable"
    assert "access_token" not in await reply.get_json()


async def test_metadata_and_keys_are_public():
    door = Door()
    metadata = await (await door.client.get("/.well-known/oauth-authorization-server")).get_json()
    assert metadata["issuer"] == URL
    keys = await door.client.get(metadata["jwks_uri"].removeprefix(URL))
    assert (await keys.get_json()) == door.house.signer.jwks


async def test_whoever_tries_to_log_in_here_is_sent_elsewhere():
    reply = await Door().client.get("/oauth/authorize?response_type=code&client_id=x")
    assert reply.status_code == 400
    assert (await reply.get_json())["error"] == "unsupported_response_type"


async def test_a_token_cannot_be_asked_for_with_get():
    assert (await Door().client.get("/oauth/token")).status_code == 405


async def test_a_resource_of_ours_may_be_named_in_the_request():
    reply = await Door().post({**GOOD, "resource": RESOURCE, "client_id": BY_SECRET.id})
    assert reply.status_code == 200
