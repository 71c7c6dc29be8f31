"""A gateway whose policy holds bulk selects, before an upstream that counts what ran; and who grants them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import trio

from tests.e2e import harness, ledger_server
from tests.e2e.harness import Gateway, Upstream
from tests.e2e.issuer import Issuer

APPROVAL = re.compile(r"ap_[a-z2-7]{16}")


@dataclass
class Ledger:
    """A gateway before an upstream that counts what ran."""

    gateway: Gateway
    db: Path
    _asked: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def bulk(self) -> str:
        """A statement that nobody has run yet, on more rows than an analyst may have unasked."""
        return f"select ssn, ward from patient where id > -{next(self._asked)}"

    def ran(self, sql: str) -> int:
        return ledger_server.ran(self.db, sql)

    def approvals(self, state: str) -> list[str]:
        """The ids of the approvals in a state, as an officer sees them."""
        url = f"{self.gateway.url}/api/approvals?state={state}"
        reply = httpx2.get(url, headers=self.gateway.headers("officer"), timeout=60)
        return [each["id"] for each in reply.json()["approvals"]]

    async def act(self, verb: str, approval: str, token: str) -> httpx2.Response:
        headers = {"authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            url = f"{self.gateway.url}/api/approvals/{approval}/{verb}"
            return await http.post(url, json={"reason": "a synthetic reason"})

    async def grant(self, approval: str) -> None:
        reply = await self.act("grant", approval, self.gateway.issuer.token("officer"))
        assert reply.status_code == 200, reply.text

    async def refuse(self, approval: str) -> None:
        reply = await self.act("refuse", approval, self.gateway.issuer.token("officer"))
        assert reply.status_code == 200, reply.text


@contextmanager
def opened(place: Path, people: Issuer, db: Path, **settings: Any) -> Iterator[Ledger]:
    """A gateway of two workers with these settings, and its ledger in the file `db`."""
    with harness.python_program("-m", "tests.e2e.ledger_server", "--db", str(db)) as said:
        upstream = Upstream("ledger", {"url": said["mcp"], "sql": {"query": "sql"}, "sql_dialect": "sqlite"})
        with harness.running(place, people, [upstream], workers=2, settings={"gateway": settings}) as gateway:
            gateway.phi |= {"219-09-90", "select ssn", "a synthetic reason"}
            trio.run(harness.list_tools, gateway, "analyst", "ledger")
            yield Ledger(gateway, db)
