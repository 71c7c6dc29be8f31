"""What every process of the gateway has in common: the clock that it reads, and the form of what it logs."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime


def now() -> datetime:
    """The wall clock, in UTC: the only place where the gateway reads it."""
    return datetime.now(UTC)


def log_to_stderr() -> None:
    """The logger's one form: time, level, part and text. No PHI: nothing that a client or upstream sent is logged."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("hypercorn", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
