"""`[[login]]`: what a good one becomes, and what each bad one is told."""

from __future__ import annotations

import pytest

from gateway import config
from gateway.core.errors import ConfigFault
from gateway.store import keys

GOOD = """
[policy]
bundle = "policies"
[[issuer]]
url = "https://idp.example"
[[upstream]]
name = "ehr"
url = "https://ehr.example/mcp"
"""
LOGIN = """
[[login]]
issuer = "https://idp.example"
name = "work"
client_id = "pages"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("place")
    (directory / "policies").mkdir()
    (directory / "secret").write_text(" from-file\n")
    keys.generate(directory / "keys", origin="gateway.example/phigate")
    return directory


@pytest.fixture
def load(place):
    def loaded(text):
        file = place / "phigate.toml"
        file.write_text(text)
        return config.load(file, environ={"PATH": "/usr/bin:/bin", "SECRET": "from-environment"})

    return loaded


def test_without_any_people_paste_tokens(load):
    assert load(GOOD).logins == ()


def test_a_login_has_the_usual_scopes_and_lasts_a_working_day(load):
    (found,) = load(GOOD + LOGIN).logins

    assert (found.name, found.title, found.issuer, found.client_id) == ("work", "work", "https://idp.example", "pages")
    assert (found.client_secret, found.scopes, found.groups_claim) == (None, ("openid", "profile"), None)
    assert found.lifetime_s == 8 * 3600


SECRETS = [('client_secret_env = "SECRET"', "from-environment"), ('client_secret_file = "secret"', "from-file")]


@pytest.mark.parametrize(("setting", "secret"), SECRETS, ids=["environment", "file"])
def test_the_secret_comes_from_outside_and_is_in_no_repr(load, setting, secret):
    (found,) = load(GOOD + LOGIN + setting).logins

    assert found.client_secret == secret
    assert secret not in repr(found)


BAD = [
    (LOGIN.replace("https://idp.example", "https://other.example"), "is the url of no [[issuer]]"),
    (LOGIN.replace('name = "work"', ""), "login[1].name: is missing"),
    (LOGIN.replace('client_id = "pages"', ""), "login[1].client_id: is missing"),
    (LOGIN + LOGIN, "login[2].name: is the same as on line"),
    (LOGIN + 'scopes = ["profile"]', 'lacks "openid"'),
    (LOGIN + 'scopes = ["openid", "a b"]', "is not a scope"),
    (LOGIN + "lifetime_s = 1", "lifetime_s: must be a number of seconds in its range"),
    (LOGIN + 'client_secret_env = "NONE"', "names the variable NONE, which is not set"),
    (LOGIN + 'client_secret_file = "none"', "names a file that cannot be read"),
    (LOGIN + 'client_secret_env = "SECRET"\nclient_secret_file = "secret"', "stands beside client_secret_env"),
    (LOGIN + 'client_secret = "x"', "client_secret: is not a setting"),
]


@pytest.mark.parametrize(("text", "told"), BAD, ids=[each[1] for each in BAD])
def test_what_is_wrong_is_told(load, text, told):
    with pytest.raises(ConfigFault) as raised:
        load(GOOD + text)
    assert told in raised.value.detail
    assert "from-" not in raised.value.detail
