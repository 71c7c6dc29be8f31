"""An approval as it is written into evidence, told to policy, and read back.

The table of approvals holds states and times only. What was asked and who said what are sealed bodies of leaves, which
name the approval they belong to, so that a row edited in the database cannot lend one approval's votes to another.
Written with every digit and escape that JSON allows: a reviewer must see 1.0 where the client sent 1.0.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import cast

from gateway.core.policy.approval import Approval, Ask, Verdict, Vote
from gateway.core.policy.decision import ApprovalTerms, Phase, Reason
from gateway.core.policy.input import principal_document
from gateway.core.types import ApprovalId, Digest, Document, ExchangeId, Json, Principal, SessionId


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds: sorts as text."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """The aware datetime that `format_time` wrote. Raises ValueError."""
    return datetime.fromisoformat(text)


def format_ask(name: ApprovalId, question: Ask, *, at: datetime) -> dict[str, bytes]:
    """The bodies of an `approval.request` leaf: `ask`, `input` and, where there is one, `justification`."""
    document: Document = {
        "approval": name,
        "created": format_time(at),
        "exchange": question.exchange,
        "session": question.session,
        "principal": principal_document(question.principal),
        "upstream": question.upstream,
        "method": question.method,
        "name": question.name,
        "binding": question.binding,
        "terms": terms_document(question.terms),
        "reasons": reasons_document(question.reasons),
        "meta": question.meta,
    }
    bodies = {"ask": _bytes(document), "input": _bytes(question.input)}
    if question.justification:
        bodies["justification"] = question.justification.encode("utf-8", "surrogatepass")
    return bodies


def parse_ask(bodies: dict[str, bytes]) -> tuple[ApprovalId, Ask, datetime]:
    """Which approval was asked for, what, and when: what `format_ask` wrote. The bodies come from a sealed leaf."""
    document = _document(bodies["ask"])
    question = Ask(
        exchange=ExchangeId(_text(document, "exchange")),
        session=SessionId(_text(document, "session")),
        principal=_principal(document["principal"]),
        upstream=_text(document, "upstream"),
        method=_text(document, "method"),
        name=_text(document, "name"),
        binding=Digest(_text(document, "binding")),
        terms=_terms(document["terms"]),
        reasons=tuple(
            Reason(item["code"], item["message"], item["rule"])
            for item in cast(list[dict[str, str]], document["reasons"])
        ),
        input=_document(bodies["input"]),
        justification=bodies.get("justification", b"").decode("utf-8", "surrogatepass"),
        meta=cast(Document, document["meta"]),
    )
    return ApprovalId(_text(document, "approval")), question, parse_time(_text(document, "created"))


def format_vote(name: ApprovalId, vote: Vote) -> dict[str, bytes]:
    """The bodies of the `approval.resolved` leaf of one vote: `vote` and, where there is one, `reason`."""
    document: Document = {
        "approval": name,
        "reviewer": principal_document(vote.reviewer),
        "verdict": vote.verdict.value,
        "counts": vote.counts,
        "at": format_time(vote.at),
    }
    bodies = {"vote": _bytes(document)}
    if vote.reason:
        bodies["reason"] = vote.reason.encode("utf-8", "surrogatepass")
    return bodies


def parse_vote(bodies: dict[str, bytes]) -> tuple[ApprovalId, Vote]:
    """Which approval was voted on, and how: what `format_vote` wrote."""
    document = _document(bodies["vote"])
    vote = Vote(
        reviewer=_principal(document["reviewer"]),
        verdict=Verdict(document["verdict"]),
        counts=document["counts"] is True,
        at=parse_time(_text(document, "at")),
        reason=bodies.get("reason", b"").decode("utf-8", "surrogatepass"),
    )
    return ApprovalId(_text(document, "approval")), vote


def for_review(approval: Approval, reviewer: Principal) -> Document:
    """Input of `gateway/approval/decision`: may this reviewer resolve it, and does their word count?"""
    return {
        "phase": "approval",
        "principal": principal_document(reviewer),
        "approval": {**for_access(approval), "votes": [_vote_document(vote) for vote in approval.votes]},
    }


def for_access(approval: Approval) -> Document:
    """An approval as policy is told of it: who asks for what and on which terms, never with which arguments."""
    requester = approval.ask.principal
    return {
        "id": approval.id,
        "state": approval.state.value,
        "requester": {"iss": requester.issuer, "sub": requester.subject, "groups": list(requester.groups)},
        "upstream": approval.ask.upstream,
        "method": approval.ask.method,
        "name": approval.ask.name,
        "terms": terms_document(approval.ask.terms),
        "reasons": reasons_document(approval.ask.reasons),
        "created": format_time(approval.created),
        "expires": format_time(approval.expires),
    }


def granted_document(approval: Approval) -> Document:
    """What a grant tells policy as `input.approval` when it decides the call once more."""
    return {
        "id": approval.id,
        "reviewers": [
            {"iss": vote.reviewer.issuer, "sub": vote.reviewer.subject, "groups": list(vote.reviewer.groups)}
            for vote in approval.votes
            if vote.counts and vote.verdict is Verdict.GRANT
        ],
        "quorum": approval.quorum,
        "created": format_time(approval.created),
        "granted": format_time(approval.resolved or approval.created),
        "expires": format_time(approval.expires),
    }


def terms_document(terms: ApprovalTerms) -> Document:
    """Approval terms in the words in which policy gave them."""
    return {
        "groups": list(terms.groups),
        "quorum": terms.quorum,
        "expires_s": terms.expires_s,
        "justification": "required" if terms.justification_required else "optional",
        "phase": terms.phase.value,
    }


def reasons_document(reasons: tuple[Reason, ...]) -> list[Json]:
    """Reasons in the words in which policy gave them."""
    return [{"code": reason.code, "message": reason.message, "rule": reason.rule} for reason in reasons]


def _vote_document(vote: Vote) -> Document:
    return {
        "reviewer": {"iss": vote.reviewer.issuer, "sub": vote.reviewer.subject, "groups": list(vote.reviewer.groups)},
        "verdict": vote.verdict.value,
        "counts": vote.counts,
        "at": format_time(vote.at),
    }


def _principal(value: Json) -> Principal:
    document = cast(Document, value)
    groups, amr, chain = (tuple(cast(list[str], document[key])) for key in ("groups", "amr", "chain"))
    return Principal(
        _text(document, "iss"), _text(document, "sub"), groups, _text(document, "client"), _text(document, "acr"),
        amr, chain, document.get("kind") == "agent",
    )  # fmt: skip


def _terms(value: Json) -> ApprovalTerms:
    document = cast(Document, value)
    return ApprovalTerms(
        groups=tuple(cast(list[str], document["groups"])),
        quorum=cast(int, document["quorum"]),
        expires_s=cast(int, document["expires_s"]),
        justification_required=document["justification"] == "required",
        phase=Phase(document["phase"]),
    )


def _bytes(document: Document) -> bytes:
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode("ascii")


def _document(data: bytes) -> Document:
    return cast(Document, json.loads(data))


def _text(document: Document, key: str) -> str:
    return cast(str, document[key])
