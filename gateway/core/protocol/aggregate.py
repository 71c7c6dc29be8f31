"""Several upstreams behind one endpoint: whose a message is, under which name a client knows a thing, what lists make.

A name says whose it is, so that no table is kept and no upstream that joins can change what another one's things are
called: tools, prompts and tasks are `<upstream>__<name>`, resources `<upstream>+<uri>`. Names of upstreams hold neither
`_` nor `+` (`config.values.upstream_name`), so nobody's name can be read as another's. One upstream may be `plain`: its
things keep their names. Sources: MCP 2025-11-25 and 2026-07-28, Tools: Tool Names; RFC 3986 §3.1 (schemes).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from gateway.core.protocol import mcp, tasks
from gateway.core.protocol.jsonrpc import Message, Notification, Request, Response, Success, with_body
from gateway.core.types import Document, Json

NAME_MAX = 128
"""The longest name that a tool should have (MCP 2025-11-25, Tools: Tool Names)."""
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
UPDATED = "notifications/resources/updated"

LISTED = {
    "prompts/list": ("prompts", "name"),
    "resources/list": ("resources", "uri"),
    "resources/templates/list": ("resourceTemplates", "uriTemplate"),
    "tasks/list": ("tasks", "taskId"),
    "tools/list": ("tools", "name"),
}
"""Method of a listing -> the member of its result that lists, and the member of an item that names it."""

_SUBJECT = {
    "notifications/tasks/status": "taskId", "prompts/get": "name", "resources/read": "uri",
    "resources/subscribe": "uri", "resources/unsubscribe": "uri", "tasks/cancel": "taskId", "tasks/get": "taskId",
    "tasks/result": "taskId", "tasks/update": "taskId", "tools/call": "name",
}  # fmt: skip
"""Method that is about one thing -> the param that names it."""
_URIS = frozenset({"uri", "uriTemplate"})
_UI = "ui://"
_OLDER_PAGE = "ui/resourceUri"
_NUMBER = re.compile(r"n-?[0-9]{1,20}")
EVERYBODY = frozenset({
    mcp.CANCELLED, mcp.INITIALIZE, mcp.INITIALIZED, mcp.LISTEN, "logging/setLevel", "notifications/roots/list_changed",
    "server/discover", *LISTED,
})  # fmt: skip
"""Methods that are put to every upstream. A request that is taken back may be anyone's, and who does not know its id
passes over it (MCP 2025-11-25, Cancellation: Error Handling)."""


@dataclass(frozen=True, slots=True)
class Names:
    """How the things of several upstreams are told apart. `plain`: whose things keep their names, or ""."""

    members: tuple[str, ...]
    plain: str = ""

    def outward(self, member: str, key: str, name: str) -> str:
        """What clients call a thing that `member` names by its `key`."""
        if member == self.plain:
            return name
        if key not in _URIS:
            return f"{member}__{name}"
        # A client takes what stands under `ui://` for an app, so that scheme stays (MCP Apps, UI Resource Format).
        return f"{_UI}{member}+{name.removeprefix(_UI)}" if name.startswith(_UI) else f"{member}+{name}"

    def inward(self, key: str, name: str) -> tuple[str, str] | None:
        """Whose it is and what it is called there; None when it is nobody's."""
        scheme = _UI if key in _URIS and name.startswith(_UI) else ""
        member, mark, rest = name.removeprefix(scheme).partition("+" if key in _URIS else "__")
        if mark and member in self.members and member != self.plain:
            return member, scheme + rest
        return (self.plain, name) if self.plain else None

    def reachable(self, member: str, key: str, name: str) -> bool:
        """Whether a client can say the thing's outward name and be understood."""
        told = self.outward(member, key, name)
        return self.inward(key, told) == (member, name) and (key in _URIS or len(told) <= NAME_MAX)


def routed(message: Message, names: Names) -> tuple[str, Message] | None:
    """The upstream that a message about one thing is for, and the message as it knows it; None when it is nobody's."""
    if not isinstance(message, Request | Notification):
        return None
    if message.method == mcp.COMPLETE:
        return _completion(message, names)
    if message.method == mcp.PROGRESS:
        return _progress(message, names)
    key = _SUBJECT.get(message.method, "")
    value = message.params.get(key)
    found = names.inward(key, value) if isinstance(value, str) else None
    if found is None:
        return None
    return found[0], with_body(message, {**message.params, key: found[1]})


def _completion(message: Request | Notification, names: Names) -> tuple[str, Message] | None:
    """A completion is about the prompt or the resource template that its `ref` names."""
    ref = message.params.get("ref")
    held = ref if isinstance(ref, dict) else {}
    key = "uri" if held.get("type") == mcp.REF_RESOURCE else "name"
    value = held.get(key)
    found = names.inward(key, value) if isinstance(value, str) else None
    if found is None:
        return None
    return found[0], with_body(message, {**message.params, "ref": {**held, key: found[1]}})


def _progress(message: Request | Notification, names: Names) -> tuple[str, Message] | None:
    """Progress on what an upstream asked of the client, under the token that it gave: see `_asked`."""
    told = message.params.get(mcp.PROGRESS_TOKEN)
    member, mark, rest = told.partition("__") if isinstance(told, str) else ("", "", "")
    if not mark or member not in names.members:
        return None
    token: Json = int(rest[1:]) if _NUMBER.fullmatch(rest) else rest[1:]
    return member, with_body(message, {**message.params, mcp.PROGRESS_TOKEN: token})


def _asked(message: Request, member: str) -> Message:
    """An upstream's request, with a progress token that says whose it is, and whether it was a number."""
    meta = message.params.get(mcp.META)
    token = mcp.progress_token(message)
    if token is None or not isinstance(meta, dict):
        return message
    told = f"{member}__{'n' if isinstance(token, int) else 's'}{token}"
    return with_body(message, {**message.params, mcp.META: {**meta, mcp.PROGRESS_TOKEN: told}})


def for_member(message: Message, names: Names, member: str) -> Message:
    """A message to every upstream as `member` is told it: a subscription names the member's own resources alone."""
    if not isinstance(message, Request) or message.method != mcp.LISTEN:
        return message
    wanted = message.params.get("notifications")
    if not isinstance(wanted, dict) or not isinstance(uris := wanted.get("resourceSubscriptions"), list):
        return message
    found = [names.inward("uri", uri) for uri in uris if isinstance(uri, str)]
    mine: list[Json] = [each[1] for each in found if each is not None and each[0] == member]
    kept = {key: value for key, value in wanted.items() if key != "resourceSubscriptions"}
    told: Document = {**kept, "resourceSubscriptions": mine} if mine else kept
    return with_body(message, {**message.params, "notifications": told})


def renamed(message: Message, names: Names, member: str) -> Message:
    """What `member` says, with the names under which clients know its things. Listings keep theirs: see `merged`."""
    if isinstance(message, Request):
        message = _asked(message, member)
    if member == names.plain:
        return message

    def outward(key: str, value: Json) -> Json:
        return names.outward(member, key, value) if isinstance(value, str) else value

    match message:
        case Success(result=dict() as result):
            return with_body(message, _renamed_result(result, outward))
        case Notification(method=method, params=params) if method in (UPDATED, ACKNOWLEDGED):
            return with_body(message, _renamed_notice(params, outward))
        case Request(params=params) | Notification(params=params):
            return with_body(message, _task(_blocks(params, ("messages",), outward), outward))
    return message


_Outward = Callable[[str, Json], Json]


def _renamed_result(result: Document, outward: _Outward) -> Document:
    result = _task(_blocks(result, ("content", "messages"), outward), outward)
    if isinstance(contents := result.get("contents"), list):
        result = {**result, "contents": [_keyed(each, "uri", outward) for each in contents]}
    if isinstance(task := result.get("task"), dict):
        result = {**result, "task": _keyed(task, "taskId", outward)}
    return result


def _renamed_notice(params: Document, outward: _Outward) -> Document:
    honoured = params.get("notifications")
    if isinstance(honoured, dict) and isinstance(uris := honoured.get("resourceSubscriptions"), list):
        told: Document = {**honoured, "resourceSubscriptions": [outward("uri", uri) for uri in uris]}
        return {**params, "notifications": told}
    return _keyed_document(params, "uri", outward)


def _task(held: Document, outward: _Outward) -> Document:
    """Whatever names a task, here or in `_meta` (2025-11-25, Tasks: Related Task Metadata)."""
    held = _keyed_document(held, "taskId", outward)
    meta = held.get(mcp.META)
    if isinstance(meta, dict) and isinstance(related := meta.get(tasks.RELATED), dict):
        held = {**held, mcp.META: {**meta, tasks.RELATED: _keyed(related, "taskId", outward)}}
    return held


def _blocks(held: Document, keys: tuple[str, ...], outward: _Outward) -> Document:
    return {key: _content(value, outward) if key in keys else value for key, value in held.items()}


def _content(value: Json, outward: _Outward) -> Json:
    """Content blocks, and messages that hold some: links to resources and embedded ones name them."""
    if isinstance(value, list):
        return [_content(each, outward) for each in value]
    if not isinstance(value, dict):
        return value
    match value.get("type"):
        case "resource_link":
            return _keyed(value, "uri", outward)
        case "resource":
            return {**value, "resource": _keyed(value.get("resource"), "uri", outward)}
        case _:
            return _blocks(value, ("content",), outward)


def _keyed(value: Json, key: str, outward: _Outward) -> Json:
    return _keyed_document(value, key, outward) if isinstance(value, dict) else value


def _keyed_document(value: Document, key: str, outward: _Outward) -> Document:
    return {**value, key: outward(key, value[key])} if key in value else value


def items(request: Request, names: Names, member: str, result: Document) -> tuple[list[Json], Collection[str]]:
    """What `member` lists, as clients know it; and the names of what cannot be called and so is left out."""
    kind, key = LISTED[request.method]
    listed = result.get(kind)
    found: list[Json] = []
    unreachable: list[str] = []
    for item in listed if isinstance(listed, list) else []:
        name = item.get(key) if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(name, str):
            continue
        if names.reachable(member, key, name):
            found.append({**_with_page(item, names, member), key: names.outward(member, key, name)})
        else:
            unreachable.append(name)
    return found, unreachable


def _with_page(item: Document, names: Names, member: str) -> Document:
    """A tool whose page, if it has one, clients can read (MCP Apps, Tool Metadata: `_meta.ui.resourceUri`, and the
    older member beside `ui`)."""
    meta = item.get(mcp.META)
    if not isinstance(meta, dict):
        return item
    told = dict(meta)
    if isinstance(ui := meta.get("ui"), dict) and isinstance(uri := ui.get("resourceUri"), str):
        told["ui"] = {**ui, "resourceUri": names.outward(member, "uri", uri)}
    if isinstance(uri := meta.get(_OLDER_PAGE), str):
        told[_OLDER_PAGE] = names.outward(member, "uri", uri)
    return {**item, mcp.META: told}


def result_of(response: Response | None) -> Document | None:
    """The result that a response holds; None when it holds none."""
    return response.result if isinstance(response, Success) and isinstance(response.result, dict) else None


def union(left: Json, right: Json) -> Json:
    """Two declarations of what can be done, as one: objects and arrays joined, a flag set where either sets it."""
    if isinstance(left, dict) and isinstance(right, dict):
        return {**left, **{key: union(left[key], value) if key in left else value for key, value in right.items()}}
    if isinstance(left, list) and isinstance(right, list):
        return [*left, *(each for each in right if each not in left)]
    if isinstance(left, bool) and isinstance(right, bool):
        return left or right
    return left
