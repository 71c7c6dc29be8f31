"""Leave to read plaintext from the command line: asked of policy, and on record before it is given."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime

from gateway.core.commands import Decided
from gateway.core.evidence.record import LeafType, Record
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.decision import Entrypoint
from gateway.core.policy.input import principal_document
from gateway.core.types import Document, Principal, SessionId
from gateway.pdp.engine import Pdp
from gateway.store.engines import Store
from gateway.store.keys import Keys
from gateway.store.sequencer import EvidenceLog
from gateway.store.stamps import timestamp


async def ask(
    store: Store, keys: Keys, session: SessionId, purpose: str, bundle: Bundle, *, exchange: str | None = None
) -> Decided:
    """What `bundle` says to whether this operator may read a session's bodies, or those of one exchange of it.

    It is in the log of `store` before it is returned, be it yes or no.
    """
    principal = Principal("local", getpass.getuser(), ("local-operator",))
    question: Document = {
        "phase": "access",
        "principal": principal_document(principal),
        "access": {"kind": "plaintext", "session": session, "purpose": purpose},
    }
    with Pdp(bundle) as pdp:
        decided = pdp.decide(Entrypoint.ACCESS, question, at=timestamp(datetime.now(UTC)))
    members: Document = {
        "actor": keys.actor(principal),
        "kind": "session" if exchange is None else "exchange",
        "of": session if exchange is None else exchange,
        "effect": decided.decision.effect.value,
        "bundle": decided.bundle,
    }
    bodies = {"purpose": purpose.encode(), "decision": decided.event}
    async with EvidenceLog.open(store, keys, now=lambda: datetime.now(UTC)) as log:
        await log.append(Record(LeafType.EVIDENCE_READ, members, bodies=bodies))
    return decided
