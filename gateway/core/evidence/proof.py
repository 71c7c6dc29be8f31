"""C2SP tlog-proof: one leaf's place in a signed log, in a file that is checked offline with tools that are not ours.

    c2sp.org/tlog-proof@v1
    index <i>
    <base64 hash>…          the inclusion proof, leaf to root

    <checkpoint, verbatim>

Source: C2SP tlog-proof. We write no `extra` line; one that is there is kept apart, because nothing vouches for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.evidence import checkpoint, merkle, note
from gateway.core.evidence.checkpoint import Checkpoint
from gateway.core.evidence.merkle import HASH_SIZE
from gateway.core.evidence.note import Verifier
from gateway.core.types import LeafIndex

_HEADER = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")
_PATH_LIMIT = 63


@dataclass(frozen=True, slots=True)
class Proof:
    """A tlog-proof as parsed: nothing about it has been verified yet."""

    index: LeafIndex
    path: tuple[bytes, ...]
    checkpoint: str
    extra: bytes = b""


def format(proof: Proof) -> str:
    """The proof as a file."""
    lines = [_HEADER]
    if proof.extra:
        lines.append(f"extra {note.encode(proof.extra)}")
    lines += [f"index {proof.index}", *map(note.encode, proof.path), "", proof.checkpoint]
    return "\n".join(lines)


def parse(data: str) -> Proof:
    """The proof in a file. Raises ValueError for anything that `format` cannot write."""
    head, separator, signed = data.partition("\n\n")
    lines = head.split("\n")
    if not separator or lines.pop(0) != _HEADER:
        raise ValueError("not a tlog-proof of version 1")
    extra = b""
    if lines and lines[0].startswith("extra "):
        extra = note.decode(lines.pop(0).removeprefix("extra "))
    index = _INDEX.fullmatch(lines.pop(0)) if lines else None
    if index is None:
        raise ValueError("the proof does not say which leaf it is about")
    path = tuple(note.decode(line) for line in lines)
    if len(path) > _PATH_LIMIT or any(len(item) != HASH_SIZE for item in path):
        raise ValueError("the inclusion proof is not a list of SHA-256 hashes")
    return Proof(LeafIndex(int(index[1])), path, signed, extra)


def verify(proof: Proof, entry: bytes, verifiers: Sequence[Verifier]) -> Checkpoint:
    """The checkpoint that `proof` shows `entry` to be under. Raises ValueError when it does not show that."""
    found = checkpoint.verify(proof.checkpoint, verifiers)
    leaf = merkle.leaf_hash(entry)
    if not merkle.verify_inclusion(leaf, proof.index, found.size, proof.path, found.root):
        raise ValueError(f"this leaf is not at index {proof.index} of the log that the checkpoint signs")
    return found
