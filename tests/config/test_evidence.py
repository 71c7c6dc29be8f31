"""Where evidence is: a file, or a database whose password is elsewhere and whose server is verified."""

from __future__ import annotations

import pytest

from gateway import config
from gateway.core.errors import ConfigFault
from gateway.store import keys
from gateway.store.database import Database

REST = """
[policy]
bundle = "policies"
[[issuer]]
url = "https://idp.example"
[[upstream]]
name = "ehr"
url = "https://ehr.example/mcp"
"""
NEAR, FAR = "postgresql://phigate@127.0.0.1/phigate", "postgresql://phigate@db.example/phigate"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("place")
    (directory / "policies").mkdir()
    keys.generate(directory / "keys", origin="gateway.example/phigate")
    return directory


@pytest.fixture
def load(place):
    def loaded(*lines, **environ):
        file = place / "phigate.toml"
        file.write_text("\n".join(["[evidence]", *lines, REST]))
        return config.load(file, environ=environ).evidence.store

    return loaded


def test_a_store_in_postgresql_with_a_password_from_outside(load, place):
    assert load(f'store = "{NEAR}"', 'store_password_env = "DB"', DB="secret-word") == Database(NEAR, "secret-word")
    filed = load(f'store = "{NEAR}"', 'store_password_file = "password"', "store_migrate = true", "store_lease_s = 5")
    assert filed == Database(NEAR, password_file=place / "password", migrates=True, lease_s=5)


def test_beyond_loopback_tls_knows_its_server_unless_the_network_is_said_to_be_encrypted(load):
    assert load(f'store = "{FAR}"') == Database(f"{FAR}?sslmode=verify-full")
    assert load(f'store = "{FAR}"', "store_allow_insecure = true") == Database(FAR)


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (
            ['store = "postgresql://phigate:secret-word@127.0.0.1/phigate"'],
            "evidence.store: holds a password. Fix: name",
        ),
        ([f'store = "{FAR}?sslmode=require"'], "evidence.store: says sslmode=require"),
        ([f'store = "{NEAR}"', 'store_password_env = "DB"'], "names the variable DB, which is not set"),
        ([f'store = "{NEAR}"', 'store_password_env = "HOME"', 'store_password_file = "p"'], "is one password too many"),
        (['store_password_file = "p"'], "store_password_file: has no effect on a store that is a file"),
        (["store_migrate = true"], "store_migrate: has no effect on a store that is a file"),
        ([f'store = "{NEAR}"', "store_lease_s = 1"], "store_lease_s"),
    ],
)
def test_what_cannot_be_is_named_with_its_line_and_without_the_secret(load, lines, what):
    with pytest.raises(ConfigFault) as told:
        load(*lines, HOME="secret-word")
    assert what in told.value.detail
    assert "secret-word" not in told.value.detail
