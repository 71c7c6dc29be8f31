"""Starts npm's `samlp`, a real SAML 2.0 identity provider, on loopback, and gets answers from it as a browser does;
signs answers made by hand with that provider's key, right and wrong ones."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests import real_parts

_SCRIPT = Path(__file__).resolve().parent / "node" / "saml" / "idp.cjs"
ENTITY = "urn:example:idp"
GROUPS = "http://schemas.xmlsoap.org/claims/Group"

needs_xmlsec1 = pytest.mark.skipif(
    shutil.which("xmlsec1") is None, reason="needs Debian's xmlsec1: apt-get install xmlsec1"
)


@dataclass(frozen=True)
class Pair:
    """A private key and its certificate, both PEM."""

    key: str
    certificate: str


@cache
def pair(name: str) -> Pair:
    """One pair of each name for the whole run: RSA keys are slow to make."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = datetime.now(UTC) - timedelta(days=1)
    made = (
        x509.CertificateBuilder(subject, subject, private.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=30))
        .sign(private, hashes.SHA256())
    )
    key = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(key.decode(), made.public_bytes(serialization.Encoding.PEM).decode())


def public(name: str) -> str:
    """The public key of a pair, PEM."""
    key = x509.load_pem_x509_certificate(pair(name).certificate.encode()).public_key()
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(encoding, form).decode()


class SamlIdp:
    """A running identity provider. Nothing here waits for long: tests of any kind may share one."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.url = url
        self._process = process

    def metadata(self) -> bytes:
        """Its metadata, as it publishes it."""
        self.answers()
        return httpx2.get(f"{self.url}/metadata", timeout=30).content

    def answers(self, **options: Any) -> None:
        """What samlp is to be told for the answers that follow."""
        _say(self._process, options)

    def browsed(self, url: str, **options: Any) -> str:
        """What a browser that goes to `url` is told to post to us: the `SAMLResponse`."""
        self.answers(**options)
        reply = httpx2.get(url, timeout=30)
        found = re.search(r'name="SAMLResponse"\s+value="([^"]*)"', reply.text)
        assert found is not None, reply.text
        return unescape(found[1])


def _say(process: subprocess.Popen[bytes], document: Any) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(document).encode() + b"\n")
    process.stdin.flush()
    line = process.stdout.readline()
    assert line, "the identity provider ended early"
    return json.loads(line)


@contextmanager
def running(*, issuer: str = ENTITY, own: str = "idp", trusts: str = "gateway") -> Iterator[SamlIdp]:
    """An identity provider with its `own` key, which takes only requests signed with the one it `trusts`."""
    keys = pair(own)
    first = {"issuer": issuer, "key": keys.key, "cert": keys.certificate, "signingCert": pair(trusts).certificate}
    with subprocess.Popen(
        [str(real_parts.node()), "--no-deprecation", str(_SCRIPT)],
        cwd=real_parts.npm_set("saml"),
        env=real_parts.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        # It ends when its standard input does, with the block: `node` may be a launcher that signals would not pass.
        yield SamlIdp(process, _say(process, first)["url"])


# Answers made by hand, signed by xmlsec1 with the provider's own key.

_SIGNATURE = (
    '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo>'
    '<ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/>'
    '<ds:SignatureMethod Algorithm="{signing}"/><ds:Reference URI="#{name}"><ds:Transforms>'
    '<ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/>'
    '<ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></ds:Transforms>'
    '<ds:DigestMethod Algorithm="{digest}"/><ds:DigestValue/></ds:Reference></ds:SignedInfo><ds:SignatureValue/>'
    "</ds:Signature>"
)
SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "http://www.w3.org/2001/04/xmlenc#sha256"
SHA512 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512", "http://www.w3.org/2001/04/xmlenc#sha512"
SHA1 = "http://www.w3.org/2000/09/xmldsig#rsa-sha1", "http://www.w3.org/2000/09/xmldsig#sha1"


def instant(seconds: float) -> str:
    """A time as SAML writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def assertion(now: float, **changes: str) -> str:
    """An assertion with a place for its signature; `changes` replace parts of it, by name."""
    parts = {
        "id": "_assertion-1",
        "issuer": ENTITY,
        "name_id": "<saml:NameID>alice</saml:NameID>",
        "recipient": "",
        "request": "",
        "audience": "",
        "begin": instant(now - 5),
        "end": instant(now + 300),
        "confirmed_until": f'NotOnOrAfter="{instant(now + 300)}"',
        "conditions": "",
        "session": "",
        "groups": "<saml:AttributeValue>privacy</saml:AttributeValue>",
        "attributes": "",
        **changes,
    }
    answered = f' InResponseTo="{parts["request"]}"' if parts["request"] else ""
    return (
        f'<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="{parts["id"]}" Version="2.0" '
        f'IssueInstant="{instant(now)}"><saml:Issuer>{parts["issuer"]}</saml:Issuer>SIGNATURE<saml:Subject>'
        f'{parts["name_id"]}<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">'
        f'<saml:SubjectConfirmationData Recipient="{parts["recipient"]}" {parts["confirmed_until"]}{answered}/>'
        f'</saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="{parts["begin"]}" '
        f'NotOnOrAfter="{parts["end"]}"><saml:AudienceRestriction><saml:Audience>{parts["audience"]}</saml:Audience>'
        f"</saml:AudienceRestriction>{parts['conditions']}</saml:Conditions>"
        f'<saml:AuthnStatement AuthnInstant="{instant(now)}"{parts["session"]}><saml:AuthnContext>'
        "<saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef>"
        f'</saml:AuthnContext></saml:AuthnStatement><saml:AttributeStatement><saml:Attribute Name="{GROUPS}">'
        f"{parts['groups']}</saml:Attribute>{parts['attributes']}</saml:AttributeStatement></saml:Assertion>"
    )


def response(inner: str, *, destination: str, request: str, issuer: str = ENTITY, name: str = "_response-1") -> str:
    """A response around an assertion, with a place for its signature in turn."""
    return (
        f'<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="{name}" Version="2.0" '
        f'IssueInstant="2026-01-01T00:00:00Z" Destination="{destination}" InResponseTo="{request}">'
        f'<saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">{issuer}</saml:Issuer>RESPONSE'
        '<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>'
        f"{inner}</samlp:Response>"
    )


def signed(
    xml: str,
    place: Path,
    *,
    mark: str = "SIGNATURE",
    kind: str = "urn:oasis:names:tc:SAML:2.0:assertion:Assertion",
    own: str = "idp",
    algorithms: tuple[str, str] = SHA256,
    template: str = _SIGNATURE,
) -> str:
    """The XML with a signature where the mark stands, over the element of this kind around it."""
    element = kind.rpartition(":")[2]
    (name,) = re.findall(rf'<\w+:{element} [^>]*?\bID="([^"]*)"', xml)[:1]
    signing, digest = algorithms
    (place / "unsigned.xml").write_text(
        xml.replace(mark, template.format(signing=signing, digest=digest, name=name), 1)
    )
    (place / "key.pem").write_text(pair(own).key)
    command = ["xmlsec1", "--sign", "--privkey-pem", str(place / "key.pem"), "--id-attr:ID", kind, "--node-id", name]
    done = subprocess.run([*command, str(place / "unsigned.xml")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return re.sub(r"^<\?xml[^>]*\?>\s*", "", done.stdout).strip()


def encoded(xml: str) -> str:
    """As the POST binding carries it."""
    return base64.b64encode(xml.encode()).decode()
