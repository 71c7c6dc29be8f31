"""An approval as people and programs are shown it. Pure.

`summary` is free of what could hold PHI, `full` has everything that was asked, exactly. Text that a client sent is
shown so that a reviewer can trust their eyes: a character that would be invisible, or would turn the writing round, is
spelled out.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from gateway.core.policy import approval as rules
from gateway.core.policy.approval import Approval, State, Verdict
from gateway.core.policy.approval_bodies import format_time, reasons_document
from gateway.core.protocol import mcp
from gateway.core.types import Document, Json, Principal
from gateway.store.tools import Known, difference

_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_WHY = {
    rules.WITHDRAWN: "The requester withdrew it.",
    rules.DENIED_NOW: "Policy denies this call by now, so it could not be granted.",
    rules.UNJUSTIFIED: "Policy demands a justification, and the requester gave none.",
}


def summary(approval: Approval, url: str) -> Document:
    """What a listing shows: who asks for which tool, on what terms, and where it stands."""
    ask = approval.ask
    return {
        "id": approval.id,
        "url": url,
        "state": approval.state.value,
        "why": approval.why,
        "upstream": ask.upstream,
        "method": ask.method,
        # A name that the upstream did not list itself could be anything, also a patient's.
        "tool": ask.name if isinstance(ask.input.get("tool"), dict) else "",
        "requester": _person(ask.principal),
        "reasons": reasons_document(ask.reasons),
        "groups": list(ask.terms.groups),
        "grants": approval.grants,
        "quorum": approval.quorum,
        "created": format_time(approval.created),
        "expires": format_time(approval.expires),
        "resolved": format_time(approval.resolved) if approval.resolved is not None else None,
    }


def full(approval: Approval, url: str) -> Document:
    """All of it: exactly what will run, why the requester wants it, and what each reviewer said."""
    message = cast(Document, approval.ask.input.get("message", {}))
    return {
        **summary(approval, url),
        "name": approval.ask.name,
        "arguments": message.get("arguments", {}),
        "params": message.get("params", {}),
        "meta": approval.ask.meta,
        "pin": _pin(approval),
        "binding": approval.ask.binding,
        "justification": approval.ask.justification,
        "votes": [
            {
                "reviewer": _person(vote.reviewer),
                "verdict": vote.verdict.value,
                "counts": vote.counts,
                "at": format_time(vote.at),
                "reason": vote.reason,
            }
            for vote in approval.votes
        ],
    }


_USUAL = {mcp.PROTOCOL_VERSION, mcp.CLIENT_INFO, mcp.CLIENT_CAPABILITIES, mcp.LOG_LEVEL}


@dataclass(frozen=True, slots=True)
class Part:
    """One named value of a call, as text: a string as it is, all else as indented JSON."""

    name: str
    text: str
    usual: bool = False
    """Whether MCP has clients say this with every request: seldom what a reviewer looks for."""


def parts(approval: Approval) -> list[Part]:
    """Everything that will be sent upstream, in the order in which a person wants to read it."""
    message = cast(Document, approval.ask.input.get("message", {}))
    arguments, params = message.get("arguments"), message.get("params")
    shown = _members("", arguments) if isinstance(arguments, dict) else [Part("arguments", _text(arguments))]
    if isinstance(params, dict):
        shown += _members("", params)
    meta = approval.ask.meta
    usual = {name: meta[name] for name in meta if name in _USUAL}
    others = {name: meta[name] for name in meta if name not in _USUAL}
    return [*shown, *_members("_meta / ", others), *_members("_meta / ", usual, usual=True)]


def story(approval: Approval) -> str:
    """Where the approval stands, in a sentence."""
    match approval.state:
        case State.PENDING:
            missing = approval.quorum - approval.grants
            return f"Waiting for {missing} more {'person' if missing == 1 else 'people'} to grant it."
        case State.GRANTED:
            return "Granted. The call runs, once, as soon as its client is there for it."
        case State.SPENT:
            return "Granted, and used: the call has been released, and no other can be on this approval."
        case State.REFUSED:
            return "Refused. The call was not run."
        case State.EXPIRED:
            return "Its time ran out. The call was not run."
        case State.CANCELLED if approval.why == rules.RESTORED:
            return "The log was restored from a backup. Whether the call was run after that is not on record."
        case State.CANCELLED:
            return f"{_WHY.get(approval.why, 'It was withdrawn.')} The call was not run."


def said(verdict: Verdict) -> str:
    """A verdict as a word in a list of votes."""
    return "granted" if verdict is Verdict.GRANT else "refused"


def remaining(approval: Approval, at: datetime) -> str:
    """How long the approval still has, for people: the two largest units."""
    seconds = int((approval.expires - at).total_seconds())
    if seconds <= 0:
        return "no time"
    units = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
    words = []
    for word, size in units:
        count, seconds = divmod(seconds, size)
        if count:
            words.append(f"{count} {word}{'s' * (count != 1)}")
    return " ".join(words[:2])


def plainly(text: str) -> str:
    """`text` with each control, format, private or unassigned character spelled out: nothing hides, nothing reorders.

    A right-to-left override can make a DELETE read like a SELECT (Unicode TR 36 §2.10; CVE-2021-42574).
    """
    return "".join(
        f"⟨U+{ord(sign):04X}⟩" if unicodedata.category(sign) in _UNSEEN and sign not in "\n\t" else sign
        for sign in text
    )


def _members(prefix: str, values: Document, *, usual: bool = False) -> list[Part]:
    return [Part(plainly(prefix + name), _text(value), usual) for name, value in values.items()]


def _text(value: Json) -> str:
    return plainly(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False))


def _person(principal: Principal) -> Document:
    return {"iss": principal.issuer, "sub": principal.subject, "client": principal.client}


def _pin(approval: Approval) -> Json:
    tool = approval.ask.input.get("tool")
    return tool.get("pin") if isinstance(tool, dict) else None


def changed_tool(known: Known) -> Document:
    """A tool that is not defined as it was accepted: it is hidden until somebody accepts what it has become."""
    return {
        "upstream": known.upstream,
        "tool": known.newest.name,
        "pin": known.newest.pin,
        "seen": known.seen,
        "accepted": {"pin": known.accepted, "since": known.since},
        "difference": [*difference(known, str)],
    }
