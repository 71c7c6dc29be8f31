"""What MCP calls things: methods, reserved members, and where in a message they stand.

Everything else of a message is opaque here; policy sees it whole.
"""

from __future__ import annotations

from gateway.core.protocol.jsonrpc import Message, Notification, Request, RequestId
from gateway.core.types import Document, Json

INITIALIZE = "initialize"
INITIALIZED = "notifications/initialized"
CANCELLED = "notifications/cancelled"
PROGRESS = "notifications/progress"
DISCOVER = "server/discover"
LISTEN = "subscriptions/listen"
COMPLETE = "completion/complete"
REF_RESOURCE = "ref/resource"
"""The type of a completion's `ref` that names a resource template by `uri`; the other kind names a prompt."""

URL_ELICITATION_REQUIRED = -32042
"""The error whose data asks the client's user to open URLs of the upstream (2025-11-25, Elicitation: URL mode)."""

META = "_meta"
PROGRESS_TOKEN = "progressToken"
PROTOCOL_VERSION = "io.modelcontextprotocol/protocolVersion"
CLIENT_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
CLIENT_INFO = "io.modelcontextprotocol/clientInfo"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"
SERVER_INFO = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"
OF_THE_REQUEST = frozenset({PROTOCOL_VERSION, CLIENT_INFO, CLIENT_CAPABILITIES, LOG_LEVEL})
"""Members of `_meta` in which each modern request introduces its client (2026-07-28, Request Metadata)."""

CLIENT_REQUESTS = frozenset({
    COMPLETE, INITIALIZE, "logging/setLevel", "ping", "prompts/get", "prompts/list", "resources/list",
    "resources/read", "resources/subscribe", "resources/templates/list", "resources/unsubscribe", DISCOVER,
    LISTEN, "tasks/cancel", "tasks/get", "tasks/list", "tasks/result", "tasks/update", "tools/call", "tools/list",
})  # fmt: skip
CLIENT_NOTIFICATIONS = frozenset({
    CANCELLED, INITIALIZED, PROGRESS, "notifications/roots/list_changed", "notifications/tasks/status",
})  # fmt: skip
UPSTREAM_REQUESTS = frozenset({
    "elicitation/create", "ping", "roots/list", "sampling/createMessage", "tasks/cancel", "tasks/get", "tasks/list",
    "tasks/result",
})  # fmt: skip
UPSTREAM_NOTIFICATIONS = frozenset({
    CANCELLED, PROGRESS, "notifications/elicitation/complete", "notifications/message",
    "notifications/prompts/list_changed", "notifications/resources/list_changed", "notifications/resources/updated",
    "notifications/subscriptions/acknowledged", "notifications/tasks", "notifications/tasks/status",
    "notifications/tools/list_changed",
})  # fmt: skip
REQUESTS = CLIENT_REQUESTS | UPSTREAM_REQUESTS
NOTIFICATIONS = CLIENT_NOTIFICATIONS | UPSTREAM_NOTIFICATIONS
METHODS = CLIENT_REQUESTS | CLIENT_NOTIFICATIONS | UPSTREAM_REQUESTS | UPSTREAM_NOTIFICATIONS
"""Every method of every revision from 2024-11-05 to 2026-07-28, and of the tasks extension."""

MEMBERS = frozenset({
    "_meta", "action", "annotations", "arguments", "audience", "blob", "capabilities", "code", "completion", "content",
    "contents", "createdAt", "data", "description", "error", "extensions", "hasMore", "hints", "icons", "id",
    "inputRequests", "inputSchema", "instructions", "isError", "lastModified", "lastUpdatedAt", "level", "logger",
    "maxTokens", "message", "messages", "method", "mimeType", "mode", "model", "name", "nextCursor", "notifications",
    "outputSchema", "params", "pollInterval", "pollIntervalMs", "priority", "progress", "progressToken", "prompts",
    "protocolVersion", "reason", "requestId", "requestedSchema", "required", "resource", "resourceTemplates",
    "resources", "result", "resultType", "role", "roots", "serverInfo", "size", "status", "statusMessage",
    "structuredContent", "supportedVersions", "systemPrompt", "task", "taskId", "tasks", "text", "title", "tools",
    "total", "ttl", "ttlMs", "type", "uri", "uriTemplate", "url", "values", "version",
})  # fmt: skip
"""What members of an upstream's messages are called in every revision: MCP's words, wherever it says what is there."""

LEGACY_ONLY = frozenset({
    INITIALIZE, "logging/setLevel", "ping", "resources/subscribe", "resources/unsubscribe", "tasks/list",
    "tasks/result",
})  # fmt: skip
"""Client requests that 2026-07-28 and its tasks extension no longer have (Changelog: Removed; SEP-2575, SEP-2663)."""

MODERN_ONLY = frozenset({DISCOVER, LISTEN, "tasks/update"})
"""Client requests that no legacy revision has (2026-07-28: Discovery, Subscriptions; tasks extension)."""

NAMED = {
    "tools/call": "name", "prompts/get": "name", "resources/read": "uri",
    "tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId",
}  # fmt: skip
"""Methods that are about one named thing, and the param that names it (2026-07-28, Standard Request Headers; tasks
extension, Routing Headers)."""

TASKS = "io.modelcontextprotocol/tasks"
"""The extension with which a call may be answered by a task (SEP-2663)."""
TASK_GET, TASK_UPDATE, TASK_CANCEL = "tasks/get", "tasks/update", "tasks/cancel"
TASK_REQUESTS = frozenset({TASK_GET, TASK_UPDATE, TASK_CANCEL})
TASK_CALLS = frozenset({"tools/call"})
"""Requests that a task may answer (tasks extension, Supported Methods)."""

INPUT_REQUIRED = "input_required"
"""The `resultType` of an answer that wants the request again (2026-07-28, Multi Round-Trip Requests)."""
INPUT_CALLS = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Requests that may be answered so, and no others (there, Supported Requests)."""
REQUEST_STATE = "requestState"
INPUT_RESPONSES = "inputResponses"


def greets(message: Message | None) -> bool:
    """Whether a message begins a legacy session."""
    return isinstance(message, Request) and message.method == INITIALIZE


def meta(message: Message) -> Document:
    """The `_meta` of a message's params; empty when it has none."""
    if isinstance(message, Request | Notification):
        value = message.params.get(META)
        if isinstance(value, dict):
            return value
    return {}


def name(message: Message) -> str | None:
    """The tool, prompt or resource that a request is about (NAMED), if it says one."""
    if isinstance(message, Request) and message.method in NAMED:
        value = message.params.get(NAMED[message.method])
        return value if isinstance(value, str) else None
    return None


def capabilities(message: Message) -> Document:
    """What a modern request says that its client can do; empty when it says nothing."""
    value = meta(message).get(CLIENT_CAPABILITIES)
    return value if isinstance(value, dict) else {}


def declares_tasks(message: Message) -> bool:
    """Whether the client takes a task for an answer to this request (tasks extension, Capability Negotiation)."""
    extensions = capabilities(message).get("extensions")
    return isinstance(extensions, dict) and isinstance(extensions.get(TASKS), dict)


def without_tasks() -> Document:
    """What `versions.MISSING_CAPABILITY` says to a client that asks after a task and takes none (there, Protocol
    Errors)."""
    return {"requiredCapabilities": {"extensions": {TASKS: {}}}}


def opens_urls(message: Message) -> bool:
    """Whether the client can ask its user to open a page (2026-07-28, Elicitation: Capabilities)."""
    elicitation = capabilities(message).get("elicitation")
    return isinstance(elicitation, dict) and isinstance(elicitation.get("url"), dict)


def is_task(result: Json) -> bool:
    """Whether a result promises another (tasks extension: `resultType` is `task`; 2025-11-25, Tasks: it has one)."""
    if not isinstance(result, dict):
        return False
    task = result.get("task")
    return result.get("resultType") == "task" or (isinstance(task, dict) and "taskId" in task)


def progress_token(message: Message) -> RequestId | None:
    """The token under which a request asks for progress, or to which a progress notification belongs."""
    if isinstance(message, Notification):
        return _token(message.params.get(PROGRESS_TOKEN)) if message.method == PROGRESS else None
    return _token(meta(message).get(PROGRESS_TOKEN))


def cancelled(message: Message) -> RequestId | None:
    """The id of the request that a `notifications/cancelled` takes back; None for any other message."""
    if isinstance(message, Notification) and message.method == CANCELLED:
        return _token(message.params.get("requestId"))
    return None


def cancel(ident: RequestId) -> Notification:
    """The notification that takes back the request `ident`."""
    return Notification(CANCELLED, {"requestId": ident})


def subscription(message: Message) -> RequestId | None:
    """The `subscriptions/listen` request that a notification was sent for (2026-07-28, Subscriptions)."""
    return _token(meta(message).get(SUBSCRIPTION_ID)) if isinstance(message, Notification) else None


def _token(value: Json) -> RequestId | None:
    return value if type(value) is str or type(value) is int else None
