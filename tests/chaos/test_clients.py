"""Clients that hang up whenever they like."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from pathlib import Path

import trio

from tests.chaos import audit, wire
from tests.chaos.conftest import QUIET_S
from tests.chaos.wire import Lost

CLIENTS = 60
STORE = {"evidence.db": 2, "evidence.db-wal": 2, "evidence.db-shm": 1}
"""Most that a worker has open of each file of its store. The second are of whoever puts the log away just now. That of
the database stays with SQLite, for the next time: to close it would drop all locks of the process on it (POSIX)."""


def sockets(gateway, ward):
    """What each TCP socket of this machine is to the workers of a gateway, by its inode."""
    ends = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        local, remote = (int(address.partition(":")[2], 16) for address in fields[1:3])
        ends[f"socket:[{fields[9]}]"] = (
            "client" if local == gateway.port and remote else "upstream" if remote == ward.port else "other"
        )
    return ends


def descriptors(gateway, ward):
    """The open files of all workers by what they are: connections of clients, to the upstream, the store's files by
    their names, and others."""
    found, ends = [], sockets(gateway, ward)
    for pid in gateway.workers():
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(str(entry.readlink()))
    ends |= sockets(gateway, ward)  # Looked at twice: what is opened or closed meanwhile is known by one of them.
    return Counter(name if (name := Path(target).name) in STORE else ends.get(target, "other") for target in found)


async def hang_up_somewhere(agent, number, draw):
    """A call, a held call, a stream or a listening client that is gone at a random moment."""
    tool = ("read_patient", "note", "stream", "slow", "amend", "listen")[number % 6]
    token = f"gone-{agent.modern}-{number}"
    with trio.move_on_after(draw.uniform(0, 1.2)), suppress(Lost):
        async with wire.connected(agent.port) as connection:
            await agent.greet(connection)
            if tool == "listen" and not agent.modern:
                await agent.listen(connection, lambda: None)
            elif tool != "listen":
                await agent.call(connection, tool, ident=token, token=token)


async def test_clients_that_hang_up_at_any_moment_leave_one_end_each_and_nothing_open(gateway, ward, agent):
    draw = random.Random(7)
    ward.slow_s = 0.3

    async def everybody():
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                who = "clinician" if number % 6 == 4 else "analyst"
                nursery.start_soon(hang_up_somewhere, agent(who, modern=number % 4 < 2), next(numbers), draw)
        with trio.fail_after(QUIET_S):
            while audit.read(gateway).still_open or ward.busy or descriptors(gateway, ward)["client"]:
                await trio.sleep(0.05)

    numbers = iter(range(10_000))
    await everybody()
    before = descriptors(gateway, ward)
    await everybody()
    after = descriptors(gateway, ward)

    ends = Counter(end for each in audit.read(gateway).exchanges.values() for end in each.ends)
    assert ends["abandoned"] > 5
    assert after["client"] == 0
    assert after["other"] <= before["other"]
    assert all(after[name] <= most * len(gateway.workers()) for name, most in STORE.items())
    assert after["upstream"] <= CLIENTS  # Kept for the next calls, not leaked: at most one for each at a time.
    assert (await wire.fetch(gateway.port, "GET", "/readyz"))[0] == 200
