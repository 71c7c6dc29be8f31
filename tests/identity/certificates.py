"""Certificates for tests, made with `cryptography`: authorities, agents, servers, and every way to get one wrong."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def escaped(self) -> bytes:
        """As nginx' $ssl_client_escaped_cert has it."""
        return quote_from_bytes(self.pem, safe="").encode()

    @property
    def secret(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def write(self, place: Path, name: str) -> tuple[Path, Path]:
        """`<name>.pem` and `<name>.key` in a directory."""
        files = place / f"{name}.pem", place / f"{name}.key"
        files[0].write_bytes(self.pem)
        files[1].write_bytes(self.secret)
        return files


@dataclass(frozen=True)
class Authority(Pair):
    """Issues certificates."""

    def issue(
        self,
        *names: x509.GeneralName,
        usage: tuple[Any, ...] | None = (CLIENT,),
        begins: datetime | None = None,
        ends: datetime | None = None,
        common: str = "agent",
    ) -> Pair:
        """A certificate for `names`, by default for a client, from yesterday until tomorrow."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(common, self.certificate.subject, key, begins, ends)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        return Pair(builder.sign(self.key, hashes.SHA256()), key)


def authority(name: str = "Synthetic agents", **when: datetime) -> Authority:
    """A new authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = (
        _builder(name, subject, key, when.get("begins"), when.get("ends"))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


def dns(text: str) -> x509.GeneralName:
    return x509.DNSName(text)


def loopback() -> tuple[x509.GeneralName, ...]:
    """The names of a server on this machine."""
    return dns("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def _builder(
    common: str,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begins: datetime | None,
    ends: datetime | None,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins or now - DAY)
        .not_valid_after(ends or now + DAY)
    )
