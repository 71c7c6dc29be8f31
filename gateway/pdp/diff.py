"""A recorded decision, decided by a candidate policy: what of it would change, and whom and what it is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from gateway.core.policy import change, decision
from gateway.core.policy.change import Change
from gateway.core.policy.decision import Decision, Entrypoint
from gateway.core.policy.impact import Row
from gateway.core.protocol import mcp
from gateway.core.types import Document, Json, Principal
from gateway.pdp import replay
from gateway.pdp.engine import Pdp

LISTEN = "(listen)"


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom and what a recorded question is about. What a client could have made up is not told."""

    entrypoint: Entrypoint
    principal: Principal
    upstream: str
    about: str
    input: Json = field(repr=False)


def asked(event: Document) -> Asked | None:
    """The question that an event records; None when there is none that can be asked again."""
    try:
        entrypoint = Entrypoint(event.get("path"))
    except ValueError:
        return None
    document = event.get("input")
    if not isinstance(document, dict):
        return None  # It was refused because it could not be put to policy.
    return Asked(entrypoint, _principal(document), _text(document.get("upstream"), "name"), _about(document), document)


def changes(candidate: Pdp, event: Document, question: Asked, base: Pdp | None = None) -> tuple[Change, ...]:
    """What changes when `candidate` answers what `event` records, beside the record or beside `base`'s answer."""
    before = recorded(event) if base is None else answer(base, question)
    return change.compare(question.entrypoint, question.input, before, answer(candidate, question))


def recorded(event: Document) -> Decision:
    """What the policy said when it was recorded. That it took too long was the machine's doing and not its word."""
    if "result" in event:
        return decision.decode(Entrypoint(event["path"]), event["result"])
    return replay.decided(event)


def answer(pdp: Pdp, question: Asked) -> Decision:
    """What a policy decides of a recorded question, at the time that is recorded with it."""
    text = pdp.answer(question.entrypoint, orjson.dumps(question.input, option=orjson.OPT_SORT_KEYS))
    if not text:
        return decision.deny("policy_error", "The policy gave no answer.", rule=question.entrypoint.value)
    return decision.decode(question.entrypoint, orjson.loads(text))


def row(leaf: int, exchange: str, question: Asked, found: tuple[Change, ...], actor: Callable[[Principal], str]) -> Row:
    """A line of the report; `actor` gives principals their pseudonyms."""
    groups, pseudonym = question.principal.groups, actor(question.principal)
    return Row(leaf, exchange, question.entrypoint, pseudonym, groups, question.upstream, question.about, found)


def _principal(document: Document) -> Principal:
    found = document.get("principal")
    groups = found.get("groups") if isinstance(found, dict) else None
    named = tuple(group for group in groups if isinstance(group, str)) if isinstance(groups, list) else ()
    return Principal(_text(found, "iss"), _text(found, "sub"), named)


def _about(document: Document) -> str:
    """The tool, if its upstream listed it; else the method, if MCP has it: either could be anything otherwise."""
    tool = _text(document.get("tool"), "name")
    method = _text(document.get("message"), "method")
    return tool or (method if method in mcp.METHODS or method == LISTEN else "(other)")


def _text(holder: Json, name: str) -> str:
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, str) else ""
