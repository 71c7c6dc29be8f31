"""Reading the body of a small request: bounded by what arrives, not by what its headers promise."""

from __future__ import annotations

from urllib.parse import parse_qsl

from quart import request

LIMIT = 64 * 1024
"""Bytes of a request to the API or of a form; the largest is a pasted token."""


async def read(limit: int = LIMIT) -> bytes | None:
    """The body of the current request, None as soon as it has more than `limit` bytes."""
    data = bytearray()
    async for chunk in request.body:
        data += chunk
        if len(data) > limit:
            return None
    return bytes(data)


def fields(data: bytes) -> dict[str, str]:
    """The fields of a form as browsers send it (URL Standard §5.1), the last of each name; empty when it is none."""
    try:
        return dict(parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=20))
    except ValueError:
        return {}
