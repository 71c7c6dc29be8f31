"""Starts npm's `samlp`, a real SAML 2.0 identity provider, on loopback, and gets answers from it as a browser does;
signs answers made by hand with that provider's key, right and wrong ones."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
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
    """A running identity provider."""

    def __init__(self, process: trio.Process, url: str) -> None:
        self.url = url
        self._process = process

    async def metadata(self) -> bytes:
        """Its metadata, as it publishes it."""
        async with httpx2.AsyncClient() as http:
            return (await http.get(f"{self.url}/metadata")).content

    async def answers(self, **options: Any) -> None:
        """What samlp is to be told for the answers that follow."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(options).encode() + b"\n")
        await _line(self._process.stdout)

    async def browsed(self, url: str, **options: Any) -> str:
        """What a browser that goes to `url` is told to post to us: the `SAMLResponse`."""
        await self.answers(**options)
        async with httpx2.AsyncClient() as http:
            reply = await http.get(url)
        found = re.search(r'name="SAMLResponse"\s+value="([^"]*)"', reply.text)
        assert found is not None, reply.text
        return unescape(found[1])


async def _line(stream: Any) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        chunk = await stream.receive_some(65536)
        assert chunk, "the identity provider ended early"
        data += chunk
    return data


@asynccontextmanager
async def running(*, issuer: str = ENTITY, own: str = "idp", trusts: str = "gateway") -> AsyncIterator[SamlIdp]:
    """An identity provider with its `own` key, which takes only requests signed with the one it `trusts`."""
    directory = await trio.to_thread.run_sync(real_parts.npm_set, "saml")
    keys = pair(own)
    first = {"issuer": issuer, "key": keys.key, "cert": keys.certificate, "signingCert": pair(trusts).certificate}
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            lambda task_status: trio.run_process(
                [str(real_parts.node()), "--no-deprecation", str(_SCRIPT)],
                cwd=directory,
                env=real_parts.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                check=False,
                task_status=task_status,
            )
        )
        with trio.fail_after(60):
            await process.stdin.send_all(json.dumps(first).encode() + b"\n")
            url = json.loads(await _line(process.stdout))["url"]
        try:
            yield SamlIdp(process, url)
        finally:
            with trio.CancelScope(deadline=trio.current_time() + 10, shield=True):
                await process.stdin.aclose()
                await process.wait()
            nursery.cancel_scope.cancel()


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
