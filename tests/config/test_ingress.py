"""What is believed of the ingress: networks, headers and the authorities of certificates."""

from __future__ import annotations

import ipaddress

import pytest

from gateway import config
from gateway.core.errors import ConfigFault
from gateway.identity.mtls import CertificateHeader
from gateway.identity.peer import ForwardedHeader
from gateway.store import keys
from tests.identity import certificates

REST = """
[policy]
bundle = "policies"
[[issuer]]
url = "https://idp.example"
[[upstream]]
name = "ehr"
url = "https://ehr.example/mcp"
"""
MTLS = '[gateway]\ntrusted_proxies = ["10.0.0.0/8"]\n[gateway.mtls]\nname = "agents"\nheader = "client-cert"\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("place")
    (directory / "policies").mkdir()
    keys.generate(directory / "keys", origin="gateway.example/phigate")
    authority = certificates.authority()
    authority.write(directory, "ca")
    authority.issue(certificates.uri("spiffe://corp.example/agent")).write(directory, "agent")
    (directory / "empty.pem").write_text("")
    return directory


@pytest.fixture
def load(place):
    def loaded(text):
        file = place / "phigate.toml"
        file.write_text(text + REST)
        return config.load(file, environ={}).gateway.ingress

    return loaded


def test_nobody_is_trusted_unless_it_is_said(load):
    found = load("")
    assert found.trusted_proxies == ()
    assert found.mtls is None


def test_networks_and_single_addresses(load):
    found = load(
        '[gateway]\ntrusted_proxies = ["10.0.0.0/8", "192.0.2.7", "fd00::/8"]\nforwarded_header = "Forwarded"\n'
    )
    assert ipaddress.ip_address("192.0.2.7") in found.trusted_proxies[1]
    assert [network.version for network in found.trusted_proxies] == [4, 4, 6]
    assert found.forwarded_header is ForwardedHeader.FORWARDED


def test_certificates_of_agents(load):
    found = load(MTLS + 'ca = "ca.pem"\ngroups = { "spiffe://corp.example/*" = ["agents"] }\n').mtls
    assert (found.name, found.header) == ("agents", CertificateHeader.CLIENT_CERT)
    assert len(found.authorities) == 1
    assert found.groups == (("spiffe://corp.example/*", ("agents",)),)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('[gateway]\ntrusted_proxies = ["10.0.0.1/8"]\n', "holds what is not a network (10.0.0.1/8)"),
        ('[gateway]\ntrusted_proxies = ["ingress"]\n', "holds what is not a network (ingress)"),
        ('[gateway]\ntrusted_proxies = ["0.0.0.0/0"]\n', "trusts every address"),
        ('[gateway]\ntrusted_proxies = ["::/0"]\n', "trusts every address"),
        ('[gateway]\ntrusted_proxies = "10.0.0.0/8"\n', "must be an array"),
        ("[gateway]\ntrusted_proxies = [1]\n", "must be a text"),
        ('[gateway]\nforwarded_header = "forwarded"\n', "has no effect without trusted_proxies"),
        (
            '[gateway]\ntrusted_proxies = ["10.0.0.0/8"]\nforwarded_header = "x-forwarded"\n',
            "is not a header that is read",
        ),
        ('[gateway.mtls]\nname = "a"\nheader = "client-cert"\nca = "ca.pem"\n', "needs trusted_proxies"),
        (MTLS, "gateway.mtls.ca: is missing"),
        (MTLS.replace("client-cert", "ssl-client") + 'ca = "ca.pem"\n', "did you mean 'x-ssl-client-cert'?"),
        (MTLS + 'ca = "nowhere.pem"\n', "cannot be read"),
        (MTLS + 'ca = "empty.pem"\n', "holds no certificates"),
        (MTLS + 'ca = "agent.key"\n', "holds no certificates"),
        (MTLS + 'ca = "agent.pem"\n', "is no authority's"),
        (MTLS + 'ca = "ca.pem"\ngroups = { a = "b" }\n', "must be an array"),
        (MTLS + 'ca = "ca.pem"\ngroup = 1\n', "did you mean 'groups'?"),
    ],
)
def test_what_is_wrong_is_told_with_its_fix(load, text, wanted):
    with pytest.raises(ConfigFault) as fault:
        load(text)
    assert "1 fault in" in fault.value.detail
    assert wanted in fault.value.detail
    assert "Fix: " in fault.value.detail
