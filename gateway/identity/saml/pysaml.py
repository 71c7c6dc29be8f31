"""The only import of pysaml2: checks signatures with xmlsec1, writes requests and our metadata. Everything here blocks.

pysaml2 is asked for what it is good at, with the settings that its advisories ask for: keys from configured metadata
alone (CVE-2021-21239: never from the document's own KeyInfo), each signed element against the SAML schema
(CVE-2021-21238), and nothing of it is logged. What an assertion means is decided in `rules.py`.
"""

from __future__ import annotations

import base64
import logging
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO
from xml.etree.ElementTree import Element

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from saml2 import BINDING_HTTP_POST, SAMLError, create_class_from_element_tree, md, saml, samlp, xmldsig
from saml2.metadata import do_key_descriptor
from saml2.pack import http_redirect_message
from saml2.sigver import CryptoBackendXmlSec1, RSACrypto, SecurityContext, XmlsecError

from gateway.core.errors import IdentityUnavailable
from gateway.identity.saml.document import METADATA, Document
from gateway.identity.saml.reasons import Reason, refused

XMLSEC_S = 5.0
"""Deadline of one xmlsec1: it takes some 10 ms."""

# Its messages quote what it was given, at every level. What went wrong is told by our own words.
for _name in ("saml2", "xmlschema"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
    logging.getLogger(_name).propagate = False


class _Xmlsec1(CryptoBackendXmlSec1):  # type: ignore[misc]
    """pysaml2's own for one check, with a deadline for the program, and without its output in any exception."""

    def __init__(self, program: str, version: tuple[int, ...]) -> None:
        super().__init__(program)
        self._version = version
        self.late = False
        """The program did not end in time, or could not be started."""

    @property
    def version_nums(self) -> tuple[int, ...]:
        """Known already: pysaml2 would start the program three times for each signature to ask."""
        return self._version

    def _run_xmlsec(self, com_list: list[str], extra_args: Sequence[str]) -> tuple[str, str, bytes]:
        lax = ["--lax-key-search"] if self._version >= (1, 3) else []
        with NamedTemporaryFile(suffix=".xml") as output:
            command = [*com_list, "--output", output.name, *lax, *extra_args]
            try:
                done = subprocess.run(command, capture_output=True, timeout=XMLSEC_S, check=False)
            except (OSError, subprocess.TimeoutExpired):
                self.late = True
                raise XmlsecError("xmlsec1 did not answer") from None
            if done.returncode:
                raise XmlsecError("xmlsec1 said no")
            return done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"), output.read()


class _Certificates:
    """Stands for pysaml2's metadata: the certificates of whoever is being checked, whatever a document calls itself."""

    def __init__(self, files: Sequence[IO[bytes]]) -> None:
        self._files = files

    def certs(self, *_: object) -> list[tuple[None, IO[bytes]]]:
        """Open files, as pysaml2 also takes them: those that it makes itself are left for the collector to close."""
        return [(None, each) for each in self._files]


def _check_first(crypto: _Xmlsec1, files: Sequence[str], text: str, name: str, ident: str | None) -> None:
    """That one of the certificates in files signed the element. Raises XmlsecError."""
    for file in files:
        try:
            crypto.validate_signature(text, file, "pem", name, ident)
            return
        except XmlsecError:
            continue  # Not kept: with its frames, it would keep pysaml2's temporary files open.
    raise XmlsecError("none of them signed it")


@contextmanager
def _file(data: bytes) -> Iterator[IO[bytes]]:
    with NamedTemporaryFile(suffix=".pem") as file:
        file.write(data)
        file.flush()
        yield file


def _pem(certificate: str) -> bytes:
    return f"-----BEGIN CERTIFICATE-----\n{certificate}\n-----END CERTIFICATE-----\n".encode()


_TYPES = {f"{{{each.c_namespace}}}{each.c_tag}": each for each in (samlp.Response, saml.Assertion)}


@dataclass(frozen=True, slots=True)
class OurKey:
    """What our requests are signed with, and what our metadata says of it."""

    private: RSAPrivateKey = field(repr=False)
    certificate: str
    """Base64 of DER, as XML holds it."""


class Pysaml:
    """What is asked of pysaml2. All methods block."""

    def __init__(self, xmlsec1: Path) -> None:
        self._program = str(xmlsec1)
        self._version: tuple[int, ...] = CryptoBackendXmlSec1(self._program).version_nums

    def check(self, document: Document, element: Element, certificates: Sequence[str]) -> None:
        """That one of the certificates (base64 of DER) signed this element, a response or an assertion.

        Where its signature stands, and what it covers, was checked before: see `document.signature_of`. Raises
        Unauthenticated, and IdentityUnavailable.
        """
        kind = _TYPES[element.tag]
        name = f"{kind.c_namespace}:{kind.c_tag}"

        def check(crypto: _Xmlsec1, files: Sequence[IO[bytes]]) -> None:
            # Before pysaml2 holds it against the schema: that takes our interpreter's time, this a process of its own.
            _check_first(crypto, [file.name for file in files], document.text, name, element.get("ID"))
            context = SecurityContext(crypto, metadata=_Certificates(files), only_use_keys_in_metadata=True)
            context.check_signature(create_class_from_element_tree(kind, element), name, document.text)

        self._check(check, [_pem(each) for each in certificates])

    def check_metadata(self, document: Document, certificate: bytes) -> None:
        """That the certificate (PEM) signed the metadata. Raises Unauthenticated, and IdentityUnavailable."""
        tag, ident = document.root.tag.rpartition("}")[2], document.root.get("ID")

        def check(crypto: _Xmlsec1, files: Sequence[IO[bytes]]) -> None:
            crypto.validate_signature(document.text, files[0].name, "pem", f"{METADATA}:{tag}", ident)

        self._check(check, [certificate])

    def _check(self, check: Callable[[_Xmlsec1, Sequence[IO[bytes]]], None], certificates: Sequence[bytes]) -> None:
        """Do `check` with the certificates in files. Raises Unauthenticated and IdentityUnavailable."""
        crypto = _Xmlsec1(self._program, self._version)
        good = False
        with ExitStack() as files:
            try:
                check(crypto, [files.enter_context(_file(each)) for each in certificates])
                good = True
            except (SAMLError, ValueError, TypeError, AttributeError):
                pass  # The latter three is how pysaml2 meets what its classes do not expect.
        # Outside the handler: as a context, the cause would carry the document along.
        if crypto.late:
            raise IdentityUnavailable("xmlsec1 could not check a signature in time; nobody can sign in until it does")
        if not good:
            raise refused(Reason.BAD_SIGNATURE)

    def request(self, key: OurKey, *, ident: str, sso_url: str, entity_id: str, consumer: str, at: datetime) -> str:
        """The URL to which a browser takes a signed login request (SAML bindings §3.4, profiles §4.1.4.1)."""
        asked = samlp.AuthnRequest(
            id=ident,
            version="2.0",
            issue_instant=at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            destination=sso_url,
            issuer=saml.Issuer(text=entity_id),
            assertion_consumer_service_url=consumer,
            protocol_binding=BINDING_HTTP_POST,
        )
        signing = RSACrypto(key.private)
        message = http_redirect_message(
            asked.to_string().decode(), sso_url, sigalg=xmldsig.SIG_RSA_SHA256, sign=True, backend=signing
        )
        return str(dict(message["headers"])["Location"])

    def metadata(self, key: OurKey, *, entity_id: str, consumer: str) -> bytes:
        """What an identity provider needs to know of us."""
        described = md.EntityDescriptor(
            entity_id=entity_id,
            spsso_descriptor=md.SPSSODescriptor(
                protocol_support_enumeration=samlp.NAMESPACE,
                authn_requests_signed="true",
                want_assertions_signed="true",
                key_descriptor=do_key_descriptor(cert=key.certificate, use="signing"),
                assertion_consumer_service=[
                    md.AssertionConsumerService(
                        binding=BINDING_HTTP_POST, location=consumer, index="0", is_default="true"
                    )
                ],
            ),
        )
        return bytes(described.to_string())


def our_key(key: bytes, certificate: bytes) -> OurKey:
    """An RSA key and its certificate, both PEM. Raises ValueError, which says what is wrong with them."""
    private = serialization.load_pem_private_key(key, None)
    if not isinstance(private, RSAPrivateKey) or private.key_size < 2048:
        raise ValueError("the key is not an RSA key of at least 2,048 bits")
    read = x509.load_pem_x509_certificate(certificate)
    if read.public_key() != private.public_key():
        raise ValueError("the certificate is not of the key")
    der = read.public_bytes(serialization.Encoding.DER)
    return OurKey(private, base64.b64encode(der).decode())
