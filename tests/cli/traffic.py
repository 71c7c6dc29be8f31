"""Stores with recorded exchanges, made by the real append path, for the verbs that read them."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime

import trio

from gateway.core import records
from gateway.core.call import Call
from gateway.core.evidence.record import LeafType, Record
from gateway.core.masking.profile import Profile
from gateway.core.policy import bundle
from gateway.core.policy import input as policy_input
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.core.protocol.jsonrpc import Request, Success
from gateway.core.records import Ending, Status
from gateway.core.replies import Reply
from gateway.core.types import Era, ExchangeId, Principal, Tool, UpstreamRef
from gateway.pdp import replay
from gateway.pdp.engine import Pdp
from gateway.store import keys as keystore
from gateway.store.sequencer import EvidenceLog

AT = "2026-01-05T12:00:00.000000Z"
ANN = Principal("https://issuer.example", "ann@clinic.example", ("analysts",))
BOB = Principal("https://issuer.example", "bob@clinic.example", ("clinicians", "chiefs"))
TOOL = Tool("run_sql", pin="ab" * 32, definition={"name": "run_sql"})
PATIENT = "Wilhelmina Featherstone"
"""Stands in every request: must be found in no report."""


class Traffic:
    """A store that is being filled: each call is one exchange, decided by the PDP that is active."""

    def __init__(self, place, log, keys):
        self.place, self.log, self.keys = place, log, keys
        self.pdp = None
        self.calls = 0
        self.session = None

    async def activate(self, policy, *, archive=None, **members):
        """Put a bundle on record as the gateway does; `archive` puts other bytes into the archive in its place."""
        data = (archive or policy).archive
        await self.log.transact(lambda transaction: transaction.archive_bundle(policy.digest, data))
        told = {"bundle": policy.digest, "revision": policy.manifest.revision, "engine": replay.engine(), **members}
        await self.log.append(Record(LeafType.BUNDLE_ACTIVATED, told))
        self.pdp = Pdp(policy)

    async def call(self, who=ANN, *, tool=TOOL, upstream="clinic", profile=None, items=None, event=None):
        """One exchange: decided, recorded, and, if allowed, answered with a result of this profile. Returns its id.

        `items`: it is a listing of tools with these names. `event` edits the recorded bytes of the first decision.
        """
        self.calls += 1
        self.session = await self.log.session(
            f"{who.subject}@{upstream}", members={"actor": self.keys.actor(who)}, idle_s=60
        )
        message = (
            Request(1, "tools/list", {})
            if items
            else Request(1, "tools/call", {"name": tool.name, "arguments": {"patient": PATIENT}})
        )
        call = Call(
            ExchangeId(f"exchange-{self.calls}"), self.session, self.keys.actor(who), Era.LEGACY, "2025-11-25", who,
            UpstreamRef(upstream), message, None if items else tool,
        )  # fmt: skip
        first = self.pdp.decide(Entrypoint.CALL, policy_input.for_call(call), at=AT)
        recorded = first if event is None else type(first)(first.decision, event(first.event), first.bundle)
        if first.decision.effect is Effect.DENY:
            await self.log.append(records.refused(call, recorded, Reply(b"{}")))
            return call.exchange
        await self.log.append(records.intent(call, recorded))
        decided = ()
        if items:
            listed = policy_input.for_catalogue(call, "tools", [{"name": name} for name in items])
            decided = (self.pdp.decide(Entrypoint.CATALOGUE, listed, at=AT),)
        found = Profile(profile or {"classes": {}, "paths": [], "rows": 0})
        told = policy_input.for_result(call, Success(1, {}), found)
        decided = (*decided, self.pdp.decide(Entrypoint.RESULT, told, at=AT))
        await self.log.append(records.outcome(call, Ending(Status.REPLIED, Reply(b"{}"), decided=decided)))
        return call.exchange


@asynccontextmanager
async def filling(place):
    keys = keystore.generate(place / "keys", origin="test.example/phigate")
    async with EvidenceLog.open(place / "evidence.db", keys, now=lambda: datetime.now(UTC)) as log:
        traffic = Traffic(place, log, keys)
        try:
            yield traffic
        finally:
            if traffic.pdp is not None:
                traffic.pdp.close()


def fill(place, script):
    """Make a store at `place` by an async function that is given a Traffic; what that returned."""

    async def run():
        async with filling(place) as traffic:
            return await script(traffic)

    return trio.run(run)


def options(place):
    """What tells a verb where the store is."""
    return ["--store", str(place / "evidence.db"), "--keys", str(place / "keys")]


RESULT = "gateway/result/decision.rego"
CATALOGUE = "gateway/catalogue/decision.rego"


def policy(call, result="", catalogue=""):
    """A bundle that allows what these bodies of its packages say, and denies the rest."""
    bodies = {"call": call, "result": result, "catalogue": catalogue, "approval": "", "access": ""}
    default = '# METADATA\n# entrypoint: true\ndefault decision := {"effect": "deny"}\n\n'
    files = {
        f"gateway/{name}/decision.rego": f"package gateway.{name}\n\n{default}{body}".encode()
        for name, body in bodies.items()
    }
    return bundle.read(bundle.build(files))
