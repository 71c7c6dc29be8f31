"""What a worker that was killed leaves behind: the programs of its stdio upstreams, which the supervisor ends.

Linux gives the orphans of our children to us, if we ask for them (prctl(2), PR_SET_CHILD_SUBREAPER). A program that is
told by its parent's death instead (PR_SET_PDEATHSIG) would hear of the death of the thread that started it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def adopt() -> None:
    """From here on, whatever our children leave behind is ours. Elsewhere than on Linux nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end(workers: Collection[int]) -> None:
    """End what dead workers left behind, with the process groups of it; `workers` are the processes that live.

    An orphan whose group has its leader elsewhere belongs to a program of a worker that lives, and is left to it.
    """
    for orphan in _children() - set(workers):
        with suppress(ProcessLookupError):
            group = os.getpgid(orphan)
            if group != os.getpgid(0) and (group == orphan or not _lives(group)):
                os.killpg(group, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(orphan, os.WNOHANG)


def _children() -> set[int]:
    """Our children, by process id; empty where the system does not say."""
    try:
        threads = list(Path("/proc/self/task").iterdir())
        return {int(child) for thread in threads for child in (thread / "children").read_text().split()}
    except OSError:
        return set()


def _lives(process: int) -> bool:
    return Path(f"/proc/{process}").exists()
