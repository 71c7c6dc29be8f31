"""`python -m benchmarks.policy_diff`: `policy replay` and `policy diff` over 100,000 recorded exchanges, on all cores.

The store is filled through the gateway's own log, body by body sealed. Its decisions are the shipped library's, about
the calls of many sessions; each is appended for many exchanges, because making 200,000 is not what is measured.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

import orjson
import trio
from rich.console import Console

from gateway.core import records
from gateway.core.call import Call
from gateway.core.commands import Decided
from gateway.core.evidence.record import LeafType, Record
from gateway.core.facts import call as facts
from gateway.core.masking import profile
from gateway.core.policy import bundle as bundles
from gateway.core.policy import input as policy_input
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.core.protocol.jsonrpc import Request, Success
from gateway.core.records import Ending, Status
from gateway.core.replies import Reply
from gateway.core.types import Digest, Document, Era, ExchangeId, Json, Principal, SessionId, Tool, UpstreamRef
from gateway.pdp import loader, replay
from gateway.pdp.engine import Pdp
from gateway.store import keys as keystore
from gateway.store.keys import Keys
from gateway.store.sequencer import EvidenceLog

SESSIONS = 50
WRITERS = 64
SETTINGS = "gateway/settings/data.json"
QUERIES = (
    "SELECT mrn, given, family, birth_date FROM patients WHERE mrn = 'MRN-4821937'",
    "SELECT given, family FROM patients",
    "SELECT ward, count(*) AS n FROM visits GROUP BY ward",
    "UPDATE patients SET ward = 'icu' WHERE mrn = 'MRN-4821937'",
)
GROUPS = ("analysts", "analysts", "clinicians", "engineers")


def main() -> int:
    """Fill a store, then time both commands on it."""
    parser = argparse.ArgumentParser(prog="benchmarks.policy_diff", description=__doc__)
    parser.add_argument("--exchanges", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="fill this directory, or use the store that is in it")
    arguments = parser.parse_args()
    console = Console(soft_wrap=True)
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.keep or Path(temporary)
        place.mkdir(exist_ok=True)
        if not (place / "evidence.db").exists():
            began = time.monotonic()
            trio.run(_fill, place, arguments.exchanges)
            console.print(f"filled with {arguments.exchanges:,} exchanges in {time.monotonic() - began:.0f} s")
        (place / "candidate.tar.gz").write_bytes(_candidate().archive)
        store = ["--store", str(place / "evidence.db"), "--keys", str(place / "keys"), "--format", "json"]
        for verb in (["replay"], ["diff", str(place / "candidate.tar.gz")]):
            _time(console, [*verb, *store])
    return 0


def _time(console: Console, verb: list[str]) -> None:
    load, began, used = os.getloadavg()[0], time.monotonic(), _cpu_s()
    done = subprocess.run([sys.executable, "-m", "gateway", "policy", *verb], capture_output=True, check=False)
    seconds = time.monotonic() - began
    report = orjson.loads(done.stdout)
    text = f"{report['decisions']:,} decisions in {seconds:.1f} s and {_cpu_s() - used:.1f} s of CPU"
    cores = len(os.sched_getaffinity(0))
    console.print(f"policy {verb[0]}: {text} on {cores} cores, load before it {load:.1f}", highlight=False)
    if "changes" in report:
        console.print({change["kind"]: change["decisions"] for change in report["changes"]})


def _cpu_s() -> float:
    """CPU time of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _candidate() -> Bundle:
    """The shipped library, with a tool withdrawn and writes closed; without its tests, which say that neither is."""
    shipped = bundles.unrevised(bundles.read(loader.shipped()))
    files = {path: content for path, content in shipped.items() if not path.endswith(bundles.TEST)}
    settings = orjson.loads(files[SETTINGS])
    settings["tools"] = {**settings["tools"], "clinic": {"read_patient": "deny"}}
    settings["roles"]["treatment"]["writes"] = "deny"
    return bundles.read(bundles.build({**files, SETTINGS: orjson.dumps(settings)}))


async def _fill(place: Path, exchanges: int) -> None:
    keys = keystore.generate(place / "keys", origin="benchmark.example/phigate")
    policy = bundles.read(loader.shipped())
    async with EvidenceLog.open(place / "evidence.db", keys, now=lambda: datetime.now(UTC)) as log:
        await log.transact(lambda transaction: transaction.archive_bundle(policy.digest, policy.archive))
        members: Document = {"bundle": policy.digest, "revision": policy.manifest.revision, "engine": replay.engine()}
        await log.append(Record(LeafType.BUNDLE_ACTIVATED, members))
        sessions = [await log.session(f"s{number}", members={}, idle_s=3600) for number in range(SESSIONS)]
        work = iter(zip(range(exchanges), cycle(list(_exchanges(policy, keys, sessions)))))
        async with trio.open_nursery() as nursery:
            for _ in range(WRITERS):
                nursery.start_soon(_write, log, work)


async def _write(log: EvidenceLog, work: Iterator[tuple[int, tuple[Call, Decided, Decided]]]) -> None:
    for number, (call, first, second) in work:
        exchange = ExchangeId(f"01990000-0000-7000-8000-{number:012d}")
        named = Call(
            exchange, call.session, call.actor, call.era, call.version, call.principal, call.upstream, call.message,
            tool=call.tool, facts=call.facts,
        )  # fmt: skip
        if first.decision.effect is Effect.DENY:
            await log.append(records.refused(named, first, Reply(b"{}")))
            continue
        await log.append(records.intent(named, first))
        await log.append(records.outcome(named, Ending(Status.REPLIED, Reply(b"{}"), decided=(second,))))


def _exchanges(policy: Bundle, keys: Keys, sessions: list[SessionId]) -> Iterator[tuple[Call, Decided, Decided]]:
    """Calls with both decisions, a few for each session."""
    pdp = Pdp(policy)
    for number, session in enumerate(sessions):
        who = Principal("https://issuer.example", f"user-{number}", (GROUPS[number % len(GROUPS)],), "agent")
        for tool, arguments in _calls():
            message = Request(1, "tools/call", {"name": tool, "arguments": arguments})
            call = Call(
                ExchangeId(""), session, keys.actor(who), Era.MODERN, "2026-07-28", who,
                UpstreamRef("clinic", {"phi": True}), message,
                tool=Tool(tool, Digest("0" * 64), {"annotations": {"readOnlyHint": True}}),
                facts=facts.of(message, facts.Reading({"run_sql": "sql"}, "sqlite")),
            )  # fmt: skip
            rows: list[Json] = [{"mrn": "MRN-4821937", "given": "Rosalind", "birth_date": "1957-03-14"}]
            returned: Document = {"structuredContent": {"rows": rows}, "content": []}
            result = policy_input.for_result(call, Success(1, returned), profile.inspect(returned))
            at = "2026-01-05T12:00:00.000000Z"
            first = pdp.decide(Entrypoint.CALL, policy_input.for_call(call), at=at)
            yield call, first, pdp.decide(Entrypoint.RESULT, result, at=at)


def _calls() -> Iterator[tuple[str, Document]]:
    for sql in QUERIES:
        yield "run_sql", {"sql": sql}
    yield "read_patient", {"mrn": "MRN-4821937"}


if __name__ == "__main__":
    sys.exit(main())
