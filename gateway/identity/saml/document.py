"""SAML XML, taken apart strictly and without belief. Pure.

Attacks on SAML live where two readers see different things: the one that checks the signature (libxml2, in xmlsec1) and
the one that reads the subject (expat, here). So what they could read differently is refused before either is asked:
document types and entities, comments, processing instructions, encodings, two elements of one ID. And there is exactly
one assertion, in its one place, and each signature covers the element that it stands in, which closes every way to wrap
a signed assertion into another document (Somorovsky et al., "On Breaking SAML", USENIX Security 2012: XSW1 to XSW8).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from gateway.identity.saml.reasons import Reason, refused

SAML, SAMLP = "urn:oasis:names:tc:SAML:2.0:assertion", "urn:oasis:names:tc:SAML:2.0:protocol"
DSIG, XENC, METADATA = (
    "http://www.w3.org/2000/09/xmldsig#",
    "http://www.w3.org/2001/04/xmlenc#",
    "urn:oasis:names:tc:SAML:2.0:metadata",
)
RESPONSE, ASSERTION, ENCRYPTED = f"{{{SAMLP}}}Response", f"{{{SAML}}}Assertion", f"{{{SAML}}}EncryptedAssertion"
SIGNATURE = f"{{{DSIG}}}Signature"

MAX_BYTES = 128 * 1024
"""Of an answer: with as many groups as we take it has some 60 KB."""
MAX_METADATA_BYTES = 1 << 20
MAX_DEPTH, MAX_ELEMENTS = 32, 4096
_WHOLE = frozenset({"Assertion", "EncryptedAssertion", "Response"})
_IDS = frozenset({"ID", "Id", "id", "{http://www.w3.org/XML/1998/namespace}id"})

_DECLARATION = re.compile(
    r"""<\?xml version=["']1\.0["']( encoding=["']utf-8["'])?( standalone=["'](yes|no)["'])? ?\?>""", re.I
)
_EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
_ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
_SIGNING = frozenset(
    f"http://www.w3.org/2001/04/xmldsig-more#{kind}-sha{bits}" for kind in ("rsa", "ecdsa") for bits in (256, 384, 512)
)
_DIGESTS = frozenset(
    {
        "http://www.w3.org/2001/04/xmlenc#sha256",
        "http://www.w3.org/2001/04/xmldsig-more#sha384",
        "http://www.w3.org/2001/04/xmlenc#sha512",
    }
)
"""RFC 9231 §2.1, XML Encryption §5.7. SHA-1 and HMAC are not among them."""


@dataclass(frozen=True, slots=True)
class Document:
    """XML that was read. `text` is what was read, without its declaration: what signatures are checked over."""

    text: str = field(repr=False)
    root: Element = field(repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    """A document with one assertion. Nothing in it is believed yet."""

    document: Document
    assertion: Element = field(repr=False)
    signed: tuple[Element, ...] = field(repr=False)
    """The elements, of response and assertion, that carry a signature of themselves."""


class _Bounded(TreeBuilder):
    """Builds the tree of a document without a document type, of bounded depth and size."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = self._elements = 0

    def start(self, tag: str, attrs: dict[str, str]) -> Element:
        self._depth += 1
        self._elements += 1
        if self._depth > MAX_DEPTH or self._elements > MAX_ELEMENTS:
            raise refused(Reason.OVERSIZE)
        return super().start(tag, attrs)

    def end(self, tag: str) -> Element:
        self._depth -= 1
        return super().end(tag)

    def doctype(self, *_: str | None) -> None:
        """Before any entity is declared: nothing is expanded or fetched."""
        raise refused(Reason.FORBIDDEN_XML)


class _Strict(_Bounded):
    """One that holds elements, attributes and text, and nothing else."""

    def comment(self, *_: str | None) -> Element:
        raise refused(Reason.FORBIDDEN_XML)

    def pi(self, *_: str | None) -> Element:
        raise refused(Reason.FORBIDDEN_XML)


def decode(encoded: str) -> bytes:
    """The bytes of a message of the POST binding (SAML bindings §3.5.4): base64; white space does not count."""
    if len(encoded) > 2 * MAX_BYTES:
        raise refused(Reason.OVERSIZE)
    try:
        return base64.b64decode("".join(encoded.split()).encode(), validate=True)
    except (ValueError, binascii.Error):
        raise refused(Reason.MALFORMED) from None


def read(data: bytes) -> Document:
    """An answer, strictly. Raises Unauthenticated, and nothing else."""
    return _read(data, MAX_BYTES, _Strict())


def read_metadata(data: bytes) -> Document:
    """Metadata, in which people write comments. Raises Unauthenticated, and nothing else."""
    return _read(data.removeprefix(b"\xef\xbb\xbf"), MAX_METADATA_BYTES, _Bounded())


def _read(data: bytes, limit: int, builder: _Bounded) -> Document:
    if len(data) > limit:
        raise refused(Reason.OVERSIZE)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise refused(Reason.FORBIDDEN_XML) from None
    declaration = _DECLARATION.match(text)
    text = text[declaration.end() if declaration else 0 :].strip()
    if text.startswith("<?"):
        raise refused(Reason.FORBIDDEN_XML)
    parser = XMLParser(target=builder)
    try:
        parser.feed(text)
        root = parser.close()
    except (ParseError, ValueError):
        raise refused(Reason.MALFORMED) from None
    ids = [value for element in root.iter() for name, value in element.attrib.items() if name in _IDS]
    if len(ids) != len(set(ids)):
        raise refused(Reason.DUPLICATE_ID)
    return Document(text, root)


def response(document: Document) -> Message:
    """A response with its one assertion (SAML core §3.3.3), which is not encrypted."""
    if document.root.tag != RESPONSE:
        raise refused(Reason.MALFORMED)
    assertion = _only(document.root)
    if assertion.tag == ENCRYPTED:
        raise refused(Reason.ENCRYPTED)
    return _message(document, assertion)


def bare(document: Document) -> Message:
    """An assertion without a response."""
    if document.root.tag != ASSERTION:
        raise refused(Reason.MALFORMED)
    _only(document.root)
    return _message(document, document.root)


def signature_of(element: Element) -> Element | None:
    """The signature that an element carries of itself, checked to be just that (SAML core §5.4); None when it has none.

    Raises Unauthenticated for one that covers, or could be made to cover, something else.
    """
    found = element.findall(SIGNATURE)
    if not found:
        return None
    # xmlsec1 takes the first signature that it meets below the element, so that must be this one.
    if len(found) > 1 or next(element.iter(SIGNATURE)) is not found[0]:
        raise refused(Reason.MISPLACED_SIGNATURE)
    (signature,) = found
    reference = _one(_one(signature, "SignedInfo"), "Reference")
    name = element.get("ID")
    if not name or reference.get("URI") != f"#{name}" or signature.find(f"{{{DSIG}}}Object") is not None:
        raise refused(Reason.MISPLACED_SIGNATURE)
    _check_algorithms(signature, reference)
    return signature


def _message(document: Document, assertion: Element) -> Message:
    bearing = [document.root] if assertion is document.root else [document.root, assertion]
    signed = tuple(element for element in bearing if signature_of(element) is not None)
    if len(list(document.root.iter(SIGNATURE))) != len(signed):
        raise refused(Reason.MISPLACED_SIGNATURE)
    return Message(document, assertion, signed)


def _only(root: Element) -> Element:
    """The one assertion of the document: itself, or right below the root; anywhere else none may be."""
    inner = [each for each in root.iter() if each is not root and _local(each) in _WHOLE]
    if root.tag == ASSERTION and not inner:
        return root
    if root.tag == ASSERTION or len(inner) != 1 or inner[0] not in list(root):
        raise refused(Reason.NOT_ONE_ASSERTION)
    if inner[0].tag not in (ASSERTION, ENCRYPTED):
        raise refused(Reason.NOT_ONE_ASSERTION)
    return inner[0]


def _check_algorithms(signature: Element, reference: Element) -> None:
    signed_info = _one(signature, "SignedInfo")
    transforms = [each.get("Algorithm") for each in reference.iter(f"{{{DSIG}}}Transform")]
    algorithms = (
        _one(signed_info, "CanonicalizationMethod").get("Algorithm") == _EXCLUSIVE,
        _one(signed_info, "SignatureMethod").get("Algorithm") in _SIGNING,
        _one(reference, "DigestMethod").get("Algorithm") in _DIGESTS,
        transforms == [_ENVELOPED, _EXCLUSIVE],
    )
    if not all(algorithms):
        raise refused(Reason.ALG_REFUSED)


def _one(element: Element, name: str) -> Element:
    found = element.findall(f"{{{DSIG}}}{name}")
    if len(found) != 1:
        raise refused(Reason.MISPLACED_SIGNATURE)
    return found[0]


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]
