"""Who is at the other end: forwarded headers count from trusted peers alone, and reach nobody behind."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ClientFault
from gateway.identity import peer
from gateway.identity.peer import CERTIFICATE_HEADERS, ForwardedHeader, Peers

TRUSTED = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "fd00::/8")]
FORWARDED = ForwardedHeader.FORWARDED
INGRESS, STRANGER = "10.1.2.3", "203.0.113.9"


def met(client, *headers, header=ForwardedHeader.X_FORWARDED_FOR, certificates=None, trusted=TRUSTED):
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "scheme": "http", "client": client and (client, 1234), "headers": pairs}
    return Peers(trusted, header, certificates).meet(scope)


def address(client, *headers, **more):
    return peer.of(met(client, *headers, **more)).address


def xff(value):
    return ("x-forwarded-for", value)


def test_without_an_ingress_the_peer_is_the_sockets():
    assert address(STRANGER) == STRANGER
    assert address("::ffff:203.0.113.9") == STRANGER
    assert address("2001:db8::1%eth0") == "2001:db8::1"
    assert address(None) == ""


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("198.51.100.7, 10.9.9.9", "198.51.100.7"),
        ("10.8.8.8, 10.9.9.9", "10.8.8.8"),
        ("unknown", ""),
        ("198.51.100.7, unknown", ""),
        ("_hidden", ""),
    ],
)
def test_a_trusted_ingress_says_who_its_client_is(said, client):
    assert address(INGRESS, xff(said)) == client


def test_a_trusted_ingress_on_a_socket_for_both_families_is_trusted():
    assert address("::ffff:10.1.2.3", xff("198.51.100.7")) == "198.51.100.7"


def test_an_ingress_that_says_nothing_speaks_for_itself():
    assert address(INGRESS) == INGRESS


# Attacks, by name


def test_a_stranger_cannot_say_who_it_is():
    for name in ("x-forwarded-for", "forwarded", "x-real-ip"):
        assert address(STRANGER, (name, "10.0.0.1")) == STRANGER


def test_what_a_client_wrote_left_of_the_hop_that_counts_is_not_believed_nor_even_read():
    assert address(INGRESS, xff("127.0.0.1, 198.51.100.7")) == "198.51.100.7"
    assert address(INGRESS, xff('\x00junk", 198.51.100.7, 10.9.9.9')) == "198.51.100.7"
    assert address(INGRESS, xff("127.0.0.1"), xff("198.51.100.7")) == "198.51.100.7"


def test_a_forwarded_header_smuggled_past_an_ingress_that_writes_the_other_one_is_not_believed():
    smuggled = ("forwarded", "for=127.0.0.1")
    assert address(INGRESS, smuggled, xff("198.51.100.7")) == "198.51.100.7"
    assert address(INGRESS, smuggled) == INGRESS
    assert address(INGRESS, xff("127.0.0.1"), ("forwarded", "for=198.51.100.7"), header=FORWARDED) == "198.51.100.7"


@pytest.mark.parametrize("name", [*CERTIFICATE_HEADERS, "client-cert-chain"])
@pytest.mark.parametrize("client", [STRANGER, INGRESS, None])
def test_no_certificate_is_taken_from_a_stranger_nor_in_a_header_that_is_not_the_configured_one(name, client):
    for configured in (None, *CERTIFICATE_HEADERS):
        if client != INGRESS or name != configured:
            scope = met(client, (name, "forged"), certificates=configured)
            assert peer.of(scope).certificate is None
            assert scope["headers"] == []


def test_the_certificate_of_a_trusted_ingress_is_taken_in_the_configured_header():
    scope = met(INGRESS, ("client-cert", ":AA==:"), ("x-ssl-client-cert", "x"), certificates="client-cert")
    assert peer.of(scope).certificate == b":AA==:"
    assert peer.of(met(INGRESS, ("client-cert", ""), certificates="client-cert")).certificate is None


def test_two_certificates_are_one_too_many():
    with pytest.raises(ClientFault, match="more than one client certificate"):
        met(INGRESS, ("client-cert", ":AA==:"), ("client-cert", ":BB==:"), certificates="client-cert")


def test_a_comma_in_a_quoted_host_does_not_make_up_a_hop():
    said = 'for=198.51.100.7;host="x,for=127.0.0.1"'
    assert address(INGRESS, ("forwarded", said), header=FORWARDED) == "198.51.100.7"


@pytest.mark.parametrize("left", ['for="', 'x="', 'for=6.6.6.6;x="', "for=6.6.6.6;;", ",", "for"])
def test_a_quote_that_a_client_left_open_swallows_no_hop(left):
    for right in ("for=198.51.100.7", 'for="[2001:db8::1]:4711"', 'for=198.51.100.7;host="gateway.example"'):
        with pytest.raises(ClientFault):
            met(INGRESS, ("forwarded", f"{left}, {right}"), header=FORWARDED)


# RFC 7239


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),  # §4's examples
        ('For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
        ("for=192.0.2.43, for=10.0.0.1", "192.0.2.43"),
        ('for="_gazonk"', ""),
        ("for=unknown", ""),
        ('by=10.0.0.1; for="192.0.2.1:80" ; proto=https', "192.0.2.1"),
    ],
)
def test_a_forwarded_header_is_read_as_its_rfc_writes_it(said, client):
    assert address(INGRESS, ("forwarded", said), header=FORWARDED) == client


@pytest.mark.parametrize("said", ["proto=https", "for=1.2.3.4;for=1.2.3.5", "for=[2001:db8::1]", "for 1.2.3.4"])
def test_a_trusted_ingress_that_cannot_be_read_is_told_so(said):
    with pytest.raises(ClientFault, match="The ingress in front of this gateway") as fault:
        met(INGRESS, ("forwarded", said), header=FORWARDED)
    assert fault.value.status == 400


@pytest.mark.parametrize(
    "said", ["a.example", "1.2.3", "1.2.3.4,", "999.1.1.1", "[::1", "[::1]x", "[]", ":80", "1.2.3.4 5"]
)
def test_a_hop_that_is_no_address_is_not_guessed(said):
    with pytest.raises(ClientFault, match="no address"):
        met(INGRESS, xff(f"198.51.100.7, {said}"))


def test_the_scheme_is_the_ingress_and_host_and_port_are_nobodys():
    told = [("x-forwarded-proto", "https"), ("x-forwarded-host", "evil.example"), ("x-forwarded-port", "1")]
    scope = met(INGRESS, *told, ("host", "gateway.example"))
    assert scope["scheme"] == "https"
    assert scope["headers"] == [(b"host", b"gateway.example")]
    assert met(STRANGER, *told)["scheme"] == "http"
    assert met(STRANGER, *told)["headers"] == []
    with pytest.raises(ClientFault, match="X-Forwarded-Proto"):
        met(INGRESS, ("x-forwarded-proto", "gopher"))


@given(
    st.text(st.characters(max_codepoint=255)), st.sampled_from(ForwardedHeader), st.sampled_from([INGRESS, STRANGER])
)
def test_whatever_stands_in_the_header_is_an_address_or_a_fault(text, header, client):
    try:
        found = address(client, (header.value, text), header=header)
    except ClientFault:
        found = ""
    assert found == "" or str(ipaddress.ip_address(found)) == found
    assert client == INGRESS or found == STRANGER


@given(st.lists(st.ip_addresses(), min_size=1, max_size=5), st.text(st.characters(max_codepoint=255)))
def test_the_last_hop_that_is_not_ours_counts_whatever_stands_before_it(hops, before):
    trusted = [any(hop in network for network in TRUSTED if network.version == hop.version) for hop in hops]
    strangers = [hop for hop, ours in zip(hops, trusted, strict=True) if not ours]
    if strangers:
        expected = strangers[-1]
        mapped = getattr(expected, "ipv4_mapped", None)
        if mapped is None:
            said = f"{before}, {', '.join(map(str, hops))}"
            assert address(INGRESS, xff(said)) == str(expected)


def test_an_address_is_never_in_a_repr():
    assert STRANGER not in repr(peer.of(met(STRANGER)))
