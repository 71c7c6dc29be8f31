"""How the store writes times and makes identifiers."""

from __future__ import annotations

import os
from datetime import UTC, datetime


def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds, always of one length, so that text sorts as time."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def uuid7(at: datetime, entropy: bytes | None = None) -> str:
    """A UUIDv7 (RFC 9562 §5.7): sorts by `at`, then by `entropy`, ten random bytes that are used nowhere else."""
    value = int(at.timestamp() * 1000) << 80 | int.from_bytes(entropy or os.urandom(10), "big")
    value = value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
