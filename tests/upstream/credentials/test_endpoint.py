"""Asking a token endpoint: how the gateway proves who it is, and everything that an endpoint may answer wrongly."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace

import jwt
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.core.errors import UpstreamFault
from gateway.upstream.credentials import endpoint
from gateway.upstream.credentials.endpoint import Endpoint
from gateway.upstream.credentials.settings import EndpointSettings
from tests.upstream.credentials.answering import GOOD, answer, answering

SECRET = "synthetic secret: + % é"
FORM = {"grant_type": "client_credentials"}


def settings(url, **changes):
    made = EndpointSettings(
        url=url,
        client_id="the gateway",
        secret=SECRET,
        key=None,
        key_id="",
        assertion_audience=url,
        scope="",
        resource="",
        audience="",
        timeout_s=2,
    )
    return replace(made, **changes)


@asynccontextmanager
async def asking(**changes):
    """An endpoint that answers what the test says, and the gateway's side of it."""
    async with answering() as said, endpoint.client() as http:
        yield said, Endpoint(http, settings(said.url, **changes))


async def refused(asked):
    with pytest.raises(UpstreamFault) as fault:
        await asked.fetch(FORM)
    assert fault.value.kind == "credentials_unavailable"
    return fault.value.detail


def pem(private):
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


async def test_a_secret_goes_into_the_header_and_what_is_configured_into_the_form():
    async with asking(scope="read", resource="https://ehr.example", audience="api://ehr") as (said, asked):
        fetched = await asked.fetch(FORM)
        assert (fetched.token, fetched.lifetime_s) == (GOOD["access_token"], 300)
        (request,) = said.asked
        assert request.basic == ("the gateway", SECRET)
        about = {"scope": "read", "resource": "https://ehr.example", "audience": "api://ehr"}
        assert request.form == {**FORM, **about}


@pytest.mark.parametrize(
    ("private", "algorithm"),
    [
        (rsa.generate_private_key(65537, 2048), "RS256"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
    ids=["rsa", "p-256", "ed25519"],
)
async def test_a_key_signs_an_assertion_anew_for_each_request(private, algorithm):
    async with asking(secret=None, key=pem(private), key_id="k1", assertion_audience="https://idp.example") as (
        said,
        asked,
    ):
        await asked.fetch(FORM)
        await asked.fetch(FORM)
        assertions = [request.form["client_assertion"] for request in said.asked]
        claims = [
            jwt.decode(each, private.public_key(), [algorithm], audience="https://idp.example") for each in assertions
        ]
        assert {each["iss"] for each in claims} == {each["sub"] for each in claims} == {"the gateway"}
        assert claims[0]["jti"] != claims[1]["jti"]
        assert jwt.get_unverified_header(assertions[0])["kid"] == "k1"
        assert "authorization" not in said.asked[0].headers


MARKER = "synthetic-marker-4711"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (answer({"error": "invalid_client"}, "401 Unauthorized"), "HTTP status 401 (invalid_client)"),
        (answer({"error": "invalid_target"}, "400 Bad Request"), "(invalid_target)"),
        (answer({"error": MARKER, "error_description": MARKER}, "400 Bad Request"), "refused with HTTP status 400"),
        (answer(MARKER.encode(), "500 Internal Server Error"), "HTTP status 500"),
        (answer({}, "302 Found", location=f"https://elsewhere.example/{MARKER}"), "HTTP status 302"),
        (answer(MARKER.encode()), "without a usable access_token"),
        (answer([GOOD]), "without a usable access_token"),
        (answer({**GOOD, "access_token": None}), "without a usable access_token"),
        (answer({**GOOD, "access_token": f"{MARKER}\r\nX-Evil: 1"}), "without a usable access_token"),
        (answer({**GOOD, "access_token": MARKER + "é"}), "without a usable access_token"),
        (answer({**GOOD, "access_token": "x" * 20_000}), "without a usable access_token"),
        (answer({**GOOD, "token_type": "DPoP"}), "no bearer token"),
        (answer({**GOOD, "token_type": "N_A"}), "no bearer token"),
        (answer({**GOOD, "expires_in": 0}), "has expired"),
        (answer({**GOOD, "expires_in": "300"}), "has expired"),
        (answer({**GOOD, "expires_in": True}), "has expired"),
        (answer(b" " * 70_000), "more than 65536 bytes"),
        (b"not http at all\r\n\r\n", "could not be reached"),
        (b"", "could not be reached"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
async def test_what_is_no_good_answer_is_a_named_fault_that_repeats_nothing_of_it(reply, why):
    async with asking() as (said, asked):
        said.says(reply)
        told = await refused(asked)
        assert why in told
        assert MARKER not in told
        assert SECRET not in told


async def test_a_silent_endpoint_is_not_waited_for_beyond_its_deadline():
    async with asking(timeout_s=0.1) as (said, asked):
        said.waits = trio.Event()
        assert "did not answer within 0.1 s" in await refused(asked)


async def test_an_endpoint_that_nobody_listens_at():
    async with answering() as said:
        pass
    async with endpoint.client() as http:
        assert "could not be reached" in await refused(Endpoint(http, settings(said.url)))


async def test_an_answer_that_does_not_say_how_long_is_good_for_a_minute_and_none_for_more_than_a_day():
    async with asking() as (said, asked):
        said.says(answer({"access_token": "a", "token_type": "bearer"}), answer({**GOOD, "expires_in": 1e9}))
        assert (await asked.fetch(FORM)).lifetime_s == 60
        assert (await asked.fetch(FORM)).lifetime_s == 86_400


@pytest.mark.parametrize(
    "private", [rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP384R1())], ids=["weak", "p-384"]
)
def test_a_key_that_providers_would_not_take_is_refused(private):
    with pytest.raises(ValueError, match="not an RSA key"):
        endpoint.algorithm(pem(private))


def test_no_secret_is_in_any_repr():
    made = settings("https://idp.example/token", key="-----BEGIN PRIVATE KEY-----")
    assert SECRET not in repr(made)
    assert "PRIVATE" not in repr(made)
