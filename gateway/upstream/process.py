"""One upstream program, talked to in lines of JSON over its standard streams, on behalf of one session.

It is started with an environment and a process group of its own, and nothing of it is left when it is done with. What
it writes to stderr is counted and thrown away: a program's log may hold anything.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator
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
_ENDED = UpstreamFault("its program ended before its answer", kind="closed")


class Process:
    """A program that is run for one session."""

    def __init__(self, settings: StdioSettings) -> None:
        self.settings = settings
        self.board = Switchboard(self.write)
        self.greeted = False
        self.ready = trio.Lock()
        """Held while the program is started and greeted."""
        self.stderr_bytes = 0
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
                raise UpstreamFault("its program has ended", kind="closed") from None
            return
        fault = UpstreamFault("its program does not read what it is sent", kind="timeout")
        self.board.end(fault)
        self._living.cancel()
        raise fault

    async def _start(self) -> trio.Process | None:
        settings = self.settings
        try:
            self._process = await trio.lowlevel.open_process(
                list(settings.command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=settings.cwd,
                env=dict(settings.environment),
                start_new_session=True,  # A group of its own, so that what it starts can be ended with it.
            )
        except OSError as error:
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
        self.board.end(_ENDED)

    async def _watch(self, process: trio.Process) -> None:
        """Notice that the program has ended even if something that it started still holds its output open."""
        await process.wait()
        await trio.sleep(_GRACE_S)
        self.board.end(_ENDED)
        self._living.cancel()

    async def _count_stderr(self, process: trio.Process) -> None:
        assert process.stderr is not None
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in process.stderr:
                self.stderr_bytes += len(data)


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
