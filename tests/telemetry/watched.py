"""A whole gateway that is watched in every way: two workers, metrics, traces, logs as JSON; and what it is asked."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import trio
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e import harness
from tests.e2e.harness import ACCEPT, Gateway, Upstream
from tests.e2e.issuer import Issuer

VERSION = "2026-07-28"
COLLECTOR_TOKEN = "Bearer for-the-collector"
NAMED = {"tools/call": "name"}
PATIENCE_S = 120.0


@dataclass
class Watched:
    """A gateway, its ledger, and the collector that gets its traces."""

    gateway: Gateway
    metrics_port: int
    collector: str
    db: Path
    header: dict[str, str] = field(default_factory=dict)
    """Further HTTP headers of what is asked."""
    _asked: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def few(self) -> str:
        """A statement that nobody has run yet, on as few rows as anybody may have; its answer holds PHI."""
        return f"select ssn, ward from patient where id = 1 and id > -{next(self._asked)} limit 1"

    def bulk(self) -> str:
        """One on more rows than an analyst may have unasked."""
        return f"select ssn, ward from patient where id > -{next(self._asked)}"

    def ask(
        self, method: str, *, upstream: str = "ledger", who: str = "analyst", meta: Any = None, **params: Any
    ) -> dict[str, Any]:
        """The answer to one modern request, on a connection of its own, so that any worker may give it."""
        said = {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientInfo": {"name": "watched", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
            **(meta or {}),
        }
        headers = {**ACCEPT, **self.gateway.headers(who), "mcp-protocol-version": VERSION, "mcp-method": method}
        if method in NAMED:
            headers["mcp-name"] = params[NAMED[method]]
        headers |= self.header
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": said}}
        response = httpx2.post(self.gateway.mcp(upstream), json=message, headers=headers, timeout=30)
        if response.headers["content-type"].startswith("text/event-stream"):
            data = [line for line in response.text.splitlines() if line.startswith("data: ")]
            return dict(json.loads(data[-1].removeprefix("data: ")))
        return dict(response.json())

    def query(self, sql: str, **more: Any) -> dict[str, Any]:
        """The answer to a statement."""
        return self.ask("tools/call", name="query", arguments={"sql": sql}, **more)

    def scrape(self) -> str:
        """What Prometheus would get now."""
        response = httpx2.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10)
        assert response.status_code == 200
        return response.text

    def value(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.scrape())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def until(self, name: str, wanted: float, **labels: str) -> None:
        """Return once a metric is at least so much: workers leave their numbers once a second."""
        with trio.fail_after(PATIENCE_S):
            while await trio.to_thread.run_sync(lambda: self.value(name, **labels)) < wanted:
                await trio.sleep(0.1)

    async def idle(self) -> None:
        """Return once no exchange is open any more, by the newest numbers of both workers."""
        with trio.fail_after(PATIENCE_S):
            while await trio.to_thread.run_sync(lambda: self.value("phigate_exchanges_open")):
                await trio.sleep(0.1)

    def spans(self) -> list[dict[str, Any]]:
        """Every span that the collector got."""
        return list(httpx2.get(f"{self.collector}/spans", timeout=60).json())

    async def trace(self, ident: str, *, least: int = 1) -> list[dict[str, Any]]:
        """The spans of a trace, once there are so many."""
        with trio.fail_after(PATIENCE_S):
            while len(found := [span for span in self.spans() if span["trace"] == ident]) < least:
                await trio.sleep(0.1)
        return found

    def manner(self, how: str) -> None:
        """How the collector behaves from now on."""
        httpx2.post(f"{self.collector}/manner", content=how, timeout=60)


def _emergencies(settings: dict[str, Any]) -> None:
    """Analysts may break the glass."""
    overrides = {"overrides": ["bulk_select", "too_many_rows"]}
    settings["emergency"] = {"roles": {"analysis": overrides}, "expires_s": 600, "open_reviews": 9, "unreviewed": 9}


@contextmanager
def opened(place: Path, people: Issuer, db: Path, **settings: Any) -> Iterator[Watched]:
    """A watched gateway; `settings` are more of its section `gateway`. What it has left is checked at the end."""
    port = harness.free_port()
    token = place.with_name(f"{place.name}.token")  # Beside what the gateway writes, which is searched for it.
    token.write_text(COLLECTOR_TOKEN)
    with (
        harness.python_program("-m", "tests.telemetry.receiver") as receiver,
        harness.python_program("-m", "tests.e2e.ledger_server", "--db", str(db)) as said,
        harness.python_program("-m", "tests.e2e.plain_server") as plain,
    ):
        ledger = {"url": said["mcp"], "sql": {"query": "sql"}, "sql_dialect": "sqlite"}
        nobody = {"url": f"http://127.0.0.1:{harness.free_port()}/mcp", "era": "modern"}
        sections = {
            "gateway": {"log_format": "json", "access_log": True, "hold_s": 1, "drain_s": 5, **settings},
            "metrics": {"listen": f"127.0.0.1:{port}"},
            "telemetry": {
                "otlp_endpoint": receiver["url"],
                "otlp_headers_file": {"authorization": str(token)},
                "service_name": "phigate-tests",
            },
        }
        holds_none = {"url": plain["mcp"], "labels": {"phi": False}}
        upstreams = [Upstream("ledger", ledger), Upstream("nobody", nobody), Upstream("plain", holds_none)]
        change = lambda policies: harness.change_settings(policies, _emergencies)  # noqa: E731
        with harness.running(place, people, upstreams, workers=2, settings=sections, policy=change) as gateway:
            gateway.phi |= {"219-09-90", "select ssn", "a synthetic reason", COLLECTOR_TOKEN}
            watched = Watched(gateway, port, receiver["url"], db)
            for upstream in ("ledger", "plain"):
                watched.ask("tools/list", upstream=upstream)  # A tool that nobody has listed is taken to write.
            yield watched
