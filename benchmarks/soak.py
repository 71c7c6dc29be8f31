"""`kill -9` in a loop under load: what the gateway promised must be true of what it left behind.

Clients of both eras read, write, stream, hold for approval and hang up, through two workers; a reviewer answers; and
again and again everything, or one worker, is killed. At the end nothing that a client received may be missing from the
log, nothing may have run twice, and the log must verify. `make soak` runs it for minutes, `make test` for seconds.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import trio

from tests.chaos import upstream, wire
from tests.chaos.audit import Seen, Told, audit
from tests.chaos.upstream import Ward
from tests.chaos.wire import Agent, Answer, Connection, Lost
from tests.e2e import harness, issuer
from tests.e2e.harness import Gateway, Upstream

CLIENTS = 12
LEAST = 2
"""Kills of each kind that a run has at least, however short it is."""
RETRIES = 6
"""How often a client asks again about a call that waits for approval."""
HOLD_S = 0.7
REVIEW_S = 0.2
"""How often the reviewer looks."""
SERVES_AGAIN_S = 15.0
"""With one worker killed, somebody must have been answered within this time."""
SETTINGS = {"gateway": {"hold_s": HOLD_S, "drain_s": 5, "keepalive_s": 1}}


@dataclass
class Soak:
    """One run: the parts, and the count of what happened."""

    gateway: Gateway
    ward: Ward
    random: random.Random
    say: Callable[[str], None]
    seen: Seen = field(default_factory=Seen)
    kills: int = 0
    worker_kills: int = 0
    lost: int = 0
    """Answers that a client did not get to the end of."""
    granted: int = 0
    over: bool = False
    _logged: int = 0
    """How long the gateway's logger output was at its last start."""
    _numbers: count[int] = field(default_factory=count)

    async def run(self, seconds: float) -> Told:
        """Load and kill for `seconds`, then stop the gateway and audit. AssertionError: a promise was broken."""
        await self._start()
        await wire.listed(self._agent("analyst", modern=True))
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(self._client, number % 2 == 0)
            nursery.start_soon(self._review)
            await self._kill_until(trio.current_time() + seconds)
            self.over = True
        await trio.to_thread.run_sync(self.gateway.stop)
        told = await trio.to_thread.run_sync(partial(audit, self.gateway, self.seen, self.ward.calls, at_rest=True))
        await trio.to_thread.run_sync(self.gateway.check)
        return told

    async def _kill_until(self, end: float) -> None:
        while trio.current_time() < end or self.kills < LEAST or self.worker_kills < LEAST:
            await trio.sleep(self.random.uniform(0.2, 2.0))
            if not self._all_serve():
                continue
            one = self.worker_kills < LEAST if trio.current_time() > end else self.random.random() < 0.5
            if one:
                await self._kill_one()
            else:
                self.kills += 1
                await trio.to_thread.run_sync(self.gateway.kill)
                await self._start()
            self.say(self.progress)
        # So that the last kill is recovered from, too, and those who wait are answered.
        await trio.sleep(1.0)

    async def _kill_one(self) -> None:
        """Kill one worker of several; the others go on serving."""
        self.worker_kills += 1
        before = len(self.seen.replies)
        os.kill(self.random.choice(self.gateway.workers()), signal.SIGKILL)
        with trio.move_on_after(SERVES_AGAIN_S):
            while len(self.seen.replies) == before:
                await trio.sleep(0.01)
        assert len(self.seen.replies) > before, "one worker was killed, and the other served nobody"

    async def _start(self) -> None:
        self._logged = self.gateway.log.stat().st_size if self.gateway.log.exists() else 0
        await trio.to_thread.run_sync(self.gateway.start)

    def _all_serve(self) -> bool:
        """Whether every worker since the last start has got as far as serving; if not, killing one could leave none."""
        log = self.gateway.log.read_bytes()[self._logged :]
        return log.count(b" is in force: ") == log.count(b" started\n")

    async def _client(self, modern: bool) -> None:
        """One client after the other, each with a connection of its own, until it is over."""
        while not self.over:
            agent = self._agent(self.random.choice(("analyst", "clinician")), modern)
            try:
                async with wire.connected(agent.port) as connection:
                    await agent.greet(connection)
                    for _ in range(self.random.randint(1, 30)):
                        await self._one(agent, connection)
                        if self.over:
                            break
            except Lost as lost:
                self.lost += lost.answer.status > 0
                await trio.sleep(0.05)

    def _agent(self, who: str, modern: bool) -> Agent:
        return Agent(self.gateway.port, "ward", self.gateway.issuer.token(who), modern)

    async def _one(self, agent: Agent, connection: Connection) -> None:
        """One call, brought to its end, or hung up on."""
        tool = self.random.choices(("read_patient", "note", "stream", "slow", "amend"), (10, 4, 2, 2, 3))[0]
        token = f"t{next(self._numbers)}"
        with trio.move_on_after(self.random.uniform(0, 0.2) if self.random.random() < 0.05 else 60) as patience:
            for attempt in range(RETRIES):
                answer = await self._ask(agent, connection, tool, f"{token}-{attempt}", token)
                if not _pending(answer):
                    return
        if patience.cancelled_caught:
            raise Lost(Answer())

    async def _ask(self, agent: Agent, connection: Connection, tool: str, ident: str, token: str) -> Answer:
        try:
            answer = await agent.call(connection, tool, ident=ident, token=token)
        except Lost as lost:
            self.seen.note(ident, lost.answer)  # Each event that arrived whole is a promise.
            raise
        self.seen.note(ident, answer)
        if answer.status == 404:
            raise Lost(answer)  # The session has ended.
        return answer

    async def _review(self) -> None:
        """Grant three of four, refuse the others."""
        token = self.gateway.issuer.token("officer")
        while not self.over:
            await trio.sleep(REVIEW_S)
            with suppress(Lost), trio.move_on_after(5):
                _, listed = await wire.fetch(self.gateway.port, "GET", "/api/approvals?state=pending", token)
                for approval in listed["approvals"]:
                    verb = "grant" if self.random.random() < 0.75 else "refuse"
                    path = f"/api/approvals/{approval['id']}/{verb}"
                    status, _ = await wire.fetch(self.gateway.port, "POST", path, token, {"reason": "soak"})
                    self.granted += status == 200 and verb == "grant"

    @property
    def progress(self) -> str:
        """One line about how far it is."""
        return (
            f"{self.kills} kills, {self.worker_kills} of one worker · {len(self.seen.replies)} replies, "
            f"{self.lost} cut off · {sum(self.ward.calls.values())} calls ran · {self.granted} approvals granted"
        )


def _pending(answer: Answer) -> bool:
    result: Any = answer.last.get("result", {})
    return isinstance(result, dict) and "approval_pending" in str(result.get("_meta", ""))


async def soak(place: Path, *, seconds: float, seed: int, say: Callable[[str], None]) -> tuple[Soak, Told]:
    """A whole run with its files in `place`. Raises AssertionError when a promise was broken."""
    with issuer.running() as people:
        async with upstream.ward() as ward:
            upstreams = [Upstream("ward", ward.settings)]
            gateway = harness.prepare(place, people, upstreams, workers=2, settings=SETTINGS)
            gateway.phi |= upstream.identifiers()
            run = Soak(gateway, ward, random.Random(seed), say)
            try:
                return run, await run.run(seconds)
            finally:
                await trio.to_thread.run_sync(gateway.kill)


def main() -> int:
    """Run it as a command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="default: another one each time")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.minutes:g} minutes", flush=True)
    show = partial(print, end="\r" if sys.stdout.isatty() else "\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="phigate-soak-") as place:
        run, told = trio.run(partial(soak, Path(place), seconds=options.minutes * 60, seed=options.seed, say=show))
    print(f"\n{run.progress}")
    print(", ".join(f"{number} {kind}" for kind, number in sorted(told.kinds.items())))
    print("Every reply is on record, nothing ran twice, no exchange is open, and the log verifies.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
