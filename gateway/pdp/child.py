"""Policy code run in a process that can be ended: regorus cannot be interrupted, may crash and has no memory limit.

`run` gives a function of ours some bytes in a child and returns the bytes that it answers; `stream` does the same with
a function that yields answers, each of which has its own time limit. What goes wrong over there is a PolicyFault here.
"""

from __future__ import annotations

import importlib
import math
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import IO

from gateway.core.errors import PolicyFault

MEMORY = 2 * 2**30
"""Address space of the child, bytes. Python, regorus and the shipped library take 0.3 GiB of it."""

START_S = 60.0
"""What the first answer may take beyond its limit: the child starts Python and loads the engine, on a busy machine."""

_LOOK = "Look for a rule that never ends or a literal of great depth (`phigate policy check`)."
_HEAD = struct.Struct(">BQ")
_ANSWER, _FAULT, _END = range(3)
_NO_MEMORY = 3
"""The exit code of a child that met its memory limit."""


class End(Enum):
    """How a child came to its end before it had answered."""

    LATE = "late"
    CRASHED = "crashed"
    MEMORY = "memory"


class Stopped(PolicyFault):
    """The child did not answer: it was late and was killed, it crashed, or it met its memory limit."""

    def __init__(self, detail: str, end: End) -> None:
        super().__init__(detail)
        self.end = end


def run(
    target: Callable[[bytes], bytes],
    payload: bytes,
    *,
    wall_s: float,
    cpu_s: float | None = None,
    memory: int = MEMORY,
) -> bytes:
    """What `target`, a function at the top of one of our modules, answers to `payload` in a child of its own.

    `wall_s` and `cpu_s`, as much as `wall_s` if not said, are for the function alone; starting the child is not
    counted. Raises Stopped when the child took longer, needed more than `memory` bytes or crashed, and the PolicyFault
    that the function raised.
    """
    (answer,) = stream(target, payload, each_s=wall_s, cpu_s=cpu_s, memory=memory)
    return answer


def stream(
    target: Callable[[bytes], bytes | Iterable[bytes]],
    payload: bytes,
    *,
    each_s: float,
    cpu_s: float | None = None,
    memory: int = MEMORY,
) -> Iterator[bytes]:
    """Each answer that `target` yields, as it comes; at most `each_s` seconds pass in the child between two of them,
    and at most `cpu_s` of CPU time.

    Raises as `run` does. Closing the iterator ends the child.
    """
    name = f"{target.__module__}:{target.__qualname__}"
    # Nothing of our environment: the child runs other people's code and needs none of our secrets.
    with subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, name, str(each_s if cpu_s is None else cpu_s), str(memory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # A panic may quote its input there.
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as child:
        try:
            yield from _answers(child, payload, each_s)
        finally:
            child.kill()


def _answers(child: subprocess.Popen[bytes], payload: bytes, each_s: float) -> Iterator[bytes]:
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(payload)
        child.stdin.close()
    except BrokenPipeError:
        raise _ended(child) from None
    kind, text = _message(child, child.stdout, START_S)
    while kind == _ANSWER:
        if text:
            yield text[1:]
        kind, text = _message(child, child.stdout, each_s)
    if kind == _FAULT:
        raise PolicyFault(text.decode())


def _message(child: subprocess.Popen[bytes], pipe: IO[bytes], wait_s: float) -> tuple[int, bytes]:
    until = time.monotonic() + wait_s
    kind, size = _HEAD.unpack(_exactly(child, pipe, _HEAD.size, until, wait_s))
    return kind, _exactly(child, pipe, size, until, wait_s)


def _exactly(child: subprocess.Popen[bytes], pipe: IO[bytes], size: int, until: float, wait_s: float) -> bytes:
    """The next `size` bytes that the child writes, before the time `until`. Raises Stopped."""
    parts: list[bytes] = []
    ready = select.poll()  # Not `select`, which cannot look at a descriptor beyond 1023.
    ready.register(pipe, select.POLLIN)
    while size:
        if not ready.poll(max(0.0, until - time.monotonic()) * 1000):
            child.kill()
            raise Stopped(
                f"The policy was still being evaluated after {wait_s:g} s, and was stopped. {_LOOK}",
                End.LATE,
            )
        part = os.read(pipe.fileno(), min(size, 2**20))
        if not part:
            raise _ended(child)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _ended(child: subprocess.Popen[bytes]) -> Stopped:
    """What to say of a child that is gone without an answer."""
    code = child.wait()
    if code == -signal.SIGXCPU:
        return Stopped(f"The policy used up the CPU time that it may have, and was stopped. {_LOOK}", End.LATE)
    if code < 0:
        name = signal.Signals(-code).name
        why = "endless recursion, or more memory than it may have"
        return Stopped(f"Evaluating the policy ended its process ({name}): {why}.", End.CRASHED)
    if code == _NO_MEMORY:
        return Stopped("The policy needs more memory than it may have.", End.MEMORY)
    return Stopped(f"Evaluating the policy failed: its process ended with {code}.", End.CRASHED)


def main(arguments: list[str]) -> int:
    """The child: limits itself, reads the payload from standard input and writes answers to standard output."""
    (module, _, name), cpu_s, memory = arguments[0].partition(":"), float(arguments[1]), int(arguments[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Whatever the policy prints must not be taken for an answer.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    target: Callable[[bytes], bytes | Iterable[bytes]] = getattr(importlib.import_module(module), name)
    try:
        payload = sys.stdin.buffer.read()
        _write(out, _ANSWER)
        for answer in _each(target, payload, cpu_s):
            _write(out, _ANSWER, b"\0" + answer)
        _write(out, _END)
    except PolicyFault as fault:
        _write(out, _FAULT, fault.detail.encode())
    except MemoryError:  # Python met the limit before Rust, which would have ended the process.
        return _NO_MEMORY
    return 0


def _each(target: Callable[[bytes], bytes | Iterable[bytes]], payload: bytes, cpu_s: float) -> Iterator[bytes]:
    """The answers, none of which may take more CPU time than `cpu_s`, whether anybody is left to kill us or not."""
    _limit_cpu(cpu_s)
    answers = target(payload)
    for answer in (answers,) if isinstance(answers, bytes) else answers:
        yield answer
        _limit_cpu(cpu_s)


def _limit_cpu(more_s: float) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + more_s) + 1, hard))


def _write(out: IO[bytes], kind: int, text: bytes = b"") -> None:
    out.write(_HEAD.pack(kind, len(text)) + text)
    out.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
