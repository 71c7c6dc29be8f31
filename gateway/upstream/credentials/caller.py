"""Who called: the one thing of a request that its upstream credentials may depend on.

It travels beside the code and not through it: of all that stands between a request and its wire (bridges, sessions,
aggregates), nothing needs the caller's token, and what does not have it cannot leak it. A task inherits it from the one
that started it, so work that goes on without its client keeps whose work it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_TOKEN: ContextVar[str | None] = ContextVar("phigate caller", default=None)


@contextmanager
def calling(authorization: str | None) -> Iterator[None]:
    """While the block runs, and in what it starts, requests are made for who sent this `Authorization` header, which
    must have been verified; None: for somebody who has no token."""
    scheme, _, token = (authorization or "").partition(" ")
    before = _TOKEN.set(token.strip() if scheme.lower() == "bearer" else None)
    try:
        yield
    finally:
        _TOKEN.reset(before)


def token() -> str | None:
    """The access token of whoever called, None when there is none."""
    return _TOKEN.get()
