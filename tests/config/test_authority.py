"""`[authority]`: what a good one becomes, and what is wrong with every other."""

from __future__ import annotations

import json

import pytest

from gateway import config
from gateway.core.errors import ConfigFault
from gateway.store import keys
from tests.identity.minting import signing_key

GOOD = """\
[policy]
bundle = "policies"
[[issuer]]
url = "https://idp.example"
[[upstream]]
name = "ehr"
url = "https://ehr.example/mcp"
[authority]
id_jag_issuers = ["https://idp.example"]
[[authority.client]]
id = "care-assistant"
secret_env = "SECRET"
[[authority.client]]
id = "scheduler"
jwks_file = "scheduler.jwks"
"""
SECRET = "synthetic-secret-of-forty-characters-long"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("place")
    (directory / "policies").mkdir()
    keys.generate(directory / "keys", origin="gateway.example/phigate")
    (directory / "scheduler.jwks").write_text(json.dumps({"keys": [signing_key("ES256").jwk()]}))
    (directory / "empty.jwks").write_text('{"keys": []}')
    (directory / "private.jwks").write_text(json.dumps({"keys": [signing_key("ES256").jwk(d="AAAA")]}))
    (directory / "secret").write_text(f"{SECRET}\n")
    return directory


@pytest.fixture
def load(place):
    def loaded(text, **environ):
        (place / "phigate.toml").write_text(text)
        return config.load(place / "phigate.toml", environ={"SECRET": SECRET, **environ})

    return loaded


def test_a_good_one(load):
    made = load(GOOD).authority
    assert made.lifetime_s == 600
    assert made.id_jag_issuers == ("https://idp.example",)
    assert [(client.id, client.secret) for client in made.clients] == [("care-assistant", SECRET), ("scheduler", None)]
    assert SECRET not in repr(made)


def test_read_twice_it_is_the_same_so_a_reload_of_upstreams_goes_through(load):
    assert load(GOOD) == load(GOOD)


def test_without_the_table_there_is_no_authority(load):
    assert load(GOOD.partition("[authority]")[0]).authority is None


def test_a_secret_from_a_file(load):
    assert load(GOOD.replace('secret_env = "SECRET"', 'secret_file = "secret"')).authority.clients[0].secret == SECRET


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('["https://idp.example"]', '["https://idp.example/"]', "id_jag_issuers: names what is no [[issuer]]"),
        ('secret_env = "SECRET"', "", "authority.client[1].jwks_file: is missing"),
        ('jwks_file = "sch', 'secret_env = "SECRET"\njwks_file = "sch', "and secret_env: a client proves who it is"),
        ('"scheduler"', '"care-assistant"', "authority.client[2].id: is the same"),
        ('"scheduler.jwks"', '"empty.jwks"', "holds no usable public key"),
        ('"scheduler.jwks"', '"private.jwks"', "holds no usable public key"),
        ('"scheduler.jwks"', '"secret"', "is no JWK set"),
        ('"scheduler.jwks"', '"nowhere"', "cannot be read"),
        ('secret_env = "SECRET"', 'secret_env = "SHORT"', "has fewer than 32 characters"),
        ('secret_env = "SECRET"', 'secret_env = "NOWHERE"', "which is not set"),
        ("[authority]\n", "[authority]\nlifetime_s = 901\n", "use 60 to 900"),
        ("[authority]\n", '[authority]\nfirst_at = ["lab"]\n', "first_at: names what is no upstream or aggregate"),
        (
            '[[issuer]]\nurl = "https://idp.example"',
            '[[issuer]]\nurl = "https://gw.example"',
            "an issuer by its public_url",
        ),
    ],
)
def test_every_fault_is_named(load, old, new, told):
    text = GOOD.replace(old, new)
    if "gw.example" in new:
        text = '[gateway]\npublic_url = "https://gw.example"\n' + text
    assert text != GOOD
    with pytest.raises(ConfigFault) as raised:
        load(text, SHORT="short-secret")
    assert told in raised.value.detail
    assert "short-secret" not in raised.value.detail
    assert SECRET not in raised.value.detail


def test_an_authority_without_clients_is_a_fault(load):
    with pytest.raises(ConfigFault, match=r"authority\.client: is missing"):
        load(GOOD.partition("[[authority.client]]")[0])
