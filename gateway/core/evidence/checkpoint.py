"""C2SP tlog-checkpoint: the log's origin, size and root hash, as the text of a signed note.

We write no extension lines and refuse checkpoints that have any: nothing of ours would know what they promise.
Source: C2SP tlog-checkpoint v1.0.0.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.evidence import note
from gateway.core.evidence.merkle import HASH_SIZE
from gateway.core.evidence.note import Signer, Verifier

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the log was when it was signed. `origin` names the log and equals the name of its key."""

    origin: str
    size: int
    root: bytes


def format(checkpoint: Checkpoint) -> str:
    """The text that is signed."""
    return f"{checkpoint.origin}\n{checkpoint.size}\n{base64.b64encode(checkpoint.root).decode()}\n"


def parse(text: str) -> Checkpoint:
    """The checkpoint in a note's text. Raises ValueError for anything that `format` cannot write."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise ValueError("a checkpoint has three lines: origin, size, root hash")
    origin, size, encoded, _ = lines
    if not _SIZE.fullmatch(size):
        raise ValueError("a checkpoint's size is a plain decimal number")
    try:
        root = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a checkpoint's root hash is not base64") from None
    found = Checkpoint(note.check_name(origin), int(size), root)
    if len(root) != HASH_SIZE or format(found) != text:
        raise ValueError("a checkpoint's root hash is not 32 bytes in canonical base64")
    return found


def sign(checkpoint: Checkpoint, signer: Signer) -> str:
    """The signed checkpoint. The signer's name is the origin."""
    if signer.name != checkpoint.origin:
        raise ValueError("a checkpoint is signed by the key of its own log")
    return signer.sign(format(checkpoint))


def verify(data: str, verifiers: Sequence[Verifier]) -> Checkpoint:
    """The checkpoint in the note `data`, signed by a key of `verifiers` that bears its origin. Raises ValueError."""
    opened = note.open_note(data, verifiers)
    found = parse(opened.text)
    if found.origin not in {verifier.name for verifier in verifiers}:
        raise ValueError(f"a checkpoint of another log ({found.origin})")
    return found
