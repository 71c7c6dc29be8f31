"""Agents known by their client certificate, as each ingress hands it on; and tokens that are bound to one."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import Unauthenticated
from gateway.core.revocation import Kind, Revocation
from gateway.identity import mtls
from gateway.identity.callers import Callers
from gateway.identity.issuers import Issuers
from gateway.identity.mtls import CertificateHeader, Certificates, MtlsSettings
from gateway.identity.revoked import Revoked
from tests.identity import certificates
from tests.identity.certificates import CLIENT, DAY, SERVER, dns, uri
from tests.identity.minting import CONFIG, NOW, RESOURCE, Published, claims, mint, signing_key

SPIFFE = "spiffe://corp.example/agents/triage"
CA = certificates.authority()
AGENT = CA.issue(uri(SPIFFE))
KEY = signing_key("ES256")
TIME = time.time()
GROUPS = (("spiffe://corp.example/agents/*", ("agents",)), (SPIFFE, ("triage", "agents")), ("other", ("admins",)))


def known(header=CertificateHeader.CLIENT_CERT, **more):
    return Certificates(MtlsSettings("agents", header, (CA.certificate,), GROUPS, **more))


def byte_sequence(pair):
    return b":" + base64.b64encode(pair.der) + b":"


def xfcc(pair, *more):
    return b";".join([b"Hash=" + b"0" * 64, b'Cert="' + pair.escaped + b'"', *more])


WRITTEN = {
    CertificateHeader.CLIENT_CERT: byte_sequence,
    CertificateHeader.XFCC: xfcc,
    CertificateHeader.X_SSL_CLIENT_CERT: lambda pair: pair.escaped,
}


def why(der, now=TIME, store=None):
    with pytest.raises(Unauthenticated) as fault:
        (store or known()).identify(der, now=now)
    return fault.value.reason


@pytest.mark.parametrize("header", CertificateHeader)
def test_an_agent_is_who_its_certificate_names(header):
    store = known(header)

    found = store.identify(store.read(WRITTEN[header](AGENT)), now=TIME).principal

    assert (found.issuer, found.subject, found.client) == ("mtls:agents", SPIFFE, SPIFFE)
    assert found.groups == ("agents", "triage")


def test_a_dns_name_is_a_subject_where_there_is_no_uri_and_an_agent_that_is_in_no_list_has_no_groups():
    pair = CA.issue(dns("triage.agents.example"))
    found = known().identify(pair.der, now=TIME).principal
    assert (found.subject, found.groups) == ("triage.agents.example", ())


def test_it_is_verified_once_and_then_remembered_until_it_expires():
    store = known()
    first = store.identify(AGENT.der, now=TIME)
    assert store.identify(AGENT.der, now=TIME + 60) is first
    assert why(AGENT.der, TIME + 2 * DAY.total_seconds(), store) == "certificate_expired"


def test_a_memory_ends_in_time_to_see_that_the_authority_has_expired():
    brief = certificates.authority(ends=datetime.fromtimestamp(TIME + 1800, UTC))
    store = Certificates(MtlsSettings("agents", CertificateHeader.CLIENT_CERT, (brief.certificate,)))
    agent = brief.issue(uri(SPIFFE))
    store.identify(agent.der, now=TIME)
    assert why(agent.der, TIME + 3601, store) == "untrusted_certificate"


# Attacks, by name


def test_a_certificate_that_anybody_made_is_refused():
    assert why(certificates.authority().issue(uri(SPIFFE)).der) == "untrusted_certificate"


def test_a_self_signed_certificate_is_refused():
    assert why(certificates.authority("agent").der) == "bad_certificate"


def test_an_agents_certificate_signs_no_other_agents():
    impostor = certificates.Authority(AGENT.certificate, AGENT.key).issue(uri("spiffe://corp.example/agents/admin"))
    assert why(impostor.der) == "untrusted_certificate"


@pytest.mark.parametrize("usage", [None, (SERVER,)])
def test_a_certificate_that_is_not_for_clients_is_refused(usage):
    assert why(CA.issue(uri(SPIFFE), usage=usage).der) == "bad_certificate"


def test_one_that_has_expired_or_is_not_valid_yet_is_refused():
    now = datetime.now(UTC)
    assert why(CA.issue(uri(SPIFFE), begins=now - 2 * DAY, ends=now - DAY).der) == "certificate_expired"
    assert why(CA.issue(uri(SPIFFE), begins=now + DAY, ends=now + 2 * DAY).der) == "certificate_expired"


def test_a_common_name_is_no_identity():
    # The verifier wants a subjectAltName.
    assert why(CA.issue(common=SPIFFE).der) == "untrusted_certificate"


@pytest.mark.parametrize(
    "names",
    [
        (uri(SPIFFE), uri("spiffe://corp.example/agents/admin")),
        (dns("one.example"), dns("other.example")),
    ],
    ids=["uris", "names"],
)
def test_a_certificate_with_several_subjects_names_nobody(names):
    assert why(CA.issue(*names, usage=(CLIENT,)).der) == "no_subject"


def test_a_subject_that_looks_like_a_certificate_is_not_taken_for_one():
    forged = b'Subject="CN=x,Cert=' + CA.issue(uri("spiffe://corp.example/agents/admin")).escaped + b'"'
    assert mtls.read(CertificateHeader.XFCC, forged + b";" + xfcc(AGENT)) == AGENT.der
    with pytest.raises(Unauthenticated):
        mtls.read(CertificateHeader.XFCC, forged)


def test_an_element_that_a_client_put_before_envoys_own_is_refused():
    for value in (xfcc(AGENT) + b"," + xfcc(AGENT), xfcc(AGENT) + b";" + xfcc(AGENT)):
        with pytest.raises(Unauthenticated):
            mtls.read(CertificateHeader.XFCC, value)


BAD = {
    "no base64": (CertificateHeader.CLIENT_CERT, b":*:"),
    "no colons": (CertificateHeader.CLIENT_CERT, base64.b64encode(AGENT.der)),
    "a colon": (CertificateHeader.CLIENT_CERT, b":"),
    "two PEMs": (CertificateHeader.X_SSL_CLIENT_CERT, AGENT.escaped + AGENT.escaped),
    "a key": (CertificateHeader.X_SSL_CLIENT_CERT, AGENT.secret),
    "no pairs": (CertificateHeader.XFCC, b"Cert"),
    "no certificate": (CertificateHeader.XFCC, b"Hash=00"),
    "too long": (CertificateHeader.CLIENT_CERT, b":" + b"A" * 20_000 + b":"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_header_that_does_not_hold_one_certificate_is_refused(name):
    with pytest.raises(Unauthenticated) as fault:
        mtls.read(*BAD[name])
    assert fault.value.reason == "bad_certificate"


@given(st.sampled_from(CertificateHeader), st.binary(max_size=200))
def test_whatever_stands_in_the_header_is_refused_by_name(header, value):
    store = known(header)
    with pytest.raises(Unauthenticated):
        store.identify(store.read(value), now=TIME)


@given(st.data())
def test_no_changed_byte_of_a_certificate_is_let_through(data):
    at = data.draw(st.integers(0, len(AGENT.der) - 1))
    changed = bytearray(AGENT.der)
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Unauthenticated):
        known().identify(bytes(changed), now=TIME)


# Tokens


def callers():
    settings = MtlsSettings("agents", CertificateHeader.CLIENT_CERT, (CA.certificate,), GROUPS)
    return Callers(Issuers([CONFIG], Published(KEY.jwk()), now=lambda: NOW), settings, now=lambda: TIME)


async def outcome(token, certificate, asked=None):
    try:
        found = await (asked or callers()).identify(token, resource=RESOURCE, certificate=certificate)
    except Unauthenticated as fault:
        return fault.reason
    return found.subject


def bound(**confirmation):
    return mint(KEY, claims(cnf=confirmation))


BOUND = {"x5t#S256": mtls.thumbprint(AGENT.der)}


async def test_a_token_that_is_bound_to_a_certificate_is_accepted_with_that_one_alone():
    other, asked = byte_sequence(CA.issue(uri(SPIFFE))), callers()
    for _ in range(2):  # Also when it is remembered.
        assert await outcome(bound(**BOUND), byte_sequence(AGENT), asked) == "alice"
        assert await outcome(bound(**BOUND), other, asked) == "wrong_certificate"
        assert await outcome(bound(**BOUND), None, asked) == "proof_required"


async def test_a_token_that_is_bound_to_anything_else_stays_refused():
    for confirmation in ({"jkt": "x"}, {**BOUND, "jkt": "x"}, {"x5t#S256": 1}, {}):
        assert await outcome(bound(**confirmation), byte_sequence(AGENT)) == "proof_required"


async def test_without_a_token_the_certificate_says_who_calls():
    assert await outcome(None, byte_sequence(AGENT)) == SPIFFE


async def test_a_token_in_the_url_is_refused_whatever_the_certificate():
    with pytest.raises(Unauthenticated) as fault:
        await callers().identify(None, resource=RESOURCE, query=b"access_token=x", certificate=byte_sequence(AGENT))
    assert fault.value.reason == "in_url"


async def test_a_certificate_grants_no_scope():
    with pytest.raises(Unauthenticated) as fault:
        await callers().identify(None, resource=RESOURCE, scopes=("read",), certificate=byte_sequence(AGENT))
    assert fault.value.reason == "insufficient_scope"


async def test_an_agent_that_was_revoked_needs_a_new_certificate():
    asked = Issuers([CONFIG], Published(KEY.jwk()))
    settings = MtlsSettings("agents", CertificateHeader.CLIENT_CERT, (CA.certificate,))
    who = Callers(asked, settings, now=lambda: TIME)
    before = datetime.fromtimestamp(TIME - DAY.total_seconds() / 2, UTC).isoformat()
    asked.revoke(Revoked((Revocation(Kind.SUBJECT, "mtls:agents", SPIFFE, before),), actor=lambda each: each.subject))

    assert await outcome(None, byte_sequence(AGENT), who) == "revoked"
    renewed = CA.issue(uri(SPIFFE), begins=datetime.fromtimestamp(TIME - 60, UTC))
    assert await outcome(None, byte_sequence(renewed), who) == SPIFFE


async def test_where_there_is_a_token_it_says_who_calls():
    assert await outcome(mint(KEY), byte_sequence(AGENT)) == "alice"


async def test_a_certificate_that_cannot_be_read_spoils_a_good_token():
    assert await outcome(mint(KEY), b":*:") == "bad_certificate"


async def test_a_bad_token_is_not_mended_by_a_good_certificate():
    assert await outcome("Bearer x.y.z", byte_sequence(AGENT)) == "malformed"


async def test_certificates_are_not_looked_at_where_none_are_configured():
    asked = Callers(Issuers([CONFIG], Published(KEY.jwk()), now=lambda: NOW), None)
    assert await outcome(None, byte_sequence(AGENT), asked) == "missing"
    assert await outcome(bound(**BOUND), byte_sequence(AGENT), asked) == "proof_required"
