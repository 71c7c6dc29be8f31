"""What every process of the gateway has in common: the clock that it reads, and the form of what it logs.

The text of an error that nobody expected may quote a body, and so may the values in a traceback's lines. Of such an
error only its type and place are ever told.
"""

from __future__ import annotations

import logging
import resource
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType

DESCRIPTORS = 65_536
"""Open files that a worker asks for."""


def now() -> datetime:
    """The wall clock, in UTC: the only place where the gateway reads it."""
    return datetime.now(UTC)


def log_to_stderr() -> None:
    """The logger's one form: time, level, part and text. No PHI: nothing that a client or upstream sent is logged."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    for chatty in ("hypercorn", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def allow_descriptors() -> None:
    """As many open files as the system lets us have, up to DESCRIPTORS: each call takes two sockets.

    The usual soft limit of 1024 is for programs that use `select`; trio does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def report_uncaught() -> None:
    """From here on, an error that nothing catches is told by type and place, in whichever thread it is raised.

    Trio's own failures come out of `trio.run`, so they are told the same way.
    """
    sys.excepthook = lambda _, error, __: _say(error)
    threading.excepthook = lambda uncaught: _say(uncaught.exc_value)
    sys.unraisablehook = lambda uncaught: _say(uncaught.exc_value)


def places(error: BaseException) -> Iterator[str]:
    """Where `error`, those that it groups and its cause were raised and of what type: `KeyError at file:line`."""
    frames = traceback.extract_tb(error.__traceback__)
    yield f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}" if frames else type(error).__name__
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for one in (*inner, error.__cause__):
        if one is not None:
            yield from places(one)


class _Discreet(logging.Formatter):
    """Writes errors that libraries log by type and place."""

    def formatException(
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        return "\n".join(places(ei[1])) if ei[1] is not None else ""


def _say(error: BaseException | None) -> None:
    for place in () if error is None else places(error):
        print(f"phigate: failed: {place}", file=sys.stderr)
