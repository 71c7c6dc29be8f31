"""`phigate tokens`: revoked, listed, taken back; asked of policy, on record, and without names in the clear."""

import argparse
import json
import re
import shlex
from pathlib import Path

import pytest

from gateway.cli import tokens
from gateway.core.errors import ConfigFault, EvidenceFault
from gateway.core.evidence.record import LeafType
from gateway.core.types import Principal
from gateway.store.reader import Reader
from tests.fakes.evidence import make_keys, report
from tests.identity import certificates
from tests.saml_idp import needs_xmlsec1, pair

POLICIES = Path(__file__).parents[2] / "policies"
ISSUER = "https://idp.example"


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


@pytest.fixture
def phigate(tmp_path, keys, monkeypatch):
    """Runs the command where there is no configuration but that of `options`."""
    monkeypatch.chdir(tmp_path)

    def run(verb, *arguments, bundle=POLICIES, reason="laptop stolen"):
        top = argparse.ArgumentParser()
        tokens.add(top.add_subparsers())
        words = ["tokens", verb, *map(str, arguments), "--store", str(tmp_path / "evidence.db")]
        if verb != "list":
            words += ["--keys", str(tmp_path / "keys"), "--bundle", str(bundle), "--reason", reason]
        parsed = top.parse_args(words)
        return parsed.run(parsed)

    return run


def leaves(tmp_path, keys, kind):
    with Reader.open(tmp_path / "evidence.db", keys) as reader:
        found = [leaf for leaf in reader.leaves() if leaf.type is kind]
        return [(leaf.members, {ref.name: reader.body(leaf, ref.name) for ref in leaf.bodies}) for leaf in found]


def test_a_subject_is_revoked_by_pseudonym_and_the_name_is_sealed(phigate, tmp_path, keys, capsys):
    assert phigate("revoke", "--subject", "bob@clinic.example", "--issuer", ISSUER) == 0
    assert "on record in leaf" in capsys.readouterr().out

    ((members, bodies),) = leaves(tmp_path, keys, LeafType.TOKEN_REVOKED)
    assert (members["kind"], members["issuer"]) == ("subject", ISSUER)
    assert members["of"] == keys.actor(Principal(ISSUER, "bob@clinic.example"))
    assert "bob" not in json.dumps(members)
    assert (bodies["target"], bodies["reason"]) == (b"bob@clinic.example", b"laptop stolen")
    assert report(tmp_path / "evidence.db", keys).passed
    assert b"bob@clinic" not in (tmp_path / "evidence.db").read_bytes()


def test_a_token_an_issuer_and_a_time_can_be_meant(phigate, capsys):
    assert phigate("revoke", "--jti", "t-1", "--issuer", ISSUER) == 0
    assert phigate("revoke", "--all", "--issuer", ISSUER, "--before", "2026-11-22T17:30:00+01:00") == 0
    capsys.readouterr()
    assert phigate("list", "--format", "json") == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["kind"], len(first["of"])) == ("token", 32)
    assert (second["kind"], second["of"], second["before"]) == ("issuer", "", "2026-11-22T16:30:00.000000Z")


def test_what_is_in_force_is_listed_and_can_be_taken_back(phigate, tmp_path, keys, capsys):
    phigate("revoke", "--subject", "bob", "--issuer", ISSUER, "--format", "json")
    leaf = json.loads(capsys.readouterr().out)["leaf"]
    assert phigate("list") == 0
    assert ISSUER in capsys.readouterr().out
    assert phigate("restore", leaf, reason="found again") == 0
    assert phigate("list") == 0
    assert "Nothing is revoked" in capsys.readouterr().out
    ((members, bodies),) = leaves(tmp_path, keys, LeafType.TOKEN_RESTORED)
    assert (members["leaf"], bodies["reason"]) == (leaf, b"found again")
    with pytest.raises(EvidenceFault, match="No revocation of leaf"):
        phigate("restore", leaf)


def test_policy_may_say_no_and_then_nothing_is_on_record(phigate, tmp_path, keys, capsys):
    assert phigate("revoke", "--all", "--issuer", ISSUER) == 0
    nobody = tmp_path / "policies"
    nobody.mkdir()
    (nobody / "gateway.rego").write_text('package gateway.access\n\ndefault decision := {"effect": "deny"}\n')
    assert phigate("revoke", "--jti", "t", "--issuer", ISSUER, bundle=nobody) == 1
    assert "Policy does not let you" in capsys.readouterr().err
    assert len(leaves(tmp_path, keys, LeafType.TOKEN_REVOKED)) == 1


def test_a_reason_is_asked_for(phigate, capsys):
    assert phigate("revoke", "--all", "--issuer", ISSUER, reason="  ") == 1
    assert "Say what you need this for" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["yesterday", "2026-11-22", "2026-11-22T17:30:00", "17:30Z", ""])
def test_a_time_without_its_zone_is_refused(phigate, text):
    with pytest.raises(ConfigFault, match="RFC 3339"):
        phigate("revoke", "--all", "--issuer", ISSUER, "--before", text)


@pytest.fixture
def configured(tmp_path):
    (tmp_path / "policies").mkdir()
    head = '[policy]\nbundle = "policies"\n[[upstream]]\nname = "ehr"\nurl = "https://ehr.example/mcp"\n'

    def write(*issuers, more=""):
        text = head + "".join(f'[[issuer]]\nurl = "{url}"\n' for url in issuers)
        (tmp_path / "phigate.toml").write_text(text + more)

    return write


def test_the_only_issuer_that_is_configured_is_meant_when_none_is_named(phigate, configured, capsys):
    configured(ISSUER)
    assert phigate("revoke", "--subject", "bob", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["issuer"] == ISSUER


def test_of_several_issuers_one_must_be_named_as_it_is_configured(phigate, configured):
    configured(ISSUER, "https://partner.example")
    for options in ((), ("--issuer", f"{ISSUER}/")):
        with pytest.raises(ConfigFault, match="Say which issuer"):
            phigate("revoke", "--subject", "bob", *options)


def test_an_agent_that_has_a_certificate_and_no_token_can_be_shut_out_too(phigate, configured, tmp_path, keys):
    certificates.authority().write(tmp_path, "ca")
    mtls = '[gateway]\ntrusted_proxies = ["10.0.0.0/8"]\n[gateway.mtls]\nname = "agents"\nheader = "client-cert"\n'
    configured(ISSUER, more=f'{mtls}ca = "ca.pem"\n')
    agent = "spiffe://corp.example/agent"
    assert phigate("revoke", "--subject", agent, "--issuer", "mtls:agents") == 0

    ((members, _),) = leaves(tmp_path, keys, LeafType.TOKEN_REVOKED)
    assert (members["issuer"], members["of"]) == ("mtls:agents", keys.actor(Principal("mtls:agents", agent)))


@needs_xmlsec1
def test_a_person_who_comes_by_saml_alone_can_be_shut_out_too(phigate, configured, tmp_path, keys):
    (tmp_path / "idp.xml").write_text("<EntityDescriptor/>")
    (tmp_path / "saml.key").write_text(pair("gateway").key)
    (tmp_path / "saml.crt").write_text(pair("gateway").certificate)
    idp = '[[saml.idp]]\nname = "hospital"\nentity_id = "urn:example:idp"\nmetadata_file = "idp.xml"\n'
    configured(ISSUER, more=f'[saml]\nkey = "saml.key"\ncertificate = "saml.crt"\n{idp}')
    assert phigate("revoke", "--subject", "alice", "--issuer", "urn:example:idp") == 0

    ((members, _),) = leaves(tmp_path, keys, LeafType.TOKEN_REVOKED)
    assert members["of"] == keys.actor(Principal("urn:example:idp", "alice"))


def test_every_command_on_the_page_about_revocation_can_be_given():
    page = (Path(__file__).parents[2] / "docs" / "identity" / "revocation.md").read_text()
    top = argparse.ArgumentParser()
    tokens.add(top.add_subparsers())
    given = [shlex.split(line)[1:] for line in re.findall(r"^\$ (phigate tokens .*)$", page, re.MULTILINE)]

    assert [top.parse_args(words).run.__name__ for words in given] == ["_revoke"] * 3 + ["_list", "_restore"]
