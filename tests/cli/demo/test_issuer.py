import json
import os
import subprocess
import sys

import jwt
import pytest

from gateway.cli.demo.issuer import AUDIENCE, IDENTITIES, Issuer, application

NOW = 1_790_000_000
URL = "http://127.0.0.1:9"


def read(issuer, token, **options):
    """The claims of `token`, checked with the published key as a resource server would."""
    (key,) = jwt.PyJWKSet.from_dict(issuer.keys()).keys
    assert jwt.get_unverified_header(token)["kid"] == key.key_id
    return jwt.decode(token, key, algorithms=["ES256"], audience=AUDIENCE, issuer=URL, options=options)


def test_a_token_says_who_acts_through_what_and_verifies_with_the_published_key():
    issuer = Issuer(URL)

    claims = read(issuer, issuer.mint(IDENTITIES["agent"], now=NOW), verify_exp=False, verify_iat=False)

    assert IDENTITIES["agent"].subject == claims["sub"]
    assert list(IDENTITIES["agent"].groups) == claims["groups"]
    assert claims["iat"] == NOW


def test_a_negative_lifetime_makes_a_token_that_has_expired():
    issuer = Issuer(URL)
    token = issuer.mint(IDENTITIES["agent"], now=NOW, lifetime_s=-3600)

    with pytest.raises(jwt.ExpiredSignatureError):
        read(issuer, token)


def test_two_issuers_never_share_a_key():
    ours, theirs = Issuer(URL), Issuer(URL)
    (key,) = jwt.PyJWKSet.from_dict(ours.keys()).keys

    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(theirs.mint(IDENTITIES["agent"], now=NOW), key, algorithms=["ES256"], audience=AUDIENCE)


def test_the_private_key_is_never_published():
    (key,) = Issuer(URL).keys()["keys"]

    assert "d" not in key


async def test_it_answers_discovery_keys_and_tokens_over_http():
    client = application(Issuer(URL)).test_client()

    discovery = await (await client.get("/.well-known/openid-configuration")).get_json()
    token = await client.post("/token", form={"who": "officer"})
    nobody = await client.post("/token", form={"who": "root"})

    assert discovery["issuer"] == URL
    assert (await token.get_data(as_text=True)).count(".") == 2
    assert nobody.status_code == 400


def test_it_listens_on_loopback_only():
    command = [sys.executable, "-m", "gateway.cli.demo.issuer"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:
        announced = json.loads(process.stdout.readline())
        process.terminate()

    assert announced["url"].startswith("http://127.0.0.1:")
    assert process.returncode == 0


def test_nothing_that_serves_loads_the_issuer():
    program = (
        "import sys; from gateway.cli.main import parser; parser(); import gateway.service; "
        "sys.exit('gateway.cli.demo.issuer' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
