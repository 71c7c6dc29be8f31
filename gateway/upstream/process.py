"""One upstream program, talked to in lines of JSON over its standard streams, on behalf of one session.

It is started with an environment and a process group of its own, and nothing of it is left when it is done with. What
it writes to stderr is counted and thrown away: a program's log may hold anything.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import jsonrpc
from gateway.core.protocol.jsonrpc import Message
from gateway.upstream.base import StdioSettings
from gateway.upstream.switchboard import Switchboard, again

_GRACE_S = 2.0
"""How long a program gets to end by itself when its input closes, and again after SIGTERM."""
_READ_BYTES = 64 * 1024
_LIMITED = 'ulimit -v "$1" && ulimit -t "$2" && shift 2 && exec "$@" || exit 126'
"""Sets the limits before the program is there, so that neither it nor what it starts was ever without them."""

logger = logging.getLogger("phigate.upstream")


class Process:
    """A program that is run for one session, or for all. `ended` is told when it has ended by itself."""

    def __init__(self, settings: StdioSettings, ended: Callable[[Process], None] = lambda _: None) -> None:
        self.settings = settings
        self.board = Switchboard(self.write, shared=settings.shared)
        self.how = ""
        """How it ended by itself: its exit code or signal, and how much it wrote to stderr."""
        self.greeted = False
        self.ready = trio.Lock()
        """Held while the program is started and greeted."""
        self.stderr_bytes = 0
        self.stderr_lines = 0
        self._drained = trio.Event()
        """All of its stderr has been read."""
        self._known = trio.Event()
        """It is known how it ended."""
        self._ended = ended
        self._process: trio.Process | None = None
        self._writing = trio.StrictFIFOLock()
        self._living = trio.CancelScope()
        self._gone = trio.Event()

    @property
    def started(self) -> bool:
        """Whether the program has been started; it may have ended since (`board.dead`)."""
        return self._process is not None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start the program and carry what it says until it ends or `stop` is called. Afterwards nothing of it runs.

        Raises nothing: whoever talks to the program learns from the switchboard how it ended.
        """
        process = await self._start()
        task_status.started()
        if process is None:
            self._ended(self)
            return
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._count_stderr, process)
                nursery.start_soon(self._watch, process)
                with self._living:
                    await self._carry(process)
                nursery.cancel_scope.cancel()
        finally:
            self.board.end(UpstreamFault("its program was stopped", kind="closed"))
            with trio.CancelScope(shield=True):
                await _bury(process)
            self._gone.set()

    def stop(self) -> None:
        """Make `run` end the program."""
        self.board.end(UpstreamFault("its program was stopped", kind="closed"))
        self._living.cancel()

    async def wait(self) -> None:
        """Return when nothing of the program is left."""
        if self._process is not None:
            await self._gone.wait()

    async def write(self, message: Message) -> None:
        """Write one message. Raises UpstreamFault; a program that does not read what it is sent is given up."""
        process = self._process
        if self.board.dead is not None or process is None or process.stdin is None:
            raise again(self.board.dead or UpstreamFault("its program is not running", kind="closed"))
        # Shielded: half a line would garble everything that is written after it.
        with trio.CancelScope(shield=True, deadline=trio.current_time() + self.settings.deadlines.idle_s):
            try:
                async with self._writing:
                    await process.stdin.send_all(jsonrpc.format(message) + b"\n")
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                with trio.move_on_after(_GRACE_S):
                    await self._known.wait()
                raise self._gone_away() from None
            return
        fault = UpstreamFault("its program does not read what it is sent", kind="timeout")
        self.board.end(fault)
        self._living.cancel()
        raise fault

    async def _start(self) -> trio.Process | None:
        settings = self.settings
        try:
            self._process = await trio.lowlevel.open_process(
                command_of(settings),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=settings.cwd,
                env=dict(settings.environment),
                start_new_session=True,  # A group of its own, so that what it starts can be ended with it.
            )
        except OSError as error:
            self.how = f"it could not be started: {error.strerror}"
            why = f"its program could not be started ({error.strerror}); check its command"
            self.board.end(UpstreamFault(why, kind="unreachable"))
        return self._process

    async def _carry(self, process: trio.Process) -> None:
        """Give each message that the program writes to the switchboard, until it ends or says too much at once."""
        limits = self.settings.bounds.message
        try:
            async for line in _lines(process, limits.max_bytes):
                try:
                    message = jsonrpc.parse_upstream(line, limits)
                except UpstreamFault as fault:
                    # Programs print banners and JSON logs where only MCP belongs. Whatever claims to be a message could
                    # have been the answer that somebody waits for.
                    if b'"jsonrpc"' in line:
                        self.board.fail_all(fault)
                    continue
                await self.board.take(message)
        except UpstreamFault as fault:
            self.board.end(fault)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        else:
            with trio.move_on_after(_GRACE_S):
                await process.wait()
                await self._drained.wait()
        self._end(process)

    async def _watch(self, process: trio.Process) -> None:
        """Notice that the program has ended even if something that it started still holds its output open."""
        await process.wait()
        await trio.sleep(_GRACE_S)
        self._end(process)
        self._living.cancel()

    def _gone_away(self) -> UpstreamFault:
        return again(self.board.dead or UpstreamFault("its program has ended", kind="closed"))

    def _end(self, process: trio.Process) -> None:
        """The program is done. What it wrote to stderr may say why, and may say anything, so it is only counted."""
        if self.board.dead is not None:
            return
        self.how = f"{_cause(process.returncode)}, {self.stderr_lines} line{'s' * (self.stderr_lines != 1)} on stderr"
        logger.warning("upstream %s: its program ended: %s", self.settings.name, self.how)
        self.board.end(UpstreamFault(f"its program ended before its answer ({self.how})", kind="closed"))
        self._ended(self)
        self._known.set()

    async def _count_stderr(self, process: trio.Process) -> None:
        assert process.stderr is not None
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in process.stderr:
                self.stderr_bytes += len(data)
                self.stderr_lines += data.count(b"\n")
        self._drained.set()


def command_of(settings: StdioSettings) -> list[str]:
    """What is run: the program, in its sandbox and under its limits if it has any."""
    command = [*settings.launcher, *settings.command]
    memory, cpu = settings.bounds.max_memory_bytes, settings.bounds.max_cpu_s
    if memory is None and cpu is None:
        return command
    kib = "unlimited" if memory is None else str(memory // 1024)
    return ["/bin/sh", "-c", _LIMITED, "sh", kib, "unlimited" if cpu is None else str(cpu), *command]


def _cause(code: int | None) -> str:
    if code is None:
        return "it closed its output"
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


async def _lines(process: trio.Process, limit: int) -> AsyncIterator[bytes]:
    """The lines of its output, without their ends. Raises UpstreamFault when one is longer than `limit` bytes."""
    assert process.stdout is not None
    held: list[bytes] = []
    size = 0
    while data := await process.stdout.receive_some(_READ_BYTES):
        for piece in bytes(data).splitlines(keepends=True):
            size += len(piece)
            if size > limit:
                raise UpstreamFault(f"it sent a message larger than {limit} bytes", kind="oversize")
            held.append(piece)
            if piece.endswith(b"\n"):
                yield b"".join(held)
                held.clear()
                size = 0


async def _bury(process: trio.Process) -> None:
    """End the program, first by closing its input, at last by force, with everything that it has started."""
    if process.stdin is not None:
        await process.stdin.aclose()
    with trio.move_on_after(_GRACE_S):
        await process.wait()
    if process.returncode is None:
        _signal(process.pid, signal.SIGTERM)
        with trio.move_on_after(_GRACE_S):
            await process.wait()
    # Also when the program itself has ended: its group lives on in whatever it left behind.
    _signal(process.pid, signal.SIGKILL)
    await process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            await stream.aclose()


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)
