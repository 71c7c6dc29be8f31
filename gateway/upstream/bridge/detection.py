"""Which eras an upstream speaks, as it says itself.

2026-07-28, Versioning: a client that speaks both eras asks `server/discover` first and falls back to `initialize` where
that is not known. Here only an answer counts, to the one or to the other: an upstream that is down, overloaded or
misconfigured today must not be taken for an old one as long as the process lives.
"""

from __future__ import annotations

import trio

from gateway.core.errors import UpstreamFault
from gateway.core.protocol import bridge, mcp, versions
from gateway.core.protocol.jsonrpc import Failure, Request, Response
from gateway.core.types import Document, Era, SessionId
from gateway.upstream.base import Link, Upstream
from gateway.upstream.bridge.translated import answered

ABSENT = frozenset({"closed", "malformed", "status", "timeout"})
"""Faults by which an upstream may say that it does not know a question; one that is unreachable has said nothing."""
PROBE_S = 15.0
"""How long a question may stay unanswered: an old server may well be silent about what it does not know."""
_META: Document = {
    mcp.PROTOCOL_VERSION: versions.LATEST_MODERN,
    mcp.CLIENT_INFO: {"name": "phigate", "version": "1"},
    mcp.CLIENT_CAPABILITIES: {},
}


async def speaks_modern(inner: Upstream) -> bool:
    """Whether the upstream speaks the modern era. Raises UpstreamFault when nothing that it does tells.

    Each question has a session, and so a program, of its own: it may end what it is asked of.
    """
    try:
        link = Link(SessionId("(discover)"), Era.MODERN, versions.LATEST_MODERN)
        answer, _ = await _ask(inner, link, Request(0, "server/discover", {mcp.META: _META}))
    except UpstreamFault as fault:
        if fault.kind not in ABSENT:
            raise
        return not await _speaks_legacy(inner, fault)
    if isinstance(answer, Failure):
        if answer.code == versions.UNSUPPORTED_VERSION:
            return True  # Only a modern upstream has this word; which version it wants it says to the client itself.
        return not await _speaks_legacy(inner, UpstreamFault("it refuses `server/discover`", kind="status"))
    result = answer.result
    told = result.get("supportedVersions") if isinstance(result, dict) else None
    return isinstance(told, list) and versions.LATEST_MODERN in told


async def _speaks_legacy(inner: Upstream, fault: UpstreamFault) -> bool:
    """True; raises `fault`, its answer to the modern era, when it does not answer to this one either."""
    link = Link(SessionId("(initialize)"), Era.LEGACY, versions.LATEST_LEGACY)
    try:
        answer, session = await _ask(inner, link, Request(0, mcp.INITIALIZE, bridge.greeting(_META)))
        await inner.end(Link(link.session, link.era, link.version, session))
    except UpstreamFault:
        raise UpstreamFault(fault.detail, kind=fault.kind) from None
    if isinstance(answer, Failure):
        raise UpstreamFault(fault.detail, kind=fault.kind)
    return True


async def _ask(inner: Upstream, link: Link, question: Request) -> tuple[Response, str | None]:
    try:
        with trio.move_on_after(PROBE_S):
            async with inner.converse(link) as conversation:
                await conversation.send(question)
                return await answered(conversation), conversation.upstream_session
    finally:
        if inner.local:
            await inner.end(link)
    raise UpstreamFault("it did not say in time which era it speaks", kind="timeout")
