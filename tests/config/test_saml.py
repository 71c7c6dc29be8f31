"""`[saml]`: what a good one becomes, and what each bad one is told."""

from __future__ import annotations

import pytest

from gateway import config
from gateway.core.errors import ConfigFault
from gateway.store import keys
from tests.config.test_login import GOOD, LOGIN
from tests.saml_idp import needs_xmlsec1, pair

pytestmark = needs_xmlsec1

SAML = """
[saml]
key = "saml.key"
certificate = "saml.crt"
"""
IDP = """
[[saml.idp]]
name = "hospital"
entity_id = "urn:example:idp"
metadata_file = "idp.xml"
"""
WHOLE = GOOD + SAML + IDP


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("place")
    (directory / "policies").mkdir()
    (directory / "idp.xml").write_text("<EntityDescriptor/>")
    (directory / "saml.key").write_text(pair("gateway").key)
    (directory / "saml.crt").write_text(pair("gateway").certificate)
    (directory / "other.crt").write_text(pair("evil").certificate)
    keys.generate(directory / "keys", origin="gateway.example/phigate")
    return directory


@pytest.fixture
def load(place):
    def loaded(text, path="/usr/bin:/bin"):
        file = place / "phigate.toml"
        file.write_text(text)
        return config.load(file, environ={"PATH": path})

    return loaded


def test_without_the_table_there_is_no_saml(load):
    assert load(GOOD).saml is None


def test_a_good_one_knows_who_we_are_and_whom_to_ask(load):
    found = load(WHOLE).saml
    (idp,) = found.identity_providers

    assert found.entity_id == "http://127.0.0.1:8080/saml/metadata"
    assert found.xmlsec1.name == "xmlsec1"
    assert (idp.name, idp.title, idp.principal_issuer) == ("hospital", "hospital", "urn:example:idp")
    assert (idp.groups_attribute, idp.subject_attribute, idp.lifetime_s) == (None, None, 8 * 3600)
    assert "PRIVATE KEY" not in repr(found)


def test_people_may_be_those_of_an_issuer(load):
    (idp,) = load(WHOLE + 'people_of = "https://idp.example"').saml.identity_providers

    assert idp.principal_issuer == "https://idp.example"


def test_with_saml_and_an_authority_no_oidc_provider_is_needed(load, place):
    (place / "secret").write_text("s" * 40)
    authority = '[authority]\n[[authority.client]]\nid = "agent"\nsecret_file = "secret"\n'
    text = WHOLE.replace('[[issuer]]\nurl = "https://idp.example"\n', "")

    assert load(text + authority).issuers == ()
    with pytest.raises(ConfigFault, match="issuer: is missing"):
        load(text)


BAD = [
    (SAML, "saml.idp: is missing"),
    (SAML.replace('key = "saml.key"', "") + IDP, "openssl req -x509"),
    (SAML.replace("saml.crt", "other.crt") + IDP, "certificate: is not of this key"),
    (SAML.replace("saml.crt", "idp.xml") + IDP, "is not in PEM"),
    (SAML.replace("saml.key", "none.key") + IDP, "names a file that cannot be read"),
    (SAML + IDP.replace('metadata_file = "idp.xml"', ""), "metadata_file: is missing"),
    (SAML + IDP + 'metadata_url = "https://x.example"', "stands beside metadata_file"),
    (SAML + IDP.replace("metadata_file", "metadata_url").replace("idp.xml", "http://x.example"), "is http"),
    (SAML + IDP.replace("urn:example:idp", "example"), "is not an entity id"),
    (SAML + IDP + 'metadata_certificate = "idp.xml"', "is not a certificate in PEM"),
    (SAML + IDP + 'people_of = "https://other.example"', "is the url of no [[issuer]]"),
    (SAML + IDP + IDP, "is the same as on line"),
    (LOGIN.replace("work", "hospital") + SAML + IDP, "is the name of a [[login]] too (hospital)"),
]


@pytest.mark.parametrize(("text", "told"), BAD, ids=[each[1] for each in BAD])
def test_what_is_wrong_is_told(load, text, told):
    with pytest.raises(ConfigFault) as raised:
        load(GOOD + text)
    assert told in raised.value.detail
    assert "PRIVATE KEY" not in raised.value.detail


def test_a_missing_xmlsec1_is_told_with_its_fix(load, tmp_path):
    with pytest.raises(ConfigFault) as raised:
        load(WHOLE, path=str(tmp_path))
    assert "saml.xmlsec1: is not installed" in raised.value.detail
    assert "apt-get install xmlsec1" in raised.value.detail


def test_a_missing_library_is_told_with_its_fix(load, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigFault) as raised:
        load(WHOLE)
    assert "pip install 'phigate[saml]'" in raised.value.detail
