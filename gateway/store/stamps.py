"""How the store writes times and makes identifiers."""

from __future__ import annotations

import os
from datetime import UTC, datetime

_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def timestamp(at: datetime) -> str:
    """RFC 3339 in UTC with microseconds, always of one length, so that text sorts as time."""
    here = at if at.tzinfo is UTC else at.astimezone(UTC)
    return here.isoformat(timespec="microseconds")[:-6] + "Z"


def uuid7(at: datetime, entropy: bytes | None = None) -> str:
    """A UUIDv7 (RFC 9562 §5.7): sorts by `at`, then by `entropy`, ten random bytes that are used nowhere else."""
    time = f"{int(at.timestamp() * 1000):012x}"
    rest = (entropy or os.urandom(10)).hex()
    # Four bits say the version, and two of the next digit the variant.
    return f"{time[:8]}-{time[8:]}-7{rest[1:4]}-{_VARIANT[rest[4]]}{rest[5:8]}-{rest[8:]}"
