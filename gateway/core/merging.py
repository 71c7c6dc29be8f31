"""One answer out of those that several upstreams gave to one question.

Each part was decided, masked and recorded as an exchange of its own with its own upstream; here they are only put
together. An upstream that gave none hides nothing of the others: it is named in `_meta`, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gateway.core import replies
from gateway.core.protocol import aggregate, bridge, jsonrpc, mcp, versions
from gateway.core.protocol.aggregate import LISTED, Names, result_of
from gateway.core.protocol.jsonrpc import Failure, Notification, Request, Response, Success
from gateway.core.types import Document, Era, Json

META = "phigate/aggregate"
"""The member of `_meta` that says which upstreams an answer lacks, and what could not be given a name."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one upstream made of the question. `answer` None: nothing, and `why` is the code that says so."""

    member: str
    answer: Response | None = field(default=None, repr=False)
    why: str = "no_answer"


@dataclass(frozen=True, slots=True)
class Merged:
    """The answer, and where each upstream's listing goes on (`cursor` of MCP, Pagination), if it does."""

    answer: Response
    cursors: Mapping[str, str] = field(default_factory=dict, repr=False)


def merge(request: Request, parts: Sequence[Part], names: Names, era: Era, title: str) -> Merged:
    """The parts as one answer to `request`, at the aggregate called `title`."""
    told = [(part.member, result) for part in parts if (result := _final(part)) is not None]
    if not told:
        return Merged(_nobody(request, parts))
    if request.method in LISTED:
        return _listing(request, parts, told, names, era)
    if request.method == mcp.INITIALIZE:
        result = _greeting([held for _, held in told], told, title)
    elif request.method == "server/discover":
        result = _discovery(told, title)
    else:
        result = versions.complete(era, {})
    return Merged(Success(request.id, _said(result, missing(parts), {})))


def missing(parts: Sequence[Part]) -> list[Json]:
    """The upstreams that gave no answer, and why. One that knows no such method is not missing."""
    found: list[Json] = []
    for part in parts:
        match part.answer:
            case Success() if _final(part) is None:
                found.append({"upstream": part.member, "code": "input_required"})
            case Success() | Failure(code=jsonrpc.METHOD_NOT_FOUND):
                continue
            case Failure(data={"code": str(code)}):
                found.append({"upstream": part.member, "code": code})
            case Failure():
                found.append({"upstream": part.member, "code": "error"})
            case None:
                found.append({"upstream": part.member, "code": part.why})
    return found


def _final(part: Part) -> Document | None:
    """The result that a part holds; None where it holds none, or one that first asks something of the client."""
    result = result_of(part.answer)
    return result if result is not None and result.get("resultType", "complete") == "complete" else None


def acknowledgement(parts: Sequence[Notification], lacking: list[Json]) -> Notification:
    """What several upstreams agreed to tell about, as one (2026-07-28, Subscriptions: Acknowledgment)."""
    params: Json = {}
    for part in parts:
        params = aggregate.union(params, part.params)
    held = params if isinstance(params, dict) else {}
    return Notification(aggregate.ACKNOWLEDGED, _said(held, lacking, {}))


def _nobody(request: Request, parts: Sequence[Part]) -> Failure:
    """No upstream had a result: the most telling of their errors."""
    failures = [part.answer for part in parts if isinstance(part.answer, Failure)]
    failures.sort(key=lambda failure: failure.code == jsonrpc.METHOD_NOT_FOUND)
    if not failures:
        text = "None of the upstreams behind this endpoint answered."
        return Failure(request.id, replies.UPSTREAM_FAILED, text, {"code": "no_answer", "upstreams": missing(parts)})
    first = failures[0]
    return replace(first, id=request.id)


def _listing(
    request: Request, parts: Sequence[Part], told: Sequence[tuple[str, Document]], names: Names, era: Era
) -> Merged:
    kind, _ = LISTED[request.method]
    listed: list[Json] = []
    unnamed: dict[str, Json] = {}
    cursors: dict[str, str] = {}
    for member, result in told:
        found, unreachable = aggregate.items(request, names, member, result)
        listed += found
        if unreachable:
            unnamed[member] = len(unreachable)
        if isinstance(cursor := result.get("nextCursor"), str):
            cursors[member] = cursor
    merged = versions.complete(era, {kind: listed})
    if era is Era.MODERN and request.method in bridge.CACHEABLE:
        merged |= _freshness([result for _, result in told])
    return Merged(Success(request.id, _said(merged, missing(parts), unnamed)), cursors)


def _freshness(results: Sequence[Document]) -> Document:
    """As fresh as the first to grow stale, and nobody else's: what is listed depends on who asks (Caching)."""
    times = [value for result in results if isinstance(value := result.get("ttlMs"), int)]
    return {"ttlMs": min(times, default=0), "cacheScope": "private"}


def _greeting(results: Sequence[Document], told: Sequence[tuple[str, Document]], title: str) -> Document:
    """The answer to `initialize`: the oldest version that any of them chose, which the others understand as well."""
    if len(told) == 1:
        return results[0]
    chosen = [str(result.get("protocolVersion")) for result in results]
    known = [version for version in versions.VERSIONS if version in chosen]
    return {
        "protocolVersion": known[0] if known else versions.LATEST_LEGACY,
        "capabilities": _capabilities(results),
        "serverInfo": _info(title),
        **_instructions(told),
    }


def _discovery(told: Sequence[tuple[str, Document]], title: str) -> Document:
    results = [result for _, result in told]
    if len(told) == 1:
        return results[0]
    return {
        "resultType": "complete",
        "supportedVersions": [*versions.MODERN],
        "capabilities": _capabilities(results),
        **_freshness(results),
        **_instructions(told),
        mcp.META: {mcp.SERVER_INFO: _info(title)},
    }


def _capabilities(results: Sequence[Document]) -> Json:
    found: Json = {}
    for result in results:
        found = aggregate.union(found, result.get("capabilities", {}))
    return found


def _instructions(told: Sequence[tuple[str, Document]]) -> Document:
    """Each upstream's own, under its name."""
    texts = [f"{member}:\n{text}" for member, result in told if isinstance(text := result.get("instructions"), str)]
    return {"instructions": "\n\n".join(texts)} if texts else {}


def _info(title: str) -> Document:
    return {"name": title, "title": f"{title}, by phigate", "version": "1"}


def _said(result: Document, lacking: list[Json], unnamed: dict[str, Json]) -> Document:
    """The result with what it lacks in its `_meta`; as it is where it lacks nothing."""
    detail: Document = {}
    if lacking:
        detail["missing"] = lacking
    if unnamed:
        detail["unnamed"] = unnamed
    if not detail:
        return result
    meta = result.get(mcp.META)
    return {**result, mcp.META: {**(meta if isinstance(meta, dict) else {}), META: detail}}


def own(message: Request) -> Success | Failure:
    """What the endpoint itself answers: that it is there, or that what is asked for is nobody's."""
    if message.method == "ping":
        return Success(message.id, {})
    if message.method not in mcp.METHODS:
        return Failure(message.id, jsonrpc.METHOD_NOT_FOUND, "There is no such method here.")
    text = "Nothing here has this name. Things here are <upstream>__<name>, and resources <upstream>+<uri>."
    return Failure(message.id, jsonrpc.INVALID_PARAMS, text)
