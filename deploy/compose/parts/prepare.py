"""Makes the secrets of deploy/compose at its first start, each where only the one who needs it can read it.

    gateway   keys/, database-password, ca.pem        database   server.crt, server.key, password
    ingress   server.crt, server.key, ca.pem          public     ca.pem, for whoever calls the gateway

The certificate authority can vouch for this demo's names only, and its key is never written down. What is there is left
alone: `docker compose down --volumes` throws it away, and the evidence with it.
"""

import argparse
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.store import keys

GATEWAY, DATABASE, INGRESS = 10001, 999, 101
"""User ids in the images of phigate, postgres and nginx-unprivileged."""
OWNERS = {"gateway": GATEWAY, "database": DATABASE, "ingress": INGRESS}
ORIGIN = "phigate.localhost/phigate"
NAMES = ["phigate.localhost", "login.localhost"]
LIFETIME = timedelta(days=365)
DONE = "ca.pem"
"""Written last."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority for the names of this demo."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """What those who connect must know."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @classmethod
    def make(cls, database: str, now: datetime) -> "Authority":
        """A new one."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "phigate demo, this machine only")])
        permitted = [x509.DNSName(name) for name in ("localhost", database)]
        usage = x509.KeyUsage(
            *(False,) * 5, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False
        )
        builder = (
            _unsigned(name, name, key.public_key(), now)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.NameConstraints(permitted, excluded_subtrees=None), critical=True)
            .add_extension(usage, critical=True)
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    def server(self, names: list[str], now: datetime) -> tuple[bytes, bytes]:
        """Certificate and key of a server called `names`, in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        builder = (
            _unsigned(subject, self.certificate.subject, key.public_key(), now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), private


def _unsigned(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def prepare(out: Path, database: str, now: datetime) -> None:
    """Write everything below `out`, for a database that is called so."""
    for place in (*OWNERS, "public"):
        (out / place).mkdir(parents=True, exist_ok=True)
    authority = Authority.make(database, now)
    password = secrets.token_urlsafe(32).encode()
    keys.generate(out / "gateway" / "keys", origin=ORIGIN)
    write(out / "gateway" / "database-password", password)
    write(out / "gateway" / "ca.pem", authority.pem)
    write(out / "database" / "password", password)
    for place, names in (("database", [database]), ("ingress", NAMES)):
        certificate, key = authority.server(names, now)
        write(out / place / "server.crt", certificate)
        write(out / place / "server.key", key)
    write(out / "ingress" / DONE, authority.pem)
    write(out / "public" / DONE, authority.pem, mode=0o644)


def write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """A new file that only its owner can read, unless `mode` says otherwise."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    path.chmod(mode)


def give(place: Path, user: int) -> None:
    """Make `user` the owner of everything in `place`; the innermost first, for afterwards we may not look in."""
    for directory, _, files in os.walk(place, topdown=False):
        for file in files:
            os.chown(Path(directory) / file, user, user)
        os.chown(directory, user, user)


def main() -> None:
    """Make what is missing."""
    arguments = argparse.ArgumentParser(prog="prepare", description=__doc__)
    arguments.add_argument("out", type=Path, help="where: gateway, database, ingress and public are made in it")
    arguments.add_argument("--database", default="database", help="the name by which the database is reached")
    arguments.add_argument("--keep-owner", action="store_true", help="all stays with whoever runs this")
    options = arguments.parse_args()
    out: Path = options.out
    if (out / "public" / DONE).exists():
        print("The secrets are there already.")
        return
    prepare(out, options.database, datetime.now(UTC))
    for place, user in () if options.keep_owner else OWNERS.items():
        give(out / place, user)
    print("Made keys, certificates and the database's password.")


if __name__ == "__main__":
    main()
