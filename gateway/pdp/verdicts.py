"""What the workers of one supervisor tell each other of bundles: one tries a bundle, the others take its word.

The word is in a file without a name, which the supervisor made and its workers alone inherit: nobody else can write to
it, and it ends with them. It is of a bundle's very bytes, tried by this version of phigate and of the engine. Only that
a bundle may decide is remembered; one that was refused is tried again by whoever asks again, and told why.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version

from gateway.core.policy.bundle import Bundle
from gateway.pdp import admission, replay

Admit = Callable[[Bundle], None]
"""Returns when a bundle may decide. Raises PolicyFault when it may not. Blocks."""


class Verdicts:
    """One worker's view of the file; its `admit` is an `Admit`."""

    def __init__(self, descriptor: int, *, trial: Admit = admission.admit, code: str | None = None) -> None:
        """`descriptor` is ours from here on. `code`: what tries bundles here, by default phigate and the engine."""
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor
        self._trial = trial
        self._code = code if code is not None else f"phigate {version('phigate')}, {replay.engine()}"

    def admit(self, bundle: Bundle) -> None:
        """Return when `bundle` may decide: at once when a worker found so, and when it is about to, once it has.

        Raises PolicyFault as admission does.
        """
        word = f"{bundle.digest} {self._code}\n".encode()
        with self._alone():
            size = os.fstat(self._descriptor).st_size
            if word in os.pread(self._descriptor, size, 0).splitlines(keepends=True):
                return
            self._trial(bundle)
            os.pwrite(self._descriptor, word, size)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process is in this block. The system lets the next one in when this one dies."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
