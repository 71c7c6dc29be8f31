"""Steady calls through an ingress, each of a statement that nobody has run, and what became of each."""

from __future__ import annotations

import itertools
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import trio

from tests.ingress.parts import DRAIN_DELAY_S, Ingress, Replica
from tests.ingress.talk import META, headers

UNLIMITED = {"nginx": [("rate=50r/s", "rate=5000r/s")], "haproxy": [("gt 500", "gt 500000")], "envoy": []}
"""What lets one address make as many calls as it can."""


class Load:
    """Clients that call all the time while the block runs, half of them over HTTP/2."""

    def __init__(self, ingress: Ingress, db: Path, *, clients: int = 6) -> None:
        """`db`: where the upstream (`e2e/ledger_server.py`) counts what ran."""
        self.ingress, self.db, self.clients = ingress, db, clients
        self.answered: list[str] = []
        self.refused: list[tuple[str, object]] = []
        self._asked = itertools.count(time.time_ns())
        self._over = False

    async def __aenter__(self) -> Load:
        self._manager = trio.open_nursery()
        nursery = await self._manager.__aenter__()
        for number in range(self.clients):
            nursery.start_soon(self._client, number % 2 == 1)
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._over = True
        await self._manager.__aexit__(*error)

    async def more(self, count: int = 30) -> None:
        """Returns so many calls later."""
        wanted = len(self.answered) + count
        with trio.fail_after(60):
            while len(self.answered) < wanted:
                await trio.sleep(0.01)

    def ran(self) -> Counter[str]:
        """How often each statement ran, less once."""
        with closing(sqlite3.connect(self.db)) as db:
            found = Counter(sql for (sql,) in db.execute("select sql from ran"))
        asked = [*self.answered, *(sql for sql, _ in self.refused)]
        return Counter({sql: found[sql] for sql in asked})

    async def _client(self, http2: bool) -> None:
        async with self.ingress.client(http2=http2) as http:
            while not self._over:
                sql = f"select ward from patient where id = 1 and -{next(self._asked)} < 0"
                message = query(sql)
                given = headers(self.ingress, "analyst", message)
                try:
                    response = await http.post(self.ingress.mcp("ledger"), json=message, headers=given)
                except httpx2.TransportError as error:
                    self.refused.append((sql, type(error).__name__))
                    continue
                if response.status_code == 200 and '"icu"' in response.text:
                    self.answered.append(sql)
                else:
                    self.refused.append((sql, response.status_code))


def query(sql: str, **arguments: str) -> dict[str, Any]:
    """A call of the ledger's one tool for statements."""
    return tool("query", sql=sql, **arguments)


def tool(name: str, **arguments: str) -> dict[str, Any]:
    """A call of any of its tools."""
    params = {"name": name, "arguments": arguments, "_meta": META}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


async def restarted(replica: Replica) -> None:
    """Stopped as an operator does it, and started again. It says that it is not ready first, and serves on."""
    process = replica.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    async with httpx2.AsyncClient(timeout=60) as http:
        with trio.fail_after(DRAIN_DELAY_S):
            while (await http.get(f"{replica.url}/readyz")).status_code != 503:
                await trio.sleep(0.01)
        assert (await http.get(f"{replica.url}/healthz")).headers["connection"] == "close"
    assert await trio.to_thread.run_sync(process.wait) == 0
    await trio.to_thread.run_sync(replica.start)


async def pending(http: httpx2.AsyncClient, ingress: Ingress) -> list[str]:
    """The ids of the approvals that wait for an officer."""
    reply = await http.get(f"{ingress.url}/api/approvals?state=pending", headers=ingress.headers("officer"))
    return [each["id"] for each in reply.json()["approvals"]]


async def grant(http: httpx2.AsyncClient, ingress: Ingress, approval: str) -> None:
    url = f"{ingress.url}/api/approvals/{approval}/grant"
    reply = await http.post(url, json={"reason": "synthetic"}, headers=ingress.headers("officer"))
    assert reply.status_code == 200, reply.text
