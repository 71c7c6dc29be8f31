"""The process in which a shadow candidate decides: told recorded events in batches, it says what would change.

It runs other people's code, so it may crash, hang or grow at any event. It is the last to get a turn at the processor,
its memory is limited, and the kernel ends it when one decision takes too much time; which event that was it notes in a
file that its parent reads.
"""

from __future__ import annotations

import os
import resource
import signal
import struct
import sys

import orjson

from gateway.core.policy import bundle as bundles
from gateway.core.policy.change import Change
from gateway.core.types import Json
from gateway.pdp import diff, replay
from gateway.pdp.engine import Pdp

SIZE = struct.Struct(">I")
"""Before each message: how many bytes follow."""
DECISION_S = 1.0
"""CPU time after which a decision ends the process: four times what a decision may take in service."""
MEMORY = 2 * 2**30
_NICE = 19


def main(arguments: list[str]) -> int:
    """Read the candidate's archive, then batches, from standard input until it ends; write an answer for each."""
    mark = int(arguments[0])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICE)
    # Whatever the policy prints must not be taken for an answer.
    out = os.dup(1)
    os.dup2(2, 1)
    archive = _read()
    if archive is None:
        return 0
    candidate = Pdp(bundles.read(archive))
    _write(out, [])  # Ready.
    while (batch := _read()) is not None:
        answers: list[Json] = []
        for index, event in enumerate(batch.split(b"\n")):
            os.pwrite(mark, SIZE.pack(index), 0)
            signal.setitimer(signal.ITIMER_PROF, DECISION_S)  # SIGPROF ends a process that does not handle it.
            answers.append([change.document for change in _changes(candidate, event)])
            signal.setitimer(signal.ITIMER_PROF, 0)
        _write(out, answers)
    return 0


def _changes(candidate: Pdp, data: bytes) -> tuple[Change, ...]:
    event = replay.parse(data)
    question = None if event is None else diff.asked(event)
    return () if event is None or question is None else diff.changes(candidate, event, question)


def _read() -> bytes | None:
    head = sys.stdin.buffer.read(SIZE.size)
    return sys.stdin.buffer.read(SIZE.unpack(head)[0]) if len(head) == SIZE.size else None


def _write(out: int, answers: list[Json]) -> None:
    text = orjson.dumps(answers)
    data = SIZE.pack(len(text)) + text
    while data:
        data = data[os.write(out, data) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
