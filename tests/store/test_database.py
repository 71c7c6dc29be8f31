"""Where a store in PostgreSQL may be, as URLs say it; and that a password is in none of them."""

import pytest

from gateway.core.errors import ConfigFault, EvidenceFault
from gateway.store import engines
from gateway.store.database import Database, checked, is_url

GOOD = [
    "postgresql://phigate@127.0.0.1/phigate",
    "postgresql://phigate@localhost:5433/phigate?sslmode=disable",
    "postgresql://phigate@[::1]:5432/phigate",
    "postgresql:///phigate?host=/run/postgresql",
    "postgresql://phigate@%2Frun%2Fpostgresql/phigate",
    "postgresql://phigate@db.example/phigate?sslmode=verify-full&sslrootcert=/etc/ca.pem",
]


@pytest.mark.parametrize("url", GOOD)
def test_a_url_that_may_be_used_is_used_as_it_is(url):
    assert checked(url) == url
    assert engines.parse(url) == Database(url)


@pytest.mark.parametrize("url", ["postgresql://a@db.example/x", "postgres://a@10.0.0.8,127.0.0.1/x?connect_timeout=3"])
def test_beyond_loopback_the_server_is_verified_said_or_not(url):
    assert checked(url).endswith("sslmode=verify-full")
    assert checked(url, unverified=True) == url


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("postgresql://phigate:secret-word@127.0.0.1/phigate", "holds a password"),
        ("postgresql://phigate@127.0.0.1/phigate?password=secret-word", "holds a password"),
        ("postgresql://phigate@127.0.0.1/phigate?sslpassword=secret-word", "holds the passphrase of a key"),
        ("postgresql://phigate@db.example/phigate?sslmode=require", "says sslmode=require"),
        ("postgresql://phigate@db.example/phigate?sslmode=prefer", "says sslmode=prefer"),
        ("postgresql://phigate@127.0.0.1,db.example/phigate?sslmode=disable", "says sslmode=disable"),
        ("postgresql://phigate@127.0.0.1/phigate?hostaddr=10.0.0.8", "uses `service` or `hostaddr`"),
        ("postgresql://phigate@127.0.0.1/phigate?service=other", "uses `service` or `hostaddr`"),
        ("postgresql:///phigate", "names no host"),
        ("postgresql://phigate@127.0.0.1/phigate?nonsense", "is no URL"),
        ("postgresql://[::1/phigate", "is no URL"),
    ],
)
def test_attack_a_url_that_lets_somebody_else_read_or_answer_is_refused(url, what):
    with pytest.raises(ValueError, match=what) as told:
        checked(url)
    assert "secret-word" not in str(told.value)
    with pytest.raises(ConfigFault, match=what):
        engines.parse(url)


def test_a_path_is_no_url(tmp_path):
    assert not is_url("evidence.db")
    assert engines.parse("evidence.db").name == "evidence.db"


def test_a_store_travels_to_another_process_and_shows_its_password_to_nobody(tmp_path):
    store = Database(GOOD[0], password="secret-word", lease_s=3.0)
    assert engines.unpack(engines.pack(store)) == store
    filed = Database(GOOD[0], password_file=tmp_path / "password")
    assert engines.unpack(engines.pack(filed)) == filed
    assert engines.unpack(engines.pack(tmp_path)) == tmp_path
    assert "secret-word" not in repr(store) + str(store)


def test_a_password_file_that_is_gone_is_told(tmp_path):
    with pytest.raises(EvidenceFault, match="store_password_file"):
        Database(GOOD[0], password_file=tmp_path / "gone").secret()
