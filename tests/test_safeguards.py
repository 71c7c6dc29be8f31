"""Budgets, break-glass and tool pins with the shipped library, the real engine and a real log: people are made up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import pytest
import trio

from gateway.core.call import Call, Emergency
from gateway.core.errors import PolicyFault
from gateway.core.evidence.record import LeafType
from gateway.core.exchange import exchange
from gateway.core.policy import bundle as bundles
from gateway.core.policy.bundle import Bundle
from gateway.core.protocol.jsonrpc import Request, Success
from gateway.core.types import Document, Era, ExchangeId, Json, Principal, UpstreamRef
from gateway.driver import Driver
from gateway.pdp import admission, loader
from gateway.pdp.engine import Pdp
from gateway.store import emergencies, keys
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog
from gateway.store.standing import Standing
from gateway.upstream.base import Link
from gateway.world import World
from tests.fakes.evidence import Clock, report
from tests.fakes.world import FakeApprovals, FakeClient, FakeConversation, FakeUpstream

POLICIES = Path(__file__).parents[1] / "policies"
ALICE = Principal("https://id.example", "alice", ("clinicians",), "agent-1")
EMERGENCY: Document = {
    "roles": {"treatment": {"overrides": ["budget_patients", "budget_rows", "too_many_rows"]}},
    "expires_s": 600,
    "open_reviews": 1,
    "unreviewed": 5,
}


def budget(**limits: Json) -> Document:
    return {"budgets": {"treatment": {"P1D": {**limits, "over": "deny"}}}}


def library(**settings: Json) -> Bundle:
    """The shipped library with some of its settings changed."""
    files = loader.sources(POLICIES)
    name = "gateway/settings/data.json"
    files[name] = orjson.dumps({**orjson.loads(files[name]), **settings})
    return bundles.read(bundles.build(files))


@dataclass
class Worker:
    """One worker of a gateway: everything real but the upstream and the client."""

    log: EvidenceLog
    pdp: Pdp
    calls: int = 0

    async def call(self, *patients: str, **changes: object) -> Document:
        """Alice calls a tool that answers with these patients; the result that she gets."""
        self.calls += 1
        name = f"x-{id(self)}-{self.calls}"
        session = await self.log.session("alice", members={}, idle_s=1e9)
        about = Call(
            exchange=ExchangeId(name),
            session=session,
            actor=self.log.keys.actor(ALICE),
            era=Era.LEGACY,
            version="2025-11-25",
            principal=ALICE,
            upstream=UpstreamRef("clinic"),
            message=Request(1, "tools/call", {"name": "read_patient", "arguments": {}}),
            tool=await self.log.tool("clinic", "read_patient"),
        )
        rows: list[Json] = [{"mrn": patient} for patient in patients]
        said = Success(1, {"content": [], "structuredContent": {"rows": rows}})
        reply = await self.drive(replace(about, **changes), said)
        return orjson.loads(reply)["result"]

    async def drive(self, about: Call, said: Success) -> bytes:
        standing = Standing(self.log, lambda: self.pdp.windows)
        world = World(
            pdp=lambda: self.pdp,
            evidence=self.log,
            approvals=FakeApprovals(_nothing),
            upstream=FakeUpstream(FakeConversation([said], _nothing)),
            now=self.log.now,
            mask_key=b"m" * 32,
            seal_request=lambda request, _: request,
            unseal_response=lambda message, _: message,
            seal=lambda document, purpose, lives_s: f"sealed {document} for {purpose}",
            standing=standing,
        )
        link = Link(about.session, about.era, about.version)
        return (await Driver(about, world, link, FakeClient()).drive(exchange(about))).data


def _nothing(_: str) -> None:
    """Nobody looks at the steps of these exchanges."""


@asynccontextmanager
async def worker(directory: Path, clock: Clock, policy: Bundle) -> AsyncIterator[Worker]:
    secrets = directory / "keys"
    ring = keys.load(secrets) if secrets.exists() else keys.generate(secrets, origin="test.example/log")
    async with EvidenceLog.open(directory / "evidence.db", ring, now=clock) as log:
        await log.learn("clinic", [{"name": "read_patient", "annotations": {"readOnlyHint": True}}])
        with Pdp(policy) as pdp:
            yield Worker(log, pdp)


def told(result: Document) -> str:
    """Why a call was refused; empty for a result."""
    content = result.get("content")
    return str(content) if result.get("isError") else ""


async def test_slow_extraction_one_patient_at_a_time_ends_at_the_budget(tmp_path: Path) -> None:
    clock = Clock()
    async with worker(tmp_path, clock, library(guards=budget(patients=3))) as gate:
        for patient in ("p1", "p2", "p1", "p3"):
            assert told(await gate.call(patient)) == ""
            clock.passes(60)
        assert "budget" in told(await gate.call("p4"))
        assert told(await gate.call("p1", "p2")) == ""
        clock.passes(86_400)
        assert told(await gate.call("p4")) == ""


async def test_a_result_that_would_go_beyond_the_budget_is_withheld_and_not_counted(tmp_path: Path) -> None:
    async with worker(tmp_path, Clock(), library(guards=budget(rows=5))) as gate:
        assert told(await gate.call("p1", "p2", "p3")) == ""
        assert "3 of 5 rows used" in told(await gate.call("p4", "p5", "p6"))
        assert told(await gate.call("p4", "p5")) == ""
        assert "5 of 5 rows used" in told(await gate.call("p1"))


async def test_two_workers_keep_one_budget(tmp_path: Path) -> None:
    clock, policy = Clock(), library(guards=budget(calls=4))
    async with worker(tmp_path, clock, policy) as one, worker(tmp_path, clock, policy) as other:
        for gate in (one, other, one, other):
            assert told(await gate.call("p1")) == ""
        assert "4 of 4 calls used" in told(await one.call("p1"))
        assert "4 of 4 calls used" in told(await other.call("p1"))


async def test_racing_a_budget_overruns_it_by_no_more_than_was_in_flight(tmp_path: Path) -> None:
    async with worker(tmp_path, Clock(), library(guards=budget(rows=5))) as gate:
        got: list[str] = []

        async def race(number: int) -> None:
            got.append(told(await gate.call(f"p{number}")))

        for _ in range(3):
            async with trio.open_nursery() as nursery:
                for number in range(4):
                    nursery.start_soon(race, number)

    assert 5 <= got.count("") <= 8
    assert got[8:].count("") == 0


async def test_an_emergency_goes_beyond_the_budget_and_owes_a_review_before_the_next(tmp_path: Path) -> None:
    clock = Clock()
    claim = {"emergency": Emergency.CLAIMED, "justification": "unconscious, needs her chart"}
    async with worker(tmp_path, clock, library(guards=budget(rows=1), emergency=EMERGENCY)) as gate:
        assert told(await gate.call("p1")) == ""
        assert "budget" in told(await gate.call("p2"))
        assert "justification" in told(await gate.call("p2", emergency=Emergency.CLAIMED))
        assert told(await gate.call("p2", **claim)) == ""
        clock.passes(599)
        assert told(await gate.call("p3", **claim)) == ""
        clock.passes(2)
        assert "wait for their review" in told(await gate.call("p4", **claim))

        def review(transaction: object) -> None:
            (each,) = emergencies.listed(transaction.connection, open_only=True)
            assert each.accesses == 2
            leaf = transaction.append(emergencies.review_record(each, "f" * 32, {"reason": b"it was one"}))
            emergencies.close(transaction.connection, each, leaf)

        await gate.log.transact(review)
        assert told(await gate.call("p4", **claim)) == ""

    path = tmp_path / "evidence.db"
    with Reader.open(path) as reader:
        alarms = [leaf for leaf in reader.leaves() if leaf.type is LeafType.EMERGENCY_ACCESS]
        assert [leaf.members["reasons"] for leaf in alarms] == [["budget_rows"]] * 3
    assert report(path, keys.load(tmp_path / "keys")).passed


async def test_rug_pull_a_tool_that_changed_is_refused_by_the_shipped_policy(tmp_path: Path) -> None:
    async with worker(tmp_path, Clock(), library()) as gate:
        assert told(await gate.call("p1")) == ""
        await gate.log.learn("clinic", [{"name": "read_patient", "annotations": {"readOnlyHint": True}, "x": 1}])
        assert "not defined any more" in told(await gate.call("p1"))


def test_a_policy_whose_budgets_cannot_be_counted_is_not_used() -> None:
    broken = library(guards={"budgets": {"treatment": {"soon": {"rows": 5, "over": "deny"}}}})

    with pytest.raises(PolicyFault, match="cannot be counted"):
        Pdp(broken)
    with pytest.raises(PolicyFault, match="cannot be counted"):
        admission.admit(broken)


def test_the_library_is_admitted_with_budgets_and_break_glass_switched_on() -> None:
    admission.admit(library(guards=budget(rows=500, patients=50), emergency=EMERGENCY))
