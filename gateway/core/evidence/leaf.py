"""What the tree commits to: a record, once it has a place in the log.

A leaf is canonical JSON and holds no PHI. Of each body it carries the SHA-256 of the *ciphertext*, so that proofs
outlive the keys, and a commitment to the key: AES-GCM alone would let a forger prepare one ciphertext and two keys that
open it to two different plausible texts. Verifiers hash the stored bytes and never write a leaf anew.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from gateway.core.evidence import canonical
from gateway.core.evidence.record import LeafType, Record
from gateway.core.types import ApprovalId, Digest, Document, ExchangeId, Json, LeafIndex, SessionId

VERSION = 1
LIMIT = 65_535
"""Bytes: an entry's length is 16 bits in C2SP tlog-tiles."""

_HEX = re.compile(r"[0-9a-f]{64}")
_FIXED = frozenset({"v", "index", "id", "type", "time", "members"})
_OPTIONAL = frozenset({"session", "sseq", "sprev", "exchange", "approval", "bodies"})


class BodyRef(NamedTuple):
    """What a leaf says of one sealed body. A tuple, because each call makes several: one is three times cheaper."""

    name: str
    sha256: Digest
    """Of the ciphertext, nonce included."""
    length: int
    """Bytes of ciphertext, nonce and tag included."""
    dek: str
    """Which data key sealed it: a session's id, or that of the process that wrote a record outside any session."""
    commitment: Digest
    """SHA-256("evidence/kc/v1" || data key)."""


@dataclass(slots=True)  # Not frozen, for the same reason.
class Place:
    """What only the store knows: where in the log and in its session a record comes to stand."""

    index: LeafIndex
    id: str
    """UUIDv7 of the leaf, chosen before the index is known; sealed bodies are bound to it."""
    time: str
    """RFC 3339, UTC, microseconds. Order comes from `index`, never from this."""
    sseq: int | None = None
    """0-based position in the session's own chain."""
    sprev: Digest | None = None
    """Leaf hash of the session's previous leaf; absent in its first."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf as read back; `entry` is what was hashed."""

    place: Place
    type: LeafType
    members: Document
    session: SessionId | None
    exchange: ExchangeId | None
    approval: ApprovalId | None
    bodies: tuple[BodyRef, ...]
    entry: bytes

    @property
    def index(self) -> LeafIndex:
        """Position in the log."""
        return self.place.index

    def body(self, name: str) -> BodyRef | None:
        """What the leaf says of the body of this name."""
        return next((ref for ref in self.bodies if ref.name == name), None)


def format(record: Record, place: Place, bodies: tuple[BodyRef, ...]) -> bytes:
    """The entry for `record` at `place`. Raises ValueError when it would not fit a leaf or is not JSON."""
    document: Document = {
        "v": VERSION,
        "index": place.index,
        "id": place.id,
        "type": record.type.value,
        "time": place.time,
        "members": record.members,
    }
    if record.session is not None:
        document["session"] = record.session
        document["sseq"] = place.sseq
        if place.sprev is not None:
            document["sprev"] = place.sprev
    if record.exchange is not None:
        document["exchange"] = record.exchange
    if record.approval is not None:
        document["approval"] = record.approval
    if bodies:
        document["bodies"] = [
            {"name": name, "ct": digest, "len": length, "alg": "A256GCM", "dek": dek, "kc": commitment}
            for name, digest, length, dek, commitment in bodies
        ]
    # All that is not a member is plain: our own names, text, and counts far below 2^53.
    entry = canonical.encode_plain(document) if canonical.plain(record.members) else canonical.encode(document)
    if len(entry) > LIMIT:
        raise ValueError(f"a leaf of {len(entry)} bytes is larger than the limit of {LIMIT}")
    return entry


def parse(entry: bytes) -> Leaf:
    """The leaf in `entry`. Raises ValueError, in words for an auditor, for anything that `format` cannot write."""
    if len(entry) > LIMIT:
        raise ValueError("larger than a leaf may be")
    try:
        document: Json = orjson.loads(entry)
    except orjson.JSONDecodeError:
        raise ValueError("not JSON") from None
    if not isinstance(document, dict) or canonical.encode(document) != entry:
        raise ValueError("not a canonical JSON object")
    if not document.keys() >= _FIXED or document.keys() - _FIXED - _OPTIONAL:
        raise ValueError("members are missing or unknown")
    if document["v"] != VERSION:
        raise ValueError("a version of the leaf format that this verifier does not know")
    try:
        kind = LeafType(document["type"])
    except ValueError:
        raise ValueError("a leaf type that this verifier does not know") from None
    members = document["members"]
    if not isinstance(members, dict):
        raise ValueError("`members` is not an object")
    session = _optional_text(document, "session")
    exchange, approval = _optional_text(document, "exchange"), _optional_text(document, "approval")
    return Leaf(
        place=_place(document, in_session=session is not None),
        type=kind,
        members=members,
        session=None if session is None else SessionId(session),
        exchange=None if exchange is None else ExchangeId(exchange),
        approval=None if approval is None else ApprovalId(approval),
        bodies=_bodies(document.get("bodies", [])),
        entry=entry,
    )


def _place(document: Document, *, in_session: bool) -> Place:
    sseq = document.get("sseq")
    if in_session != (type(sseq) is int and sseq >= 0):
        raise ValueError("`sseq` does not fit the leaf's session")
    sprev = _optional_text(document, "sprev")
    if (sprev is not None) != bool(sseq) or (sprev is not None and not _HEX.fullmatch(sprev)):
        raise ValueError("`sprev` does not fit the leaf's place in its session")
    return Place(
        LeafIndex(_count(document, "index")),
        _text(document, "id"),
        _text(document, "time"),
        sseq if isinstance(sseq, int) else None,
        None if sprev is None else Digest(sprev),
    )


def _bodies(value: Json) -> tuple[BodyRef, ...]:
    if not isinstance(value, list):
        raise ValueError("`bodies` is not a list")
    refs = tuple(_body(item) for item in value)
    if len({ref.name for ref in refs}) != len(refs):
        raise ValueError("two bodies have one name")
    return refs


def _body(item: Json) -> BodyRef:
    if not isinstance(item, dict) or item.keys() != {"name", "ct", "len", "alg", "dek", "kc"}:
        raise ValueError("a body is not described as it must be")
    if item["alg"] != "A256GCM":
        raise ValueError("a body is sealed by an algorithm that this verifier does not know")
    digest, commitment = _text(item, "ct"), _text(item, "kc")
    if not _HEX.fullmatch(digest) or not _HEX.fullmatch(commitment):
        raise ValueError("a body's digest is not a lower-case SHA-256")
    return BodyRef(_text(item, "name"), Digest(digest), _count(item, "len"), _text(item, "dek"), Digest(commitment))


def _text(document: Document, name: str) -> str:
    value = document[name]
    if not isinstance(value, str):
        raise ValueError(f"`{name}` is not text")
    return value


def _optional_text(document: Document, name: str) -> str | None:
    return _text(document, name) if name in document else None


def _count(document: Document, name: str) -> int:
    value = document[name]
    if type(value) is not int or value < 0:
        raise ValueError(f"`{name}` is not a count")
    return value
