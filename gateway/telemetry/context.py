"""W3C Trace Context: which trace and span a message belongs to (https://www.w3.org/TR/trace-context/).

Pure but for the ids. A caller says it in `_meta.traceparent` (MCP 2026-07-28, SEP-414), or in the HTTP header of that
name. `tracestate` and `baggage` are not read here, and go no other way than they came.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace

from gateway.core.protocol import mcp
from gateway.core.protocol.jsonrpc import Message, Request

TRACEPARENT = "traceparent"
_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED = 1
_ids = random.Random()  # Ids need be distinct, not secret. Seeded by the operating system, in each process anew.


@dataclass(frozen=True, slots=True)
class Context:
    """A span's place in the world: 128 and 64 bits as lower-case hex, and whether its trace is recorded."""

    trace: str
    span: str
    sampled: bool


def parse(text: object) -> Context | None:
    """The context that a `traceparent` says; None for what is none (§3.2.2: then as if nothing had been said)."""
    found = _FORM.fullmatch(text) if isinstance(text, str) and len(text) <= 256 else None
    if found is None:
        return None
    version, trace, span, flags, rest = found.groups()
    if version == "ff" or (version == "00" and rest) or not trace.strip("0") or not span.strip("0"):
        return None
    return Context(trace, span, bool(int(flags, 16) & _SAMPLED))


def format(context: Context) -> str:
    """As a `traceparent` of version 00."""
    return f"00-{context.trace}-{context.span}-{'01' if context.sampled else '00'}"


def said(message: Message) -> Context | None:
    """The context that a message itself says."""
    return parse(mcp.meta(message).get(TRACEPARENT))


def root(ratio: float) -> Context:
    """A new trace, recorded with the probability `ratio`."""
    return Context(f"{_ids.getrandbits(128) or 1:032x}", _span(), _ids.random() < ratio)


def child(parent: Context) -> Context:
    """A new span of the same trace."""
    return replace(parent, span=_span())


def onward(message: Message, context: Context) -> Message:
    """A request with `_meta.traceparent` of this context; other messages, and a `_meta` that is none, as they are."""
    if not isinstance(message, Request) or not isinstance(meta := message.params.get(mcp.META, {}), dict):
        return message
    return replace(message, params={**message.params, mcp.META: {**meta, TRACEPARENT: format(context)}})


def _span() -> str:
    return f"{_ids.getrandbits(64) or 1:016x}"
