"""`make ingress`: what `make test` has no time for, through nginx, Envoy and HAProxy as they are shipped.

The whole official suite in both revisions; both of two gateways restarted one after the other under load; and a call
that is held for ten minutes. Prints a table; exit code 1 when anything of it was lost.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import trio
from rich.console import Console
from rich.table import Table

from tests.conformance import parts as conformance_parts
from tests.conformance import suite
from tests.e2e import harness, issuer
from tests.e2e.harness import Upstream
from tests.e2e.issuer import Issuer
from tests.ingress import conformance, parts
from tests.ingress.load import UNLIMITED, Load, grant, pending, query, restarted
from tests.ingress.parts import DRAIN_DELAY_S, KINDS, Ingress
from tests.ingress.talk import headers

Cells = dict[str, list[str]]
"""What is printed, by ingress."""


def main() -> int:
    """Run everything and print the table."""
    arguments = argparse.ArgumentParser(prog="tests.ingress", description=__doc__)
    arguments.add_argument("--minutes", type=float, default=10, help="how long a call is held")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place, issuer.running() as people:
        passed = _conformance(Path(place) / "conformance", people)
        served = _ledger(Path(place) / "ledger", people, options.minutes)
    table = Table("", *KINDS)
    suites = [f"official suite, {revision}" for revision in suite.REVISIONS]
    rows = (
        *suites,
        "calls while both gateways restart",
        "refused of them",
        "run twice",
        "held for",
        "comments",
        "then",
    )
    for row, what in enumerate(rows):
        table.add_row(what, *([*passed[name], *served[name]][row] for name in KINDS))
    Console().print(table)
    return int(any("FAILED" in cell for name in KINDS for cell in (*passed[name], *served[name])))


def _conformance(place: Path, people: Issuer) -> Cells:
    cells: Cells = {}
    place.mkdir()
    with conformance_parts.everything_server() as upstream, conformance.through(place, people, upstream) as urls:
        for name, url in urls.items():
            cells[name] = []
            for revision in suite.REVISIONS:
                found = [each for each in suite.server(url, revision).values() if each.required]
                bad = [each for each in found if not each.passed]
                cells[name].append(f"{len(found) - len(bad)} of {len(found)}" + " FAILED" * bool(bad))
                for each in bad:
                    print(f"{name}, {revision}: {each.name}: {'; '.join(each.why)}", file=sys.stderr)
    return cells


def _ledger(place: Path, people: Issuer, minutes: float) -> Cells:
    place.mkdir()
    ports = {name: harness.free_port() for name in KINDS}
    settings = {"drain_delay_s": DRAIN_DELAY_S, "drain_s": 10, "hold_s": minutes * 60 + 30}
    db = place / "ledger.db"
    with ExitStack() as stack:
        said = stack.enter_context(harness.python_program("-m", "tests.e2e.ledger_server", "--db", str(db)))
        upstream = Upstream("ledger", {"url": said["mcp"], "sql": {"query": "sql"}, "sql_dialect": "sqlite"})
        at = list(ports.values())
        both = parts.gateways(place / "pair", people, [upstream], at, "client-cert", "client-cert", settings=settings)
        gateways = stack.enter_context(both)
        ingresses = [
            stack.enter_context(parts.in_front(kind, place / name, gateways, ports[name], UNLIMITED[name]))
            for name, kind in KINDS.items()
        ]
        trio.run(harness.list_tools, gateways[0], "analyst", "ledger")
        return trio.run(partial(_served, ingresses, db, minutes * 60))


async def _served(ingresses: list[Ingress], db: Path, held_s: float) -> Cells:
    cells: Cells = {}
    for ingress in ingresses:
        async with Load(ingress, db, clients=16) as load:
            await load.more(200)
            for replica in ingress.replicas:
                await restarted(replica)
                await load.more(200)
        twice = sum(count > 1 for count in load.ran().values())
        lost = [load.ran()[sql] for sql in load.answered if load.ran()[sql] != 1] if twice else []
        verdict = "FAILED" if load.refused or twice or lost else ""
        cells[ingress.kind.name] = [f"{len(load.answered)} calls", str(len(load.refused)), f"{twice} {verdict}"]
    async with trio.open_nursery() as nursery:
        for number, ingress in enumerate(ingresses):
            message = query(f"select ssn, ward from patient where id > -{number + 1}")
            nursery.start_soon(_held, ingress, message, held_s, cells[ingress.kind.name])
        await trio.sleep(held_s)
        async with ingresses[0].client() as http:
            for approval in await pending(http, ingresses[0]):
                await grant(http, ingresses[0], approval)
    return cells


async def _held(ingress: Ingress, message: dict[str, Any], held_s: float, cells: list[str]) -> None:
    """A call that waits for its reviewer so long; its comments are all that is heard of it."""
    began, comments, last = time.monotonic(), 0, ""
    given = headers(ingress, "analyst", message)
    async with (
        ingress.client() as http,
        http.stream("POST", ingress.mcp("ledger"), json=message, headers=given) as response,
    ):
        async for line in response.aiter_lines():
            comments += line.startswith(":")
            last = line or last
    waited = time.monotonic() - began
    good = '"structuredContent"' in last and waited >= held_s
    cells += [f"{waited:.0f} s", str(comments), "answered" if good else "FAILED"]


if __name__ == "__main__":
    sys.exit(main())
