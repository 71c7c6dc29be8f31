"""Reads off the parts of a worker, every so often, what metrics tell of their state.

Beside the work and never in its way: what goes wrong here ends the readings, and is told, and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import trio

from gateway.core.errors import EvidenceFault
from gateway.doors import Doors
from gateway.identity.issuers import Issuers
from gateway.pdp.loader import ActivePolicy
from gateway.pdp.shadow import Shadow
from gateway.process import places
from gateway.store.approvals import Approvals
from gateway.store.sequencer import EvidenceLog
from gateway.telemetry.readings import Reader, Readings

EVERY_S = 1.0
APPROVALS_S = 5.0
"""Between two looks at what waits for reviewers, which ask the store."""

logger = logging.getLogger("phigate")


@dataclass(frozen=True, slots=True)
class Sampler:
    """What is read from."""

    reader: Reader
    log: EvidenceLog
    policy: ActivePolicy
    issuers: Issuers
    doors: Doors
    approvals: Approvals
    beside: Shadow | None
    key_months: Callable[[], int] | None
    """Counts the months that replicas have wrapping keys for; None where they are made as months begin."""

    async def run(self) -> None:
        """Read for ever."""
        due = trio.current_time()
        try:
            while True:
                self.reader.put(self._readings())
                if trio.current_time() >= due:
                    due = trio.current_time() + APPROVALS_S
                    await self._waiting()
                await trio.sleep(EVERY_S)
        except Exception as error:  # A bug of ours in here is no reason to stop serving.
            logger.error("metrics are not kept up to date any more: %s", "; ".join(places(error)))

    def _readings(self) -> Readings:
        shadow = {} if self.beside is None else self.beside.status
        return Readings(
            evidence_fault=self.log.fault is not None,
            unsigned_s=self.log.unsigned_s,
            policy_refused=self.policy.status.trouble is not None,
            config_refused=self.doors.status()["newest"] != "in force",
            key_months=None if self.key_months is None else self.key_months(),
            keys_age_s=self.issuers.ages(),
            issuers_failing=self.issuers.failing(),
            shadow={name: number for name, number in shadow.items() if type(number) is int},
        )

    async def _waiting(self) -> None:
        try:
            self.reader.approvals(*await self.approvals.waiting())
        except EvidenceFault:
            return  # Which the readings tell.
