"""What the workers of one supervisor tell each other of bundles: one tries a bundle, the others take its word.

The word is in a file without a name, which the supervisor made and its workers alone inherit: nobody else can write to
it, and it ends with them. It is of a bundle's very bytes, tried by this version of phigate and of the engine. That a
bundle may decide is remembered; that it may not is for those who waited to hear it, and who asks later tries it again.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version

import orjson

from gateway.core.errors import PolicyFault
from gateway.core.policy.bundle import Bundle
from gateway.pdp import admission, replay
from gateway.pdp.admission import Admit


class Verdicts:
    """One worker's view of the file; its `admit` is an `Admit`."""

    def __init__(self, descriptor: int, *, trial: Admit = admission.admit, code: str | None = None) -> None:
        """`descriptor` is ours from here on. `code`: what tries bundles here, by default phigate and the engine."""
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor
        self._thread = threading.Lock()
        self._trial = trial
        self._code = code if code is not None else f"phigate {version('phigate')}, {replay.engine()}"

    def admit(self, bundle: Bundle) -> None:
        """Return when `bundle` may decide: at once when a worker found so, and when one is about to, once it has.

        Raises PolicyFault as admission does.
        """
        asked = time.monotonic()
        with self._alone():
            size = os.fstat(self._descriptor).st_size
            for digest, code, at, fault in _words(os.pread(self._descriptor, size, 0)):
                if (digest, code) == (bundle.digest, self._code) and (fault is None or at >= asked):
                    return _told(fault)
            fault = self._tried(bundle)
            word = orjson.dumps([bundle.digest, self._code, time.monotonic(), fault])
            os.pwrite(self._descriptor, b"\n" + word, size)
        return _told(fault)

    def _tried(self, bundle: Bundle) -> str | None:
        try:
            self._trial(bundle)
        except PolicyFault as fault:
            return fault.detail
        return None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else is in this block. The system lets the next process in when this one dies."""
        with self._thread:  # The system's lock is the whole process's.
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


def _words(data: bytes) -> Iterator[tuple[str, str, float, str | None]]:
    """What was said; half a line of one who died while he wrote it says nothing."""
    for line in data.splitlines():
        with suppress(orjson.JSONDecodeError):
            digest, code, at, fault = orjson.loads(line)
            yield digest, code, at, fault


def _told(fault: str | None) -> None:
    if fault is not None:
        raise PolicyFault(fault)
