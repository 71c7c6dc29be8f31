"""C2SP signed notes: text that people can read, signed in a form that several independent tools check.

    <text, ends with a newline>

    — <name> <base64(key id || signature)>

Ed25519 only (type 0x01). Parsing is strict, because two readers of one note must never see two different texts.
Source: C2SP signed-note v1.0.0.
"""

from __future__ import annotations

import base64
import binascii
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ED25519 = 1
SIGNATURES_LIMIT = 100
"""More signatures than this are refused unread; the specification asks readers to take at least 16."""
_MARK = "— "


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key under a name. Its text form, the vkey, is what is handed to an auditor out of band."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || LF || type || key), first four bytes: a hint, never a proof."""
        return sha256(self.name.encode() + b"\n" + bytes([ED25519]) + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        """`name+hex(key id)+base64(type || key)`."""
        return f"{self.name}+{self.key_id.hex()}+{encode(bytes([ED25519]) + self.public)}"

    def verify(self, text: str, signature: bytes) -> bool:
        """Whether `signature` is this key's over `text`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key under a name; for a log, the name is its origin."""

    name: str
    seed: bytes = field(repr=False)

    @property
    def verifier(self) -> Verifier:
        """The public half."""
        public = Ed25519PrivateKey.from_private_bytes(self.seed).public_key()
        return Verifier(self.name, public.public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, text: str) -> str:
        """`text` as a note with this key's signature (RFC 8032 is deterministic: same text, same note)."""
        _check_text(text)
        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())
        return f"{text}\n{_MARK}{self.name} {encode(self.verifier.key_id + signature)}\n"


@dataclass(frozen=True, slots=True)
class Signature:
    name: str
    key_id: bytes
    data: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A note as parsed: nothing about it has been verified yet."""

    text: str
    signatures: tuple[Signature, ...]


def check_name(name: str) -> str:
    """`name`, if a key may have it. Raises ValueError when it is empty or holds spaces, `+` or control characters."""
    if not name or "+" in name or any(sign.isspace() or unicodedata.category(sign) == "Cc" for sign in name):
        raise ValueError("a key name must not be empty and holds no spaces, no `+` and no control characters")
    return name


def parse_vkey(text: str) -> Verifier:
    """The verifier that a vkey describes. Raises ValueError when it is malformed or its key id does not fit its key."""
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise ValueError("not a vkey: it should read name+key id+key")
    name, key_id, encoded = check_name(parts[0]), parts[1], decode(parts[2])
    if len(encoded) != 33 or encoded[0] != ED25519:
        raise ValueError("not an Ed25519 vkey")
    verifier = Verifier(name, encoded[1:])
    if key_id != verifier.key_id.hex():
        raise ValueError("the vkey's key id does not belong to its key: it was mistyped or altered")
    return verifier


def parse(data: str) -> Note:
    """The note in `data`. Raises ValueError for anything that is not exactly a note."""
    text, separator, tail = data.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise ValueError("not a note: no blank line before the signatures")
    text += "\n"
    _check_text(text)
    lines = tail[:-1].split("\n")
    if len(lines) > SIGNATURES_LIMIT:
        raise ValueError("a note with too many signatures")
    return Note(text, tuple(_signature(line) for line in lines))


def open_note(data: str, verifiers: Sequence[Verifier]) -> Note:
    """The note in `data`, signed by at least one of `verifiers`.

    Signatures by unknown keys are passed over, as the specification says. Raises ValueError when none is by a known
    key, or when one that claims to be does not verify.
    """
    note = parse(data)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    found = False
    for signature in note.signatures:
        verifier = known.get((signature.name, signature.key_id))
        if verifier is None:
            continue
        if not verifier.verify(note.text, signature.data):
            raise ValueError(f"the signature by {signature.name} does not verify")
        found = True
    if not found:
        raise ValueError("no signature by a known key")
    return note


def _signature(line: str) -> Signature:
    parts = line.removeprefix(_MARK).split(" ")
    if not line.startswith(_MARK) or len(parts) != 2:
        raise ValueError("not a signature line")
    data = decode(parts[1])
    if len(data) < 5:
        raise ValueError("a signature that is too short")
    return Signature(check_name(parts[0]), data[:4], data[4:])


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise ValueError("a note's text ends with a newline")
    if any((sign < " " and sign != "\n") or "\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError("a note's text holds no control characters but newline")


def encode(data: bytes) -> str:
    """Base64 as all of C2SP's formats have it (RFC 4648 §4, padded)."""
    return base64.b64encode(data).decode()


def decode(text: str) -> bytes:
    """The inverse of `encode`, of that one spelling only. Raises ValueError for any other."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None
    if encode(data) != text:
        raise ValueError("base64 that is not in canonical form")
    return data
