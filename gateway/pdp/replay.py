"""Decides again what is on record, to show that the safeguards were applied: same bundle, same input, same bytes."""

from __future__ import annotations

import orjson

from gateway.core.policy import decision
from gateway.core.policy.decision import Decision, Effect, Entrypoint
from gateway.core.types import Document, Json
from gateway.pdp.engine import Pdp


def parse(event: bytes) -> Document | None:
    """A recorded decision event as a document; None when it is none."""
    try:
        document: Json = orjson.loads(event)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def revisions(event: Document) -> frozenset[str]:
    """The revisions of the bundles that an event says it was decided with."""
    bundles = event.get("bundles")
    named = bundles.values() if isinstance(bundles, dict) else ()
    found = (item.get("revision") for item in named if isinstance(item, dict))
    return frozenset(revision for revision in found if isinstance(revision, str))


def difference(pdp: Pdp, event: Document) -> str | None:
    """Why deciding `event` again does not give what it says was decided; None when it does, to the byte."""
    try:
        entrypoint = Entrypoint(event.get("path"))
    except ValueError:
        return "the event names no entrypoint that there is"
    if pdp.revision not in revisions(event):
        return f"the event was decided by revision {sorted(revisions(event))}, the bundle is {pdp.revision!r}"
    if _code(event) == "policy_input":
        return None  # It was refused because it could not be put to policy, so there is nothing to put to it again.
    answered = pdp.answer(entrypoint, _canonical(event.get("input")))
    recorded = _canonical(event["result"]) if "result" in event else b""
    if answered == recorded:
        return None
    if not answered:
        return "the policy gives no answer now, and there is one on record"
    if not recorded:
        return "the policy gives an answer now, and there is none on record"
    return f"the answer differs: {_first_difference(orjson.loads(recorded), orjson.loads(answered))}"


def decided(event: Document) -> Decision:
    """The decision that an event stands for, read as the gateway read it."""
    code = _code(event)
    if code or "result" not in event:
        return decision.deny(code or "policy_undefined", "the policy gave no decision that could be used")
    return decision.decode(Entrypoint(event["path"]), event["result"])


def disagreement(event: Document, effect: Json) -> str | None:
    """Why a leaf that says `effect` does not say what its event does; None when it does, or names no effect."""
    if effect is None or decided(event).effect.value == effect:
        return None
    known = effect if effect in {each.value for each in Effect} else "something else"
    return f"the leaf says {known}, its decision {decided(event).effect.value}"


def _code(event: Document) -> str:
    error = event.get("error")
    code = error.get("code") if isinstance(error, dict) else ""
    return code if isinstance(code, str) else ""


def _canonical(value: Json) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _first_difference(recorded: Json, answered: Json, path: str = "$") -> str:
    """Where two answers part, by path: values may be sealed, so they are not told."""
    if isinstance(recorded, dict) and isinstance(answered, dict):
        for key in sorted({*recorded, *answered}):
            if key not in recorded or key not in answered:
                return f"at {path}.{key}, which only one of them has"
            if recorded[key] != answered[key]:
                return _first_difference(recorded[key], answered[key], f"{path}.{key}")
    if isinstance(recorded, list) and isinstance(answered, list) and len(recorded) == len(answered):
        for index, (before, after) in enumerate(zip(recorded, answered, strict=True)):
            if before != after:
                return _first_difference(before, after, f"{path}[{index}]")
    return f"at {path}"
