"""Inputs of every shape that the gateway gives its entrypoints, with invented content: what a bundle is tried on.

Not a test of what is right, which only a policy's own tests can know, but of form and cost: each of these must be
answered by a decision, soon. The largest are as large as limits let them become.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.core.policy.decision import Entrypoint
from gateway.core.types import Document, Json

TIME = "2026-01-05T12:00:00.000000Z"

_GROUPS: tuple[list[Json], ...] = (
    [],
    ["clinicians"],
    ["analysts", "auditors"],
    ["privacy-officers"],
    [f"group-{number}" for number in range(200)],
)
_PRINCIPALS: tuple[Document, ...] = tuple(
    {
        "iss": "https://issuer.example",
        "sub": "sample",
        "groups": groups,
        "client": "sample-agent",
        "acr": "",
        "amr": [],
        "chain": [],
        "kind": "person",
    }
    for groups in _GROUPS
)
_OUTPUTS: list[Json] = [
    {
        "name": name,
        "fields": [name] if name else [],
        "sources": ["family", "given"],
        "classes": ["NAME"],
        "transformed": transformed,
        "unresolved": False,
    }
    for name in ("", "full", "other")
    for transformed in (True, False)
]
_STATEMENTS: list[Json] = [
    {
        "kind": kind,
        "understood": True,
        "tables": ["patients"],
        "columns": ["patients.id", "patients.ssn"],
        "writes": kind != "select",
        "star": False,
        "limit": limit,
        "where": keyed,
        "keyed": keyed,
        "aggregate": False,
        "functions": [],
    }
    for kind in ("select", "update", "ddl", "other")
    for keyed in (True, False)
    for limit in (None, 10)
]


def _sql(statements: list[Json], outputs: list[Json]) -> Document:
    understood = bool(statements)
    return {"sql": {"understood": understood, "parse_error": None, "statements": statements, "outputs": outputs}}


_FACTS: tuple[Document, ...] = (
    {},
    _sql([], []),
    *(_sql([statement], []) for statement in _STATEMENTS),
    *(_sql(_STATEMENTS[:1], outputs) for outputs in (_OUTPUTS, _OUTPUTS[2:])),
    _sql(_STATEMENTS * 8, _OUTPUTS[2:] * 8),
)
_TOOL: Document = {"name": "run_sql", "pin": "0" * 64, "annotations": {"readOnlyHint": False}, "changed": False}
_CALLS: tuple[Document, ...] = (
    {"kind": "request", "method": "tools/call", "name": "run_sql", "arguments": {"sql": "SELECT 1"}, "params": {}},
    {"kind": "request", "method": "initialize", "name": "", "arguments": {}, "params": {"protocolVersion": ""}},
    {"kind": "request", "method": "tools/call", "name": "", "arguments": ["no", "object"], "params": {}},
    {"kind": "request", "method": "resources/read", "name": "patient://1", "arguments": {}, "params": {}},
    {"kind": "request", "method": "prompts/get", "name": "summary", "arguments": {}, "params": {}},
    {"kind": "request", "method": "tasks/get", "name": "", "arguments": {}, "params": {"taskId": ""}, "held": True},
    {"kind": "request", "method": "no/such", "name": "", "arguments": {}, "params": {}},
    {"kind": "notification", "method": "notifications/cancelled", "name": "", "arguments": {}, "params": {}},
    {"kind": "response", "method": "sampling/createMessage", "name": "", "arguments": {}, "params": {"result": {}}},
    {
        "kind": "request",
        "method": "tools/call",
        "name": "run_sql",
        "arguments": {"x": ["y" * 50] * 2_000},
        "params": {},
    },
)
_ABOUT: Document = {"kind": "request", "method": "tools/call", "name": "run_sql"}
_RESULTS: tuple[Document, ...] = (
    {"kind": "success", "method": "", "is_error": False, "asks": [], "opens": []},
    {"kind": "success", "method": "", "is_error": True, "asks": [], "opens": []},
    {"kind": "success", "method": "", "is_error": False, "task": True, "asks": [], "opens": []},
    {"kind": "success", "method": "", "is_error": False, "asks": ["sampling/createMessage"], "opens": []},
    {"kind": "error", "method": "", "is_error": True, "code": -32000, "asks": [], "opens": []},
    {"kind": "request", "method": "elicitation/create", "is_error": False, "opens": ["https://elsewhere.example"]},
    {"kind": "notification", "method": "notifications/progress", "is_error": False, "asks": [], "opens": []},
)
_PROFILES: tuple[Document, ...] = (
    {"classes": {}, "paths": [], "rows": 0, "patients": 0, "bytes": 2},
    {"classes": {"NAME": 2, "SSN": 1}, "paths": ["$.rows[*].ssn"], "rows": 1, "patients": 1, "bytes": 300},
    {
        "classes": {"NAME": 90_000, "DATE": 70_000, "BLOB": 3},
        "paths": [f"$.rows[*].column_{number}" for number in range(200)],
        "rows": 100_000,
        "patients": 90_000,
        "bytes": 8_000_000,
    },
)
_GRANT: Document = {
    "id": "sample",
    "reviewers": [{"iss": "https://issuer.example", "sub": "another", "groups": ["privacy-officers"]}],
    "quorum": 1,
    "created": TIME,
    "granted": TIME,
    "expires": TIME,
}


def samples() -> Iterator[tuple[Entrypoint, Document]]:
    """Every sample with the entrypoint it is for; the time is among them."""
    for principal in _PRINCIPALS:
        yield from _calls(principal)
        yield from _results(principal)
        for kind in ("tools", "prompts", "resources", "resourceTemplates"):
            for count in (2, 500):
                listing: Document = {"kind": kind, "items": _items(kind, count)}
                yield Entrypoint.CATALOGUE, {**_common("catalogue", principal), "message": _ABOUT, "catalogue": listing}
        yield Entrypoint.APPROVAL, {"phase": "approval", "time": TIME, "principal": principal, "approval": _approval()}
        for kind in ("approvals", "sessions", "evidence", "plaintext", ""):
            access: Document = {"kind": kind, "purpose": ""}
            seen: Document = {"phase": "access", "time": TIME, "principal": principal, "access": access}
            yield Entrypoint.ACCESS, seen
            yield Entrypoint.ACCESS, {**seen, "approval": _approval()}


def _calls(principal: Document) -> Iterator[tuple[Entrypoint, Document]]:
    common = _common("call", principal)
    for message in _CALLS:
        yield Entrypoint.CALL, {**common, "tool": None, "message": message}
    for facts in _FACTS:
        document: Document = {**common, "facts": facts, "message": _CALLS[0]}
        yield Entrypoint.CALL, document
        yield Entrypoint.CALL, {**document, "approval": _GRANT}


def _results(principal: Document) -> Iterator[tuple[Entrypoint, Document]]:
    common = _common("result", principal)
    for result in _RESULTS:
        for profile in _PROFILES:
            document: Document = {**common, "message": _ABOUT, "result": result, "profile": profile}
            yield Entrypoint.RESULT, document
            yield Entrypoint.RESULT, {**document, "approval": _GRANT}
    for facts in _FACTS:
        document = {**common, "facts": facts, "message": _ABOUT, "result": _RESULTS[0], "profile": _PROFILES[1]}
        yield Entrypoint.RESULT, document


def _items(kind: str, count: int) -> list[Json]:
    return [{"name": f"{kind}-{number}", "annotations": {}, "changed": number % 9 == 1} for number in range(count)]


def _common(phase: str, principal: Document) -> Document:
    return {
        "phase": phase,
        "time": TIME,
        "principal": principal,
        "session": {"id": "sample", "era": "legacy", "version": "2025-11-25"},
        "upstream": {"name": "sample", "labels": {}},
        "purpose": "",
        "tool": _TOOL,
        "facts": {},
    }


def _approval() -> Document:
    return {
        "id": "sample",
        "state": "pending",
        "requester": {"iss": "https://issuer.example", "sub": "another", "groups": ["analysts"]},
        "upstream": "sample",
        "method": "tools/call",
        "name": "run_sql",
        "terms": {"groups": ["privacy-officers"], "quorum": 1, "expires_s": 900, "justification": "optional"},
        "reasons": [],
        "created": TIME,
        "expires": TIME,
        "votes": [],
    }
