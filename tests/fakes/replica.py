"""A replica that has one call under way, for tests that stop it: `python -m tests.fakes.replica STORE KEYS`.

Appends an intent, says `begun` and waits for a line: `heal` has it see to it that its log works. Then it appends the
outcome twice, the second time when its log works, and says how that went.
"""

import sys
from pathlib import Path

import trio

from gateway.core.errors import EvidenceFault, GatewayError
from gateway.store import keys as keystore
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import intent, named, now, outcome


async def main(store, keys):
    async with EvidenceLog.open(store, keys, now=now) as log:
        await log.append(intent(None, "x1"))
        print("begun", flush=True)
        if await trio.to_thread.run_sync(sys.stdin.readline) == "heal\n":
            await heal(log)
        for _ in range(2):
            try:
                await log.append(outcome(None, "x1"))
            except GatewayError as fault:
                print(type(fault).__name__, fault.detail, flush=True)
            else:
                print("kept", flush=True)
            await heal(log)


async def heal(log):
    """Return when the log works."""
    while True:
        try:
            return await log.probe()
        except EvidenceFault:
            await trio.sleep(0.05)


if __name__ == "__main__":
    trio.run(main, named(sys.argv[1]), keystore.load(Path(sys.argv[2])))
