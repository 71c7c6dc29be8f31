"""A candidate policy beside the active one on live traffic: it decides nothing, and what it would change is recorded.

The data path hands over what was decided and never waits: what does not fit the backlog is dropped and counted. The
candidate runs in a process of its own (`shadow_child`), which may crash, hang or be slow without any harm to calls.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import IO, Self

import orjson
import trio

from gateway.core.commands import Decided
from gateway.core.errors import EvidenceFault, PolicyFault
from gateway.core.policy import impact, shadow
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.change import Change, Kind
from gateway.core.policy.decision import Entrypoint
from gateway.core.policy.shadow import Candidate, Tally
from gateway.core.types import Digest, Document, ExchangeId
from gateway.pdp import admission
from gateway.pdp.admission import Admit
from gateway.pdp.loader import Source
from gateway.pdp.shadow_child import SIZE
from gateway.process import places

logger = logging.getLogger("phigate.shadow")

BACKLOG = 4_096
"""Decisions that wait for the candidate."""
BACKLOG_BYTES = 16 * 2**20
BATCH = 256
GATHER_S = 0.1
"""Between two looks at the backlog: what gathers goes to the candidate in one message."""
BATCH_S = 60.0
"""For a batch; its process ends itself long before when a decision does not end."""
SUMMARY_S = 60.0
TOLD_A_MINUTE = 30
"""Differing decisions that get a leaf of their own."""
ENDED = 1_024
"""Exchanges that are remembered as ended by the candidate."""
LIVES = 5
"""Times that a candidate may end its process before it is given up."""


@dataclass(frozen=True, slots=True)
class Observed:
    """A decision that was made."""

    exchange: str
    active: Digest
    event: bytes = field(repr=False)


class _Ended(Exception):
    """The candidate's process is gone; `at` is the event of the batch that it was about."""

    def __init__(self, at: int) -> None:
        super().__init__("the candidate's process ended")
        self.at = at


class Shadow:
    """One worker's shadow. Everything but `note` and `status` is done by `run`, in one task."""

    def __init__(
        self,
        source: Source,
        record: Callable[[Document], Awaitable[None]],
        *,
        admit: Admit = admission.admit,
        summary_s: float = SUMMARY_S,
    ) -> None:
        """`record` makes the members of a `policy.shadow` leaf durable; raises EvidenceFault. `admit`: as
        `admission.admit`."""
        self._source = source
        self._record = record
        self._admit = admit
        self._summary_s = summary_s
        self._backlog: deque[Observed] = deque()
        self._bytes = 0
        self._candidate: Candidate | None = None
        self._bundle: Bundle | None = None
        self._process: _Process | None = None
        self._lives = 0
        self._state = "starting"
        self._refused = False
        self._ended: dict[str, None] = {}
        """Exchanges that the candidate would have ended, the newest last."""
        self._tallies: dict[Digest, Tally] = {}
        self._compared = self._differing = self._dropped = 0
        self._tellable = TOLD_A_MINUTE
        self._next_look = self._next_summary = self._next_minute = 0.0

    @property
    def status(self) -> Document:
        """The state for `/readyz`: words and counts, no reasons."""
        document: Document = {
            "state": self._state,
            "newest_refused": self._refused,
            "compared": self._compared,
            "differing": self._differing,
            "dropped": self._dropped,
        }
        return document | ({"revision": self._candidate.revision} if self._candidate is not None else {})

    def note(self, exchange: ExchangeId, decided: Decided) -> None:
        """Take down what was decided. Never waits, and never raises."""
        size = len(decided.event)
        if self._process is None or len(self._backlog) >= BACKLOG or self._bytes + size > BACKLOG_BYTES:
            self._dropped += 1
            if self._lives:
                self._tally(decided.bundle).dropped += 1
            return
        self._backlog.append(Observed(exchange, decided.bundle, decided.event))
        self._bytes += size

    async def run(self) -> None:
        """Compare for ever. What goes wrong here is told by the logger and ends the shadow, and nothing else."""
        try:
            while True:
                await self._round()
                await trio.sleep(GATHER_S)
        except Exception as error:  # A bug of ours in here is no reason to stop serving.
            self._state = "stopped"
            logger.error("the shadow policy is no longer asked: %s", "; ".join(places(error)))
        finally:
            await self._end_process()

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await process.end()

    async def finish(self) -> None:
        """Put on record what was counted since the last summary."""
        await self._summarise()

    async def _round(self) -> None:
        now = trio.current_time()
        if now >= self._next_look:
            await self._look()
            self._next_look = trio.current_time() + self._source.pause_s()
        if now >= self._next_minute:
            self._tellable, self._next_minute = TOLD_A_MINUTE, now + 60.0
        while self._backlog and self._process is not None:
            await self._compare([self._take() for _ in range(min(BATCH, len(self._backlog)))])
        if now >= self._next_summary:
            await self._summarise()
            self._next_summary = now + self._summary_s

    def _take(self) -> Observed:
        observed = self._backlog.popleft()
        self._bytes -= len(observed.event)
        return observed

    async def _look(self) -> None:
        """Take what lies at the source for the candidate, if it changed and is admitted."""
        try:
            found = await self._source.look()
            if found is None:
                return
            self._refused = False
            if self._candidate is not None and found.digest == self._candidate.digest:
                return
            await trio.to_thread.run_sync(self._admit, found)
        except PolicyFault as fault:
            self._refused = True
            if self._process is None:
                self._state = "refused"
            stays = "" if self._process is None else " and the one before stays"
            logger.error("the shadow policy at %s is not used%s: %s", self._source.label, stays, fault.detail)
            return
        await self._summarise()
        self._bundle, self._candidate = found, Candidate(found.digest, found.manifest.revision)
        self._lives = LIVES
        await self._start()
        logger.info("policy %s runs in the shadow: bundle %s", found.manifest.revision, found.digest)

    async def _start(self) -> None:
        assert self._bundle is not None
        await self._end_process()
        while self._lives:
            process = await _Process.start()
            try:
                await process.ask(self._bundle.archive)
            except _Ended:
                self._lives -= 1
            else:
                self._process, self._state = process, "comparing"
                return
        self._state = "stopped"
        text = "the shadow policy ended its process %d times and is no longer asked; a changed one will be"
        logger.error(text, LIVES)

    async def _compare(self, batch: list[Observed]) -> None:
        assert self._process is not None
        try:
            answers = await self._process.ask(b"\n".join(observed.event for observed in batch))
        except _Ended as ended:
            await self._bury(batch, ended.at)
            return
        for observed, answer in zip(batch, answers, strict=True):
            await self._counted(observed, _changes(answer))

    async def _bury(self, batch: list[Observed], at: int) -> None:
        """The candidate ended its process at one event of the batch: that is what it would have done to the call."""
        logger.warning("the shadow policy ended its process while deciding in exchange %s", batch[at].exchange)
        self._backlog.extendleft(reversed(batch[:at] + batch[at + 1 :]))
        self._bytes += sum(len(observed.event) for observed in batch) - len(batch[at].event)
        self._lives -= 1
        self._tally(batch[at].active).stopped += 1
        await self._counted(batch[at], (Change(Kind.FAILS, ("policy_stopped",)),))
        await self._start()
        if self._process is None:
            for observed in self._backlog:
                self._tally(observed.active).dropped += 1
            self._dropped += len(self._backlog)
            self._backlog.clear()
            self._bytes = 0

    async def _counted(self, observed: Observed, changes: tuple[Change, ...]) -> None:
        if observed.exchange in self._ended:
            changes = ()  # Its call would be denied: there would be no result to decide.
        elif any(change.kind in impact.STOPS for change in changes):
            self._ended[observed.exchange] = None
            if len(self._ended) > ENDED:
                del self._ended[next(iter(self._ended))]
        tally = self._tally(observed.active)
        tally.count(changes)
        self._compared += 1
        if not changes or self._candidate is None:
            return
        self._differing += 1
        if self._tellable:
            self._tellable -= 1
            entrypoint = Entrypoint(orjson.loads(observed.event)["path"])
            members = shadow.difference(self._candidate, observed.active, observed.exchange, entrypoint, changes)
            if await self._recorded(members):
                return
        tally.untold += 1

    def _tally(self, active: Digest) -> Tally:
        return self._tallies.setdefault(active, Tally())

    async def _summarise(self) -> None:
        for active, tally in list(self._tallies.items()):
            self._tallies.pop(active, None)
            if tally and self._candidate is not None:
                if await self._recorded(tally.members(self._candidate, active)):
                    continue
                tally.dropped += self._tally(active).dropped  # All that may have been counted meanwhile, by `note`.
                self._tallies[active] = tally

    async def _recorded(self, members: Document) -> bool:
        try:
            await self._record(members)
        except EvidenceFault as fault:
            logger.error("what the shadow policy did could not be put on record: %s", fault.detail)
            return False
        return True


def _changes(answer: object) -> tuple[Change, ...]:
    found = answer if isinstance(answer, list) else []
    return tuple(Change(Kind(each["kind"]), tuple(each["causes"])) for each in found)


class _Process:
    """A candidate's process, and the file in which it notes which event it is about."""

    def __init__(self, process: trio.Process, mark: IO[bytes]) -> None:
        self._process = process
        self._mark = mark

    @classmethod
    async def start(cls) -> Self:
        """A process that has been told nothing yet."""
        mark = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`.
        mark.write(bytes(SIZE.size))
        mark.flush()
        process = await trio.lowlevel.open_process(
            [sys.executable, "-P", "-m", "gateway.pdp.shadow_child", str(mark.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # A panic may quote its input there.
            pass_fds=[mark.fileno()],
            # Nothing of our environment: the child runs other people's code and needs none of our secrets.
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        return cls(process, mark)

    async def ask(self, message: bytes) -> list[object]:
        """What the process answers to a message. Raises _Ended when it does not; it is gone then."""
        assert self._process.stdin is not None
        try:
            with trio.fail_after(BATCH_S):
                await self._process.stdin.send_all(SIZE.pack(len(message)) + message)
                (size,) = SIZE.unpack(await self._exactly(SIZE.size))
                answers = orjson.loads(await self._exactly(size))
        except (trio.BrokenResourceError, trio.TooSlowError):
            at = self._at()
            await self.end()
            raise _Ended(at) from None
        return answers if isinstance(answers, list) else []

    async def _exactly(self, size: int) -> bytes:
        assert self._process.stdout is not None
        data = bytearray()
        while len(data) < size:
            part = await self._process.stdout.receive_some(size - len(data))
            if not part:
                raise trio.BrokenResourceError("the process ended")
            data += part
        return bytes(data)

    def _at(self) -> int:
        (at,) = SIZE.unpack(os.pread(self._mark.fileno(), SIZE.size, 0))
        return int(at)

    async def end(self) -> None:
        """End the process, if it has not ended, and wait until it has."""
        self._process.kill()
        with trio.CancelScope(shield=True):
            await self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    await pipe.aclose()
        self._mark.close()
