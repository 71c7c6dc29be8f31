"""What a message of one era is in the other: for a client and an upstream that do not speak the same.

Pure rewriting of single messages. What needs a memory of the session (greetings, questions that wait for an answer)
is `gateway/upstream/bridge`. Sources: MCP 2025-11-25 Lifecycle, Logging, Resources; MCP 2026-07-28 Discovery, Request
Metadata, Multi Round-Trip Requests, Caching, Subscriptions.
"""

from __future__ import annotations

from gateway.core.protocol import bridge_tasks, mcp, versions
from gateway.core.protocol.jsonrpc import INVALID_PARAMS, Failure, Notification, Request
from gateway.core.types import Document, Json

RESOURCE_NOT_FOUND = -32002
"""What a legacy upstream says of a resource that is not there; modern ones say -32602 (2026-07-28, Resources)."""
CACHEABLE = frozenset({
    "prompts/list", "resources/list", "resources/read", "resources/templates/list", "server/discover", "tools/list",
})  # fmt: skip
"""Methods whose modern results must say how long they hold and for whom (2026-07-28, Caching)."""
ROUND_TRIP = ("inputResponses", "requestState")
"""Params of a modern request that goes on with one that needed input (2026-07-28, Multi Round-Trip Requests)."""
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""Of log messages, the least urgent first (RFC 5424 §6.2.1)."""
ASKED = {"elicitation/create": "elicitation", "roots/list": "roots", "sampling/createMessage": "sampling"}
"""What an upstream may ask of a client in the middle of a call, and the capability that says it may."""

_SUBSCRIBABLE = {
    "toolsListChanged": "notifications/tools/list_changed",
    "promptsListChanged": "notifications/prompts/list_changed",
    "resourcesListChanged": "notifications/resources/list_changed",
}
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
UPDATED = "notifications/resources/updated"
STANDING = frozenset({*_SUBSCRIBABLE.values(), UPDATED})
"""Notifications that belong to a subscription and to no call."""


def legacy_request(request: Request) -> Request:
    """A modern request as a legacy upstream knows it: what is said of the client there was said by `initialize`."""
    params = {key: value for key, value in request.params.items() if key not in ROUND_TRIP}
    meta = {key: value for key, value in mcp.meta(request).items() if key not in mcp.OF_THE_REQUEST}
    params.pop(mcp.META, None)
    return Request(request.id, request.method, {**params, mcp.META: meta} if meta else params)


def greeting(meta: Document, version: str = versions.LATEST_LEGACY) -> Document:
    """The params of the `initialize` that introduces a modern client, from the `_meta` of a request of it."""
    info, capabilities = meta.get(mcp.CLIENT_INFO), meta.get(mcp.CLIENT_CAPABILITIES)
    return {
        "protocolVersion": version,
        "capabilities": capabilities if isinstance(capabilities, dict) else {},
        "clientInfo": info if isinstance(info, dict) else {"name": "unnamed", "version": "0"},
    }


def discovered(initialized: Document) -> Document:
    """The result of `server/discover`, from that of `initialize`."""
    capabilities = bridge_tasks.modern_capabilities(initialized.get("capabilities", {}))
    result: Document = {"supportedVersions": [*versions.MODERN], "capabilities": capabilities}
    if isinstance(instructions := initialized.get("instructions"), str):
        result["instructions"] = instructions
    if isinstance(info := initialized.get("serverInfo"), dict):
        result[mcp.META] = {mcp.SERVER_INFO: info}
    return modern_result("server/discover", result)


def modern_result(method: str, result: Json) -> Document:
    """A legacy result as a modern client wants it: final, and cached by nobody where the upstream cannot have said."""
    told = result if isinstance(result, dict) else {}
    fresh: Document = {"ttlMs": 0, "cacheScope": "private"} if method in CACHEABLE else {}
    return {**told, **fresh, "resultType": "complete"}


def modern_failure(method: str, failure: Failure) -> Failure:
    """A legacy error under its modern code."""
    moved = method == "resources/read" and failure.code == RESOURCE_NOT_FOUND
    return Failure(failure.id, INVALID_PARAMS, failure.message, failure.data) if moved else failure


def input_required(request: Request, state: str) -> Document:
    """The modern result that puts an upstream's question to the client; `state` brings the answer back to it."""
    question: Document = {"method": request.method, "params": request.params}
    return {"resultType": "input_required", "inputRequests": {"answer": question}, "requestState": state}


def answer(request: Request) -> Json:
    """What a modern client answers to `input_required`; None when it does not."""
    responses = request.params.get("inputResponses")
    return responses.get("answer") if isinstance(responses, dict) else None


def may_ask(method: str, params: Document, capabilities: Json) -> bool:
    """Whether a client that declared `capabilities` may be asked this (every revision: only what was declared).

    A form is what `elicitation` means by itself; URLs, and tools for sampling, are declared beside it (2025-11-25).
    """
    found = capabilities.get(ASKED[method]) if method in ASKED and isinstance(capabilities, dict) else None
    if not isinstance(found, dict):
        return False
    if method == "elicitation/create" and params.get("mode") == "url":
        return "url" in found
    return method != "sampling/createMessage" or "tools" not in params or "tools" in found


def louder(one: str | None, other: str | None) -> str | None:
    """The log level of the two that lets more through; None lets nothing through."""
    known = [level for level in (one, other) if level in LEVELS]
    return min(known, key=LEVELS.index, default=None)


def loud_enough(notification: Notification, wanted: Json) -> bool:
    """Whether a log message is one of those that a request asked for (2026-07-28, Logging)."""
    level = notification.params.get("level")
    return wanted in LEVELS and level in LEVELS and LEVELS.index(str(level)) >= LEVELS.index(str(wanted))


def initialized(discovery: Document, version: str) -> Document:
    """The result of `initialize`, from that of `server/discover`. `version` is the legacy one that was agreed on."""
    meta = discovery.get(mcp.META)
    info = meta.get(mcp.SERVER_INFO) if isinstance(meta, dict) else None
    result: Document = {
        "protocolVersion": version,
        "capabilities": bridge_tasks.legacy_capabilities(discovery.get("capabilities", {}), version),
        "serverInfo": info if isinstance(info, dict) else {"name": "unnamed", "version": "0"},
    }
    if isinstance(instructions := discovery.get("instructions"), str):
        result["instructions"] = instructions
    return result


def modern_request(request: Request, greeted: Document, version: str, level: str | None = None) -> Request:
    """A legacy request as a modern upstream wants it: it says for itself what the session's `initialize` had said.

    `greeted`: the params of that `initialize`; `level`: what the client set by `logging/setLevel`.
    """
    capabilities = greeted.get("capabilities")
    meta: Document = {
        **mcp.meta(request),
        mcp.PROTOCOL_VERSION: version,
        mcp.CLIENT_INFO: greeted.get("clientInfo", {"name": "unnamed", "version": "0"}),
        mcp.CLIENT_CAPABILITIES: capabilities if isinstance(capabilities, dict) else {},
    }
    if level is not None:
        meta[mcp.LOG_LEVEL] = level
    return Request(request.id, request.method, {**request.params, mcp.META: meta})


def legacy_result(result: Json) -> Document:
    """A modern result without the members that a legacy client does not know, and some refuse."""
    told = result if isinstance(result, dict) else {}
    return {key: value for key, value in told.items() if key not in ("resultType", "ttlMs", "cacheScope")}


def questions(result: Json) -> dict[str, tuple[str, Document]] | None:
    """Key -> (method, params) of what a modern result asks of the client; None when it is a result already.

    A malformed question has the method "". Empty: the upstream wants to be asked again with its state alone.
    """
    if not isinstance(result, dict) or result.get("resultType") != "input_required":
        return None
    asked = result.get("inputRequests")
    found: dict[str, tuple[str, Document]] = {}
    for key, question in (asked if isinstance(asked, dict) else {}).items():
        match question:
            case {"method": str(method), **rest}:
                params = rest.get("params")
                found[key] = (method, params if isinstance(params, dict) else {})
            case _:
                found[key] = ("", {})
    return found


def resumed(request: Request, result: Document, answers: Document) -> Request:
    """`request` again, with what its `input_required` result asked for."""
    params = {key: value for key, value in request.params.items() if key not in ROUND_TRIP}
    if answers:
        params["inputResponses"] = answers
    if "requestState" in result:
        params["requestState"] = result["requestState"]
    return Request(request.id, request.method, params)


def subscription(request: Request, capabilities: Json) -> tuple[frozenset[str], tuple[str, ...]]:
    """What a `subscriptions/listen` wants to hear of an upstream with these capabilities: methods, resource URIs."""
    wanted = request.params.get("notifications")
    wanted = wanted if isinstance(wanted, dict) else {}
    methods = {
        method
        for key, method in _SUBSCRIBABLE.items()
        if wanted.get(key) is True and _can(capabilities, key.removesuffix("ListChanged"), "listChanged")
    }
    uris = wanted.get("resourceSubscriptions")
    if not isinstance(uris, list) or not _can(capabilities, "resources", "subscribe"):
        return frozenset(methods), ()
    return frozenset(methods), tuple(dict.fromkeys(uri for uri in uris if isinstance(uri, str)))


def acknowledged(request: Request, methods: frozenset[str], uris: tuple[str, ...]) -> Notification:
    """What a subscription begins with: the part of its filter that will be honoured (2026-07-28, Subscriptions)."""
    honoured: Document = {key: True for key, method in _SUBSCRIBABLE.items() if method in methods}
    if uris:
        honoured["resourceSubscriptions"] = [*uris]
    told = Notification(ACKNOWLEDGED, {"notifications": honoured})
    return of_subscription(told, request.id)


def _can(capabilities: Json, section: str, feature: str) -> bool:
    found = capabilities.get(section) if isinstance(capabilities, dict) else None
    return isinstance(found, dict) and found.get(feature) is True


def of_subscription(notification: Notification, ident: Json) -> Notification:
    """A notification as one of the subscription that the request `ident` opened."""
    meta: Document = {**mcp.meta(notification), mcp.SUBSCRIPTION_ID: ident}
    return Notification(notification.method, {**notification.params, mcp.META: meta})


def listening(uris: tuple[str, ...]) -> Document:
    """The params of a `subscriptions/listen` that hears what a legacy client's stream would bring."""
    wanted: Document = dict.fromkeys(_SUBSCRIBABLE, True)
    if uris:
        wanted["resourceSubscriptions"] = [*uris]
    return {"notifications": wanted}


def outside(notification: Notification) -> Notification:
    """A notification of a subscription as a legacy stream has it."""
    meta = {key: value for key, value in mcp.meta(notification).items() if key != mcp.SUBSCRIPTION_ID}
    params = {key: value for key, value in notification.params.items() if key != mcp.META}
    return Notification(notification.method, {**params, mcp.META: meta} if meta else params)
