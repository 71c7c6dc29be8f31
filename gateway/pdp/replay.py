"""Decides again what is on record, to show that the safeguards were applied: same bundle, same input, same bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version

import orjson

from gateway.core.policy import decision
from gateway.core.policy.decision import Decision, Effect, Entrypoint
from gateway.core.types import Document, Json
from gateway.pdp.engine import Pdp

PLACES_TOLD = 5
"""Places at which two answers part that are told; the rest is counted."""
_ENGINE = "gordon-to-regorus"
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    """One place at which two answers differ; one that only one of them has is None in the other."""

    path: str
    recorded: Json = field(repr=False)
    answered: Json = field(repr=False)
    missing: bool = False


def engine() -> str:
    """The policy engine of this process with its version: another one may answer otherwise."""
    return f"{_ENGINE} {version(_ENGINE)}"


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
    return f"the answer differs: {_told(list(parts(orjson.loads(recorded), orjson.loads(answered))))}"


def parting(pdp: Pdp, event: Document) -> list[Part]:
    """The places, with values, at which the policy's answer now and the one on record differ; empty without either."""
    answered = pdp.answer(Entrypoint(event.get("path")), _canonical(event.get("input")))
    return list(parts(event["result"], orjson.loads(answered))) if answered and "result" in event else []


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


def parts(recorded: Json, answered: Json, path: str = "$") -> Iterator[Part]:
    """Where two answers part. Names that are no plain words are `*` in a path: they could be anything."""
    if isinstance(recorded, dict) and isinstance(answered, dict):
        for key in sorted({*recorded, *answered}):
            below = f"{path}.{key if _PLAIN.fullmatch(key) else '*'}"
            if key not in recorded or key not in answered:
                yield Part(below, recorded.get(key), answered.get(key), missing=True)
            else:
                yield from parts(recorded[key], answered[key], below)
    elif isinstance(recorded, list) and isinstance(answered, list) and len(recorded) == len(answered):
        for index, (before, after) in enumerate(zip(recorded, answered, strict=True)):
            yield from parts(before, after, f"{path}[{index}]")
    elif recorded != answered or type(recorded) is not type(answered):
        yield Part(path, recorded, answered)


def _told(found: list[Part]) -> str:
    """The places by path: values may be sealed, so they are not told."""
    texts = [f"at {part.path}{', which only one of them has' if part.missing else ''}" for part in found[:PLACES_TOLD]]
    more = len(found) - PLACES_TOLD
    return "; ".join([*texts, f"and {more} more"] if more > 0 else texts)
