"""A gateway process that does one thing: when told to, it tries to spend the grant of one approval.

python -m tests.fakes.spender DIRECTORY APPROVAL      says `ready`, waits for a line, says `True` or `False`
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import trio

from gateway.core.commands import Resolution, Settled
from gateway.core.types import ApprovalId
from tests.fakes.evidence import Clock
from tests.fakes.house import process


async def run(directory: Path, approval: ApprovalId) -> None:
    async with process(directory, Clock(datetime.now(UTC))) as house:
        call = await house.call()
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        print(await house.spend(call, Resolution(approval, Settled.GRANTED)), flush=True)


if __name__ == "__main__":
    trio.run(run, Path(sys.argv[1]), ApprovalId(sys.argv[2]))
