"""Where reviewers are served: who they are, which approvals they may see, and what goes on record before they do.

The API and the pages are two faces of this; neither decides anything of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import trio

from gateway.core.commands import Decided
from gateway.core.errors import Unauthenticated
from gateway.core.policy import approval as rules
from gateway.core.policy import approval_bodies
from gateway.core.policy.approval import Approval, Ground, Objection, State, Verdict
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.core.policy.input import principal_document
from gateway.core.types import ApprovalId, Document, Principal
from gateway.store.approvals import Approvals
from gateway.store.tools import Known

REASON_LIMIT = 2_000
"""Characters of a reviewer's reason: a paragraph, not a file."""
DOOR = "approvals"
"""What stands in evidence for an upstream where a token is refused here."""

STATUS = {
    Ground.SELF_APPROVAL: 403,
    Ground.NOT_A_PERSON: 403,
    Ground.DENIED: 403,
    Ground.NOT_THE_REQUESTER: 403,
    Ground.NOT_PENDING: 409,
    Ground.LAPSED: 409,
    Ground.ALREADY_VOTED: 409,
    Ground.NO_REASON: 422,
    Ground.NO_JUSTIFICATION: 422,
}
"""The HTTP status of each objection."""


class Identify(Protocol):
    """Who sends a request with this `Authorization` header. Raises Unauthenticated, IdentityUnavailable."""

    async def __call__(self, authorization: str | None, *, resource: str) -> Principal: ...


@dataclass(frozen=True, slots=True)
class Counter:
    """What the API and the pages are made of."""

    approvals: Approvals
    decide: Callable[[Entrypoint, Document], Decided]
    """Asks the active bundle, with the time stamped in."""
    identify: Identify
    failed_login: Callable[[str, str], None]
    """Told the reason and DOOR when a token is refused."""
    public_url: str
    """Our own origin: scheme, host and port, without a trailing slash."""
    key: bytes = field(repr=False)
    """Seals the login cookie, 32 bytes."""
    now: Callable[[], datetime]
    changed: Callable[[], Awaitable[list[Known]]]
    """The tools that are not defined as they were accepted."""

    @property
    def resource(self) -> str:
        """What a reviewer's token must be for, unless its issuer is configured with an audience of its own."""
        return f"{self.public_url}/api"

    def url(self, name: ApprovalId) -> str:
        """Where people review an approval."""
        return f"{self.public_url}/approvals/{name}"

    async def who(self, authorization: str | None) -> Principal:
        """The principal of a request. Raises Unauthenticated, which is counted, and IdentityUnavailable."""
        try:
            return await self.identify(authorization, resource=self.resource)
        except Unauthenticated as fault:
            self.failed_login(fault.reason, DOOR)
            raise

    async def listed(self, who: Principal, state: State | None) -> list[Approval]:
        """The newest approvals that policy lets this principal see. Raises EvidenceFault."""
        seen: list[Approval] = []
        for each in await self.approvals.list(state):
            await trio.lowlevel.checkpoint()  # A hundred decisions in a row would keep every call waiting.
            if self._may_see(who, each) is not None:
                seen.append(each)
        return seen

    async def changed_tools(self, who: Principal) -> list[Known]:
        """The tools that wait for somebody to accept their new definition, for those who may. Raises EvidenceFault."""
        document: Document = {
            "phase": "access",
            "principal": principal_document(who),
            "access": {"kind": "tools", "purpose": "to look at what changed"},
        }
        if self.decide(Entrypoint.ACCESS, document).decision.effect is not Effect.ALLOW:
            return []
        return await self.changed()

    async def seen(self, who: Principal, name: ApprovalId) -> Approval | None:
        """The approval, if policy lets this principal see it: one they may not see is one that is not there."""
        found = await self.approvals.get(name)
        return found if found is not None and self._may_see(who, found) is not None else None

    async def opened(self, who: Principal, approval: Approval) -> bool:
        """Whether `who` is shown what is sealed: true for those who may review it, and for those who asked.

        That they were is durable in evidence on return. Raises EvidenceFault, and then nothing may be shown.
        """
        decided = self._may_see(who, approval)
        if decided is not None and not rules.requested_by(approval.ask, who):
            decided = self.decide(Entrypoint.APPROVAL, approval_bodies.for_review(approval, who))
        if decided is None or decided.decision.effect is not Effect.ALLOW:
            return False
        await self.approvals.read_by(who, approval, decided)
        return True

    async def act(self, who: Principal, name: ApprovalId, verb: str, reason: str) -> Approval | Objection | None:
        """Grant, refuse or cancel, as `verb` says; None for no such approval, or none that this principal may see."""
        if await self.seen(who, name) is None:
            return None
        if verb == "cancel":
            return await self.approvals.cancel(name, who)
        return await self.approvals.resolve(name, who, Verdict(verb), reason=reason)

    def _may_see(self, who: Principal, approval: Approval) -> Decided | None:
        document: Document = {
            "phase": "access",
            "principal": principal_document(who),
            "access": {"kind": "approvals", "purpose": ""},
            "approval": approval_bodies.for_access(approval),
        }
        decided = self.decide(Entrypoint.ACCESS, document)
        return decided if decided.decision.effect is Effect.ALLOW else None
