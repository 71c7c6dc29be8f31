"""Thousands of calls that wait for reviewers in one process: memory of each, CPU while nothing happens, and that every
one of them is answered with its own result once it is granted, through the API as a reviewer's tool would.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from rich.console import Console

from benchmarks import targets, upstream
from benchmarks.load import Client
from benchmarks.processes import Running, cores, running
from tests.e2e import harness, issuer

LIMIT_KB = 50.0
"""Memory that one held call may take."""
IDLE_S = 30.0
"""How long nobody answers: three rounds of comments that keep the connections alive."""
OPENING = 64
"""Calls that are on their way to be held at a time, and reviewers that grant at a time."""
ANSWERED_S = 120.0
"""From the last grant until every call has its answer."""
_APPROVAL = re.compile(rb"waiting for approval (ap_[a-z2-7]{16})")
_SETTINGS = {"gateway": {"max_in_flight": 1 << 17, "hold_s": 3600}}


@dataclass
class Held:
    """The calls of one run, each with a connection of its own."""

    client: Client
    approvals: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    answered: int = 0

    async def call(self, number: int, turn: asyncio.Semaphore) -> None:
        """One call, from its question to its result. Raises RuntimeError for any other end."""
        url = urlsplit(self.client.url)
        params = {
            "name": upstream.WRITES,
            "arguments": {"mrn": f"MRN-{number:07d}"},
            "_meta": {"progressToken": number},
        }
        message, headers = self.client.message("tools/call", params)
        body = orjson.dumps({**message, "id": number})
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        async with turn:
            reader, writer = await asyncio.open_connection(url.hostname, url.port)
            writer.write(head.encode() + body)
            heard = bytearray()
            while (found := _APPROVAL.search(heard)) is None:
                heard += await _some(reader, heard)
        await self.approvals.put(found[1].decode())
        while not heard.endswith(b"\r\n0\r\n\r\n"):
            heard += await _some(reader, heard)
        writer.close()
        if b'"structuredContent"' not in heard or b'"id":%d' % number not in heard or upstream.SSN.encode() in heard:
            raise RuntimeError(f"a held call ended otherwise than with its masked result: {bytes(heard[-300:])!r}")
        self.answered += 1


async def _some(reader: asyncio.StreamReader, heard: bytearray) -> bytes:
    data = await reader.read(65536)
    if not data:
        raise RuntimeError(f"a held call was cut off: {bytes(heard[-300:])!r}")
    return data


def run(scratch: Path, console: Console, *, calls: int) -> int:
    """Hold, wait, grant and count; 1 when a call takes more memory than LIMIT_KB or is not answered."""
    memory_kb, spent, unended = measure(scratch, console, calls=calls, idle_s=IDLE_S)
    sound = spent == calls + 200 and unended == 0 and memory_kb <= LIMIT_KB
    verdict = "[green]met[/]" if sound else "[red]missed[/]"
    console.print(f"on record: {spent - 200:,} grants used, {unended} exchanges without an end")
    console.print(f"bar: {LIMIT_KB:g} KB for each held call, none lost: {verdict}")
    return int(not sound)


def measure(scratch: Path, console: Console, *, calls: int, idle_s: float) -> tuple[float, int, int]:
    """KB for each held call, and what is on record: grants that were used, and exchanges without an end."""
    core, load_core = cores()
    os.sched_setaffinity(0, {load_core})
    with targets.direct(scratch, core=load_core, modern=False) as base, issuer.running() as people:
        upstreams = [harness.Upstream("clinic", {"url": base.client.url})]
        gateway = harness.prepare(scratch / "phigate", people, upstreams, settings=_SETTINGS)
        command = [sys.executable, "-m", "gateway", "serve", "-c", str(gateway.place / "phigate.toml")]
        with running(command, core=core, port=gateway.port, log=scratch / "phigate.log") as process:
            client = Client.greet(f"{gateway.url}/mcp/clinic", modern=False, token=people.token("clinician"))
            grants = _Grants(gateway.port, people.token("officer"))
            asyncio.run(_round(client, grants, process, console, calls=200, idle_s=0.0, say=False))  # Warm.
            memory_kb = asyncio.run(_round(client, grants, process, console, calls=calls, idle_s=idle_s, say=True))
        with closing(sqlite3.connect(f"file:{gateway.store}?mode=ro", uri=True)) as database:
            (spent,) = database.execute("SELECT count(*) FROM approval WHERE state = 'spent'").fetchone()
            (unended,) = database.execute("SELECT count(*) FROM open_exchange").fetchone()
    return memory_kb, spent, unended


async def _round(
    client: Client, grants: _Grants, process: Running, console: Console, *, calls: int, idle_s: float, say: bool
) -> float:
    """KB for each of `calls` calls that were held, left alone for `idle_s`, granted and answered."""
    held, turn = Held(client), asyncio.Semaphore(OPENING)
    before, begun, spent = process.rss_mb(), time.perf_counter(), process.cpu_s()
    tasks = [asyncio.create_task(held.call(number, turn)) for number in range(calls)]
    while held.approvals.qsize() < calls:
        await asyncio.sleep(0.1)
        _raise_any(tasks)
    opened_s, opened_cpu = time.perf_counter() - begun, process.cpu_s() - spent
    memory_kb = (process.rss_mb() - before) * 1000 / calls
    spent = process.cpu_s()
    await asyncio.sleep(idle_s)
    idle = (process.cpu_s() - spent) / idle_s if idle_s else 0.0
    begun, spent = time.perf_counter(), process.cpu_s()
    names = [held.approvals.get_nowait() for _ in range(calls)]
    await asyncio.gather(*(grants.give(names[start::OPENING]) for start in range(OPENING)))
    granted_s = time.perf_counter() - begun
    await asyncio.wait_for(asyncio.gather(*tasks), ANSWERED_S)
    ended_s, ended_cpu = time.perf_counter() - begun, process.cpu_s() - spent
    if say:
        console.print(f"{calls:,} calls held at once in one worker, each {memory_kb:.1f} KB")
        console.print(f"held in {opened_s:.1f} s, {opened_cpu / calls * 1e3:.1f} ms of CPU each")
        console.print(f"while nobody answers: {idle:.1%} of a core")
        console.print(
            f"granted one by one in {granted_s:.1f} s, the last answered after {ended_s:.1f} s, "
            f"{ended_cpu / calls * 1e3:.1f} ms of CPU each; {held.answered:,} answered"
        )
    return memory_kb


def _raise_any(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()


@dataclass
class _Grants:
    """A reviewer's tool."""

    port: int
    token: str = field(repr=False)

    async def give(self, names: list[str]) -> None:
        """Grant each, one after the other on one connection. Raises RuntimeError when one is not granted."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        body = b'{"reason":"benchmark"}'
        for name in names:
            head = (
                f"POST /api/approvals/{name}/grant HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
                f"Authorization: Bearer {self.token}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", answer.lower())
            document: Any = await reader.readexactly(int(length[1])) if length else b""
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"a grant was refused: {answer[:80]!r} {document[:300]!r}")
        writer.close()
