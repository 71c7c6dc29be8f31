"""A gateway process as approvals see it: a real evidence log, a policy that can be told what to say, and people."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from gateway.core import records
from gateway.core.call import Call
from gateway.core.commands import Decided, Resolution
from gateway.core.evidence.record import LeafType
from gateway.core.policy import approval
from gateway.core.policy.approval import Approval, Ask, Verdict
from gateway.core.policy.decision import ApprovalTerms, Decision, Effect, Entrypoint, Reason
from gateway.core.protocol.jsonrpc import Request
from gateway.core.records import Ending, Status
from gateway.core.replies import Reply
from gateway.core.types import Digest, Document, Era, ExchangeId, Principal, Tool, UpstreamRef
from gateway.store import keys
from gateway.store.approvals import Approvals
from gateway.store.engines import Store
from gateway.store.reader import Reader
from gateway.store.sequencer import EvidenceLog
from tests.fakes.evidence import Clock, edited, make_keys, store_in

ISSUER = "https://id.example"
ALICE = Principal(ISSUER, "alice", ("clinicians",), "agent")
BOB = Principal(ISSUER, "bob", ("privacy",), "browser")
CAROL = Principal(ISSUER, "carol", ("privacy", "admins"), "browser")
DAVE = Principal(ISSUER, "dave", ("auditors",), "browser")
EVE = Principal(ISSUER, "eve", ("interns",), "browser")
TERMS = ApprovalTerms(("privacy",))
SECRET = "SELECT * FROM patient WHERE ssn = '900-45-6789'"


@dataclass
class Policy:
    """Lets privacy review, and auditors and whoever asked see; holds calls for approval until told otherwise."""

    call: Decision = field(default_factory=lambda: Decision(Effect.REQUIRE_APPROVAL, approval=TERMS))
    asked: list[tuple[Entrypoint, Document]] = field(default_factory=list)
    bug: Exception | None = None

    def decide(self, entrypoint: Entrypoint, document: Document) -> Decided:
        if self.bug is not None:
            raise self.bug
        self.asked.append((entrypoint, document))
        decision = self.call
        if entrypoint is Entrypoint.APPROVAL:
            reviewer = "privacy" in document["principal"]["groups"]
            refused = Decision(Effect.DENY, (Reason("not_a_reviewer", "reviewers are in privacy"),))
            decision = Decision(Effect.ALLOW, counts=True) if reviewer else refused
        elif entrypoint is Entrypoint.ACCESS:
            who = document["principal"]
            own = "approval" in document and document["approval"]["requester"]["sub"] == who["sub"]
            allowed = own or {"privacy", "auditors"} & set(who["groups"])
            decision = Decision(Effect.ALLOW if allowed else Effect.DENY)
        return Decided(decision, json.dumps({"input": document}).encode(), Digest("b" * 64))


@dataclass
class House:
    """One gateway process."""

    log: EvidenceLog
    approvals: Approvals
    policy: Policy
    clock: Clock
    store: Store
    _calls: int = 0

    async def call(self, sql: str = SECRET, *, principal: Principal = ALICE, **members: object) -> Call:
        """A call whose intent is on record, as one that waits for approval is."""
        self._calls += 1
        session = await self.log.session(f"{principal.subject}", members={}, idle_s=3600)
        call = Call(
            exchange=ExchangeId(f"exchange-{id(self)}-{self._calls}"),
            session=session,
            actor=self.log.keys.actor(principal),
            era=Era.LEGACY,
            version="2025-11-25",
            principal=principal,
            upstream=UpstreamRef("clinic"),
            message=Request(self._calls, "tools/call", {"name": "run_sql", "arguments": {"sql": sql}}),
            tool=Tool("run_sql", Digest("a" * 64), {}),
        )
        call = replace(call, **members)
        await self.log.append(records.intent(call, self.policy.decide(Entrypoint.CALL, {})))
        return call

    async def hold(self, call: Call, *, terms: ApprovalTerms = TERMS) -> Resolution:
        return await self.approvals.request(asked(call, terms))

    async def spend(self, call: Call, held: Resolution) -> bool:
        decided = self.policy.decide(Entrypoint.CALL, {})
        return await self.approvals.spend(held.approval, records.spent(call, held.approval, decided))

    async def end(self, call: Call, status: Status, held: Resolution | None = None, *, said: bytes = b"") -> None:
        ending = Ending(status, Reply(said), approval=held.approval if held is not None else None)
        await self.log.append(records.outcome(call, ending))

    async def granted(self, call: Call, *reviewers: Principal) -> Resolution:
        held = await self.hold(call)
        for reviewer in reviewers or (BOB,):
            heard = await self.approvals.resolve(held.approval, reviewer, Verdict.GRANT, reason="checked")
            assert isinstance(heard, Approval)
        return await self.hold(call)

    def leaves(self, *kinds: LeafType) -> list[Document]:
        with Reader.open(self.store) as reader:
            return [each.members for each in reader.leaves() if each.type in kinds]


def asked(call: Call, terms: ApprovalTerms = TERMS) -> Ask:
    reasons = (Reason("bulk_select", "more than 50 rows", "gateway.sql"),)
    return approval.ask(call, Decision(Effect.REQUIRE_APPROVAL, reasons, approval=terms))


@asynccontextmanager
async def process(directory: Path, clock: Clock) -> AsyncIterator[House]:
    """A gateway process on the store of `directory`, where the keys are too; several at once share it."""
    store = store_in(directory)
    secrets = directory / "keys"
    ring = keys.load(secrets) if secrets.exists() else make_keys(directory)
    async with EvidenceLog.open(store, ring, now=clock) as log:
        policy = Policy()
        approvals = Approvals(log, policy.decide, url=lambda name: f"https://gate.example/approvals/{name}")
        yield House(log, approvals, policy, clock, store)


def edit(house: House, statement: str, *values: object) -> None:
    """What somebody with the database can do behind the gateway's back."""
    with edited(house.store) as connection:
        connection.execute(statement, values)
