"""Messages of both eras as they should be, and what becomes of them: the grammars that the fuzzer draws from.

Each drawn thing begins well-formed and is mutated a few times: a member goes, comes twice, is another's, is of another
type; then perhaps its bytes. `IDENT` and `TOKEN` stand for what an upstream only knows once it was asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from gateway.core.protocol import mcp
from tests.fuzz.parts import MARK, SSN

IDENT, TOKEN = "$ident", "$token"
MODERN, LEGACY = "2026-07-28", "2025-11-25"
META = {
    mcp.PROTOCOL_VERSION: MODERN,
    mcp.CLIENT_INFO: {"name": MARK, "version": "1"},
    mcp.CLIENT_CAPABILITIES: {"elicitation": {"url": {}, "form": {}}, "sampling": {}, "roots": {}},
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
PARAMS: dict[str, dict[str, Any]] = {
    "tools/call": {"name": "read", "arguments": {"patient": MARK, "n": 1}},
    "prompts/get": {"name": "hand", "arguments": {"ward": MARK}},
    "resources/read": {"uri": f"ward://{MARK}"},
    "resources/subscribe": {"uri": "ward://icu"},
    "resources/unsubscribe": {"uri": "ward://icu"},
    "completion/complete": {"ref": {"type": "ref/prompt", "name": "hand"}, "argument": {"name": "w", "value": MARK}},
    "logging/setLevel": {"level": "debug"},
    "initialize": {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": MARK, "version": "1"}},
    "subscriptions/listen": {"notifications": {"toolsListChanged": True}},
    "tasks/get": {"taskId": MARK},
    "tasks/update": {"taskId": MARK, "inputResponses": {"a": {"action": "accept"}}},
    "notifications/cancelled": {"requestId": 1, "reason": MARK},
    "notifications/progress": {"progressToken": 1, "progress": 1, "message": MARK},
}
CALLED = sorted({*mcp.CLIENT_REQUESTS, *mcp.CLIENT_NOTIFICATIONS, "fuzz/known", "fuzz/unknown"})
OFTEN = ["tools/call", "tools/list", "resources/read", "prompts/get", "completion/complete"]

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 2**53, 2**63 - 1, 2**64 - 1, 1.5, 1e308, "", " ", "\0", "\u2028", "é", "x" * 300]),
    st.sampled_from([MARK, SSN, IDENT, TOKEN, "tools/call", MODERN, LEGACY, "2024-11-05", "2099-01-01"]),
    st.sampled_from([[], {}, [[]], {"": {}}, {"_meta": None}, {"_meta": []}, [MARK], {MARK: MARK}, {SSN: SSN}]),
    st.integers(),
    st.text(max_size=12),
)
KEYS = st.sampled_from([
    "_meta", "id", "method", "params", "result", "error", "jsonrpc", "name", "uri", "arguments", "cursor", "nextCursor",
    "requestState", "inputResponses", "inputRequests", "resultType", "content", "structuredContent", "isError", "data",
    "code", "message", "progressToken", "task", "taskId", "ttlMs", "cacheScope", "tools", "contents", "blob", MARK, SSN,
])  # fmt: skip


def called(method: str, *, modern: bool, ident: Any = 7) -> dict[str, Any]:
    """A client's message as it should be."""
    params = deepcopy(PARAMS.get(method, {}))
    if modern:
        params["_meta"] = deepcopy(META)
    document: dict[str, Any] = {"jsonrpc": "2.0", "id": ident, "method": method, "params": params}
    if method.startswith("notifications/"):
        del document["id"]
    return document


ITEM = {"name": "read", "description": f"of {SSN}", "inputSchema": {"type": "object", "$defs": {}}}
TEXT = {"content": [{"type": "text", "text": f"SSN {SSN}"}], "structuredContent": {"ssn": SSN}}
ASKS = {
    "a": {"method": "elicitation/create", "params": {"mode": "form", "message": SSN, "requestedSchema": {}}},
    "b": {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}},
}
TASK = {"taskId": "t", "status": "working", "createdAt": "2026-01-01T00:00:00Z", "ttlMs": 1000}
RESULTS: dict[str, dict[str, Any]] = {
    "initialize": {
        "protocolVersion": LEGACY,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "w", "version": "1"},
        "instructions": f"Ask for {SSN}.",
    },
    "server/discover": {
        "supportedVersions": [MODERN],
        "capabilities": {"tools": {}},
        "instructions": f"Ask for {SSN}.",
        "resultType": "complete",
        "ttlMs": 5,
        "cacheScope": "public",
    },
    "tools/list": {"tools": [ITEM], "nextCursor": SSN, "resultType": "complete", "ttlMs": 5, "cacheScope": "public"},
    "prompts/list": {"prompts": [{"name": "hand", "description": SSN}], "nextCursor": SSN},
    "resources/list": {"resources": [{"uri": "ward://icu", "name": SSN}]},
    "resources/templates/list": {"resourceTemplates": [{"uriTemplate": "ward://{x}", "name": SSN}]},
    "resources/read": {"contents": [{"uri": "ward://icu", "text": SSN, "_meta": {"x": SSN}}]},
    "prompts/get": {"messages": [{"role": "user", "content": {"type": "text", "text": SSN}}]},
    "completion/complete": {"completion": {"values": [SSN], "total": 1}},
    "tasks/get": {**TASK, "status": "completed", "result": TEXT},
}
SAID = [
    {
        "jsonrpc": "2.0",
        "method": "notifications/progress",
        "params": {"progressToken": TOKEN, "progress": 1, "message": SSN},
    },
    {
        "jsonrpc": "2.0",
        "method": "notifications/message",
        "params": {"level": "info", "data": {"ssn": SSN}, "logger": SSN},
    },
    {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"},
    {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": f"ward://{SSN}"}},
    {"jsonrpc": "2.0", "method": "notifications/tasks", "params": {**TASK, "inputRequests": ASKS}},
    {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": IDENT, "reason": SSN}},
    {"jsonrpc": "2.0", "method": f"notifications/{SSN}", "params": {"x": SSN}},
    {"jsonrpc": "2.0", "id": 3, "method": "elicitation/create", "params": {"message": SSN, "requestedSchema": {}}},
    {"jsonrpc": "2.0", "id": SSN, "method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}},
    {"jsonrpc": "2.0", "id": "p", "method": "ping"},
]
ERRORS = [
    {"code": -32601, "message": f"no {SSN}"},
    {"code": 219099999, "message": SSN, "data": {"ssn": SSN}},
    {"code": -32042, "message": "open", "data": {"elicitations": [{"mode": "url", "url": f"https://login.example/{SSN}"}]}},
]  # fmt: skip


def answered(method: str) -> st.SearchStrategy[dict[str, Any]]:
    """An upstream's answer as it should be, or in place of it what an answer may be too."""
    result = RESULTS.get(method, {**TEXT, "resultType": "complete"})
    wanting = {"resultType": "input_required", "inputRequests": ASKS, "requestState": SSN}
    good = st.sampled_from([result, result, result, wanting, {**TASK, "resultType": "task"}])
    return st.one_of(
        good.map(lambda found: {"jsonrpc": "2.0", "id": IDENT, "result": found}),
        st.sampled_from(ERRORS).map(lambda found: {"jsonrpc": "2.0", "id": IDENT, "error": found}),
    )


Path = tuple[Any, ...]


def _places(value: Any, at: Path = ()) -> list[Path]:
    """Where in a document something stands."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, each in inner for place in _places(each, (*at, key)))]


@st.composite
def mutated(draw: Callable[..., Any], good: st.SearchStrategy[Any], most: int = 3) -> Any:
    """A document with some of it gone, other, or more than it should be."""
    document = deepcopy(draw(good))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, most]))):
        places = [place for place in _places(document) if place]
        if not places:
            return document
        *way, last = draw(st.sampled_from(places))
        holder = document
        for key in way:
            holder = holder[key]
        match draw(st.sampled_from(["drop", "replace", "wrap", "add", "deepen", "swap"])):
            case "drop":
                del holder[last]
            case "replace":
                holder[last] = deepcopy(draw(ODD))
            case "wrap":
                holder[last] = draw(st.sampled_from([[holder[last]], {"x": holder[last]}]))
            case "deepen":
                for _ in range(draw(st.sampled_from([2, 70, 130]))):
                    holder[last] = [holder[last]]
            case "swap":
                other = draw(st.sampled_from(places))
                holder[last] = deepcopy(_at(document, other))
            case _ if isinstance(holder, dict):
                holder[draw(KEYS)] = deepcopy(draw(ODD))
            case _:
                holder.append(deepcopy(draw(ODD)))
    return document


def _at(document: Any, place: Path) -> Any:
    for key in place:
        try:
            document = document[key]
        except (KeyError, IndexError, TypeError):
            return None
    return document


SPOILED = [b"", b"\0", b"\xff", b'"', b"{", b"}", b",", b"\\ud800", b"1e999", b"[", b"\r\n", b"\xef\xbb\xbf", b"NaN"]


@st.composite
def spoiled(draw: Callable[..., Any]) -> Callable[[bytes], bytes]:
    """What becomes of bytes on their way: mostly nothing."""
    kind = draw(st.sampled_from(["as it is"] * 6 + ["cut", "put", "double"]))
    where, what = draw(st.floats(0, 1)), draw(st.sampled_from(SPOILED))

    def spoil(data: bytes) -> bytes:
        at = int(where * len(data))
        match kind:
            case "cut":
                return data[:at]
            case "put":
                return data[:at] + what + data[at + 1 :]
            case "double":
                return data + data
        return data

    return spoil


def encoded(document: Any) -> bytes:
    """JSON with everything that Python can say in it: what is no character goes out as an escape."""
    return json.dumps(document).encode()
