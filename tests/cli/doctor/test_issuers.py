"""Identity providers and certificates that are broken in each way, for real."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.cli.doctor import certificate, issuers
from gateway.cli.doctor.finding import Status
from tests.cli.doctor.conftest import bad, http_server
from tests.identity.minting import CONFIG
from tests.identity.test_oidc import answer, serving


async def check(server, **changed):
    return await issuers.check(replace(CONFIG, url=server.url, timeout_s=2, **changed))


async def test_a_provider_that_is_well_is_told_with_what_it_signs_with():
    async with serving() as server:
        found = await check(server)

    assert [one.status for one in found] == [Status.OK, Status.OK]
    assert found[0].text == "1 keys, for ES256"


async def test_a_provider_that_is_down_is_told_with_the_question_to_ask_it():
    async with serving() as server:
        pass

    found = bad(await check(server))

    assert "could not be reached" in found.text
    assert f"curl -i {server.url}/.well-known/openid-configuration" in found.fix


async def test_a_provider_of_another_name_is_told():
    async with serving() as server:
        server.answers["/.well-known/openid-configuration"] = answer({"issuer": "https://other.example"})
        found = bad(await check(server))

    assert "calls itself by another name" in found.text


async def test_a_provider_without_keys_is_told():
    async with serving() as server:
        server.answers["/jwks"] = answer({"keys": []})
        found = bad(await check(server))

    assert "publishes no key" in found.text


async def test_keys_of_which_none_is_accepted_are_told_with_the_setting():
    async with serving() as server:
        found = bad(await check(server, algorithms=("RS256",)))

    assert found.text == "Its keys serve ES256, and only RS256 are accepted: every token is refused."
    assert found.fix.startswith("algorithms = ['ES256']")


@pytest.mark.parametrize(
    ("by", "status", "said"),
    [
        (timedelta(hours=1), Status.FAIL, "behind the provider's, beyond clock_skew_s (30): fresh tokens are not yet"),
        (timedelta(hours=-1), Status.FAIL, "ahead of the provider's, beyond clock_skew_s (30): fresh tokens are too"),
        (timedelta(seconds=10), Status.WARN, "behind the provider's."),
    ],
)
async def test_clocks_that_are_apart_are_told(by, status, said):
    date = f"date: {format_datetime(datetime.now(UTC) + by, usegmt=True)}\r\n"
    async with serving() as server:
        for path in ("/.well-known/openid-configuration", "/jwks"):
            head, _, body = server.answers[path].partition(b"\r\n\r\n")
            server.answers[path] = head + b"\r\n" + date.encode() + b"\r\n" + body
        found = bad(await check(server))

    assert found.status is status
    assert said in found.text


def write_certificate(directory, *, days, name="localhost"):
    """A self-signed certificate that expires in so many days, and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(signed.public_bytes(Encoding.PEM))
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "key.pem").write_bytes(plain)


@asynccontextmanager
async def tls_server(directory):
    """A server that does no more than agree on TLS; its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")

    async def agree(stream):
        try:
            secured = trio.SSLStream(stream, context, server_side=True)
            await secured.do_handshake()
            await secured.receive_some()
        except (trio.BrokenResourceError, ssl.SSLError):
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, agree, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("made", "believed", "status", "said", "mend"),
    [
        ({"days": 365}, True, Status.OK, "365 days left", ""),
        ({"days": 5}, True, Status.WARN, "expires in 5 days", "renew it"),
        ({"days": -2}, True, Status.FAIL, "certificate has expired", "renew the certificate of localhost"),
        ({"days": 365}, False, Status.FAIL, "self-signed certificate", "update-ca-certificates"),
        ({"days": 365, "name": "other.example"}, True, Status.FAIL, "mismatch", "use the name"),
    ],
    ids=["good", "soon", "expired", "unknown authority", "another name"],
)
async def test_a_certificate_is_judged_as_the_gateway_would(tmp_path, monkeypatch, made, believed, status, said, mend):
    write_certificate(tmp_path, **made)
    if believed:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))

    async with tls_server(tmp_path) as port:
        (found,) = await certificate.check(f"https://localhost:{port}/realm", timeout_s=5)

    assert found.status is status
    assert said in found.text
    assert mend in found.fix


async def test_an_expired_certificate_is_the_one_thing_said_of_its_provider(tmp_path, monkeypatch):
    write_certificate(tmp_path, days=-2)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))

    async with tls_server(tmp_path) as port:
        found = await issuers.check(replace(CONFIG, url=f"https://localhost:{port}"))

    assert "certificate has expired" in bad(found).text


async def test_a_server_that_speaks_no_tls_is_told():
    async with http_server(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n") as url:
        (found,) = await certificate.check(url.replace("http:", "https:"), timeout_s=5)

    assert "does not agree on TLS" in found.text
    assert found.fix.startswith("openssl s_client -connect 127.0.0.1:")


async def test_nothing_is_said_of_certificates_where_there_is_none():
    assert await certificate.check("http://127.0.0.1:9/", timeout_s=1) == []
    assert await certificate.check("https://127.0.0.1:9/", timeout_s=1) == []
