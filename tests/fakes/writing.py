"""A process that writes evidence until it is done or killed.

`python -m tests.fakes.writing DB KEYS NAME COUNT [LIMIT]` or, see `die_at_each_statement`, `… die DB KEYS`.

Prints `exchange` for each exchange whose outcome was acknowledged as durable, and not before.
LIMIT is the largest file, in bytes, that the process may write.
"""

import os
import resource
import sys
from pathlib import Path

import trio

from gateway.core.errors import EvidenceFault
from gateway.store import keys as keystore
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import Fails, intent, now, outcome

TASKS = 4


async def write(path, keys, name, count, **options):
    async with EvidenceLog.open(path, keys, now=now, **options) as log, trio.open_nursery() as nursery:
        session = await log.session(name, members={"actor": name}, idle_s=60)

        async def work(task):
            for number in range(count):
                exchange = f"{name}-{task}-{number}"
                await log.append(intent(session, exchange))
                await log.append(outcome(session, exchange))
                os.write(1, f"{exchange}\n".encode())

        for task in range(TASKS):
            nursery.start_soon(work, task)


def main():
    path, directory, name, count, *limit = sys.argv[1:]
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit[0]), int(limit[0])))
    try:
        trio.run(write, Path(path), keystore.load(Path(directory)), name, int(count))
    except* EvidenceFault as faults:
        print("fault", faults.exceptions[0], flush=True)


def die_at_each_statement(path, directory):
    """Fork a writer for every statement there is, killed at that statement; print what each had acknowledged."""
    keys = keystore.load(directory)
    for at in range(1, 10_000):
        child = os.fork()
        if child == 0:
            trio.run(one_exchange, path, keys, at)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            return
        os.write(1, b"killed\n")


async def one_exchange(path, keys, at):
    async with EvidenceLog.open(path, keys, now=now, connect=Fails(at, "killed")) as log:
        session = await log.session(f"session {at}", members={}, idle_s=60)
        await log.append(intent(session, f"x{at}"))
        os.write(1, f"x{at} begun\n".encode())
        await log.append(outcome(session, f"x{at}"))
        os.write(1, f"x{at} ended\n".encode())


if __name__ == "__main__":
    if sys.argv[1] == "die":
        die_at_each_statement(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
