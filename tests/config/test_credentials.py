"""`[upstream.credentials]`: what a good one becomes, and what is wrong with every other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway import config
from gateway.core.errors import ConfigFault
from gateway.store import keys
from gateway.upstream.credentials.settings import Kind

PAGES = Path(__file__).parents[2] / "docs"
BASE = """\
[policy]
bundle = "policies"
[[issuer]]
url = "https://login.example.com"
"""
UPSTREAM = '[[upstream]]\nname = "ehr"\nurl = "https://ehr.example/mcp"\n'
OWN = """\
[upstream.credentials]
type = "client_credentials"
token_url = "https://login.example.com/token"
client_id = "phigate"
client_secret_file = "secrets/phigate"
"""
THEIRS = '[upstream.credentials]\ntype = "passthrough"\naudience = "https://ehr.example/mcp"\n'
SECRET = "synthetic-client-secret"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("place")
    (directory / "policies").mkdir()
    (directory / "secrets").mkdir()
    keys.generate(directory / "keys", origin="gateway.example/phigate")
    for name in ("phigate", "ehr"):
        (directory / "secrets" / name).write_text(SECRET)
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "secrets" / "phigate.pem").write_bytes(pem)
    return directory


@pytest.fixture
def load(place):
    def loaded(text):
        (place / "phigate.toml").write_text(text)
        return config.load(place / "phigate.toml", environ={"SECRET": SECRET})

    return loaded


def test_a_token_of_the_gateways_own(load):
    (upstream,) = load(BASE + UPSTREAM + OWN).upstreams
    made = upstream.credentials
    assert made.kind is Kind.CLIENT_CREDENTIALS
    assert (made.endpoint.client_id, made.endpoint.secret, made.endpoint.key) == ("phigate", SECRET, None)
    assert made.endpoint.assertion_audience == "https://login.example.com/token"
    assert SECRET not in repr(upstream)


def test_a_key_in_the_place_of_a_secret(load):
    text = OWN.replace('client_secret_file = "secrets/phigate"', 'client_key_file = "secrets/phigate.pem"')
    made = load(BASE + UPSTREAM + text).upstreams[0].credentials.endpoint
    assert made.secret is None
    assert made.key.startswith("-----BEGIN PRIVATE KEY-----")
    assert "PRIVATE" not in repr(made)


def test_the_callers_own_token(load):
    made = load(BASE + UPSTREAM + THEIRS).upstreams[0].credentials
    assert (made.kind, made.endpoint, made.audience) == (Kind.PASSTHROUGH, None, "https://ehr.example/mcp")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('type = "client_credentials"', 'type = "token_exchang"', "did you mean 'token_exchange'?"),
        ('type = "client_credentials"\n', "", "credentials.type: is missing"),
        ('token_url = "https://login.example.com/token"\n', "", "credentials.token_url: is missing"),
        ("https://login", "http://login", "credentials.token_url"),
        ('client_id = "phigate"\n', "", "credentials.client_id: is missing"),
        ('client_secret_file = "secrets/phigate"\n', "", "client_key_file: is missing"),
        ("client_secret_file", 'client_secret_env = "SECRET"\nclient_secret_file', "in exactly one way"),
        ('client_secret_file = "secrets/phigate"', 'client_key_file = "secrets/phigate"', "is no private key"),
        ('client_secret_file = "secrets/phigate"', 'client_key_file = "secrets/nowhere"', "cannot be read"),
        ("client_secret_file", 'client_key_id = "k"\nclient_secret_file', "has no effect without client_key_file"),
        ('"secrets/phigate"', '"secrets/nowhere"', "names a file that cannot be read"),
        ("client_id", "timeout_s = 0\nclient_id", "use 0.1 to 60"),
    ],
)
def test_every_fault_is_named(load, old, new, told):
    text = OWN.replace(old, new)
    assert text != OWN
    with pytest.raises(ConfigFault) as raised:
        load(BASE + UPSTREAM + text)
    assert told in raised.value.detail
    assert SECRET not in raised.value.detail


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (THEIRS.replace('audience = "https://ehr.example/mcp"\n', ""), "credentials.audience: is missing"),
        (THEIRS + 'token_url = "https://login.example.com/token"\n', "has no effect with passthrough"),
        (THEIRS.replace("https://ehr.example", "http://127.0.0.1:8080"), "is the gateway's own"),
    ],
)
def test_passing_tokens_on_takes_the_upstreams_own_audience_and_nothing_else(load, text, told):
    with pytest.raises(ConfigFault) as raised:
        load(BASE + UPSTREAM + text)
    assert told in raised.value.detail


def test_a_token_for_what_an_issuer_calls_the_gateway_is_never_passed_on(load):
    renamed = BASE + 'audience = "api://phigate"\n'
    with pytest.raises(ConfigFault, match="is the gateway's own"):
        load(renamed + UPSTREAM + THEIRS.replace("https://ehr.example/mcp", "api://phigate"))
    assert load(renamed + UPSTREAM + THEIRS)


def test_two_authorization_headers_are_a_fault(load):
    header = 'headers_file = { authorization = "secrets/ehr" }\n'
    with pytest.raises(ConfigFault, match="the upstream gets one of them"):
        load(BASE + UPSTREAM + header + OWN)
    with pytest.raises(ConfigFault, match="has no effect without url"):
        load(BASE + '[[upstream]]\nname = "ehr"\ncommand = "true"\n' + OWN)


def blocks(page):
    return re.findall(r"^```toml\n(.*?)^```$", (PAGES / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(blocks("upstream-credentials.md"))))
def test_what_the_page_on_credentials_shows_can_be_served(load, number):
    text = blocks("upstream-credentials.md")[number]
    assert load(BASE + ("" if "[[upstream]]" in text else UPSTREAM) + text).upstreams


def test_what_the_page_on_agents_shows_can_be_served(load, place):
    (text,) = blocks("identity/agents.md")
    (place / "care-assistant.jwks").write_text(
        '{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'
    )
    assert load(BASE + UPSTREAM + text).authority.first_at == {"ehr"}
