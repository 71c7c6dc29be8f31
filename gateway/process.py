"""What every process of the gateway has in common: the clock that it reads, and the form of what it logs.

The text of an error that nobody expected may quote a body, and so may the values in a traceback's lines. Of such an
error only its type and place are ever told.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import Enum
from types import TracebackType

DESCRIPTORS = 65_536
"""Open files that a worker asks for."""

about: ContextVar[tuple[str, str]] = ContextVar("about", default=("", ""))
"""The exchange and the trace that this task is busy with, for whoever reads the log; empty: none."""


class LogFormat(Enum):
    TEXT = "text"
    JSON = "json"
    """One object a line, for log collectors."""


def now() -> datetime:
    """The wall clock, in UTC: the only place where the gateway reads it."""
    return datetime.now(UTC)


def log_to_stderr(form: LogFormat = LogFormat.TEXT, *, worker: int | None = None) -> None:
    """The logger's one form: time, level, part and text. No PHI: nothing that a client or upstream sent is logged.

    `worker`: the place of this worker process among its supervisor's, told in each line of JSON.
    """
    handler = logging.StreamHandler(sys.stderr)
    text = _Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(text if form is LogFormat.TEXT else _JsonLines(worker))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
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
    """Writes errors that libraries log by type and place, and times as evidence has them: in UTC, and saying so."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def formatException(
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        return "\n".join(places(ei[1])) if ei[1] is not None else ""


class _JsonLines(_Discreet):
    """The same as JSON; with the exchange and the trace that it is about, where that is known."""

    def __init__(self, worker: int | None) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        exchange, trace = about.get()
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "worker": self._worker,
            "exchange": exchange or None,
            "trace": trace or None,
            "error": self.formatException(record.exc_info) if record.exc_info else None,
            **getattr(record, "fields", {}),
        }
        return json.dumps({name: value for name, value in line.items() if value is not None})


def tell(text: str, level: int = logging.ERROR) -> None:
    """Tell whoever started this process; in the log, where all of it is JSON."""
    handlers = logging.getLogger().handlers
    if any(isinstance(handler.formatter, _JsonLines) for handler in handlers):
        logging.getLogger("phigate").log(level, "%s", text)
    else:
        print(f"phigate: {text}", file=sys.stderr)


def _say(error: BaseException | None) -> None:
    for place in () if error is None else places(error):
        tell(f"failed: {place}")
