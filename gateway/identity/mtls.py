"""An agent's client certificate, as a trusted ingress hands it on, and whom it names. Pure: the time is an argument.

The ingress proves in its TLS handshake that the agent holds the key; what the certificate says is verified here anew,
against the configured authorities (RFC 5280 by cryptography's verifier, clientAuth asked for in so many words). The
subject is the one URI (such as a SPIFFE id) or else the one DNS name of its subjectAltName: a common name is no
identity (RFC 9525 §2). Revocation lists are the ingress' business, which refuses the handshake.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache, partial
from hashlib import sha256
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.core.types import Principal
from gateway.identity.reasons import Reason, refused

MAX_HEADER_BYTES = 16_384
"""A chain-less RSA-4096 certificate in percent-encoded PEM is about 3 KB."""
MAX_NAME_CHARACTERS = 2048
REMEMBERED = 10_000
REMEMBERED_HEADERS = 1024
"""About 4 KB each."""

_PEM = re.compile(rb"\s*-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+?)\s+-----END CERTIFICATE-----\s*")
_XFCC_PAIR = re.compile(r'([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^,;="]*)')


class CertificateHeader(Enum):
    """The header in which an ingress hands on a certificate; each has its own way to write one."""

    CLIENT_CERT = "client-cert"
    """RFC 9440 §2: DER as a structured-field byte sequence, `:base64:`. HAProxy can write it."""
    XFCC = "x-forwarded-client-cert"
    """Envoy's: `Cert="percent-encoded PEM"` among other pairs."""
    X_SSL_CLIENT_CERT = "x-ssl-client-cert"
    """nginx' $ssl_client_escaped_cert: percent-encoded PEM."""


@dataclass(frozen=True, slots=True)
class MtlsSettings:
    """Which certificates are believed, and what they make of an agent."""

    name: str
    """Names the authorities in the principal's issuer: `mtls:<name>`."""
    header: CertificateHeader
    authorities: tuple[x509.Certificate, ...] = field(repr=False)
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Subject, or its beginning and `*` -> groups. All that fit count."""

    @property
    def issuer(self) -> str:
        """By which policy, evidence and revocations know its agents."""
        return f"mtls:{self.name}"


@dataclass(frozen=True, slots=True)
class Known:
    """An agent whose certificate was verified, and between when that counts (seconds since 1970)."""

    principal: Principal
    since: float
    until: float


def read(header: CertificateHeader, value: bytes) -> bytes:
    """The certificate in a header, as DER. Raises Unauthenticated when it is not exactly one."""
    if len(value) > MAX_HEADER_BYTES:
        raise refused(Reason.BAD_CERTIFICATE)
    try:
        match header:
            case CertificateHeader.CLIENT_CERT:
                return _byte_sequence(value)
            case CertificateHeader.XFCC:
                return _pem(_xfcc(value))
            case CertificateHeader.X_SSL_CLIENT_CERT:
                return _pem(value)
    except (ValueError, binascii.Error):
        raise refused(Reason.BAD_CERTIFICATE) from None


def thumbprint(der: bytes) -> str:
    """RFC 8705 §3.1 `x5t#S256`: what a token that is bound to this certificate says in `cnf`."""
    return base64.urlsafe_b64encode(sha256(der).digest()).rstrip(b"=").decode()


class Certificates:
    """Certificates that were verified are remembered until they expire: checking again would prove nothing new."""

    def __init__(self, settings: MtlsSettings, *, remember: int = REMEMBERED) -> None:
        self.settings = settings
        self._store = verification.Store(list(settings.authorities))
        self._limit = remember
        self._read = lru_cache(REMEMBERED_HEADERS)(partial(read, settings.header))
        self._remembered: OrderedDict[bytes, Known] = OrderedDict()

    def read(self, value: bytes) -> bytes:
        """The certificate in the configured header, as DER. Raises Unauthenticated."""
        return self._read(value)

    def identify(self, der: bytes, *, now: float) -> Known:
        """The agent that a certificate names at `now` (seconds since 1970). Raises Unauthenticated."""
        name = sha256(der).digest()
        known = self._remembered.get(name)
        if known is not None and known.since <= now <= known.until:
            self._remembered.move_to_end(name)
            return known
        certificate = _verified(der, self._store, now)
        subject = _subject(certificate)
        principal = Principal(
            issuer=self.settings.issuer,
            subject=subject,
            groups=self._groups(subject),
            client=subject,
            agent=True,
        )
        since, until = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
        # Its issuer may expire before it does, so a memory lasts an hour at most.
        known = self._remembered[name] = Known(principal, since, min(until, now + 3600))
        while len(self._remembered) > self._limit:
            self._remembered.popitem(last=False)
        return known

    def _groups(self, subject: str) -> tuple[str, ...]:
        fitting = [
            groups
            for pattern, groups in self.settings.groups
            if subject == pattern or (pattern.endswith("*") and subject.startswith(pattern[:-1]))
        ]
        return tuple(dict.fromkeys(group for groups in fitting for group in groups))


def _verified(der: bytes, store: verification.Store, now: float) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.InvalidVersion, x509.ExtensionNotFound, x509.DuplicateExtension):
        raise refused(Reason.BAD_CERTIFICATE) from None
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise refused(Reason.BAD_CERTIFICATE)  # A server's certificate from the same authority is no agent's.
    at = datetime.fromtimestamp(now, UTC)
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise refused(Reason.CERTIFICATE_EXPIRED)
    try:
        verification.PolicyBuilder().store(store).time(at).build_client_verifier().verify(certificate, [])
    except (verification.VerificationError, ValueError):
        raise refused(Reason.UNTRUSTED_CERTIFICATE) from None
    return certificate


def _subject(certificate: x509.Certificate) -> str:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    for kind in (x509.UniformResourceIdentifier, x509.DNSName):
        found: list[str] = names.get_values_for_type(kind)
        if len(found) > 1 or any(not text.isprintable() or len(text) > MAX_NAME_CHARACTERS for text in found):
            break  # Which of several the agent is, nobody could say.
        if found:
            return found[0]
    raise refused(Reason.NO_SUBJECT)


def _byte_sequence(value: bytes) -> bytes:
    """RFC 8941 §3.3.5."""
    text = value.strip()
    if len(text) < 2 or text[:1] != b":" or text[-1:] != b":":
        raise ValueError("not a byte sequence")
    return base64.b64decode(text[1:-1], validate=True)


def _pem(value: bytes) -> bytes:
    match = _PEM.fullmatch(unquote_to_bytes(value))
    if match is None:
        raise ValueError("not one certificate in PEM")
    return base64.b64decode(b"".join(match[1].split()), validate=True)


def _xfcc(value: bytes) -> bytes:
    """The `Cert` of the only element: with SANITIZE_SET Envoy writes exactly one, for its own client."""
    text = value.decode("latin-1")
    certificates: list[str] = []
    at = 0
    while at < len(text):
        # Pair by pair: a subject in quotes, which its holder chose, may hold what looks like another pair.
        pair = _XFCC_PAIR.match(text, at)
        if pair is None or text[pair.end() : pair.end() + 1] not in ("", ";"):
            raise ValueError("not one element of pairs")
        if pair[1].lower() == "cert":
            certificates.append(pair[2].removeprefix('"').removesuffix('"'))
        at = pair.end() + 1
    if len(certificates) != 1:
        raise ValueError("not one certificate")
    return certificates[0].encode("latin-1")
