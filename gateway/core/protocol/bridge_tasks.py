"""What a task of one era is in the other: in 2025-11-25 the client asks for it, by the extension the server decides.

Pure rewriting, as `bridge.py`. Sources: MCP 2025-11-25, Tasks; tasks extension of 2026-07-28 (SEP-2663).
"""

from __future__ import annotations

from gateway.core.protocol import mcp, tasks, versions
from gateway.core.protocol.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, Failure, Request, Response, Success, with_body
from gateway.core.types import Document, Json

RESULT = "tasks/result"
STATUS = "notifications/tasks/status"
TASK = "task"
"""The param with which a legacy client asks for a task, and the member of the result that holds it."""
FORBIDDEN, OPTIONAL, REQUIRED = "forbidden", "optional", "required"
"""What a legacy tool says of tasks; the first where it says nothing."""
SINCE = "2025-11-25"
"""The only legacy protocol version that has tasks."""
ENDED = frozenset({"cancelled", "completed", "failed"})
_OF_BOTH = ("taskId", "status", "statusMessage", "createdAt", "lastUpdatedAt")
_LEGACY: Document = {"cancel": {}, "requests": {"tools": {"call": {}}}}
"""What the extension can of what a legacy server may declare: it has no listing."""


def runs_tools(capabilities: Json) -> bool:
    """Whether a legacy upstream makes tasks of calls (2025-11-25, Tasks: Server Capabilities)."""
    match capabilities:
        case {"tasks": {"requests": {"tools": {"call": dict()}}}}:
            return True
    return False


def offered(capabilities: Json) -> bool:
    """Whether a modern upstream has the extension (tasks extension, Capability Negotiation)."""
    match capabilities:
        case {"extensions": {mcp.TASKS: dict()}}:
            return True
    return False


def supports(listing: Response) -> dict[str, str]:
    """Name -> OPTIONAL or REQUIRED, of the tools in a listing that may or must be called by a task (there, Tool-Level
    Negotiation)."""
    result = listing.result if isinstance(listing, Success) else None
    tools = result.get("tools") if isinstance(result, dict) else None
    found: dict[str, str] = {}
    for tool in tools if isinstance(tools, list) else ():
        match tool:
            case {"name": str(name), "execution": {"taskSupport": "optional" | "required" as support}}:
                found[name] = str(support)
    return found


def supported(listing: Json) -> Json:
    """A modern upstream's listing of tools as a legacy client wants it that may ask for tasks: the upstream decides
    by itself, call by call, so each tool may be called by one; where a tool says nothing, such a client must not ask
    (there, Tool-Level Negotiation). A word of the tool's own stays."""
    if not isinstance(listing, dict) or not isinstance(tools := listing.get("tools"), list):
        return listing
    return {**listing, "tools": [_supported(tool) for tool in tools]}


def _supported(tool: Json) -> Json:
    execution = tool.get("execution", {}) if isinstance(tool, dict) else None
    if not isinstance(tool, dict) or not isinstance(execution, dict):
        return tool
    return {**tool, "execution": {"taskSupport": OPTIONAL, **execution}}


def unlisted(greeting: Json) -> Json:
    """What an upstream answers to `initialize`, without that it lists tasks: a listing must hold its requestor's alone
    (there, Task Isolation and Access Control), and the upstream cannot tell the gateway's clients apart."""
    told = _dict(greeting)
    capabilities = _dict(told.get("capabilities"))
    known = _dict(capabilities.get("tasks"))
    if "list" not in known:
        return greeting
    kept: Document = {key: value for key, value in known.items() if key != "list"}
    return {**told, "capabilities": {**capabilities, "tasks": kept}}


def modern_capabilities(capabilities: Json) -> Json:
    """A legacy upstream's capabilities, with the extension where it makes tasks of calls."""
    if not isinstance(capabilities, dict):
        return capabilities
    found = {key: value for key, value in capabilities.items() if key != "tasks"}
    return {**found, "extensions": {mcp.TASKS: {}}} if runs_tools(capabilities) else found


def legacy_capabilities(capabilities: Json, version: str) -> Json:
    """A modern upstream's capabilities with what a legacy client of this protocol version may ask for."""
    if not isinstance(capabilities, dict) or not offered(capabilities) or version < SINCE:
        return capabilities
    return {**capabilities, "tasks": _LEGACY}


def is_wish(task: Json) -> bool:
    """Whether a call's TASK is one (2025-11-25, Tasks: Task Parameters)."""
    ttl = task.get("ttl", 0) if isinstance(task, dict) else None
    return isinstance(ttl, int | float) and not isinstance(ttl, bool)


def declaring(greeting: Document, *, tasks: bool) -> Document:
    """A legacy client's greeting as its modern requests say it: with the extension where a task is wanted, and never
    else, whatever the client itself thinks of extensions."""
    capabilities = _dict(greeting.get("capabilities"))
    extensions = {key: value for key, value in _dict(capabilities.get("extensions")).items() if key != mcp.TASKS}
    if tasks:
        extensions[mcp.TASKS] = {}
    rest = {key: value for key, value in capabilities.items() if key != "extensions"}
    return {**greeting, "capabilities": {**rest, "extensions": extensions} if extensions else rest}


def insists(failure: Failure) -> bool:
    """Whether a modern upstream makes this call by a task alone (tasks extension, Capability Negotiation)."""
    match failure:
        case Failure(code=versions.MISSING_CAPABILITY, data={"requiredCapabilities": {"extensions": dict(wanted)}}):
            return mcp.TASKS in wanted
    return False


def created(result: Json) -> Document | None:
    """The task that a legacy upstream has made instead of a result; None where this is one."""
    task = result.get("task") if isinstance(result, dict) else None
    return task if isinstance(task, dict) and isinstance(task.get("taskId"), str) else None


def lives_ms(task: Document, most: int) -> int:
    """How long after it was made a legacy task can be asked for; `most` where that is longer, or not said."""
    ttl = task.get("ttl")
    return min(ttl, most) if isinstance(ttl, int) else most


def modern(task: Document, ident: str, *, most_ms: int) -> Document:
    """A legacy task under the extension's words. `most_ms`: how long it can be asked for at most."""
    found: Document = {key: task[key] for key in _OF_BOTH if key in task}
    found |= {"taskId": ident, "ttlMs": lives_ms(task, most_ms)}
    return {**found, "pollIntervalMs": task["pollInterval"]} if "pollInterval" in task else found


def ended(task: Document, answer: Response) -> Document:
    """A modern task with what its call was answered. `failed` is for errors of the protocol alone: a tool that says
    `isError` has completed (tasks extension, Task Execution Errors)."""
    if isinstance(answer, Failure):
        error: Document = {"code": answer.code, "message": answer.message}
        return {**task, "status": "failed", "error": error if answer.data is None else {**error, "data": answer.data}}
    return {**task, "status": "completed", "result": {**unrelated(answer.result), "resultType": "complete"}}


def lost(task: Document, why: str, code: int) -> Document:
    """A task of which nobody will hear any more. `task`: as it was told before; `why`: for its caller."""
    return {**task, "status": "failed", "statusMessage": why, "error": {"code": code, "message": why}}


def legacy(task: Document) -> Document:
    """A task of the extension under the words of 2025-11-25, where a tool that says `isError` has failed."""
    found: Document = {key: task[key] for key in _OF_BOTH if key in task}
    found["ttl"] = task.get("ttlMs")
    match task:
        case {"status": "completed", "result": {"isError": True}}:
            found["status"] = "failed"
    return {**found, "pollInterval": task["pollIntervalMs"]} if "pollIntervalMs" in task else found


def outcome(request: Request, task: Document) -> Response:
    """What a legacy `tasks/result` is answered of a task that has ended."""
    match task:
        case {"status": "completed", "result": dict(result)}:
            return Success(request.id, related(result, str(request.params.get("taskId"))))
        case {"status": "failed", "error": dict(error)}:
            failed = Failure(request.id, INTERNAL_ERROR, "The task failed.")
            return with_body(failed, {"code": failed.code, "message": failed.message, **error})
    return Failure(request.id, INVALID_PARAMS, "This task was cancelled: it has no result.")


def related(held: Document, ident: str) -> Document:
    """A message of a task, which says so (2025-11-25, Tasks: Related Task Metadata)."""
    return {**held, mcp.META: {**_dict(held.get(mcp.META)), tasks.RELATED: {"taskId": ident}}}


def unrelated(held: Json) -> Document:
    """The same without it: the extension's messages stand where their task is known."""
    found = dict(_dict(held))
    meta = {key: value for key, value in _dict(found.pop(mcp.META, None)).items() if key != tasks.RELATED}
    return {**found, mcp.META: meta} if meta else found


def _dict(value: Json) -> Document:
    return value if isinstance(value, dict) else {}
