"""A process that writes evidence until it is done or killed.

`python -m tests.fakes.writing DB KEYS NAME COUNT [LIMIT]` or, see `die_at_each_statement`, `… die DB KEYS`.

Prints `exchange` for each exchange whose outcome was acknowledged as durable, and not before.
LIMIT is the largest file, in bytes, that the process may write.
"""

import os
import resource
import signal
import sys
from pathlib import Path

import trio

from gateway.core.errors import EvidenceFault
from gateway.store import keys as keystore
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import Fails, intent, named, now, outcome

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
        trio.run(write, named(path), keystore.load(Path(directory)), name, int(count))
    except* EvidenceFault as faults:
        print("fault", faults.exceptions[0], flush=True)


def die_at_each_statement(store, directory):
    """Fork a writer for every statement there is, killed at that statement; print what each had acknowledged.

    Twice: the first to live has made the store, and those after it find it there.
    """
    keys = keystore.load(directory)
    for found in ("new", "there"):
        at, code = 0, signal.SIGKILL
        while code == signal.SIGKILL:
            at += 1
            child = os.fork()
            if child == 0:
                trio.run(one_exchange, store, keys, at, f"x{at} {found}")
                os._exit(0)
            _, status = os.waitpid(child, 0)
            code = -os.waitstatus_to_exitcode(status)
            os.write(1, b"killed\n" if code else b"lived\n")


async def one_exchange(store, keys, at, exchange):
    async with EvidenceLog.open(store, keys, now=now, connect=Fails(at, "killed")) as log:
        session = await log.session(f"session of {exchange}", members={}, idle_s=60)
        await log.append(intent(session, exchange))
        os.write(1, f"{exchange}: begun\n".encode())
        await log.append(outcome(session, exchange))
        os.write(1, f"{exchange}: ended\n".encode())


if __name__ == "__main__":
    if sys.argv[1] == "die":
        die_at_each_statement(named(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
